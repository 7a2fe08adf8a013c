package machine

import (
	"strconv"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
)

// flagOrText takes a flag or a text. It moves the watermark. If the series has numbers too,
// the rules that count unreadable readings see it.
func (m *Machine) flagOrText(t *target, at int64, what string) {
	m.output.counts.notNumeric++
	if t.device != nil && inRange(at) {
		t.device.chunk.changed = true
		m.advance(t.device, at)
	}
	m.takeNonNumeric(t.series, at, what)
}

// takeNonNumeric passes a reading that is not a number to the rules that count such
// readings, now or when its time has come. The series may be nil.
func (m *Machine) takeNonNumeric(s *series, at int64, what string) {
	switch {
	case s == nil || !m.config.judgesNonNumeric || !inRange(at):
	case m.ahead(at):
		s.device.chunk.changed = true
		m.hold(heldReading{series: s, Sample: detect.Sample{Time: at}, text: what})
	default:
		m.release(s.device, at)
		m.judgeNonNumeric(s, at, what)
	}
}

// judgeNonNumeric passes a reading that is not a number to the rules that count such
// readings. It changes nothing else of the series.
func (m *Machine) judgeNonNumeric(s *series, at int64, what string) {
	since, gap := m.unheardSince(s, at)
	s.lastNonNumeric = max(s.lastNonNumeric, at)
	for i := range s.slots {
		state, counts := s.slots[i].state.(detect.Misreader)
		if !counts {
			continue
		}
		s.device.chunk.changed = true
		if gap {
			state.Listen(since)
		}
		m.verdicts = state.Misread(at, what, *s.unit, m.verdicts[:0])
		m.emitVerdicts(s, s.slots[i].rule)
		s.plan(i)
	}
}

// notFinite takes NaN or an infinity.
func (m *Machine) notFinite(t *target, at int64, v float64) {
	m.output.counts.notNumeric++
	m.takeNonNumeric(t.series, at, strconv.FormatFloat(v, 'g', -1, 64))
}

// reading takes one number and returns what became of it in the windows.
func (m *Machine) reading(t *target, at int64, v float64) window.Result {
	switch {
	case t.derived:
		m.output.counts.shadowed++
		return window.TooLate
	case !finite(v):
		m.notFinite(t, at, v)
		return window.TooLate
	case t.series == nil:
		m.output.counts.overLimit++
		if t.main != nil && inRange(at) {
			m.otherUnit(t.main, detect.Sample{Time: at, Value: v}, t.unit)
		}
		return window.TooLate
	case !inRange(at):
		m.output.counts.tooLate++
		return window.TooLate
	}
	s, d := t.series, t.device
	d.chunk.changed = true
	m.advance(d, at)
	var result window.Result
	result, m.summaries = s.window.Add(d.spec, m.progress(d), window.Reading{Time: at, Value: v}, m.summaries[:0])
	m.emitSummaries(s)
	switch result {
	case window.Counted:
	case window.Late:
		d.wakes = past
	case window.Duplicate:
		if !m.deriving {
			m.output.counts.duplicates++
		}
	case window.Conflict, window.LateConflict:
		m.correct(s, detect.Sample{Time: at, Value: v}, t.unit)
		if result == window.LateConflict {
			m.addStale(s, at)
		}
	case window.TooLate:
		m.addStale(s, at)
		if !m.deriving {
			m.tooLate(s, detect.Sample{Time: at, Value: v}, t.unit)
		}
		if s.window.Dirty() { // another window waits longer
			d.wakes = past
		}
	}
	d.closes = min(d.closes, s.window.Due())
	r := detect.Sample{Time: at, Value: v}
	if s == t.main {
		m.sameUnit(s, r)
	} else {
		m.otherUnit(t.main, r, t.unit)
	}
	switch {
	case result == window.Duplicate || result == window.Conflict || result == window.LateConflict:
	case m.ahead(at):
		m.hold(heldReading{series: s, Sample: r, number: true})
	default:
		m.release(d, at)
		if at > s.last {
			m.score(s, r)
		}
	}
	if s == t.main && len(d.derived) > 0 && result != window.Duplicate {
		m.derive(d, s.metric, r)
	}
	return result
}

// tooLate counts a reading that came after the lateness, and compares it with others of its
// event time.
func (m *Machine) tooLate(s *series, r detect.Sample, unit string) {
	m.output.counts.tooLate++
	known, clash := s.stale.compare(r.Time, r.Value)
	switch {
	case clash:
		m.rewrite(s, r, unit)
	case !known:
		m.output.counts.uncompared++
	}
}

// rewrite counts a reading that replaces another value of the same event time, and has
// the history store it once more.
func (m *Machine) rewrite(s *series, r detect.Sample, unit string) {
	m.output.counts.conflicts++
	m.ledger.conflict(s.device.deviceKey, m.source, m.learned, m.sequence)
	m.output.corrections = append(m.output.corrections, &derivedv1.Correction{
		Series: &derivedv1.Series{Site: s.device.site, Device: s.device.name, Metric: s.metric}, Time: r.Time, Value: r.Value, Unit: unit,
	})
}

// correct takes a reading that replaces another value of the same event time.
func (m *Machine) correct(s *series, r detect.Sample, unit string) {
	if !m.deriving { // a derived reading is part of the output itself
		m.rewrite(s, r, unit)
	}
	d := s.device
	d.wakes = past
	for i := range d.held {
		if h := &d.held[i]; h.number && h.series == s && h.Time == r.Time {
			h.Value = r.Value
		}
	}
	if r.Time != s.last || s.apart {
		return
	}
	for i := range s.slots {
		if state, ok := s.slots[i].state.(detect.Corrector); ok {
			m.verdicts = state.Correct(r, s.silentUntil(s.slots[i].rule, max(s.last, m.clock-s.lag)), *s.unit, m.verdicts[:0])
			m.emitVerdicts(s, s.slots[i].rule)
			s.plan(i)
		}
	}
	m.correctExpressions(s, r)
}

// score passes a reading to the detectors of its series. It must be later than the last.
func (m *Machine) score(s *series, r detect.Sample) {
	if s.apart {
		s.last, s.lag = r.Time, max(0, m.clock-r.Time)
		return
	}
	before := s.last
	since, gap := m.unheardSince(s, r.Time)
	if before > past && since <= before {
		previous := s.step
		s.step = r.Time - before
		if previous > 0 {
			s.step = min(s.step, paceFactor*previous)
		}
	}
	m.listenExpressions(s, r.Time)
	s.last, s.lag = r.Time, max(0, m.clock-r.Time)
	mean, meanDue, whole := s.downsampler.add(r, before)
	for i := range s.slots {
		downsampled := s.slots[i].rule.downsampled
		if downsampled && meanDue {
			m.observe(s, i, mean)
		}
		if gap {
			s.slots[i].state.Listen(since)
		}
		if !downsampled || whole {
			m.observe(s, i, r)
		}
		s.plan(i)
	}
	if len(s.device.expressions) > 0 {
		m.evaluateExpressions(s, r)
	}
}

// observe passes a reading, or a mean of readings, to one detector of a series.
func (m *Machine) observe(s *series, i int, r detect.Sample) {
	m.verdicts = s.slots[i].state.Observe(r, *s.unit, m.verdicts[:0])
	m.emitVerdicts(s, s.slots[i].rule)
}

// inRange reports whether windows can hold the time.
func inRange(t int64) bool { return t > past/2 && t < window.MaxTime/2 }
