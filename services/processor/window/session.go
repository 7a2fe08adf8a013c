package window

import (
	"math"
	"slices"
)

// session is the state of the sessions of one window.
type session struct {
	window uint8
	// anchor is the end of the last session that no reading can change any more;
	// the next session begins with the first reading from there on.
	anchor int64
	// emitted are the later sessions whose summaries were emitted, in order.
	emitted []emittedSession
	// dirty means that a reading has come that may have changed a session; changed
	// is the earliest such reading.
	dirty   bool
	changed int64
	// hold is the time by the lane's clock before which no session is emitted
	// again.
	hold int64
}

// emittedSession is what was emitted for a session: its start and count, 0 if
// it was taken back.
type emittedSession struct {
	start    int64
	count    uint64
	revision uint32
}

// session returns the state of a window, and creates it if there is none.
func (s *Series) session(window uint8) *session {
	for i := range s.sessions() {
		if s.sessions()[i].window == window {
			return &s.sessions()[i]
		}
	}
	s.setRare(s.revised(), s.partials(), append(s.sessions(), session{window: window, anchor: minTime, hold: minTime}))
	return &s.sessions()[len(s.sessions())-1]
}

// changedCount is a count that no session has. It makes an emitted session
// differ from its current content.
const changedCount = math.MaxUint64

// join counts the reading at t in its session.
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
		for i := len(z.emitted) - 1; i >= 0; i-- {
			if z.emitted[i].start <= t && z.emitted[i].count > 0 {
				z.emitted[i].count = changedCount
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

// walk visits the sessions that are not final, in order, until visit returns
// false.
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

// nextSession returns when the first open session ends.
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

// closeSessions emits the sessions that end after from and not after until.
func (s *Series) closeSessions(spec *Spec, p Progress, window uint8, from, until int64, out []Summary) []Summary {
	w := &spec.Windows[window]
	z := s.session(window)
	s.walk(w, z, func(a span) bool {
		if a.end > until {
			return false
		}
		if a.end > from {
			out = s.emitSession(spec, z, a, out)
		}
		return true
	})
	if !z.dirty {
		s.finish(w, p, z)
	}
	return out
}

// emitSession emits a session unless the same session was emitted before.
func (s *Series) emitSession(spec *Spec, z *session, a span, out []Summary) []Summary {
	i, found := slices.BinarySearchFunc(z.emitted, a.start, func(t emittedSession, start int64) int {
		switch {
		case t.start < start:
			return -1
		case t.start > start:
			return 1
		}
		return 0
	})
	if !found {
		z.emitted = slices.Insert(z.emitted, i, emittedSession{start: a.start})
	}
	t := &z.emitted[i]
	if t.count == a.count {
		return out
	}
	t.count = a.count
	t.revision++
	return append(out, s.summary(spec, z.window, a.start, a.end, t.revision))
}

// reviseSessions emits the sessions that late readings have changed, and takes
// back those that have become part of another session.
func (s *Series) reviseSessions(spec *Spec, p Progress, z *session, out []Summary) []Summary {
	w := &spec.Windows[z.window]
	closed := s.closed(w)
	var starts []int64
	s.walk(w, z, func(a span) bool {
		starts = append(starts, a.start)
		if a.end <= closed {
			out = s.emitSession(spec, z, a, out)
		}
		return true
	})
	for i := range z.emitted {
		t := &z.emitted[i]
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
	z.emitted = slices.DeleteFunc(z.emitted, func(t emittedSession) bool { return t.start < z.anchor })
	if len(z.emitted) == 0 {
		z.emitted = nil
	}
}
