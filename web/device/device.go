package device

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"headwater/web/ui"
	"headwater/web/view"
)

// Facts are what the page of a device shows.
type Facts struct {
	Device view.Device
	// Metered is set if a metric of it is a counter.
	Metered bool
	Range   view.Range
	// At is the moment about which the charts show the range; zero when they go up
	// to now.
	At time.Time
	// From and To bound the time that the charts show; zero when Range and At say it.
	From, To time.Time
	// Episodes are the anomalies that touch the range, the newest first.
	Episodes []view.Episode
	// Firing are the alerts of the device that fire, with their silences.
	Firing []view.Alert
	// Silences are those in force or to come that can mute alerts of the device.
	Silences []view.Silence
	// Troubles are what is wrong with what it sends.
	Troubles []view.Problem
	// Summaries are the newest first.
	Summaries []Summary
}

// Period bounds what the charts show first, given the time: as asked for, up to now, or
// with the moment in the middle.
func (f Facts) Period(now time.Time) (from, to time.Time) {
	switch {
	case !f.From.IsZero():
		return f.From, f.To
	case f.At.IsZero():
		return now.Add(-f.Range.Span), now
	}
	return f.At.Add(-f.Range.Span / 2), f.At.Add(f.Range.Span / 2)
}

// alertOf returns the alert that fires because of an anomaly.
func (f Facts) alertOf(e view.Episode) (view.Alert, bool) {
	for _, a := range f.Firing {
		if a.Rule == e.Rule && a.Metric == e.Metric && e.End.IsZero() {
			return a, true
		}
	}
	return view.Alert{}, false
}

// when is the time that the charts show, in words.
func (f Facts) when() string {
	switch {
	case !f.From.IsZero():
		return "the time from " + ui.UTC(f.From) + " to " + ui.UTC(f.To)
	case f.At.IsZero():
		return "the last " + f.Range.Words
	}
	return "the " + f.Range.Words + " about " + ui.UTC(f.At)
}

// pageURL is the page with a range, and the same moment.
func (f Facts) pageURL(r view.Range) string {
	q := url.Values{"range": {r.Name}}
	if !f.At.IsZero() {
		q.Set("at", f.At.UTC().Format(time.RFC3339Nano))
	}
	return ui.DeviceURL(f.Device.Site, f.Device.Device) + "?" + q.Encode()
}

// chartAttributes are the time that the script of a chart is to show: a fixed one, the
// time up to now to which it goes back, or both.
func (f Facts) chartAttributes() templ.Attributes {
	span := templ.Attributes{"data-span": strconv.FormatInt(f.Range.Span.Milliseconds(), 10)}
	if f.At.IsZero() && f.From.IsZero() {
		return span
	}
	from, to := f.Period(f.At)
	fixed := templ.Attributes{"data-from": from.UTC().Format(time.RFC3339Nano), "data-to": to.UTC().Format(time.RFC3339Nano)}
	if f.At.IsZero() {
		maps.Copy(fixed, span)
	}
	return fixed
}

// windowWords says how long a window is and, unless it follows from that, of
// which kind.
func windowWords(s Summary) string {
	width := ui.FormatDuration(s.Width)
	if kind, _, found := strings.Cut(s.Window, "-"); found {
		return kind + ", " + width
	}
	return width
}

func isFiring(d view.Device, metric string) bool {
	for _, a := range d.Firing {
		if a.Metric == metric {
			return true
		}
	}
	return false
}

func seriesURL(f Facts, m view.Metric, of string) string {
	return "/api/v1/series?" + url.Values{
		"site": {f.Device.Site}, "device": {f.Device.Device}, "metric": {m.Name}, "unit": {of},
	}.Encode()
}

func statesURL(d view.Device, m view.Metric) string {
	return "/api/v1/states?" + url.Values{"site": {d.Site}, "device": {d.Device}, "metric": {m.Name}}.Encode()
}

// statesCSV is the address of a flag as CSV; a text has none.
func statesCSV(d view.Device, m view.Metric) string {
	if m.Kind != view.KindFlag {
		return ""
	}
	return ui.SeriesCSV(ui.SeriesName(d.Site, d.Device, m.Name, ""))
}

// ledgerURL is the page of the ledger of the device, of the last day.
func ledgerURL(d view.Device) string {
	return "/ledger?" + url.Values{"site": {d.Site}, "device": {d.Device}, "range": {"24h"}}.Encode()
}

// chartID is the id of a chart, which stays whatever units come later.
func chartID(m view.Metric, number int) string {
	if number == 0 {
		return "chart-" + m.Name
	}
	return "chart-" + m.Name + "-in-" + strconv.Itoa(number+1)
}

// onlyUnit marks, for the script of a chart, a metric that has more charts in other
// units.
func onlyUnit(m view.Metric) templ.Attributes {
	if len(m.Units) > 1 {
		return templ.Attributes{"data-only": true}
	}
	return nil
}

// inUnit names the unit of a chart if the metric has others.
func inUnit(m view.Metric, of string) string {
	if len(m.Units) > 1 {
		return " in" + ui.Unit(of)
	}
	return ""
}

// otherUnits says in which other units numbers came; empty when there are none.
func otherUnits(m view.Metric) string {
	var others []string
	for _, u := range m.Units {
		if u != m.Unit {
			others = append(others, strings.TrimSpace(ui.Unit(u)))
		}
	}
	if others == nil {
		return ""
	}
	return "came in " + strings.Join(others, ", ") + " too"
}

// clashWords says how often a device gave two values for one event time.
func clashWords(n uint64) string {
	return ui.Plural(n, "clash in 24 hours: a second value for one event time, of which the last stands",
		"clashes in 24 hours: a second value for one event time, of which the last stands")
}

// boundWords says what was expected of an anomaly and within what bounds; empty
// when there are none.
func (f Facts) boundWords(e view.Episode) string {
	of := ""
	for _, m := range f.Device.Metrics {
		if m.Name == e.Metric {
			of = ui.Unit(m.Unit)
		}
	}
	if e.Unit != "" {
		of = ui.Unit(e.Unit)
	}
	amount := func(v *float64) string { return ui.FormatNumber(*v) + of }
	if e.WithinMS > 0 && e.Baseline != nil {
		return rateWords(e, of)
	}
	var bounds string
	switch {
	case e.Low != nil && e.High != nil:
		bounds = "bounds " + ui.FormatNumber(*e.Low) + " to " + amount(e.High)
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

// rateWords says by how much and within which time a value may change, and from
// where it did.
func rateWords(e view.Episode, of string) string {
	change := func(verb string, by float64) string { return verb + " of at most " + ui.FormatNumber(by) + of }
	var parts []string
	if e.High != nil {
		parts = append(parts, change("rise", *e.High-*e.Baseline))
	}
	if e.Low != nil {
		parts = append(parts, change("fall", *e.Baseline-*e.Low))
	}
	if len(parts) == 0 {
		return ""
	}
	within := ui.FormatDuration(time.Duration(e.WithinMS) * time.Millisecond)
	return strings.Join(parts, " or ") + " within " + within + ", from " + ui.FormatNumber(*e.Baseline) + of
}

// bounded reports whether an anomaly of the metric has bounds, which its chart
// shows.
func (f Facts) bounded(metric string) bool {
	return slices.ContainsFunc(f.Episodes, func(e view.Episode) bool { return e.Metric == metric && (e.Low != nil || e.High != nil) })
}

// aboutRows are what people say about the device, and what it tells about itself.
func aboutRows(d view.Device) [][2]string {
	var rows [][2]string
	add := func(label, text string) {
		if text != "" {
			rows = append(rows, [2]string{label, text})
		}
	}
	if d.About.Name != "" {
		add("Id", d.Device)
	}
	add("Room", d.About.Room)
	add("Location", d.About.Location)
	add("Tags", strings.Join(d.About.TagList(), ", "))
	if d.About.Interval != 0 {
		add("Expected", "every "+d.About.Interval.String())
	}
	add("Firmware", d.Firmware())
	return rows
}
