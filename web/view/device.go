package view

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Range is a span of time up to now that the charts can show.
type Range struct {
	// Name is what a link says and carries, Words the same in a sentence.
	Name, Words string
	Span        time.Duration
}

// Ranges are the spans to choose from; the second is the default.
var Ranges = [...]Range{
	{"15m", "15 minutes", 15 * time.Minute},
	{"1h", "hour", time.Hour},
	{"6h", "6 hours", 6 * time.Hour},
	{"24h", "24 hours", 24 * time.Hour},
	{"7d", "7 days", 7 * 24 * time.Hour},
}

// ChartRanges are those of the charts of a device, which go on as far as
// roll-ups are kept.
var ChartRanges = append(Ranges[:len(Ranges):len(Ranges)],
	Range{"30d", "30 days", 30 * 24 * time.Hour},
	Range{"1y", "year", 366 * 24 * time.Hour},
)

// RangeNamed returns the range of that name, or the default for an empty name.
func RangeNamed(name string) (Range, bool) { return rangeNamed(Ranges[:], name) }

// ChartRangeNamed is RangeNamed for charts.
func ChartRangeNamed(name string) (Range, bool) { return rangeNamed(ChartRanges, name) }

func rangeNamed(ranges []Range, name string) (Range, bool) {
	if name == "" {
		return Ranges[1], true
	}
	for _, r := range ranges {
		if r.Name == name {
			return r, true
		}
	}
	return Range{}, false
}

// DeviceFacts are what the page of a device shows.
type DeviceFacts struct {
	Device Device
	Range  Range
	// At is the moment about which the charts show the range; zero when they go up
	// to now.
	At time.Time
	// Episodes are the anomalies that touch the range, the newest first.
	Episodes []Episode
	// Firing are the alerts of the device that fire, with their silences.
	Firing []Alert
	// Summaries are the newest first.
	Summaries []Summary
}

// Period bounds what the charts show, given the time: up to now, or with the moment
// in the middle, as far as there is a past.
func (f DeviceFacts) Period(now time.Time) (from, to time.Time) {
	if f.At.IsZero() {
		return now.Add(-f.Range.Span), now
	}
	return f.At.Add(-f.Range.Span / 2), f.At.Add(f.Range.Span / 2)
}

// alertOf returns the alert that fires because of an anomaly.
func (f DeviceFacts) alertOf(e Episode) (Alert, bool) {
	for _, a := range f.Firing {
		if a.Rule == e.Rule && a.Metric == e.Metric && e.End.IsZero() {
			return a, true
		}
	}
	return Alert{}, false
}

// when says in words which time the charts are about.
func (f DeviceFacts) when() string {
	if f.At.IsZero() {
		return "the last " + f.Range.Words
	}
	return "the " + f.Range.Words + " about " + utc(f.At)
}

// pageURL is the page with a range, and the same moment.
func (f DeviceFacts) pageURL(r Range) string {
	q := url.Values{"range": {r.Name}}
	if !f.At.IsZero() {
		q.Set("at", f.At.UTC().Format(time.RFC3339Nano))
	}
	return DeviceURL(f.Device.Site, f.Device.Device) + "?" + q.Encode()
}

// chartAttributes are what tells the script of a chart which fixed time to show.
func (f DeviceFacts) chartAttributes() templ.Attributes {
	if f.At.IsZero() {
		return nil
	}
	from, to := f.Period(f.At)
	return templ.Attributes{"data-from": from.UTC().Format(time.RFC3339Nano), "data-to": to.UTC().Format(time.RFC3339Nano)}
}

// windowWords says how long a window is and, unless it follows from that, of
// which kind.
func windowWords(s Summary) string {
	width := FormatDuration(s.Width)
	if kind, _, found := strings.Cut(s.Window, "-"); found {
		return kind + ", " + width
	}
	return width
}

func isFiring(d Device, metric string) bool {
	for _, a := range d.Firing {
		if a.Metric == metric {
			return true
		}
	}
	return false
}

func queryEscape(s string) string { return url.QueryEscape(s) }

func seriesURL(f DeviceFacts, m Metric) string {
	return "/api/v1/series?" + url.Values{
		"site": {f.Device.Site}, "device": {f.Device.Device}, "metric": {m.Name},
	}.Encode()
}

// boundWords says what was expected of an anomaly and within what bounds; empty
// when there are none.
func (f DeviceFacts) boundWords(e Episode) string {
	of := ""
	for _, m := range f.Device.Metrics {
		if m.Name == e.Metric {
			of = unit(m.Unit)
		}
	}
	amount := func(v *float64) string { return FormatNumber(*v) + of }
	var bounds string
	switch {
	case e.Low != nil && e.High != nil:
		bounds = "bounds " + FormatNumber(*e.Low) + " to " + amount(e.High)
	case e.High != nil:
		bounds = "at most " + amount(e.High)
	case e.Low != nil:
		bounds = "at least " + amount(e.Low)
	}
	if e.Baseline != nil {
		bounds = "expected " + amount(e.Baseline) + ", " + bounds
	}
	return bounds
}

// bounded says whether an anomaly of the metric has bounds, which its chart shows.
func (f DeviceFacts) bounded(metric string) bool {
	return slices.ContainsFunc(f.Episodes, func(e Episode) bool { return e.Metric == metric && (e.Low != nil || e.High != nil) })
}
