package health

import (
	"time"

	"headwater/web/view"
)

// Source is what is known of sensors that may not be believed. It answers from memory, at
// once.
type Source interface {
	// Health returns the devices of the sites, of which none means all, that have a finding
	// of the kind, of which none means any.
	Health(sites []string, kind view.FindingKind) Report
}

// Report is which sensors may not be believed.
type Report struct {
	// At is when the devices were assessed; zero when they have not been yet.
	At time.Time `json:"at,omitzero"`
	// Devices counts all that were assessed.
	Devices int `json:"devices"`
	// Doubtful counts those with a finding of any kind, Kinds by kind.
	Doubtful int                      `json:"doubtful"`
	Kinds    map[view.FindingKind]int `json:"kinds"`
	// Unwatched are the kinds of Detectors for which no rule looks.
	Unwatched []view.FindingKind `json:"unwatched,omitempty"`
	// Items are at most MaxItems of the devices with a finding of the kind that was asked for.
	Items []Item `json:"items"`
	// Matching counts all of them.
	Matching int `json:"matching"`
}

// Item is one device with the reasons not to believe it.
type Item struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	// Name and Room are what people say about the device.
	Name     string         `json:"name,omitempty"`
	Room     string         `json:"room,omitempty"`
	Findings []view.Finding `json:"findings"`
}

// Detectors are the detectors of the rules that find what cannot be seen without one, by kind.
func Detectors() map[view.FindingKind]string {
	return map[view.FindingKind]string{view.FindingStuck: "stuck", view.FindingDrifting: "drift", view.FindingUnreadable: "unreadable"}
}

// MaxItems bounds the devices that are listed.
const MaxItems = 500
