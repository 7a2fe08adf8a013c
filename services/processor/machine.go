// Package processor turns readings into window summaries and anomalies, lane by
// lane. The arithmetic is in the pure packages window and detect; Machine puts
// them together for one lane, and Service runs the lanes that this process
// owns.
package processor

import (
	"strconv"
	"strings"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/hearing"
	"headwater/services/internal/lane"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
	"headwater/streams"
)

// Limits bound the state of one lane. They are part of what the outputs depend
// on: all owners of a lane must have the same.
type Limits struct {
	// Series is how many series a lane has at most, DeviceSeries how many of
	// them one device. Readings of others are in the history, but have no
	// summaries and no rules.
	Series, DeviceSeries int
	// Readings is how many readings a series keeps at most for late ones.
	Readings int
	// Silence is after which time without a reading a series is forgotten. It
	// must be longer than a reading may be old when it arrives.
	Silence time.Duration
}

// DefaultLimits are what the service runs with.
func DefaultLimits() Limits {
	return Limits{Series: 50_000, DeviceSeries: 1000, Readings: 1 << 15, Silence: 7 * 24 * time.Hour}
}

const (
	// maxOutputs is how many outputs the readings of one message, and again its
	// clock, may derive before the rest of the devices is left to the next clock:
	// the outputs of one message must fit one commit. Closing the windows of a
	// very large lane takes a few ticks then.
	maxOutputs = 6144
	// anomalyWeight is how many summaries an anomaly is as large as.
	anomalyWeight = 4
	// maxShared is how many units, and names of metrics, are kept once for all
	// their series.
	maxShared = 1024
	// evictEvery is how often silent series are looked for, by the clock.
	evictEvery = time.Hour
	// keptPace is how many times the step before two readings may be apart without
	// one between them that is missing.
	keptPace = 2
)

// Machine is the deterministic core of one lane: it depends on nothing but the
// messages and configurations that it is given. It is for one goroutine only.
type Machine struct {
	lane    int
	limits  Limits
	metrics *Metrics

	// watches says which series there is state for; nil means all.
	watches func(deviceKey, string) bool

	config configuration
	// specs are the windows of the sites of a time zone, by its name.
	specs  map[string]*window.Spec
	chunks [chunkCount]chunk
	// devices finds what is in the chunks.
	devices     map[deviceKey]*device
	seriesCount int
	// units and names hold each unit, and each name of a metric, once.
	units, names shared
	// clock is the clock of the lane; past before the first tick.
	clock int64
	// heard knows when the clock ticked: silence in other time says nothing.
	heard hearing.Clock
	// held is how many readings wait for their time to come.
	held int
	// resume is the chunk with which the next tick begins: not the first when the
	// one before left devices to it.
	resume int
	ledger ledger
	// clockChanged and configChanged are for the snapshot.
	clockChanged, configChanged bool

	// learned is when Headwater learned of what is being processed.
	learned int64
	output  output
	// until is the weight of the output at which the message being processed
	// leaves the rest to the next.
	until int

	// What follows is scratch space of a step.
	targets   []target
	summaries []window.Summary
	verdicts  []detect.Verdict
}

var _ lane.Machine = (*Machine)(nil)

// NewMachine returns the machine of a lane, without state. Metrics may be nil.
func NewMachine(lane int, limits Limits, metrics *Metrics) *Machine {
	return &Machine{
		lane: lane, limits: limits, metrics: metrics,
		specs:   make(map[string]*window.Spec),
		devices: make(map[deviceKey]*device), units: make(shared), names: make(shared), clock: past,
		heard:  hearing.New(),
		ledger: newLedger(),
	}
}

// Apply takes one message of the lane. The error is that of a message that is
// no batch; it has been counted as that and has changed nothing else.
func (m *Machine) Apply(in lane.Input) (int, error) {
	_, source, err := streams.ParseTelemetry(in.Subject)
	if err != nil {
		return 0, err
	}
	b, err := streams.DecodeTelemetry(in.Data)
	if err != nil {
		m.ledger.malformed(source, in.Stored.UnixNano(), in.Sequence)
		return 0, err
	}
	dictionary := b.Dictionary()
	m.ledger.add(b, dictionary, source, in.Sequence)
	if m.ledger.full() {
		m.output.ledger = m.ledger.enter(m.clock, maxOutputs, m.output.ledger)
	}
	m.output.received(source, b)
	m.step(b, dictionary)
	return len(b.Series), nil
}

// step takes one batch: its readings in order, then its clock.
func (m *Machine) step(b *telemetryv1.Batch, dictionary []telemetryv1.Series) {
	m.learned = b.Arrival
	m.until = m.output.weight() + maxOutputs
	m.resolve(dictionary)
	values, flags, texts := 0, 0, 0
	for i, k := range b.Series {
		switch t := &m.targets[k]; t.kind {
		case telemetryv1.Kind_KIND_VALUE:
			m.reading(t, b.Time[i], b.Value[values])
			values++
		case telemetryv1.Kind_KIND_FLAG:
			m.other(t, b.Time[i], strconv.FormatBool(b.Flag[flags]))
			flags++
		default:
			m.other(t, b.Time[i], b.Text[texts])
			texts++
		}
	}
	m.output.counts.readings += uint64(len(b.Series))
	if b.Clock != nil {
		m.tick(b.Clock.CaughtUp)
	}
}

// other takes a reading that is no number: it moves the watermark, and is seen by
// the rules that count such readings, if the series has numbers too.
func (m *Machine) other(t *target, at int64, what string) {
	m.output.counts.notNumeric++
	if t.device != nil && inRange(at) {
		t.device.chunk.changed = true
		m.advance(t.device, at)
	}
	m.unread(t.series, at, what)
}

// unread has the rules of a series see what is not a number, now or when its time has
// come. The series may be nil.
func (m *Machine) unread(s *series, at int64, what string) {
	switch {
	case s == nil || !m.config.misreads || !inRange(at):
	case m.ahead(at):
		s.device.chunk.changed = true
		m.hold(held{series: s, Sample: detect.Sample{Time: at}, text: what})
	default:
		m.release(s.device, at)
		m.misread(s, at, what)
	}
}

// misread has the rules of a series that count what is no number take one, which
// nothing else of its state sees.
func (m *Machine) misread(s *series, at int64, what string) {
	since, told := m.unheard(s, at)
	s.said = max(s.said, at)
	for i := range s.slots {
		state, counts := s.slots[i].state.(detect.Misreader)
		if !counts {
			continue
		}
		s.device.chunk.changed = true
		if told {
			state.Listen(since)
		}
		m.verdicts = state.Misread(at, what, *s.unit, m.verdicts[:0])
		m.tellVerdicts(s, s.slots[i].rule)
		s.plan(i)
	}
}

// infinite takes a number that is none, or has no bounds.
func (m *Machine) infinite(t *target, at int64, v float64) {
	m.output.counts.notNumeric++
	m.unread(t.series, at, strconv.FormatFloat(v, 'g', -1, 64))
}

// reading takes one number.
func (m *Machine) reading(t *target, at int64, v float64) {
	switch {
	case !finite(v):
		m.infinite(t, at, v)
		return
	case t.series == nil:
		m.output.counts.overLimit++
		return
	case !inRange(at):
		m.output.counts.tooLate++
		return
	}
	s, d := t.series, t.device
	d.chunk.changed = true
	if *s.unit != t.unit {
		s.unit = m.units.intern(t.unit)
	}
	m.advance(d, at)
	var result window.Result
	result, m.summaries = s.window.Add(d.spec, m.progress(d), window.Reading{Time: at, Value: v}, m.summaries[:0])
	m.tellSummaries(s)
	switch result {
	case window.Counted:
	case window.Late:
		d.wakes = past
	case window.Duplicate:
		m.output.counts.duplicates++
	case window.Conflict, window.LateConflict:
		m.correct(s, detect.Sample{Time: at, Value: v})
		if result == window.LateConflict {
			m.miss(s, at)
		}
	case window.TooLate:
		m.output.counts.tooLate++
		m.miss(s, at)
		if s.window.Dirty() { // by a window that waits longer
			d.wakes = past
		}
	}
	d.closes = min(d.closes, s.window.Due())
	r := detect.Sample{Time: at, Value: v}
	switch {
	case result == window.Duplicate || result == window.Conflict || result == window.LateConflict:
	case m.ahead(at):
		m.hold(held{series: s, Sample: r, number: true})
	default:
		if m.release(d, at); at > s.last {
			m.score(s, r)
		}
	}
}

// correct takes a reading whose value takes the place of another of the same
// event time.
func (m *Machine) correct(s *series, r detect.Sample) {
	m.output.counts.conflicts++
	m.output.corrections = append(m.output.corrections, &derivedv1.Correction{
		Series: &derivedv1.Series{Site: s.device.site, Device: s.device.name, Metric: s.metric}, Time: r.Time, Value: r.Value,
	})
	d := s.device
	d.wakes = past
	for i := range d.held {
		if h := &d.held[i]; h.number && h.series == s && h.Time == r.Time {
			h.Value = r.Value
		}
	}
	if r.Time != s.last {
		return
	}
	for i := range s.slots {
		if state, can := s.slots[i].state.(detect.Corrector); can {
			m.verdicts = state.Correct(r, s.heard(s.slots[i].rule, max(s.last, m.clock-s.lag)), *s.unit, m.verdicts[:0])
			m.tellVerdicts(s, s.slots[i].rule)
			s.plan(i)
		}
	}
	m.correctExpressions(s, r)
}

// shared holds texts that many series have.
type shared map[string]*string

// intern returns the text in memory that all who have it share. There are few
// units and names of metrics; when a device invents them, the rest have memory of
// their own.
func (x shared) intern(text string) *string {
	known := x[text]
	if known == nil {
		known = new(strings.Clone(text))
		if len(x) < maxShared {
			x[*known] = known
		}
	}
	return known
}

// score has the detectors of a series judge a reading that is in order.
func (m *Machine) score(s *series, r detect.Sample) {
	before := s.last
	known := s.step
	since, told := m.unheard(s, r.Time)
	if before > past && since <= before {
		s.step = r.Time - before
		if known > 0 {
			s.step = min(s.step, keptPace*known)
		}
	}
	m.hearExpressions(s, r.Time)
	s.last, s.lag = r.Time, max(0, m.clock-r.Time)
	mean, meanDue, whole := s.thin.add(r, before)
	for i := range s.slots {
		thinned := s.slots[i].rule.thinned
		if thinned && meanDue {
			m.observe(s, i, mean)
		}
		if told {
			s.slots[i].state.Listen(since)
		}
		if !thinned || whole {
			m.observe(s, i, r)
		}
		s.plan(i)
	}
	if len(s.device.expressions) > 0 {
		m.express(s, r)
	}
}

// observe has one detector of a series judge a reading, or a mean of some.
func (m *Machine) observe(s *series, i int, r detect.Sample) {
	m.verdicts = s.slots[i].state.Observe(r, *s.unit, m.verdicts[:0])
	m.tellVerdicts(s, s.slots[i].rule)
}

// progress says how far time has come for the device.
func (m *Machine) progress(d *device) window.Progress {
	return window.Progress{Watermark: d.watermark, Lane: m.clock}
}

// advance moves the watermark of the device and closes the windows that end by
// it. A reading ahead of its time does not move it beyond what has come.
func (m *Machine) advance(d *device, at int64) {
	at = min(at, m.now())
	if at <= d.watermark {
		return
	}
	d.watermark = at
	p := m.progress(d)
	if p.Now() < d.closes || m.output.weight() >= m.until {
		return
	}
	d.closes = window.Never
	for _, s := range d.series {
		m.summaries = s.window.Advance(d.spec, p, m.summaries[:0])
		m.tellSummaries(s)
		d.closes = min(d.closes, s.window.Due())
	}
}

// tick moves the clock of the lane. A clock that goes back is passed over.
func (m *Machine) tick(now int64) {
	if now <= m.clock || !inRange(now) {
		return
	}
	before := m.clock
	m.heard.Tick(now)
	m.clock, m.learned, m.clockChanged = now, now, true
	if every := int64(evictEvery); before/every != now/every {
		m.evict()
	}
	m.output.ledger = m.ledger.enter(now, maxOutputs, m.output.ledger)
	m.until = m.output.weight() + maxOutputs
	for n := range chunkCount {
		i := (m.resume + n) % chunkCount
		for _, d := range m.chunks[i].devices {
			if now < d.closes && now < d.wakes {
				continue
			}
			if m.output.weight() >= m.until {
				m.resume = i
				return
			}
			m.wake(d)
		}
	}
	m.resume = 0
}

// wake has the series of a device do what is due by the clock.
func (m *Machine) wake(d *device) {
	d.chunk.changed = true
	m.release(d, m.clock)
	p := m.progress(d)
	for _, s := range d.series {
		m.summaries = s.window.Advance(d.spec, p, m.summaries[:0])
		m.summaries = s.window.Revise(d.spec, p, m.summaries)
		m.tellSummaries(s)
		m.mend(s)
		// A device whose clock is ahead has readings after the lane's clock.
		now := max(s.last, m.clock-s.lag)
		since, told := m.silent(s)
		m.settle(s, now, since)
		for i := range s.slots {
			if told {
				s.slots[i].state.Listen(since)
			}
			m.verdicts = s.slots[i].state.Tick(s.heard(s.slots[i].rule, now), *s.unit, m.verdicts[:0])
			m.tellVerdicts(s, s.slots[i].rule)
		}
	}
	m.tickExpressions(d)
	m.plan(d)
}

// silent returns from when on it counts, in the time of the series, that it has no
// further reading up to the clock, and whether that is news to its rules: somebody
// stopped to listen since the last.
func (m *Machine) silent(s *series) (since int64, news bool) {
	if s.last == past || !m.heard.Missed(s.last+s.lag) {
		return s.last, false
	}
	return m.heard.Since(s.last+s.lag, m.clock) - s.lag, true
}

// unheard returns from when on it counts that nothing has come of a series between
// its last reading and one at a time, and whether that is news to its rules. A
// series that continues at its pace was heard, though it may be later: it has kept
// its readings.
func (m *Machine) unheard(s *series, at int64) (since int64, news bool) {
	if s.last == past {
		return past, false
	}
	news = m.heard.Missed(s.last + s.lag)
	if m.kept(s, at) {
		return s.last, news
	}
	since = m.since(s, at)
	return since, news || since > s.last
}

// kept reports whether a series continues at its pace with a reading at a time.
func (m *Machine) kept(s *series, at int64) bool { return at-max(s.last, s.said) <= keptPace*s.step }

// since returns from when on it counts that nothing has come of a series from its
// last reading to a time.
func (m *Machine) since(s *series, at int64) int64 {
	return max(m.heard.Since(s.last, at), min(at, m.heard.Since(s.last+s.lag, m.now())-s.lag))
}

// inRange reports whether windows can be made of the time.
func inRange(t int64) bool { return t > past/2 && t < window.MaxTime/2 }
