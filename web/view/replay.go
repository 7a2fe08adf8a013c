package view

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/streams"
)

// ReplayQuery asks what alerts a rule would have raised in [From, To), event
// time, its detectors having learned for Warm before.
type ReplayQuery struct {
	// Rule is the rule in YAML.
	Rule     string
	From, To time.Time
	Warm     time.Duration
}

// Replay is how a replay stands, and once it is done, what the rule would have
// raised beside what was really raised.
type Replay struct {
	streams.ReplayStatus
	// Real are the alerts that were really raised in the period on series which the
	// rule matches, by whatever rule, by their start; MoreReal says that there were
	// more than a dashboard remembers.
	Real     []RealAlert `json:"real,omitempty"`
	MoreReal bool        `json:"more_real,omitempty"`
}

// RealAlert is an alert that was really raised.
type RealAlert struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Episode
}

// ReplayRow compares what a rule would have raised on a device with what was
// really raised.
type ReplayRow struct {
	Site, Device string
	// Would counts the alerts that the rule would have raised, PerWeek those that
	// would have begun for each week.
	Would   int
	PerWeek float64
	// Same counts the real alerts of the rule of the same name, Others those of
	// other rules.
	Same, Others int
}

// Rows compares device by device, those with most alerts of the rule first.
func (r Replay) Rows() []ReplayRow {
	if r.Result == nil {
		return nil
	}
	rows := make(map[[2]string]*ReplayRow)
	row := func(site, device string) *ReplayRow {
		key := [2]string{site, device}
		if rows[key] == nil {
			rows[key] = &ReplayRow{Site: site, Device: device}
		}
		return rows[key]
	}
	for _, d := range r.Result.Devices {
		of := row(d.Site, d.Device)
		of.Would, of.PerWeek = d.Alerts, d.PerWeek
	}
	for _, a := range r.Real {
		if a.Rule == r.Result.Rule {
			row(a.Site, a.Device).Same++
		} else {
			row(a.Site, a.Device).Others++
		}
	}
	out := make([]ReplayRow, 0, len(rows))
	for _, of := range rows {
		out = append(out, *of)
	}
	slices.SortFunc(out, func(a, b ReplayRow) int {
		return cmp.Or(cmp.Compare(b.Would, a.Would), cmp.Compare(b.Same, a.Same), cmp.Compare(b.Others, a.Others),
			strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device))
	})
	return out
}

// Reals counts the real alerts of the rule of the same name, and of other rules.
func (r Replay) Reals() (same, others int) {
	for _, a := range r.Real {
		if r.Result != nil && a.Rule == r.Result.Rule {
			same++
		} else {
			others++
		}
	}
	return same, others
}

// TryFacts are what the page shows on which a rule is tried on the past.
type TryFacts struct {
	// Name is the rule that is changed or looked at, NewRule for one that is not
	// there yet.
	Name string
	// Rule is the rule of that name as it is in force; nil when there is none.
	Rule *Rule
	// Revision is that of the rule when the trial began; 0 for a new one.
	Revision uint64
	// YAML is the rule to try, Period what of.
	YAML   string
	Period string
	// Problems are what is wrong with it, Failure why it cannot be tried now.
	Problems []RuleProblem
	Failure  string
	// Replay is how the trial stands; nil before there is one. Gone says that it is
	// not known any more.
	Replay *Replay
	Gone   bool
	// Series is whose chart is shown.
	Series ReplaySeries
	// By is the name of the person, as far as it is known.
	By string
}

// NewRule stands for the name of a rule that is not there yet.
const NewRule = "new"

// ReplaySeries names a series of a trial.
type ReplaySeries struct{ Site, Device, Metric string }

// TryURL is the address of the page on which a rule is tried.
func TryURL(name string) string { return RuleURL(name) + "/try" }

// RunURL is the address of one trial.
func (f TryFacts) RunURL(id string) string {
	return TryURL(f.Name) + "?" + url.Values{"run": {id}, "revision": {number(f.Revision)}}.Encode()
}

func (f TryFacts) seriesURL(s ReplaySeries) string {
	return f.RunURL(f.Replay.ID) + "&" + url.Values{"site": {s.Site}, "device": {s.Device}, "metric": {s.Metric}}.Encode() + "#chart"
}

// Title is that of the page.
func (f TryFacts) Title() string {
	if f.Name == NewRule {
		return "Try a new rule"
	}
	return "Try " + f.Name
}

// result returns what came of the trial, or nil.
func (f TryFacts) result() *streams.ReplayResult {
	if f.Replay == nil {
		return nil
	}
	return f.Replay.Result
}

// percent is how far the trial has come.
func (f TryFacts) percent() string { return strconv.Itoa(int(100 * f.Replay.Done)) }

func (f TryFacts) period() string {
	return FormatDuration(f.Replay.To.Sub(f.Replay.From))
}

// speed says how many readings were judged a second.
func (f TryFacts) speed() string {
	r := f.result()
	return FormatCount(uint64(float64(r.Readings) / max(r.Seconds, 0.001)))
}

// perWeek is how many alerts would begin a week, of all devices.
func (f TryFacts) perWeek() string {
	sum := 0.0
	for _, d := range f.result().Devices {
		sum += d.PerWeek
	}
	return f.result().Week(sum)
}

// enablable says whether the rule that was tried can be put in force here.
func (f TryFacts) enablable() bool {
	return f.Rule == nil || f.Rule.Editable() || f.result().Rule != f.Rule.Name
}

// enableWord names what the button does.
func (f TryFacts) enableWord() string {
	if f.Rule == nil || f.result().Rule != f.Rule.Name {
		return "Enable this rule"
	}
	if f.Rule.State == RuleIsEnabled {
		return "Apply rule"
	}
	return "Save and enable this rule"
}

// seriesOf returns a series of the device with an alert, if one is known.
func (f TryFacts) seriesOf(site, device string) (ReplaySeries, bool) {
	for _, a := range f.result().Alerts {
		if a.Site == site && a.Device == device {
			return ReplaySeries{a.Site, a.Device, a.Metric}, true
		}
	}
	for _, a := range f.Replay.Real {
		if a.Site == site && a.Device == device {
			return ReplaySeries{a.Site, a.Device, a.Metric}, true
		}
	}
	return ReplaySeries{}, false
}

// charted returns the series of the chart: the one that was chosen, or the first
// of the device with most alerts.
func (f TryFacts) charted() (ReplaySeries, bool) {
	if f.Series != (ReplaySeries{}) {
		return f.Series, true
	}
	for _, row := range f.Replay.Rows() {
		if s, ok := f.seriesOf(row.Site, row.Device); ok {
			return s, true
		}
	}
	return ReplaySeries{}, false
}

// tried returns the alerts that the rule would have raised on a series, as the
// chart draws them.
func (f TryFacts) tried(s ReplaySeries) []Episode {
	out := []Episode{}
	for _, a := range f.result().Alerts {
		if a.Site == s.Site && a.Device == s.Device && a.Metric == s.Metric {
			out = append(out, triedEpisode(f.result().Rule, a))
		}
	}
	return out
}

func triedEpisode(rule string, a streams.ReplayAlert) Episode {
	return Episode{
		Rule: plain(rule), Metric: a.Metric, Severity: Severity(a.Severity), Start: a.Start, End: a.End, Sentence: plain(a.Sentence),
		Low: a.Low, High: a.High, Baseline: a.Baseline,
	}
}

// marks are the same as JSON, for the script of the chart.
func (f TryFacts) marks(s ReplaySeries) string {
	b, err := json.Marshal(f.tried(s))
	if err != nil { // a bound that JSON cannot express
		return "[]"
	}
	return string(b)
}

// shownAlerts bounds the alerts and devices that the page of a trial lists.
const shownAlerts = 50

// rows are the devices that are listed, and how many more there are.
func (f TryFacts) rows() (shown []ReplayRow, more int) {
	all := f.Replay.Rows()
	n := min(len(all), shownAlerts)
	return all[:n], len(all) - n
}

// alerts are those that are listed, and how many more there are.
func (f TryFacts) alerts() (shown []streams.ReplayAlert, more int) {
	all := f.result().Alerts
	n := min(len(all), shownAlerts)
	return all[:n], f.result().Total - n
}

// unitOf is the unit of a series, as its alerts say; empty when they do not.
func (f TryFacts) unitOf(s ReplaySeries) string {
	for _, a := range f.result().Alerts {
		if a.Site == s.Site && a.Device == s.Device && a.Metric == s.Metric {
			return a.Unit
		}
	}
	return ""
}

// RangeOf returns the range of that span.
func RangeOf(span time.Duration) (Range, bool) {
	for _, r := range Ranges {
		if r.Span == span {
			return r, true
		}
	}
	return Range{}, false
}
