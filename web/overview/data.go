package overview

import "headwater/web/view"

// Source is what the overview shows. Its methods answer from memory, at once.
type Source interface {
	// Devices returns one page of the devices that a query selects.
	Devices(q Query) Devices
	// Alerts returns the active alerts, and at most resolved of the others.
	Alerts(resolved int) view.Alerts
	// About returns what an alert shows of its rule; false when there is no rule of
	// the name.
	About(rule string) (view.RuleAbout, bool)
	// Rates returns the number of readings a second over the last ten seconds, and
	// the numbers of each of the last 60 seconds, oldest first.
	Rates() (now float64, seconds []float64)
}

// Query selects devices.
type Query struct {
	// Text must be part of "site/device" or of a metric's name, in any case.
	Text string
	// State selects devices of one state; empty means all.
	State view.State
	// Sites are the sites beyond which nothing is there; none means all sites.
	Sites []string
	// Page counts from 1.
	Page int
	// Size is the number of devices on a page.
	Size int
}

// Devices is one page of devices with the counts of all.
type Devices struct {
	// Items are in the order of state (firing, silent, ok) and then of name.
	Items []view.Device `json:"devices"`
	// Matching counts the devices that the query selects, over all pages.
	Matching int `json:"matching"`
	// Total, Firing, Silent and Unknown count over all devices, whatever the
	// query.
	Total   int `json:"total"`
	Firing  int `json:"firing"`
	Silent  int `json:"silent"`
	Unknown int `json:"unknown"`
}
