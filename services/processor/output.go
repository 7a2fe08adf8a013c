package processor

import (
	"fmt"
	"math"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/figure"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/lane"
	"headwater/services/processor/detect"
	"headwater/streams"
)

// output gathers what the next commit says.
type output struct {
	summaries []*derivedv1.WindowSummary
	anomalies []*derivedv1.Anomaly
	ledger    []*derivedv1.LedgerEntry
	mends     []*derivedv1.Mend
	// corrections are values that took the place of others.
	corrections []*derivedv1.Correction
	rules       []*derivedv1.RuleStatus
	counts      counts
	// spare are messages of commits before, to be used again.
	spare []*derivedv1.WindowSummary
}

// counts says what became of readings since the last commit.
type counts struct {
	readings, duplicates, conflicts, tooLate, notNumeric uint64
	// overLimit are readings of series beyond the limits. It is a metric only.
	overLimit uint64
	// arrived and rejected say by which source readings, and messages that became
	// dead letters, came. They are metrics only.
	arrived, rejected map[streams.Source]uint64
}

// received counts what came in a batch.
func (o *output) received(source streams.Source, b *telemetryv1.Batch) {
	if o.counts.arrived == nil {
		o.counts.arrived, o.counts.rejected = make(map[streams.Source]uint64), make(map[streams.Source]uint64)
	}
	readings := uint64(len(b.Series))
	o.counts.arrived[source] += readings
	o.counts.rejected[source] += b.Account() - readings
}

// maxSpare bounds the messages that are kept for later.
const maxSpare = maxOutputs

// weight is the size of the commit, in summaries.
func (o *output) weight() int {
	return len(o.summaries) + anomalyWeight*len(o.anomalies) + len(o.ledger) + len(o.rules) + len(o.mends) + len(o.corrections)
}

// summary returns a message for the next summary.
func (o *output) summary() *derivedv1.WindowSummary {
	n := len(o.spare)
	if n == 0 {
		return &derivedv1.WindowSummary{Series: new(derivedv1.Series)}
	}
	s := o.spare[n-1]
	o.spare = o.spare[:n-1]
	return s
}

// reset forgets the outputs.
func (o *output) reset() {
	for _, s := range o.summaries {
		if len(o.spare) < maxSpare {
			o.spare = append(o.spare, s)
		}
	}
	clear(o.summaries)
	clear(o.anomalies)
	clear(o.ledger)
	clear(o.mends)
	clear(o.corrections)
	clear(o.rules)
	o.summaries, o.anomalies, o.ledger, o.rules = o.summaries[:0], o.anomalies[:0], o.ledger[:0], o.rules[:0]
	o.mends, o.corrections = o.mends[:0], o.corrections[:0]
	o.counts = counts{}
}

// tellSummaries adds the summaries of the step so far to the output.
func (m *Machine) tellSummaries(s *series) {
	for i := range m.summaries {
		w := &m.summaries[i]
		if s.missed != nil {
			m.retold(s, w)
		}
		out := m.output.summary()
		out.Series.Site, out.Series.Device, out.Series.Metric = s.device.site, s.device.name, s.metric
		out.Unit, out.Start, out.Width, out.Count = *s.unit, w.Start, int64(w.Width), w.Count
		out.Min, out.Max, out.Mean, out.First, out.Last = w.Min, w.Max, w.Mean, w.First, w.Last
		out.Deviation, out.Revision, out.TimeMean, out.Rate = w.Deviation, w.Revision, w.TimeMean, w.Rate
		out.P50, out.P90, out.P95, out.P99, out.Window, out.At = w.P50, w.P90, w.P95, w.P99, w.Window, 0
		if w.At != w.Start {
			out.At = w.At
		}
		m.output.summaries = append(m.output.summaries, out)
	}
}

// tellVerdicts adds the verdicts of the step so far to the output.
func (m *Machine) tellVerdicts(s *series, r *activeRule) {
	for i := range m.verdicts {
		m.output.anomalies = append(m.output.anomalies, m.anomaly(s.device, s.metric, *s.unit, r, &m.verdicts[i]))
	}
}

// stop closes the open episode of a rule that does not watch the series any
// more. No message may be at hand that says when that is learned, and the last
// one is no part of a snapshot: it is the clock of the lane, or the time of the
// event if that is later.
func (m *Machine) stop(s *series, sl slot, reason string) {
	at := max(s.last, m.clock-s.lag)
	m.learned = max(m.clock, at)
	m.verdicts = sl.state.Stop(at, reason, m.verdicts[:0])
	m.tellVerdicts(s, sl.rule)
}

func (m *Machine) anomaly(d *device, metric, unit string, r *activeRule, v *detect.Verdict) *derivedv1.Anomaly {
	e := &derivedv1.Evidence{
		Value: figure.Zero(v.Evidence.Value), Score: v.Evidence.Score, Baseline: figure.Zero(v.Evidence.Baseline),
		Low: bound(v.Evidence.Low), High: bound(v.Evidence.High), Sentence: v.Evidence.Sentence,
	}
	for _, sample := range v.Evidence.Samples {
		e.Samples = append(e.Samples, &derivedv1.Sample{Time: sample.Time, Value: sample.Value})
	}
	return &derivedv1.Anomaly{
		Rule: r.rule.Name, RuleVersion: r.version,
		Series: &derivedv1.Series{Site: d.site, Device: d.name, Metric: metric}, Unit: unit,
		Start: v.Start, Time: v.Time, Learned: m.learned, Phase: phases[v.Phase], Severity: r.severity, Evidence: e,
	}
}

var phases = [...]derivedv1.Phase{
	detect.Open:   derivedv1.Phase_PHASE_OPEN,
	detect.Update: derivedv1.Phase_PHASE_UPDATE,
	detect.Close:  derivedv1.Phase_PHASE_CLOSE,
}

// bound returns nil for a bound that is none.
func bound(v float64) *float64 {
	if math.IsInf(v, 0) {
		return nil
	}
	return new(figure.Zero(v))
}

// Pending returns how many outputs wait for the next commit.
func (m *Machine) Pending() int {
	return len(m.output.summaries) + len(m.output.anomalies) + len(m.output.ledger) + len(m.output.rules) +
		len(m.output.mends) + len(m.output.corrections)
}

// Take returns the commit of all outputs since the last Take. Without an
// incarnation they are thrown away and not counted: they were committed before.
func (m *Machine) Take(pos lane.Position, change *lane.ConfigChange) ([]byte, error) {
	defer m.output.reset()
	if pos.Incarnation.IsZero() {
		return nil, nil
	}
	c := m.output.counts
	commit := &derivedv1.Commit{
		Input:     &derivedv1.Position{Incarnation: pos.Incarnation.UnixNano(), Sequence: pos.Sequence, Stored: pos.Stored},
		Summaries: m.output.summaries, Anomalies: m.output.anomalies,
		Rules: m.output.rules,
		Mends: m.output.mends, Corrections: m.output.corrections,
		Ledger: m.output.ledger, LedgerOpen: m.ledger.waiting, LedgerOpenSince: m.ledger.since(),
		Counts: &derivedv1.Counts{
			Readings: c.readings, Duplicates: c.duplicates, Conflicts: c.conflicts, TooLate: c.tooLate, NotNumeric: c.notNumeric,
		},
	}
	if change != nil {
		commit.Config = &derivedv1.ConfigChange{Revision: change.Revision, Content: change.Content}
	}
	msg, err := streams.DerivedMsg(m.lane, commit)
	if err != nil {
		return nil, fmt.Errorf("commit at %d: %w", pos.Sequence, err)
	}
	m.metrics.committed(&m.output)
	return msg.Data, nil
}
