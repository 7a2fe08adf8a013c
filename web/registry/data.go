package registry

import (
	"context"
	"errors"

	"headwater/web/view"
)

// ErrDraft is returned for what can't be said about a device; the details say why.
var ErrDraft = errors.New("it does not fit")

// Source is what is known and said about devices. Errors wrap view.ErrUnavailable when it
// cannot be reached, and ErrDraft.
type Source interface {
	// After returns at most q.Size devices in the order of their names, from the one
	// after q.Site and q.Device on.
	After(q Query) []view.Device
	// Device returns one device; false when it has never reported.
	Device(site, device string) (view.Device, bool)
	// Fixed returns what the configuration file says about a device.
	Fixed(site, device string) view.DeviceAbout
	// Describe changes what is said about devices, one by one. What is the change in words,
	// for the audit of a change of several devices.
	Describe(ctx context.Context, by, what string, changes []Change) (Outcome, error)
	// DeleteDevice removes a device with all its data. One that has reported in the last minutes
	// is removed only by force: it appears again with its next reading.
	DeleteDevice(ctx context.Context, by, site, device string, force bool) (Removed, error)
	// MergeDevice has one device continue another, which is removed: its history and what is said
	// about it are those of the first one, which need not have reported.
	MergeDevice(ctx context.Context, by string, from, into Name) error
	// Former are the devices that a device continues.
	Former(site, device string) []Name
}

// Name names a device.
type Name struct{ Site, Device string }

// String returns site/device.
func (n Name) String() string { return n.Site + "/" + n.Device }

// Removed is what came of a deletion.
type Removed struct {
	// Devices are the device and those that it continued, as site/device.
	Devices []string `json:"devices"`
	// History says why the history was not deleted; empty if it was.
	History string `json:"history,omitempty"`
}

// Query selects devices.
type Query struct {
	// Text must be part of "site/device", of a metric's name, or of what is said about the
	// device, in any case.
	Text string
	// Sites are the sites beyond which nothing is there; none means all sites.
	Sites []string
	// Site and Device are the last device of the page before; empty for the first page.
	Site, Device string
	Size         int
}

// Change is what becomes of what is said about one device. What the configuration file says
// stays.
type Change struct {
	Site, Device string
	// Apply returns what is to be said; it gets what is said on the page, which it must not
	// change.
	Apply func(view.DeviceAbout) view.DeviceAbout
}

// Outcome is what came of changes.
type Outcome struct {
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	// Failed are the devices that were not changed, at most MaxFailed of them.
	Failed []Failure `json:"failed,omitempty"`
	// Failures counts all of them.
	Failures int `json:"failures"`
}

// Failure is why one device was not changed.
type Failure struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Reason string `json:"reason"`
}

// Bounds of one change.
const (
	// MaxChanges is the greatest number of devices that one request changes.
	MaxChanges = 5000
	// MaxFailed bounds the failures that are listed.
	MaxFailed = 20
)
