package explore

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Bounds of what one page shows.
const (
	maxCharts = 8
	// maxSeries is as many as have a colour.
	maxSeries = 6
	maxFound  = 12
	maxUnit   = 64
)

// lines are what a chart can draw of the readings of a bucket. The first is the default.
var lines = []string{"mean", "min", "max", "last", "count"}

// comparisons are the days by which the line to compare with may be older.
var comparisons = []string{"", "1", "7"}

// standard is the time that is shown unless the address says another.
const standard = 24 * time.Hour

// State is all that an address says.
type State struct {
	// Charts are the names of the series of each chart, as ui.SeriesName.
	Charts [][]string
	// From and To are as in the address: RFC 3339, or relative such as -24h. Empty are the
	// last 24 hours.
	From, To string
	// Line is one of lines, Compare one of comparisons.
	Line, Compare string
	// Text is what is searched for.
	Text string
}

// separator stands between the series of one chart.
const separator = "~"

// readState reads an address.
func readState(r *http.Request, now time.Time) (s State, from, to time.Time, err error) {
	s = State{From: r.FormValue("from"), To: r.FormValue("to"), Line: r.FormValue("line"), Compare: r.FormValue("compare")}
	if s.Line == "" {
		s.Line = lines[0]
	}
	var problems []error
	if !slices.Contains(lines, s.Line) {
		problems = append(problems, errors.New("line must be "+strings.Join(lines, ", ")))
	}
	if !slices.Contains(comparisons, s.Compare) {
		problems = append(problems, errors.New("compare must be 1 or 7"))
	}
	s.Text, err = app.Text(r)
	problems = append(problems, err)
	if len(r.Form["c"]) > maxCharts {
		problems = append(problems, fmt.Errorf("there may be %d charts", maxCharts))
	}
	for _, chart := range r.Form["c"][:min(maxCharts, len(r.Form["c"]))] {
		names := strings.Split(chart, separator)
		if len(names) > maxSeries {
			problems = append(problems, fmt.Errorf("a chart may have %d series", maxSeries))
			names = names[:maxSeries]
		}
		for _, name := range names {
			site, device, metric, of := ui.SeriesOf(name)
			if !app.ValidToken(site) || !app.ValidToken(device) || !app.ValidToken(metric) || len(of) > maxUnit {
				problems = append(problems, errors.New("c must be site.device.metric, with ~ between series"))
				break
			}
		}
		s.Charts = append(s.Charts, names)
	}
	if s.From == "" && s.To == "" {
		return s, now.Add(-standard), now, errors.Join(problems...)
	}
	from, to, err = app.Span(r, now)
	problems = append(problems, err)
	return s, from, to, errors.Join(problems...)
}

// URL is the address of the page that shows the state.
func (s State) URL() string { return "/explore" + s.query() }

// fields are the parameters of the address, in their order.
func (s State) fields() [][2]string {
	var out [][2]string
	for _, names := range s.Charts {
		if len(names) > 0 {
			out = append(out, [2]string{"c", strings.Join(names, separator)})
		}
	}
	for _, f := range [][2]string{{"from", s.From}, {"to", s.To}, {"line", s.Line}, {"compare", s.Compare}, {"q", s.Text}} {
		if f[1] != "" && f != [2]string{"line", lines[0]} {
			out = append(out, f)
		}
	}
	return out
}

func (s State) query() string {
	var b strings.Builder
	for i, f := range s.fields() {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(f[0] + "=" + url.QueryEscape(f[1]))
	}
	return b.String()
}

// with returns the state with a series more on a chart, or on a new one after the last.
func (s State) with(chart int, name string) State {
	s.Charts = slices.Clone(s.Charts)
	if chart == len(s.Charts) {
		s.Charts = append(s.Charts, nil)
	}
	s.Charts[chart] = append(slices.Clone(s.Charts[chart]), name)
	return s
}

// without returns the state without a series of a chart.
func (s State) without(chart, series int) State {
	s.Charts = slices.Clone(s.Charts)
	s.Charts[chart] = slices.Delete(slices.Clone(s.Charts[chart]), series, series+1)
	return s
}

// lined returns the state with another line.
func (s State) lined(line string) State {
	s.Line = line
	return s
}

// ranged returns the state with a time up to now.
func (s State) ranged(r view.Range) State {
	s.From, s.To = "-"+r.Name, ""
	if r.Span == standard {
		s.From = ""
	}
	if r.Name == "1y" {
		s.From = "-366d"
	}
	return s
}

// Facts are what the page shows.
type Facts struct {
	State    State
	From, To time.Time
	Charts   []Chart
	Found    []Found
	More     bool
}

// Chart is one chart.
type Chart struct {
	// Series are those that are known, Unknown the names of the others.
	Series  []Series
	Unknown []string
}

// Series is one series of a chart.
type Series struct {
	Found
	// Name is the name in the address, and At its place there.
	Name string
	At   int
	// Of is the unit of the numbers.
	Of string
}

// live reports whether the charts show the time up to now.
func (f Facts) live() bool { return f.State.To == "" && !strings.Contains(f.State.From, "T") }

// span is the time up to now that the charts show, or go back to.
func (f Facts) span() time.Duration {
	if f.live() {
		return f.To.Sub(f.From)
	}
	return standard
}

// home is the parameter from of the time that the charts go back to.
func (f Facts) home() string {
	if f.live() {
		return f.State.From
	}
	return ""
}

// isRange reports whether the charts show a range up to now.
func (f Facts) isRange(r view.Range) bool { return f.live() && f.span() == r.Span }

// attributes are what the script of a chart has to know.
func (f Facts) attributes(c Chart) templ.Attributes {
	all := make([]ui.ChartSeries, len(c.Series))
	for i, s := range c.Series {
		all[i] = ui.ChartSeries{Site: s.Site, Device: s.Device, Metric: s.Metric.Name, Of: view.Plain(s.Of), Unit: strings.TrimSpace(ui.Unit(s.Of)), Kind: s.Metric.Kind, Name: c.label(s)}
	}
	out := ui.ChartAttributes(all)
	out["data-line"], out["data-poll"], out["data-span"] = f.State.Line, true, strconv.FormatInt(f.span().Milliseconds(), 10)
	if !f.live() {
		out["data-from"], out["data-to"] = f.From.UTC().Format(time.RFC3339Nano), f.To.UTC().Format(time.RFC3339Nano)
	}
	return out
}

// label names a series among those of its chart.
func (c Chart) label(s Series) string {
	same := func(of func(Series) string) bool {
		return !slices.ContainsFunc(c.Series, func(o Series) bool { return of(o) != of(s) })
	}
	label := s.Metric.Name
	if !same(func(o Series) string { return o.Site + "/" + o.Device }) {
		label = s.Device + " " + label
	}
	if !same(func(o Series) string { return o.Site }) {
		label = s.Site + "/" + label
	}
	return label
}

// csv is the address of the chart as CSV.
func (c Chart) csv(f Facts) string {
	names := make([]string, len(c.Series))
	for i, s := range c.Series {
		names[i] = s.Name
	}
	return ui.SeriesCSV(names...) + "&" + url.Values{"from": {f.From.UTC().Format(time.RFC3339)}, "to": {f.To.UTC().Format(time.RFC3339)}}.Encode()
}

// ruleURL is the form of a rule for a series.
func ruleURL(s Series) string {
	return "/rules/new?" + url.Values{"site": {s.Site}, "device": {s.Device}, "metric": {s.Metric.Name}}.Encode()
}

// names are the names of a found series in an address: one for each of its units.
func (s Found) names() []string {
	if len(s.Metric.Units) < 2 {
		return []string{ui.SeriesName(s.Site, s.Device, s.Metric.Name, "")}
	}
	var out []string
	for _, of := range s.Metric.Units {
		out = append(out, ui.SeriesName(s.Site, s.Device, s.Metric.Name, of))
	}
	return out
}

// unit is the unit of a name of a series.
func (s Found) unit(name string) string {
	if _, _, _, of := ui.SeriesOf(name); of != "" {
		return of
	}
	return s.Metric.Unit
}

// mayAdd reports whether a chart takes a series more.
func (f Facts) mayAdd(chart int, name string) bool {
	names := f.State.Charts[chart]
	return len(names) < maxSeries && !slices.Contains(names, name)
}

// labels name all series of a chart.
func (c Chart) labels() []string {
	out := make([]string, len(c.Series))
	for i, s := range c.Series {
		out[i] = c.label(s)
	}
	return out
}

// searching reports whether series to choose from are shown: those that were searched for, or
// the first while there is no chart.
func (f Facts) searching() bool { return f.State.Text != "" || len(f.State.Charts) == 0 }
