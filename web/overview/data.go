package overview

import (
	"slices"

	"headwater/web/view"
)

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
	// Site selects the devices of one site; empty means all.
	Site string
	// BySite orders the devices by site and not by state, and asks for the sites.
	BySite bool
	// Page counts from 1.
	Page int
	// Size is the number of devices on a page.
	Size int
}

// Devices is one page of devices with the counts of all.
type Devices struct {
	// Items are in the order of state (firing, silent, ok) and then of name, unless the
	// query asks for that of sites.
	Items []view.Device `json:"devices"`
	// Matching counts the devices that the query selects, over all pages.
	Matching int `json:"matching"`
	// Total, Firing, Silent and Unknown count over all devices, whatever the
	// query.
	Total   int `json:"total"`
	Firing  int `json:"firing"`
	Silent  int `json:"silent"`
	Unknown int `json:"unknown"`
	// Sites are all sites in the order of their names, whatever the query, if it asks for
	// them.
	Sites []Site `json:"-"`
}

// Site is what is known of the devices of one site.
type Site struct {
	Name                           string
	Total, Firing, Silent, Unknown int
	// Strip has the states of the devices in the order of their names. In a large site
	// each cell is the worst state of several.
	Strip []view.State
}

// NewSite returns a site whose devices have these states, in the order of their names.
func NewSite(name string, states []view.State) Site {
	s := Site{Name: name, Total: len(states)}
	cells := min(stripCells, len(states))
	s.Strip = make([]view.State, cells)
	for i, state := range states {
		switch state {
		case view.StateFiring:
			s.Firing++
		case view.StateSilent:
			s.Silent++
		case view.StateUnknown:
			s.Unknown++
		}
		cell := &s.Strip[i*cells/len(states)]
		if *cell == "" || worse(state, *cell) {
			*cell = state
		}
	}
	return s
}

// stripCells bounds the cells of a strip, and so the bytes of a page.
const stripCells = 240

// notable are the states of devices that are not well, the least bad first.
var notable = []view.State{view.StateUnknown, view.StateSilent, view.StateFiring}

func worse(a, b view.State) bool { return slices.Index(notable, a) > slices.Index(notable, b) }
