package replay

import (
	"encoding/json"
	"net/url"
	"strconv"

	"headwater/streams"
	"headwater/web/ui"
	"headwater/web/view"
)

// Facts are what the page shows on which a rule is tried on the past.
type Facts struct {
	// Name is the rule that is tried, NewRule for one that does not exist yet.
	Name string
	// Rule is the rule of that name as it is in force; nil when there is none.
	Rule *Rule
	// Revision is the revision of the rule when the trial began; 0 for a new one.
	Revision uint64
	// YAML is the rule to try, Period the range to try it on.
	YAML   string
	Period string
	// Problems are what is wrong with it, Failure why it cannot be tried now.
	Problems []view.RuleProblem
	Failure  string
	// Replay is the state of the trial; nil before there is one. Gone reports whether
	// it is no longer known.
	Replay *Replay
	Gone   bool
	// Series is whose chart is shown.
	Series Series
	// By is the name of the person, as far as it is known.
	By string
}

// NewRule stands for the name of a rule that does not exist yet.
const NewRule = "new"

// Series names a series of a trial.
type Series struct{ Site, Device, Metric string }

// RunURL is the address of one trial.
func (f Facts) RunURL(id string) string {
	return ui.TryURL(f.Name) + "?" + url.Values{"run": {id}, "revision": {ui.Digits(f.Revision)}}.Encode()
}

func (f Facts) seriesURL(s Series) string {
	return f.RunURL(f.Replay.ID) + "&" + url.Values{"site": {s.Site}, "device": {s.Device}, "metric": {s.Metric}}.Encode() + "#chart"
}

// Title names the page.
func (f Facts) Title() string {
	if f.Name == NewRule {
		return "Try a new rule"
	}
	return "Try " + f.Name
}

// result returns what came of the trial, or nil.
func (f Facts) result() *streams.ReplayResult {
	if f.Replay == nil {
		return nil
	}
	return f.Replay.Result
}

// percent is the progress of the trial.
func (f Facts) percent() string { return strconv.Itoa(int(100 * f.Replay.Done)) }

func (f Facts) period() string {
	return ui.FormatDuration(f.Replay.To.Sub(f.Replay.From))
}

// speed is the number of readings that were judged a second.
func (f Facts) speed() string {
	r := f.result()
	return ui.FormatCount(uint64(float64(r.Readings) / max(r.Seconds, 0.001)))
}

// perWeek is how many alerts would begin each week, for all devices.
func (f Facts) perWeek() string {
	sum := 0.0
	for _, d := range f.result().Devices {
		sum += d.PerWeek
	}
	return f.result().Week(sum)
}

// enablable reports whether the rule that was tried can be put in force here.
func (f Facts) enablable() bool {
	return f.Rule == nil || !f.Rule.ReadOnly || f.result().Rule != f.Rule.Name
}

// enableWord names what the button does.
func (f Facts) enableWord() string {
	if f.Rule == nil || f.result().Rule != f.Rule.Name {
		return "Enable this rule"
	}
	if f.Rule.State == view.RuleIsEnabled {
		return "Apply rule"
	}
	return "Save and enable this rule"
}

// seriesOf returns a series of the device with an alert, if one is known.
func (f Facts) seriesOf(site, device string) (Series, bool) {
	for _, a := range f.result().Alerts {
		if a.Site == site && a.Device == device {
			return Series{a.Site, a.Device, a.Metric}, true
		}
	}
	for _, a := range f.Replay.Real {
		if a.Site == site && a.Device == device {
			return Series{a.Site, a.Device, a.Metric}, true
		}
	}
	return Series{}, false
}

// charted returns the series of the chart: the one that was chosen, or the first
// of the device with most alerts.
func (f Facts) charted() (Series, bool) {
	if f.Series != (Series{}) {
		return f.Series, true
	}
	for _, row := range f.Replay.Rows() {
		if s, ok := f.seriesOf(row.Site, row.Device); ok {
			return s, true
		}
	}
	return Series{}, false
}

// tried returns the alerts that the rule would have raised on a series, as the
// chart draws them.
func (f Facts) tried(s Series) []view.Episode {
	out := []view.Episode{}
	for _, a := range f.result().Alerts {
		if a.Site == s.Site && a.Device == s.Device && a.Metric == s.Metric {
			out = append(out, triedEpisode(f.result().Rule, a))
		}
	}
	return out
}

func triedEpisode(rule string, a streams.ReplayAlert) view.Episode {
	return view.Episode{
		Rule: view.Plain(rule), Metric: a.Metric, Severity: view.Severity(a.Severity), Start: a.Start, End: a.End, Sentence: view.Plain(a.Sentence),
		Low: a.Low, High: a.High, Baseline: a.Baseline,
	}
}

// marks are the same as JSON, for the script of the chart.
func (f Facts) marks(s Series) string {
	b, err := json.Marshal(f.tried(s))
	if err != nil { // a bound that JSON cannot express
		return "[]"
	}
	return string(b)
}

// shownAlerts bounds the alerts and devices that the page of a trial lists.
const shownAlerts = 50

// rows are the devices that are listed, and how many more there are.
func (f Facts) rows() (shown []Row, more int) {
	all := f.Replay.Rows()
	n := min(len(all), shownAlerts)
	return all[:n], len(all) - n
}

// alerts are those that are listed, and how many more there are.
func (f Facts) alerts() (shown []streams.ReplayAlert, more int) {
	all := f.result().Alerts
	n := min(len(all), shownAlerts)
	return all[:n], f.result().Total - n
}

// unitOf is the unit of a series, as its alerts say; empty when they do not.
func (f Facts) unitOf(s Series) string {
	for _, a := range f.result().Alerts {
		if a.Site == s.Site && a.Device == s.Device && a.Metric == s.Metric {
			return a.Unit
		}
	}
	return ""
}
