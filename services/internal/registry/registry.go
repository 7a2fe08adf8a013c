// Package registry keeps the list of the devices that have sent something: a
// projection of the telemetry in a key-value bucket, for people to look at.
// Every process that writes telemetry reports what it has stored. Nothing
// depends on the list, and the next reading of a device fills in what is
// missing.
package registry

import (
	"cmp"
	"slices"
	"strings"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/proto/units"
)

// Device is what the registry knows of one device. It is stored as JSON under
// the key that Key returns.
type Device struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	// Metrics are sorted by name. A metric that changed its kind has an entry for
	// each kind.
	Metrics []Metric `json:"metrics"`
	// FirstSeen is when the first reading of the device arrived.
	FirstSeen time.Time `json:"first_seen"`
}

// Metric is one metric of a device.
type Metric struct {
	Name string `json:"name"`
	// Unit is the unit that the device sent last, empty if it never sent one.
	Unit string `json:"unit,omitempty"`
	// Units are all units that came, in the order in which they did first; nil when
	// there is only one.
	Units []string `json:"units,omitempty"`
	// Kind is value, flag or text.
	Kind string `json:"kind"`
}

// Key returns the key of a device in the bucket. Both parts must be valid
// tokens.
func Key(site, device string) string { return site + "." + device }

// maxMetrics bounds the metrics of one device in the registry.
const maxMetrics = 256

// merge returns d with the news in it, and whether that changes it.
func (d Device) merge(n news) (Device, bool) {
	changed := false
	if d.FirstSeen.IsZero() || n.first.Before(d.FirstSeen) {
		d.FirstSeen, changed = n.first, true
	}
	d.Metrics = slices.Clone(d.Metrics)
	for _, m := range n.metrics {
		at, found := slices.BinarySearchFunc(d.Metrics, m, compare)
		switch {
		case !found && len(d.Metrics) < maxMetrics:
			d.Metrics, changed = slices.Insert(d.Metrics, at, m), true
		case found && m.Unit != "" && m.Unit != d.Metrics[at].Unit:
			d.Metrics[at], changed = d.Metrics[at].in(m.Unit), true
		}
	}
	return d, changed
}

// maxUnits bounds the units of one metric that are remembered.
const maxUnits = 8

// in returns the metric with a unit as the last that came.
func (m Metric) in(unit string) Metric {
	all := slices.Clone(m.Units)
	if all == nil && m.Unit != "" {
		all = []string{m.Unit}
	}
	if !slices.ContainsFunc(all, func(u string) bool { return units.Same(u, unit) }) && len(all) < maxUnits {
		all = append(all, unit)
	}
	m.Unit = unit
	if len(all) > 1 {
		m.Units = all
	}
	return m
}

// compare orders metrics by what identifies them.
func compare(a, b Metric) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind))
}

// kindNames are the names of the kinds of values.
var kindNames = map[telemetryv1.Kind]string{
	telemetryv1.Kind_KIND_VALUE: "value",
	telemetryv1.Kind_KIND_FLAG:  "flag",
	telemetryv1.Kind_KIND_TEXT:  "text",
}
