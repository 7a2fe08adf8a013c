package window

import (
	"math"
	"slices"
)

// session is the state of the sessions of one window.
type session struct {
	window uint8
	// anchor is the end of the last session that no reading can change any more;
	// the next one begins with the first reading from there on.
	anchor int64
	// told are the sessions after that whose summaries were told, in order.
	told []toldSession
	// dirty says that a reading has come that may have changed one of them;
	// changed is the earliest of these.
	dirty   bool
	changed int64
	// hold is the time by the lane's clock before which none is told again.
	hold int64
}

// toldSession is what was told of a session: its start and count, 0 when it was
// taken back.
type toldSession struct {
	start    int64
	count    uint64
	revision uint32
}

// session returns the state of a window, which is made if it is not there.
func (s *Series) session(window uint8) *session {
	for i := range s.sessions() {
		if s.sessions()[i].window == window {
			return &s.sessions()[i]
		}
	}
	s.setRare(s.revised(), s.partials(), append(s.sessions(), session{window: window, anchor: minTime, hold: minTime}))
	return &s.sessions()[len(s.sessions())-1]
}

// changedCount is what no session counts: it makes one that was told differ from
// what it holds now.
const changedCount = math.MaxUint64

// join takes note of the reading of the time in its session.
func (s *Series) join(spec *Spec, window uint8, t int64, known bool) Result {
	w := &spec.Windows[window]
	z := s.session(window)
	if t < z.anchor {
		return TooLate
	}
	closed := s.closed(w)
	if end := t + int64(w.Gap); end > closed {
		s.due = min(s.due, end+int64(w.Delay))
	}
	if t >= closed {
		return Counted
	}
	if !z.dirty || t < z.changed {
		z.dirty, z.changed = true, t
	}
	if known {
		for i := len(z.told) - 1; i >= 0; i-- {
			if z.told[i].start <= t && z.told[i].count > 0 {
				z.told[i].count = changedCount
				break
			}
		}
	}
	return Late
}

// span is one session.
type span struct {
	start, end int64
	count      uint64
}

// walk visits the sessions that are not final, in order, until visit says no.
func (s *Series) walk(w *Window, z *session, visit func(span) bool) {
	from := z.anchor
	var now span
	if i := s.partialOf(z.window); i >= 0 && s.partials()[i].start >= z.anchor {
		q := &s.partials()[i]
		from = max(from, q.tally.lastTime+1)
		now = span{q.start, min(q.tally.lastTime+int64(w.Gap), q.start+int64(w.Width)), q.tally.count}
	}
	for c := s.readings.from(from); c.next(); {
		t := c.reading.Time
		if now.count > 0 && t >= now.end {
			if !visit(now) {
				return
			}
			now.count = 0
		}
		if now.count == 0 {
			now.start = t
		}
		now.end = min(t+int64(w.Gap), now.start+int64(w.Width))
		now.count++
	}
	if now.count > 0 {
		visit(now)
	}
}

// partialOf returns the index of the only partial session.
func (s *Series) partialOf(window uint8) int {
	return slices.IndexFunc(s.partials(), func(q partial) bool { return q.window == window })
}

// nextSession returns when the first session ends that is open.
func (s *Series) nextSession(spec *Spec, window uint8, closed int64) int64 {
	end := int64(Never)
	s.walk(&spec.Windows[window], s.session(window), func(a span) bool {
		if a.end > closed {
			end = a.end
		}
		return end == Never
	})
	return end
}

// closeSessions tells the sessions that end after one time and not after
// another.
func (s *Series) closeSessions(spec *Spec, p Progress, window uint8, from, until int64, out []Summary) []Summary {
	w := &spec.Windows[window]
	z := s.session(window)
	s.walk(w, z, func(a span) bool {
		if a.end > until {
			return false
		}
		if a.end > from {
			out = s.tellSession(spec, z, a, out)
		}
		return true
	})
	if !z.dirty {
		s.finish(w, p, z)
	}
	return out
}

// tellSession tells a session, if it is not as it was told.
func (s *Series) tellSession(spec *Spec, z *session, a span, out []Summary) []Summary {
	i, found := slices.BinarySearchFunc(z.told, a.start, func(t toldSession, start int64) int {
		switch {
		case t.start < start:
			return -1
		case t.start > start:
			return 1
		}
		return 0
	})
	if !found {
		z.told = slices.Insert(z.told, i, toldSession{start: a.start})
	}
	t := &z.told[i]
	if t.count == a.count {
		return out
	}
	t.count = a.count
	t.revision++
	return append(out, s.summary(spec, z.window, a.start, a.end, t.revision))
}

// reviseSessions tells the sessions that late readings have changed, and takes
// those back that have become part of another.
func (s *Series) reviseSessions(spec *Spec, p Progress, z *session, out []Summary) []Summary {
	w := &spec.Windows[z.window]
	closed := s.closed(w)
	var starts []int64
	s.walk(w, z, func(a span) bool {
		starts = append(starts, a.start)
		if a.end <= closed {
			out = s.tellSession(spec, z, a, out)
		}
		return true
	})
	for i := range z.told {
		t := &z.told[i]
		if _, there := slices.BinarySearch(starts, t.start); there || t.count == 0 {
			continue
		}
		t.count = 0
		t.revision++
		out = append(out, Summary{Window: w.Name, At: t.start, Start: t.start, Revision: t.revision})
	}
	z.dirty, z.hold = false, p.Lane+int64(w.Gap)
	s.finish(w, p, z)
	return out
}

// finish forgets the sessions that no reading can change any more.
func (s *Series) finish(w *Window, p Progress, z *session) {
	final := min(s.final(w, p), s.closed(w))
	s.walk(w, z, func(a span) bool {
		if a.end > final {
			return false
		}
		z.anchor = a.end
		return true
	})
	z.told = slices.DeleteFunc(z.told, func(t toldSession) bool { return t.start < z.anchor })
	if len(z.told) == 0 {
		z.told = nil
	}
}
