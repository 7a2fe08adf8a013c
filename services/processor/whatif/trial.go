package whatif

import (
	"cmp"
	"slices"
	"strings"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/processor/machine"
	"headwater/services/rule"
	"headwater/streams"
)

// trial runs a rule on one lane and collects the alerts that it raises in a period.
// Like the Machine it depends on nothing but what it is given. It is for one
// goroutine.
type trial struct {
	machine *machine.Solo
	// from and to are the period [from, to) in event time.
	from, to int64
	readings uint64
	// open are the alerts without an end yet. ended are the others that touch the
	// period, at most streams.MaxReplayAlerts of them; devices counts all of them.
	open    map[episode]*streams.ReplayAlert
	ended   []streams.ReplayAlert
	devices map[deviceKey]*streams.ReplayDevice
	// problem names the first device for which the rule could not be evaluated, and
	// the reason.
	problem string
}

type deviceKey struct{ site, name string }

// episode names one alert of the rule.
type episode struct {
	deviceKey
	metric string
	start  int64
}

// newTrial returns a trial of the rule on one lane, for the period [from, to) in
// nanoseconds since the Unix epoch. Windows and lateness are those of the
// configuration.
func newTrial(lane int, limits machine.Limits, c *config.Config, r rule.Rule, from, to int64) (*trial, error) {
	m, err := machine.NewSolo(lane, limits, c, r)
	if err != nil {
		return nil, err
	}
	return &trial{
		machine: m, from: from, to: to,
		open: make(map[episode]*streams.ReplayAlert), devices: make(map[deviceKey]*streams.ReplayDevice),
	}, nil
}

// apply takes the next message of the lane. It ignores a message that is not a
// batch: the lane dead-lettered it when it arrived.
func (t *trial) apply(data []byte) {
	b, err := streams.DecodeTelemetry(data)
	if err != nil {
		return
	}
	t.machine.Steady(false)
	t.take(b)
}

// take evaluates the readings of a batch before the end of the period.
func (t *trial) take(b *telemetryv1.Batch) {
	t.readings += uint64(len(b.Series))
	keepBefore(b, t.to)
	if b.Clock != nil {
		b.Clock.CaughtUp = min(b.Clock.CaughtUp, t.to)
	}
	anomalies, statuses := t.machine.Step(b)
	for _, a := range anomalies {
		t.note(a)
	}
	for _, s := range statuses {
		if t.problem == "" && s.Error != "" {
			t.problem = s.Site + "/" + s.Device + ": " + s.Error
		}
	}
}

// keepBefore removes the readings at the time or later from a batch.
func keepBefore(b *telemetryv1.Batch, to int64) {
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

// note records one transition of an alert.
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
	// The sentence of the end says only that it is over; people want to see how far the
	// alert went.
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

// end counts an alert if it touches the period.
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
	if len(t.ended) < streams.MaxReplayAlerts {
		t.ended = append(t.ended, *alert)
	}
}

// finish counts the alerts that are ongoing at the end of the period.
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

// severityNames are the severities as people declare them.
var severityNames = map[derivedv1.Severity]string{
	derivedv1.Severity_SEVERITY_INFO:     string(rule.Info),
	derivedv1.Severity_SEVERITY_WARNING:  string(rule.Warning),
	derivedv1.Severity_SEVERITY_CRITICAL: string(rule.Critical),
}

// summarise adds up the alerts of the trials of all lanes in the period [from, to).
// All trials must be finished. Since is the time of the earliest reading; alerts a
// week are counted from then on if it is within the period.
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
		out.Matched += t.machine.Watched()
		out.Alerts = append(out.Alerts, t.ended...)
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
