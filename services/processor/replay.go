package processor

import (
	"cmp"
	"slices"
	"strings"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/streams"
)

// trial is a rule that is tried on one lane: a Machine with no other rule, whose
// outputs are looked at and thrown away. Like the Machine it depends on nothing
// but what it is given. It is for one goroutine.
type trial struct {
	machine *Machine
	// from and to are the period [from, to), event time.
	from, to int64
	readings uint64
	// earliest is the event time of the earliest reading that was judged; Never
	// before the first.
	earliest int64
	// open are the alerts that last, over those that ended in the period, at most
	// streams.MaxReplayAlerts of them. Both are counted by device.
	open    map[episode]*streams.ReplayAlert
	over    []streams.ReplayAlert
	devices map[deviceKey]*streams.ReplayDevice
	// problem says for which device the rule could first not be evaluated, and why.
	problem string
}

// episode names one alert of the rule.
type episode struct {
	deviceKey
	metric string
	start  int64
}

// newTrial returns a trial of the rule on one lane, for the period [from, to) in
// nanoseconds since the Unix epoch. Windows and lateness are those of the
// configuration.
func newTrial(lane int, limits Limits, c *config.Config, r rule.Rule, from, to int64) (*trial, error) {
	// A draft is there to be tried.
	r.State = rule.Enabled
	rules, err := activate([]rule.Rule{r})
	if err != nil {
		return nil, err
	}
	m := NewMachine(lane, limits, nil)
	anyTags := r
	anyTags.Match.Tags = nil
	m.watches = func(key deviceKey, metric string) bool {
		return anyTags.Matches(key.site, key.name, metric, nil) &&
			(rules[0].expression == nil || slices.Contains(rules[0].expression.Metrics(), metric)) &&
			(len(r.Match.Tags) == 0 || r.Match.MatchesDevice(key.site, key.name, c.Tags(key.site, key.name)))
	}
	m.install(0, nil, c, rules)
	return &trial{
		machine: m, from: from, to: to, earliest: to,
		open: make(map[episode]*streams.ReplayAlert), devices: make(map[deviceKey]*streams.ReplayDevice),
	}, nil
}

// apply takes one message of the lane, in order. What is no batch is passed over,
// as the lane did when it came.
func (t *trial) apply(data []byte) {
	b, err := streams.DecodeTelemetry(data)
	if err != nil {
		return
	}
	t.machine.heard.Steady = false
	t.take(b)
}

// take judges the readings of a batch before the end of the period.
func (t *trial) take(b *telemetryv1.Batch) {
	t.readings += uint64(len(b.Series))
	before(b, t.to)
	if b.Clock != nil {
		b.Clock.CaughtUp = min(b.Clock.CaughtUp, t.to)
	}
	t.machine.step(b, b.Dictionary())
	t.gather()
}

// before takes the readings from the time on out of a batch.
func before(b *telemetryv1.Batch, to int64) {
	if !slices.ContainsFunc(b.Time, func(at int64) bool { return at >= to }) {
		return
	}
	series, times, values, flags, texts := b.Series[:0], b.Time[:0], b.Value[:0], b.Flag[:0], b.Text[:0]
	for r := range b.Readings() {
		if r.Time >= to {
			continue
		}
		series, times = append(series, uint32(r.Series)), append(times, r.Time)
		switch r.Kind {
		case telemetryv1.Kind_KIND_VALUE:
			values = append(values, r.Value)
		case telemetryv1.Kind_KIND_FLAG:
			flags = append(flags, r.Flag)
		case telemetryv1.Kind_KIND_TEXT:
			texts = append(texts, r.Text)
		}
	}
	b.Series, b.Time, b.Value, b.Flag, b.Text = series, times, values, flags, texts
}

// gather notes what the rule has found since the last call, and throws the rest
// away.
func (t *trial) gather() {
	for _, a := range t.machine.output.anomalies {
		t.note(a)
	}
	for _, r := range t.machine.output.rules {
		if t.problem == "" && r.Error != "" {
			t.problem = r.Site + "/" + r.Device + ": " + r.Error
		}
	}
	t.machine.output.reset()
}

// note takes one transition of an alert.
func (t *trial) note(a *derivedv1.Anomaly) {
	key := episode{deviceKey{a.Series.Site, a.Series.Device}, a.Series.Metric, a.Start}
	alert := t.open[key]
	if alert == nil {
		alert = &streams.ReplayAlert{
			Site: key.site, Device: key.name, Metric: key.metric, Unit: a.Unit,
			Severity: severityNames[a.Severity], Start: time.Unix(0, a.Start).UTC(),
		}
		t.open[key] = alert
	}
	// The end has a sentence of its own; what is told is the height.
	if a.Phase != derivedv1.Phase_PHASE_CLOSE || alert.Sentence == "" {
		alert.Sentence, alert.Value = a.Evidence.Sentence, a.Evidence.Value
		alert.Low, alert.High, alert.Baseline = a.Evidence.Low, a.Evidence.High, a.Evidence.Expected()
	}
	if a.Phase == derivedv1.Phase_PHASE_CLOSE {
		alert.End = time.Unix(0, a.Time).UTC()
		delete(t.open, key)
		t.end(alert, key.deviceKey)
	}
}

// end counts an alert that touches the period.
func (t *trial) end(alert *streams.ReplayAlert, of deviceKey) {
	if !alert.End.IsZero() && alert.End.UnixNano() < t.from {
		return
	}
	d := t.devices[of]
	if d == nil {
		d = &streams.ReplayDevice{Site: of.site, Device: of.name}
		t.devices[of] = d
	}
	d.Alerts++
	if alert.Start.UnixNano() >= t.from {
		d.Began++
	}
	if len(t.over) < streams.MaxReplayAlerts {
		t.over = append(t.over, *alert)
	}
}

// finish counts the alerts that last at the end of the period.
func (t *trial) finish() {
	last := make([]*streams.ReplayAlert, 0, len(t.open))
	for _, alert := range t.open {
		last = append(last, alert)
	}
	slices.SortFunc(last, func(a, b *streams.ReplayAlert) int { return byStart(*a, *b) })
	for _, alert := range last {
		t.end(alert, deviceKey{alert.Site, alert.Device})
	}
	clear(t.open)
}

// byStart orders alerts by their start, then by their series.
func byStart(a, b streams.ReplayAlert) int {
	return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device),
		strings.Compare(a.Metric, b.Metric))
}

// matched returns how many series the rule watches, or devices if it has an
// expression.
func (t *trial) matched() int {
	n := 0
	for _, d := range t.machine.devices {
		n += len(d.expressions)
		for _, s := range d.series {
			n += len(s.slots)
		}
	}
	return n
}

// severityNames are what people declare.
var severityNames = map[derivedv1.Severity]string{
	derivedv1.Severity_SEVERITY_INFO:     string(rule.Info),
	derivedv1.Severity_SEVERITY_WARNING:  string(rule.Warning),
	derivedv1.Severity_SEVERITY_CRITICAL: string(rule.Critical),
}

// summarise adds up what the trials of all lanes found, each finished, in the
// period [from, to) with readings since a time.
func summarise(trials []*trial, from, to, since time.Time) *streams.ReplayResult {
	out := &streams.ReplayResult{
		From: from, To: to, Since: since, Alerts: []streams.ReplayAlert{}, Devices: []streams.ReplayDevice{},
	}
	if since.Before(from) {
		since = from
	}
	weeks := max(to.Sub(since), time.Second).Hours() / (7 * 24)
	for _, t := range trials {
		out.Readings += t.readings
		out.Problem = cmp.Or(out.Problem, t.problem)
		out.Matched += t.matched()
		out.Alerts = append(out.Alerts, t.over...)
		for _, d := range t.devices {
			out.Total += d.Alerts
			out.Began += d.Began
			d.PerWeek = float64(d.Began) / weeks
			out.Devices = append(out.Devices, *d)
		}
	}
	slices.SortFunc(out.Alerts, byStart)
	out.Alerts = out.Alerts[:min(len(out.Alerts), streams.MaxReplayAlerts)]
	slices.SortFunc(out.Devices, func(a, b streams.ReplayDevice) int {
		return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device))
	})
	out.Devices = out.Devices[:min(len(out.Devices), streams.MaxReplayDevices)]
	return out
}
