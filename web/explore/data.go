package explore

import "headwater/web/view"

// Source is what the page shows besides the history. It answers from memory, at once.
type Source interface {
	// Device returns one device; false when it is not known.
	Device(site, device string) (view.Device, bool)
	// Find returns the series that a query selects, and whether there are more.
	Find(q Query) (found []Found, more bool)
}

// Query selects series.
type Query struct {
	// Text holds words that must all be part of "site/device metric", in any case.
	Text string
	// Sites are the sites beyond which nothing is there; none means all sites.
	Sites []string
	// Most is the largest number of series to return.
	Most int
}

// Found is a series that can be drawn.
type Found struct {
	Site, Device string
	Metric       view.Metric
}
