package processor

import (
	"slices"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/processor/codec"
	"headwater/services/processor/window"
)

const (
	// mendAfter is how long, by the clock of the lane, readings that came too late
	// are gathered before what they belong to is to be made anew: such readings
	// come in crowds, when a device was cut off.
	mendAfter = int64(time.Minute)
	// maxSpans bounds how many stretches of time are told apart.
	maxSpans = 4
)

// missed is what the roll-ups of a series lack of readings that came too late.
type missed struct {
	// spans are the minutes, in order.
	spans []missedSpan
	// due is when that is told, by the clock of the lane; Never if there is
	// nothing to tell.
	due int64
	// minute, hour and day are the last ones that lack something; past if there is
	// none. They may still be told, and have to be made anew then, which the
	// others say.
	minute, hour, day             int64
	minuteTold, hourTold, dayTold bool
}

// missedSpan is [from, to).
type missedSpan struct{ from, to int64 }

// add takes note of a minute.
func (x *missed) add(start int64) {
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
		x.spans = slices.Insert(x.spans, i, missedSpan{start, end})
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

// miss takes note of a reading that came too late.
func (m *Machine) miss(s *series, at int64) {
	if s.device.spec.Calendar == nil {
		return
	}
	if s.missed == nil {
		s.missed = &missed{due: window.Never, minute: past, hour: past, day: past}
	}
	s.missed.add(window.Start(at, time.Minute))
	m.mendSoon(s)
}

// lack takes note that the hour and the day of the last reading lack some.
func (m *Machine) lack(s *series) {
	if s.device.spec.Calendar == nil || s.last == past {
		return
	}
	if s.missed == nil {
		s.missed = &missed{due: window.Never, minute: past, hour: past, day: past}
	}
	s.missed.hour, _ = s.device.spec.Calendar.Hour(s.last)
	s.missed.day, _ = s.device.spec.Calendar.Day(s.last)
}

// mendSoon has the series told a while from now.
func (m *Machine) mendSoon(s *series) {
	s.missed.due = min(s.missed.due, m.clock+mendAfter)
	s.device.wakes = min(s.device.wakes, s.missed.due)
}

// retold takes note of a summary that lacks what came too late.
func (m *Machine) retold(s *series, w *window.Summary) {
	switch x := s.missed; {
	case w.Window == window.NameMinute && w.Start == x.minute:
		x.minuteTold = true
	case w.Window == window.NameHour && w.Start == x.hour:
		x.hourTold = true
	case w.Window == window.NameDay && w.Start == x.day:
		x.dayTold = true
	default:
		return
	}
	m.mendSoon(s)
}

// mend tells what is to be made anew of the series.
func (m *Machine) mend(s *series) {
	x := s.missed
	spec := s.device.spec
	if x == nil || m.clock < x.due || spec.Calendar == nil {
		return
	}
	closed := s.window.Closed(spec)
	if x.minuteTold {
		m.tellMend(s, window.NameMinute, x.minute, x.minute+int64(time.Minute), int64(time.Minute))
	}
	if x.hourTold {
		_, end := spec.Calendar.Hour(x.hour)
		m.tellMend(s, window.NameHour, x.hour, end, int64(time.Hour))
	}
	if x.dayTold {
		_, end := spec.Calendar.Day(x.day)
		m.tellMend(s, window.NameDay, x.day, end, end-x.day)
	}
	for _, a := range x.spans {
		m.tellMend(s, window.NameMinute, a.from, a.to, int64(time.Minute))
		x.minute = max(x.minute, a.to-int64(time.Minute))
		for from := a.from; from < a.to; {
			day, end := spec.Calendar.Day(from)
			to := min(end, a.to)
			first, _ := spec.Calendar.Hour(from)
			last, over := spec.Calendar.Hour(to - 1)
			if over > closed {
				over = last // it is told, and mended, when it ends
			}
			m.tellMend(s, window.NameHour, first, over, int64(time.Hour))
			if end <= closed {
				m.tellMend(s, window.NameDay, day, end, end-day)
			}
			x.hour, x.day = max(x.hour, last), max(x.day, day)
			from = end
		}
	}
	x.spans, x.due, x.minuteTold, x.hourTold, x.dayTold = nil, window.Never, false, false, false
}

func (m *Machine) tellMend(s *series, name string, from, to, width int64) {
	if from < to {
		m.output.mends = append(m.output.mends, &derivedv1.Mend{
			Series: &derivedv1.Series{Site: s.device.site, Device: s.device.name, Metric: s.metric},
			Window: name, From: from, To: to, Width: width,
		})
	}
}

// append appends what is missed, nil included.
func (x *missed) append(b []byte) []byte {
	b = codec.Bool(b, x != nil)
	if x == nil {
		return b
	}
	b = codec.Int(codec.Int(codec.Int(codec.Int(b, x.due), x.minute), x.hour), x.day)
	b = codec.Uint(codec.Bool(codec.Bool(codec.Bool(b, x.minuteTold), x.hourTold), x.dayTold), uint64(len(x.spans)))
	for _, a := range x.spans {
		b = codec.Int(codec.Int(b, a.from), a.to-a.from)
	}
	return b
}

// readMissed reads what append wrote.
func readMissed(r *codec.Reader) *missed {
	if !r.Bool() {
		return nil
	}
	x := &missed{
		due: r.Int(), minute: r.Int(), hour: r.Int(), day: r.Int(),
		minuteTold: r.Bool(), hourTold: r.Bool(), dayTold: r.Bool(),
	}
	for range r.Count() {
		a := missedSpan{from: r.Int()}
		a.to = a.from + r.Int()
		x.spans = append(x.spans, a)
	}
	return x
}
