package view

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
)

// DeviceAbout is what people say about a device, on its page or in the configuration file.
type DeviceAbout struct {
	// Name is what people call the device.
	Name string `json:"name,omitempty"`
	Room string `json:"room,omitempty"`
	// Location says where in the room.
	Location string `json:"location,omitempty"`
	// Notes may have several lines.
	Notes string            `json:"notes,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
	// Interval is how often the device is expected to report; 0 when it is not said.
	Interval Span `json:"interval,omitempty"`
	// Metrics are by name.
	Metrics map[string]MetricAbout `json:"metrics,omitempty"`
}

// MetricAbout is what people say about a metric.
type MetricAbout struct {
	// Name is what people call the metric.
	Name string `json:"name,omitempty"`
	// Unit is shown for numbers that come without one.
	Unit string `json:"unit,omitempty"`
	// Precision is how many decimals are shown; nil for as many as are needed.
	Precision *int `json:"precision,omitempty"`
	// Low and High bound what a working sensor gives; nil when that side is open.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	// Interval is how often the metric is expected; 0 when it is not said.
	Interval Span `json:"interval,omitempty"`
}

// Span is a duration that is written like 30s, 5m or 2d.
type Span time.Duration

// String returns the span as it is written; empty for 0.
func (s Span) String() string {
	if s == 0 {
		return ""
	}
	return figure.FormatDuration(time.Duration(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Span) UnmarshalText(text []byte) error {
	*s = 0
	if len(text) == 0 {
		return nil
	}
	d, err := figure.ParseDuration(string(text))
	*s = Span(d)
	return err
}

// TagList returns the tags as name=value, in the order of their names.
func (a DeviceAbout) TagList() []string {
	out := make([]string, 0, len(a.Tags))
	for _, name := range slices.Sorted(maps.Keys(a.Tags)) {
		out = append(out, name+"="+a.Tags[name])
	}
	return out
}

// Label is what people call the device: its name, or else its id.
func (d Device) Label() string { return cmp.Or(d.About.Name, d.Device) }

// Label is what people call the device of the alert.
func (a Alert) Label() string { return cmp.Or(a.DeviceName, a.Device) }

// Label is what people call the metric.
func (m Metric) Label() string { return cmp.Or(m.About.Name, m.Name) }

// ShownUnit is the unit of the latest number, or what people say that it is.
func (m Metric) ShownUnit() string { return cmp.Or(m.Unit, m.About.Unit) }

// Shown is the latest value in words, with the decimals that people want to see.
func (m Metric) Shown() string {
	if m.About.Precision == nil || m.Value.Kind != KindNumber {
		return m.Value.String()
	}
	return strconv.FormatFloat(figure.Zero(m.Value.Number), 'f', *m.About.Precision, 64)
}

// Battery returns the metric that says how full the battery of the device is: in per cent
// if it says so, else in volts, else whether it is low. False means that it says nothing.
func (d Device) Battery() (found Metric, ok bool) {
	best := 0
	for _, m := range d.Metrics {
		if !strings.Contains(strings.ToLower(m.Name), "batt") {
			continue
		}
		rank := 0
		switch {
		case m.Value.Kind == KindNumber && m.ShownUnit() == "%":
			rank = 4
		case m.Value.Kind == KindNumber && m.ShownUnit() == "":
			rank = 3
		case m.Value.Kind == KindNumber && m.ShownUnit() == "V":
			rank = 2
		case m.Value.Kind == KindFlag:
			rank = 1
		}
		if rank > best {
			best, found, ok = rank, m, true
		}
	}
	return found, ok
}

// firmwareNames are parts of the names of metrics that tell the version of the firmware.
var firmwareNames = []string{"firmware", "sw_version", "swversion", "fw_version", "fw_ver", "installed_version"}

// Firmware returns the version of the firmware as the device tells it; empty if it does not.
func (d Device) Firmware() string {
	for _, part := range firmwareNames {
		for _, m := range d.Metrics {
			if m.Value.Kind == KindText && strings.Contains(strings.ToLower(m.Name), part) {
				return m.Value.String()
			}
		}
	}
	return ""
}

// Changed returns when any value of the device changed last; zero when none has since the
// dashboard remembers.
func (d Device) Changed() time.Time {
	var last time.Time
	for _, m := range d.Metrics {
		if m.Changed.After(last) {
			last = m.Changed
		}
	}
	return last
}
