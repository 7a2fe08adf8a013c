package machine

import (
	"slices"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/processor/codec"
	"headwater/services/processor/window"
)

const (
	// backfillAfter is how long, by the clock of the lane, late readings are collected
	// before their roll-ups are recomputed. Late readings come in large numbers, after a
	// device was cut off.
	backfillAfter = int64(time.Minute)
	// maxSpans bounds the number of separate spans of time.
	maxSpans = 4
)

// staleRollups are the roll-ups of a series that don't include readings which arrived too
// late for their windows. The machine has no old readings, so it can't recompute them: it
// emits which ones are stale (derivedv1.Mend), and the writer recomputes them from the
// history in InfluxDB.
//
// A roll-up that has not ended yet needs care. It is emitted later, without the late
// readings, and the writer must recompute it after that:
//
//  1. backfill emits the stale minutes, and the stale hours and days that have ended. It
//     remembers the latest minute, hour and day among all stale ones.
//  2. noteEmitted sees whether one of those three is emitted afterwards.
//  3. If it is, the next backfill emits it again.
type staleRollups struct {
	// spans are the minutes of late readings since the last backfill, in order.
	spans []span
	// late are late readings since the last backfill, at most maxLate: of two of one event
	// time the last one counts.
	late []window.Reading
	// due is when the next backfill is due, by the clock of the lane; Never if nothing is
	// stale.
	due int64
	// minute, hour and day are the starts of the latest stale roll-ups; past if there are
	// none. minuteEmitted, hourEmitted and dayEmitted are set if the roll-up was emitted
	// after that, without the late readings.
	minute, hour, day                      int64
	minuteEmitted, hourEmitted, dayEmitted bool
}

// maxLate bounds the late readings that are remembered.
const maxLate = 256

// compare records a late reading. It reports whether it remembers another one of its event
// time, and whether that one had another value. Nil remembers none.
func (x *staleRollups) compare(at int64, v float64) (known, clash bool) {
	if x == nil {
		return false, false
	}
	for i := range x.late {
		if r := &x.late[i]; r.Time == at {
			clash = r.Value != v
			r.Value = v
			return true, clash
		}
	}
	if len(x.late) >= maxLate {
		x.late = slices.Delete(x.late, 0, maxLate/2)
	}
	x.late = append(x.late, window.Reading{Time: at, Value: v})
	return false, false
}

// span is the time [from, to).
type span struct{ from, to int64 }

// add adds a minute to the spans. Beyond maxSpans it merges the two that are closest.
func (x *staleRollups) add(start int64) {
	end := start + int64(time.Minute)
	i := 0
	for i < len(x.spans) && x.spans[i].to < start {
		i++
	}
	if i < len(x.spans) && x.spans[i].from <= end {
		x.spans[i].from, x.spans[i].to = min(x.spans[i].from, start), max(x.spans[i].to, end)
		if i+1 < len(x.spans) && x.spans[i+1].from <= x.spans[i].to {
			x.spans[i].to = x.spans[i+1].to
			x.spans = slices.Delete(x.spans, i+1, i+2)
		}
	} else {
		x.spans = slices.Insert(x.spans, i, span{start, end})
	}
	if len(x.spans) <= maxSpans {
		return
	}
	near := 1
	for i := 2; i < len(x.spans); i++ {
		if x.spans[i].from-x.spans[i-1].to < x.spans[near].from-x.spans[near-1].to {
			near = i
		}
	}
	x.spans[near-1].to = x.spans[near].to
	x.spans = slices.Delete(x.spans, near, near+1)
}

// addStale records a reading that arrived too late.
func (m *Machine) addStale(s *series, at int64) {
	if s.device.spec.Calendar == nil {
		return
	}
	if s.stale == nil {
		s.stale = &staleRollups{due: window.Never, minute: past, hour: past, day: past}
	}
	s.stale.add(window.Start(at, time.Minute))
	m.backfillSoon(s)
}

// markStale records that the hour and the day of the last reading are stale.
func (m *Machine) markStale(s *series) {
	if s.device.spec.Calendar == nil || s.last == past {
		return
	}
	if s.stale == nil {
		s.stale = &staleRollups{due: window.Never, minute: past, hour: past, day: past}
	}
	s.stale.hour, _ = s.device.spec.Calendar.Hour(s.last)
	s.stale.day, _ = s.device.spec.Calendar.Day(s.last)
}

// backfillSoon schedules the next backfill of the series.
func (m *Machine) backfillSoon(s *series) {
	s.stale.due = min(s.stale.due, m.clock+backfillAfter)
	s.device.wakes = min(s.device.wakes, s.stale.due)
}

// noteEmitted records that a stale roll-up is emitted.
func (m *Machine) noteEmitted(s *series, w *window.Summary) {
	switch x := s.stale; {
	case w.Window == window.NameMinute && w.Start == x.minute:
		x.minuteEmitted = true
	case w.Window == window.NameHour && w.Start == x.hour:
		x.hourEmitted = true
	case w.Window == window.NameDay && w.Start == x.day:
		x.dayEmitted = true
	default:
		return
	}
	m.backfillSoon(s)
}

// backfill emits the stale roll-ups of the series if they are due.
func (m *Machine) backfill(s *series) {
	x := s.stale
	spec := s.device.spec
	if x == nil || m.clock < x.due || spec.Calendar == nil {
		return
	}
	closed := s.window.Closed(spec)
	if x.minuteEmitted {
		m.emitBackfill(s, window.NameMinute, x.minute, x.minute+int64(time.Minute), int64(time.Minute))
	}
	if x.hourEmitted {
		_, end := spec.Calendar.Hour(x.hour)
		m.emitBackfill(s, window.NameHour, x.hour, end, int64(time.Hour))
	}
	if x.dayEmitted {
		_, end := spec.Calendar.Day(x.day)
		m.emitBackfill(s, window.NameDay, x.day, end, end-x.day)
	}
	for _, a := range x.spans {
		m.emitBackfill(s, window.NameMinute, a.from, a.to, int64(time.Minute))
		x.minute = max(x.minute, a.to-int64(time.Minute))
		for from := a.from; from < a.to; {
			day, end := spec.Calendar.Day(from)
			to := min(end, a.to)
			first, _ := spec.Calendar.Hour(from)
			last, over := spec.Calendar.Hour(to - 1)
			if over > closed {
				over = last // it is emitted when it ends, and backfilled after that
			}
			m.emitBackfill(s, window.NameHour, first, over, int64(time.Hour))
			if end <= closed {
				m.emitBackfill(s, window.NameDay, day, end, end-day)
			}
			x.hour, x.day = max(x.hour, last), max(x.day, day)
			from = end
		}
	}
	x.spans, x.late, x.due = nil, nil, window.Never
	x.minuteEmitted, x.hourEmitted, x.dayEmitted = false, false, false
}

// emitBackfill adds the roll-ups of a window in [from, to) to the output.
func (m *Machine) emitBackfill(s *series, name string, from, to, width int64) {
	if from < to {
		m.output.mends = append(m.output.mends, &derivedv1.Mend{
			Series: &derivedv1.Series{Site: s.device.site, Device: s.device.name, Metric: s.metric},
			Window: name, From: from, To: to, Width: width, Unit: *s.unit, Apart: s.apart,
		})
	}
}

// append appends the stale roll-ups, which may be nil.
func (x *staleRollups) append(b []byte) []byte {
	b = codec.Bool(b, x != nil)
	if x == nil {
		return b
	}
	b = codec.Int(codec.Int(codec.Int(codec.Int(b, x.due), x.minute), x.hour), x.day)
	b = codec.Uint(codec.Bool(codec.Bool(codec.Bool(b, x.minuteEmitted), x.hourEmitted), x.dayEmitted), uint64(len(x.spans)))
	for _, a := range x.spans {
		b = codec.Int(codec.Int(b, a.from), a.to-a.from)
	}
	b = codec.Uint(b, uint64(len(x.late)))
	for _, r := range x.late {
		b = codec.Float(codec.Int(b, r.Time), r.Value)
	}
	return b
}

// readStale reads what append wrote.
func readStale(r *codec.Reader) *staleRollups {
	if !r.Bool() {
		return nil
	}
	x := &staleRollups{
		due: r.Int(), minute: r.Int(), hour: r.Int(), day: r.Int(),
		minuteEmitted: r.Bool(), hourEmitted: r.Bool(), dayEmitted: r.Bool(),
	}
	for range r.Count() {
		a := span{from: r.Int()}
		a.to = a.from + r.Int()
		x.spans = append(x.spans, a)
	}
	for range r.Count() {
		x.late = append(x.late, window.Reading{Time: r.Int(), Value: r.Float()})
	}
	return x
}
