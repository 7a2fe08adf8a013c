package machine

import (
	"fmt"
	"math"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/figure"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/lane"
	"headwater/services/processor/detect"
	"headwater/services/rule"
	"headwater/streams"
)

// output collects what the next commit holds.
type output struct {
	summaries []*derivedv1.WindowSummary
	anomalies []*derivedv1.Anomaly
	ledger    []*derivedv1.LedgerEntry
	mends     []*derivedv1.Mend
	// corrections are values that replaced others of the same event time.
	corrections []*derivedv1.Correction
	rules       []*derivedv1.RuleStatus
	// decisions say what the rules say of devices, decided is their size in summaries.
	decisions []*derivedv1.Decision
	decided   int
	// derived are the readings of derived series.
	derived telemetryv1.Builder
	counts  counts
	// spare are messages of earlier commits, for reuse.
	spare []*derivedv1.WindowSummary
}

// counts are the readings since the last commit by what became of them.
type counts struct {
	readings, duplicates, conflicts, tooLate, notNumeric uint64
	// overLimit are readings of series beyond the limits. It is only a metric.
	overLimit uint64
	// uncompared are readings that were too late and of which no other of the same event
	// time is remembered, so that a clash would not be seen. It is only a metric.
	uncompared uint64
	// derivedLate are readings that came too late to change derived series, shadowed are
	// readings of a device under the name of one that is derived, and derivedLimit counts
	// devices for which more series are declared than one may have. They are only metrics.
	derivedLate, shadowed, derivedLimit uint64
	// derived are the derived readings of the commit. It is only a metric.
	derived uint64
	// arrived are readings and rejected are messages that became dead letters, by source.
	// They are only metrics.
	arrived, rejected map[streams.Source]uint64
}

// received counts the content of a batch.
func (o *output) received(source streams.Source, b *telemetryv1.Batch) {
	if o.counts.arrived == nil {
		o.counts.arrived, o.counts.rejected = make(map[streams.Source]uint64), make(map[streams.Source]uint64)
	}
	readings := uint64(len(b.Series))
	o.counts.arrived[source] += readings
	o.counts.rejected[source] += b.Total() - readings
}

// maxSpare bounds the messages that are kept for reuse.
const maxSpare = maxOutputs

// weight returns the size of the commit in summaries.
func (o *output) weight() int {
	return len(o.summaries) + anomalyWeight*len(o.anomalies) + len(o.ledger) + len(o.rules) + len(o.mends) + len(o.corrections) +
		o.derivedWeight() + o.decided
}

// derivedWeight is the size of the derived readings in summaries.
func (o *output) derivedWeight() int {
	return (o.derived.Len() + derivedPerWeight - 1) / derivedPerWeight
}

// summary returns a message for the next summary, which may hold the values of an old one.
func (o *output) summary() *derivedv1.WindowSummary {
	n := len(o.spare)
	if n == 0 {
		return &derivedv1.WindowSummary{Series: new(derivedv1.Series)}
	}
	s := o.spare[n-1]
	o.spare = o.spare[:n-1]
	return s
}

// reset discards the outputs.
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
	clear(o.decisions)
	o.summaries, o.anomalies, o.ledger, o.rules = o.summaries[:0], o.anomalies[:0], o.ledger[:0], o.rules[:0]
	o.mends, o.corrections = o.mends[:0], o.corrections[:0]
	o.decisions, o.decided = o.decisions[:0], 0
	o.counts = counts{}
	if !o.derived.Empty() {
		o.derived.Take(0)
	}
}

// emitSummaries adds the summaries in m.summaries to the output.
func (m *Machine) emitSummaries(s *series) {
	for i := range m.summaries {
		w := &m.summaries[i]
		if s.stale != nil {
			m.noteEmitted(s, w)
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

// emitVerdicts adds the verdicts in m.verdicts to the output.
func (m *Machine) emitVerdicts(s *series, r *activeRule) {
	for i := range m.verdicts {
		v := &m.verdicts[i]
		if v.Phase == detect.Open && r.rule.Detector == rule.Silence && s.other != nil {
			// The rule is right: nothing comes that a rule judges. But the device is not silent.
			v.Evidence.Sentence += "; readings in " + s.other.unit + " come, which no rule judges"
		}
		m.output.anomalies = append(m.output.anomalies, m.anomaly(s.device, s.metric, *s.unit, r, v))
	}
}

// stop closes the open episode of a rule that does not watch the series any more.
//
// It sets learned to the clock of the lane, or to the time of the event if that is later.
// The arrival of the last message can't be used: it is not part of a snapshot, so a replay
// would not know it.
func (m *Machine) stop(s *series, sl slot, reason string, end detect.End) {
	at := max(s.last, m.clock-s.lag)
	m.learned = max(m.clock, at)
	m.verdicts = sl.state.Stop(at, reason, m.verdicts[:0])
	m.endVerdicts(end)
	m.emitVerdicts(s, sl.rule)
}

// endVerdicts sets why the episodes ended that the verdicts in m.verdicts close.
func (m *Machine) endVerdicts(end detect.End) {
	for i := range m.verdicts {
		m.verdicts[i].End = end
	}
}

// anomaly returns the message for a verdict.
func (m *Machine) anomaly(d *device, metric, unit string, r *activeRule, v *detect.Verdict) *derivedv1.Anomaly {
	e := &derivedv1.Evidence{
		Value: figure.Zero(v.Evidence.Value), Score: v.Evidence.Score, Baseline: figure.Zero(v.Evidence.Baseline),
		Low: bound(v.Evidence.Low), High: bound(v.Evidence.High), Within: int64(v.Evidence.Within), Sentence: v.Evidence.Sentence,
	}
	for _, sample := range v.Evidence.Samples {
		e.Samples = append(e.Samples, &derivedv1.Sample{Time: sample.Time, Value: sample.Value})
	}
	end := derivedv1.End_END_UNSPECIFIED
	if v.Phase == detect.Close {
		end = ends[v.End]
	}
	return &derivedv1.Anomaly{
		Rule: r.rule.Name, RuleVersion: r.version,
		Series: &derivedv1.Series{Site: d.site, Device: d.name, Metric: metric}, Unit: unit,
		Start: v.Start, Time: v.Time, Learned: m.learned, Phase: phases[v.Phase], Severity: r.severity, Evidence: e, End: end,
	}
}

var phases = [...]derivedv1.Phase{
	detect.Open:   derivedv1.Phase_PHASE_OPEN,
	detect.Update: derivedv1.Phase_PHASE_UPDATE,
	detect.Close:  derivedv1.Phase_PHASE_CLOSE,
}

var ends = [...]derivedv1.End{
	detect.Recovered:   derivedv1.End_END_RECOVERED,
	detect.NoData:      derivedv1.End_END_NO_DATA,
	detect.RuleChanged: derivedv1.End_END_RULE_CHANGED,
}

// bound returns the bound, or nil if it is infinite.
func bound(v float64) *float64 {
	if math.IsInf(v, 0) {
		return nil
	}
	return new(figure.Zero(v))
}

// Pending returns how many outputs wait for the next commit.
func (m *Machine) Pending() int {
	return len(m.output.summaries) + len(m.output.anomalies) + len(m.output.ledger) + len(m.output.rules) +
		len(m.output.mends) + len(m.output.corrections) + m.output.derivedWeight() + m.output.decided
}

// Take returns the commit with all outputs since the last Take. If pos has no incarnation,
// the outputs were committed before: Take discards them and does not count them.
func (m *Machine) Take(pos lane.Position, change *lane.ConfigChange) ([]byte, error) {
	defer m.output.reset()
	if pos.Incarnation.IsZero() {
		return nil, nil
	}
	c := m.output.counts
	commit := &derivedv1.Commit{
		Input:     &derivedv1.Position{Incarnation: pos.Incarnation.UnixNano(), Sequence: pos.Sequence, Stored: pos.Stored},
		Summaries: m.output.summaries, Anomalies: m.output.anomalies,
		Rules: m.output.rules, Decisions: m.output.decisions,
		Mends: m.output.mends, Corrections: m.output.corrections,
		Ledger: m.output.ledger, LedgerOpen: m.ledger.pending, LedgerOpenSince: m.ledger.since(),
		Counts: &derivedv1.Counts{
			Readings: c.readings, Duplicates: c.duplicates, Conflicts: c.conflicts, TooLate: c.tooLate, NotNumeric: c.notNumeric,
		},
	}
	if !m.output.derived.Empty() {
		commit.Readings = m.output.derived.Take(m.now())
		m.output.counts.derived = uint64(len(commit.Readings.Series))
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

// ReadCommit decodes what Take returned: the position in the input, and the configuration
// if the commit carries one.
func ReadCommit(body []byte) (lane.Position, *lane.ConfigChange, error) {
	c, err := streams.DecodeDerived(body)
	if err != nil {
		return lane.Position{}, nil, err
	}
	pos := lane.Position{
		Incarnation: time.Unix(0, c.GetInput().GetIncarnation()), Sequence: c.GetInput().GetSequence(), Stored: c.GetInput().GetStored(),
	}
	if c.Config == nil {
		return pos, nil, nil
	}
	return pos, &lane.ConfigChange{Revision: c.Config.Revision, Content: c.Config.Content}, nil
}
