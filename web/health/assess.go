package health

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/web/ui"
	"headwater/web/view"
)

// Bounds beyond which a sensor is not believed.
const (
	// lowBattery is a charge in per cent.
	lowBattery = 15
	// clockAhead is how far the times of readings may be ahead of their arrival: they cannot
	// be measured before they are. clockBehind is how late readings may be if all are.
	clockAhead  = 10 * time.Second
	clockBehind = 10 * time.Minute
	// flaps is from how many episodes of one rule on within flapsWithin a metric flaps.
	flaps       = 4
	flapsWithin = 2 * time.Hour
	// lettersWithin is for how long a message that could not be read counts.
	lettersWithin = time.Hour
	// lateIntervals is after how many of its expected intervals a metric is silent.
	lateIntervals = 3
)

// Known is what is known of one device.
type Known struct {
	Device view.Device
	// Episodes are its anomalies, the newest first, those that are ongoing and those of the
	// last hours.
	Episodes []view.Episode
	// Detector returns the detector of a rule; empty when there is no such rule.
	Detector func(rule string) string
	// Letters are its latest messages that could not be processed, the oldest first.
	Letters []Letter
	// Lag is how much later the readings of the last reports arrived than their time, at
	// least: below zero when they came before their time. LagKnown reports whether that is known.
	Lag      time.Duration
	LagKnown bool
}

// Letter is a message of a device that could not be processed.
type Letter struct {
	Reason, Detail string
	Arrived        time.Time
}

// Assess returns the reasons not to believe a device at a time, in the order of
// view.FindingKinds; none if it can be believed.
func Assess(f Known, now time.Time) []view.Finding {
	a := assessment{f: f, now: now, page: ui.DeviceURL(f.Device.Site, f.Device.Device)}
	a.silent()
	for _, m := range f.Device.Metrics {
		a.metric(m)
	}
	a.detected()
	a.flapping()
	a.clock()
	a.letters()
	a.battery()
	kinds := view.FindingKinds()
	slices.SortStableFunc(a.found, func(x, y view.Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, x.Kind), slices.Index(kinds, y.Kind)), strings.Compare(x.Metric, y.Metric))
	})
	return a.found
}

// assessment collects the findings of one device.
type assessment struct {
	f     Known
	now   time.Time
	page  string
	found []view.Finding
}

// add adds a finding unless the metric has one of the kind already.
func (a *assessment) add(kind view.FindingKind, metric string, since time.Time, link, evidence string, args ...any) {
	if slices.ContainsFunc(a.found, func(f view.Finding) bool { return f.Kind == kind && f.Metric == metric }) {
		return
	}
	a.found = append(a.found, view.Finding{Kind: kind, Metric: metric, Since: since, Link: cmp.Or(link, a.page), Evidence: fmt.Sprintf(evidence, args...)})
}

func (a *assessment) silent() {
	d := a.f.Device
	if d.State != view.StateSilent && !slices.ContainsFunc(d.Firing, func(al view.Alert) bool { return a.detector(al.Rule) == "silence" && al.Metric == "" }) {
		return
	}
	evidence := "It has stopped reporting."
	if d.About.Interval > 0 {
		evidence = "It is expected every " + d.About.Interval.String() + " and has stopped reporting."
	}
	a.add(view.FindingSilent, "", d.LastSeen, "", "%s", evidence)
}

func (a *assessment) detector(rule string) string {
	if a.f.Detector == nil {
		return ""
	}
	return a.f.Detector(rule)
}

// metric assesses what the latest value of a metric says by itself.
func (a *assessment) metric(m view.Metric) {
	if m.Odd != nil {
		a.add(view.FindingUnreadable, m.Name, m.Odd.Time, "", "It sent %q among %s.", figure.Clip(view.Plain(m.Odd.Value.String()), 40), kindWords[m.Kind])
	}
	expected := time.Duration(m.About.Interval)
	if late := a.now.Sub(m.Time); expected > 0 && !m.Time.IsZero() && late > max(lateIntervals*expected, time.Minute) && a.f.Device.State != view.StateSilent {
		a.add(view.FindingSilent, m.Name, m.Time, "", "It is expected every %s and has stopped coming, while the device reports.", m.About.Interval)
	}
	if m.Value.Kind != view.KindNumber {
		return
	}
	low, high := m.About.Low, m.About.High
	unit := ui.Unit(m.ShownUnit())
	switch v := m.Value.Number; {
	case low != nil && v < *low:
		a.add(view.FindingRange, m.Name, a.outSince(m), "", "It is %s, and a working sensor gives at least %s.", m.Shown()+unit, figure.Number(*low)+unit)
	case high != nil && v > *high:
		a.add(view.FindingRange, m.Name, a.outSince(m), "", "It is %s, and a working sensor gives at most %s.", m.Shown()+unit, figure.Number(*high)+unit)
	}
}

// kindWords are the values of each kind.
var kindWords = map[view.Kind]string{view.KindNumber: "numbers", view.KindFlag: "flags", view.KindText: "texts"}

// outSince returns since when, as far as is remembered, a metric has been out of its range.
func (a *assessment) outSince(m view.Metric) time.Time {
	since := m.Time
	for _, slot := range slices.Backward(m.Spark) {
		out := m.About.Low != nil && slot.Max < *m.About.Low || m.About.High != nil && slot.Min > *m.About.High
		if !out {
			break
		}
		if slot.Start.Before(since) {
			since = slot.Start
		}
	}
	return since
}

// detected takes what rules have found and not seen end.
func (a *assessment) detected() {
	kinds := map[string]view.FindingKind{"silence": view.FindingSilent}
	for kind, detector := range Detectors() {
		kinds[detector] = kind
	}
	for _, e := range a.f.Episodes {
		kind, ok := kinds[a.detector(e.Rule)]
		if !ok || !e.End.IsZero() || kind == view.FindingSilent && a.f.Device.State == view.StateSilent {
			continue
		}
		link := a.page + "?" + url.Values{"at": {e.Start.UTC().Format(time.RFC3339Nano)}}.Encode()
		a.add(kind, e.Metric, e.Start, link, "%s", view.Plain(cmp.Or(e.Sentence, "Rule "+e.Rule+" says so.")))
	}
}

// flapping counts the episodes of each rule on each metric.
func (a *assessment) flapping() {
	type series struct{ rule, metric string }
	count, first := map[series]int{}, map[series]time.Time{}
	for _, e := range a.f.Episodes {
		if a.now.Sub(e.Start) > flapsWithin {
			continue
		}
		s := series{e.Rule, e.Metric}
		count[s]++
		first[s] = e.Start // they are the newest first
	}
	for _, e := range a.f.Episodes {
		if s := (series{e.Rule, e.Metric}); count[s] >= flaps {
			a.add(view.FindingFlapping, e.Metric, first[s], "/alerts?"+url.Values{"q": {a.f.Device.Device}}.Encode(),
				"Rule %s began %d times within %s.", e.Rule, count[s], figure.Duration(flapsWithin))
		}
	}
}

func (a *assessment) clock() {
	if !a.f.LagKnown {
		return
	}
	switch lag := a.f.Lag; {
	case lag < -clockAhead:
		a.add(view.FindingClock, "", time.Time{}, "", "Its readings come %s before their own time: its clock is ahead.", figure.Duration(-lag.Truncate(time.Second)))
	case lag > clockBehind:
		a.add(view.FindingClock, "", time.Time{}, "", "All its readings come at least %s after their own time: its clock is behind, or it sends late.", figure.Duration(lag.Truncate(time.Second)))
	}
}

// letters takes the messages that could not be read.
func (a *assessment) letters() {
	for kind, reasons := range map[view.FindingKind][]string{
		view.FindingClock: {"clock"}, view.FindingUnreadable: {"payload", "value"},
	} {
		var n int
		var first, last Letter
		for _, l := range a.f.Letters {
			if !slices.Contains(reasons, l.Reason) || a.now.Sub(l.Arrived) > lettersWithin {
				continue
			}
			if n == 0 {
				first = l
			}
			last = l
			n++
		}
		if n > 0 {
			a.add(kind, "", first.Arrived, "/deadletters?"+url.Values{"service": {"bridge"}, "reason": {last.Reason}}.Encode(),
				"%s: %s", figure.Plural(n, "message could not be read in the last hour", "messages could not be read in the last hour"), figure.Clip(view.Plain(last.Detail), 160))
		}
	}
}

func (a *assessment) battery() {
	m, ok := a.f.Device.Battery()
	if !ok {
		return
	}
	switch v := m.Value; {
	case v.Kind == view.KindFlag && v.Flag && strings.Contains(strings.ToLower(m.Name), "low"):
		a.add(view.FindingBattery, m.Name, cmp.Or(m.Changed, m.Time), "", "The device says that its battery is low.")
	case v.Kind != view.KindNumber || v.Number < 0 || v.Number >= lowBattery:
	case m.ShownUnit() == "%", m.ShownUnit() == "" && v.Number == math.Trunc(v.Number): // 3.1 without a unit is a voltage
		a.add(view.FindingBattery, m.Name, m.Time, "", "It is at %s %%, below %d %%.", m.Shown(), lowBattery)
	}
}
