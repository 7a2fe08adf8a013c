package window

import (
	"cmp"
	"slices"
	"time"
)

// keepFrom returns the least event time whose readings are still needed. It
// never goes back: readings before it are in no snapshot, and may or may not
// exist when the windows are changed.
func (s *Series) keepFrom(spec *Spec, p Progress) int64 {
	keep := max(p.Watermark, minTime/2) - spec.reach()
	for i := range spec.Windows {
		w := &spec.Windows[i]
		final := min(s.final(w, p), s.closed(w))
		switch w.Kind {
		case Tumbling, Hopping:
			keep = min(keep, w.first(final))
			if int64(w.Width) == minute && spec.Calendar != nil {
				keep = min(keep, s.rollup.from())
			}
		case Sliding:
			keep = min(keep, Start(final, w.Every)+1-int64(w.Width))
		case Session:
			anchor := int64(minTime) // of a session that does not exist yet
			if n := slices.IndexFunc(s.sessions(), func(z session) bool { return int(z.window) == i }); n >= 0 {
				anchor = s.sessions()[n].anchor
			}
			keep = min(keep, anchor)
		}
	}
	for _, r := range s.revised() {
		if !r.dirty || r.window >= ofHours {
			continue
		}
		from := r.start
		if w := &spec.Windows[r.window]; w.Kind == Sliding {
			from += 1 - int64(w.Width)
		}
		keep = min(keep, from)
	}
	return keep
}

// from is the time from which minutes are not folded.
func (u *rollup) from() int64 {
	if u == nil {
		return minTime
	}
	return u.folded
}

// makeRoom drops readings that are no longer needed. If the series still has
// its greatest size, it folds the oldest quarter.
func (s *Series) makeRoom(spec *Spec, p Progress, out []Summary) []Summary {
	if spec.Calendar != nil {
		s.roll(spec, p)
	}
	if len(s.partials()) > 0 {
		kept := slices.DeleteFunc(s.partials(), func(q partial) bool { return !s.matters(spec, p, &q) })
		s.setRare(s.revised(), kept, s.sessions())
	}
	keep := s.keepFrom(spec, p)
	if n := s.readings.len(); n >= spec.MaxReadings {
		var buffer [onStack]Reading
		all := s.readings.appendTo(buffer[:0], minTime)
		drop, _ := slices.BinarySearchFunc(all, keep, func(r Reading, t int64) int { return cmp.Compare(r.Time, t) })
		if drop == 0 || drop < n/16 {
			drop = n / 4
			out = s.fold(spec, p, all[:drop], out)
		}
		s.readings.set(all[drop:])
	}
	if s.readings.full() {
		s.readings.makeRoom(keep)
	}
	return out
}

// matters reports whether the partial window may still be emitted, for the
// first time or again.
func (s *Series) matters(spec *Spec, p Progress, q *partial) bool {
	w := &spec.Windows[q.window]
	end := q.start + int64(w.Width)
	if w.Kind == Session {
		z := s.session(q.window)
		return q.start >= z.anchor
	}
	return end > min(s.final(w, p), s.closed(w))
}

// fold drops readings, the oldest ones. Their windows continue from the sums so
// far. Late readings of that age are too late from now on, so windows that end
// with them are emitted at once.
func (s *Series) fold(spec *Spec, p Progress, readings []Reading, out []Summary) []Summary {
	for i := range s.revised() {
		if r := &s.revised()[i]; r.dirty {
			out = s.emit(spec, r, out)
		}
	}
	for i := range s.sessions() {
		if z := &s.sessions()[i]; z.dirty {
			out = s.reviseSessions(spec, p, z, out)
		}
	}
	floor := readings[len(readings)-1].Time
	out = s.close(spec, p, s.now, floor, out)
	for i := range s.sessions() {
		s.finish(&spec.Windows[s.sessions()[i].window], p, &s.sessions()[i])
	}
	if spec.Calendar != nil {
		s.roll(spec, p)
	}
	var partials []partial
	for i := range spec.Windows {
		partials = s.foldWindow(spec, uint8(i), readings, partials)
	}
	s.setRare(s.revised(), partials, s.sessions())
	s.due = s.nextDue(spec)
	return out
}

// foldWindow appends the partials of one window for the readings to be dropped.
func (s *Series) foldWindow(spec *Spec, window uint8, readings []Reading, partials []partial) []partial {
	w := &spec.Windows[window]
	add := func(start, end int64) {
		q := partial{window: window, start: start, tally: s.foldedSums(window, start)}
		if q.tally.bins == nil {
			q.tally.bins = new(sketch)
		}
		for _, r := range readings {
			if r.Time >= start && r.Time < end {
				q.tally.add(r)
			}
		}
		if q.tally.count > 0 {
			partials = append(partials, q)
		}
	}
	switch w.Kind {
	case Tumbling, Hopping:
		for start := w.first(s.floor + 1); start <= s.floor; start += int64(w.step()) {
			add(start, start+int64(w.Width))
		}
	case Session:
		s.walk(w, s.session(window), func(a span) bool {
			if a.start <= s.floor {
				add(a.start, a.end)
			}
			return false
		})
	case Sliding: // where it will begin is not known yet
	}
	return partials
}

// sum adds up the readings from start to end that belong to the window with
// that start.
func (s *Series) sum(spec *Spec, window uint8, start, end int64) tally {
	t := s.foldedSums(window, start)
	t.values = spec.scratch[:0]
	for c := s.readings.from(start); c.next() && c.reading.Time < end; {
		t.add(c.reading)
	}
	spec.scratch = t.values
	return t
}

// foldedSums returns the sums over the folded readings of the window.
func (s *Series) foldedSums(window uint8, start int64) tally {
	if i := s.partial(window, start); i >= 0 {
		t := s.partials()[i].tally
		bins := *t.bins
		t.bins = &bins
		return t
	}
	return tally{}
}

func (s *Series) partial(window uint8, start int64) int {
	if len(s.partials()) == 0 {
		return -1
	}
	return slices.IndexFunc(s.partials(), func(q partial) bool { return q.start == start && q.window == window })
}

// minuteNumber returns the number of the window that is rolled up, and that
// window.
func (s *Spec) minuteNumber() (uint8, *Window) {
	for i := range s.Windows {
		if w := &s.Windows[i]; w.Kind == Tumbling && w.Width == time.Minute {
			return uint8(i), w
		}
	}
	return 0, nil
}
