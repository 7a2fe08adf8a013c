package window

import (
	"slices"
	"time"
)

// Series is the state of one series: its readings of the last width, delay and
// lateness, and what was told about closed windows. It must be made with New.
// It is for one goroutine only.
type Series struct {
	readings history
	// due is when the first window that is open and has readings closes.
	due int64
	// closed is the time that the ends of all closed windows have reached.
	closed int64
	// floor is the latest event time that was folded into partials; nothing at
	// or before it can still be told from a repeat.
	floor int64
	// revised are the closed windows that late readings have changed.
	revised []revision
	// partials are the windows that reach back to the floor or beyond.
	partials []partial
}

// revision is what is known of a closed window that a late reading changed.
type revision struct {
	start int64
	width time.Duration
	// told is the revision of the summary that was told last, 0 for none.
	told uint32
	// dirty says that a reading has come since.
	dirty bool
	// hold is the time by the lane's clock before which a window that the
	// device itself is still in is not told again.
	hold int64
}

// partial is a window of which some readings are no longer kept.
type partial struct {
	start   int64
	width   time.Duration
	moments moments
}

// New returns the state of a series without readings.
func New() Series { return Series{due: Never, closed: minTime, floor: minTime} }

// Due is when Advance has something to do next: when the watermark of the
// device or the clock of the lane reaches it. Never if nothing is open.
func (s *Series) Due() int64 { return s.due }

// Dirty reports whether Revise has, or will have, something to tell.
func (s *Series) Dirty() bool {
	return slices.ContainsFunc(s.revised, func(r revision) bool { return r.dirty })
}

// Add takes one reading. The watermark of p includes it. Summaries of windows
// that close by p, or whose lateness is over, are appended to out, which is
// returned; Add allocates only when it must keep more than ever before.
func (s *Series) Add(spec *Spec, p Progress, r Reading, out []Summary) (Result, []Summary) {
	out = s.Advance(spec, p, out)
	oldest := s.oldest(spec, p)
	if len(s.revised) > 0 {
		out = s.settle(oldest, out)
	}
	if r.Time < oldest || r.Time <= s.floor || r.Time > MaxTime {
		return TooLate, out
	}
	if s.readings.last() >= r.Time {
		if known, ok := s.readings.find(r.Time); ok {
			if known.Value == r.Value {
				return Duplicate, out
			}
			return Conflict, out
		}
	}
	if s.readings.full() || s.readings.len() >= spec.MaxReadings {
		out = s.makeRoom(spec, oldest, out)
		if r.Time <= s.floor {
			return TooLate, out
		}
	}
	s.readings.insert(r)
	return s.place(spec, p, r.Time), out
}

// place opens or dirties the windows of the new reading of the time.
func (s *Series) place(spec *Spec, p Progress, t int64) Result {
	s.closed = max(s.closed, p.Now()-int64(spec.Delay))
	result := Counted
	for _, width := range spec.Widths {
		start := Start(t, width)
		end := start + int64(width)
		if end > s.closed {
			s.due = min(s.due, end+int64(spec.Delay))
			continue
		}
		result = Late
		s.touch(p, t, start, width)
	}
	return result
}

// touch marks a closed window that the new reading of the time has changed.
func (s *Series) touch(p Progress, t, start int64, width time.Duration) {
	end := start + int64(width)
	i := slices.IndexFunc(s.revised, func(r revision) bool { return r.start == start && r.width == width })
	if i < 0 {
		told := uint32(1)
		if s.partial(start, width) < 0 && s.alone(t, start, end) {
			told = 0
		}
		i = len(s.revised)
		s.revised = append(s.revised, revision{start: start, width: width, told: told})
	}
	r := &s.revised[i]
	if r.dirty {
		return
	}
	// A device whose clock is behind has every window closed by the lane's
	// clock while it is still filling it. Telling such a window at every tick
	// would multiply the output; once it was told, it waits.
	r.dirty, r.hold = true, minTime
	if r.told > 0 && p.Watermark < end {
		r.hold = p.Lane + int64(width)
	}
}

// alone reports whether no reading from start to end but that of the time is
// kept.
func (s *Series) alone(t, start, end int64) bool {
	for c := s.readings.from(start); c.next() && c.reading.Time < end; {
		if c.reading.Time != t {
			return false
		}
	}
	return true
}

// Advance closes the windows whose end and delay p has passed and appends their
// summaries to out, which is returned: ascending by width, then by time. It
// must be called for all series of a device when the watermark or the clock
// reaches Due.
func (s *Series) Advance(spec *Spec, p Progress, out []Summary) []Summary {
	if p.Now() < s.due {
		return out
	}
	closed := p.Now() - int64(spec.Delay)
	for _, width := range spec.Widths {
		from, until := int64(minTime), Start(closed, width)
		if s.closed > minTime {
			from = Start(s.closed, width)
		}
		out = s.closePartials(width, until, out)
		if from < until {
			out = s.closeWindows(width, from, until, out)
		}
	}
	s.closed = max(s.closed, closed)
	s.due = s.nextDue(spec)
	return out
}

// closeWindows tells the windows that have readings in [from, until), both
// bounds of windows, and of which no readings were folded.
func (s *Series) closeWindows(width time.Duration, from, until int64, out []Summary) []Summary {
	c := s.readings.from(from)
	for more := c.next(); more && c.reading.Time < until; {
		start := Start(c.reading.Time, width)
		var m moments
		for end := start + int64(width); more && c.reading.Time < end; more = c.next() {
			m.add(c.reading.Value)
		}
		if s.partial(start, width) < 0 {
			out = append(out, m.summary(start, width, 1))
		}
	}
	return out
}

// closePartials tells the open windows that end by the time and of which some
// readings were folded.
func (s *Series) closePartials(width time.Duration, until int64, out []Summary) []Summary {
	for i := range s.partials {
		q := &s.partials[i]
		if q.width == width && q.start < until && q.start+int64(width) > s.closed {
			m := s.sum(q.start, width)
			out = append(out, m.summary(q.start, width, 1))
		}
	}
	return out
}

// Change follows a change of the specification. Windows of a width that is new
// and that have not ended are told in full as far as their readings are kept;
// what is open or changed of a width that is gone is told no more.
func (s *Series) Change(spec *Spec) {
	s.revised = slices.DeleteFunc(s.revised, func(r revision) bool { return !slices.Contains(spec.Widths, r.width) })
	s.partials = slices.DeleteFunc(s.partials, func(q partial) bool { return !slices.Contains(spec.Widths, q.width) })
	s.due = s.nextDue(spec)
}

// nextDue returns when the first window closes that is open and has readings.
func (s *Series) nextDue(spec *Spec) int64 {
	due := int64(Never)
	for _, width := range spec.Widths {
		for _, q := range s.partials {
			if end := q.start + int64(q.width); q.width == width && end > s.closed {
				due = min(due, end+int64(spec.Delay))
			}
		}
		if start, ok := s.firstWindow(Start(s.closed, width), width); ok {
			due = min(due, start+int64(width+spec.Delay))
		}
	}
	return due
}

// firstWindow returns the start of the first window at or after the start of
// another that has readings.
func (s *Series) firstWindow(from int64, width time.Duration) (int64, bool) {
	last := s.readings.last()
	switch {
	case last < from:
		return 0, false
	case last < from+int64(width): // so is the first; there is no need to look for it
		return from, true
	}
	c := s.readings.from(from)
	c.next()
	return Start(c.reading.Time, width), true
}

// Revise tells the windows again that late readings have changed, with a higher
// revision. It is called when the clock of the lane ticks. A window that was
// told already and that the device has not left by its own watermark waits for
// that, at most for its width by the lane's clock.
func (s *Series) Revise(p Progress, out []Summary) []Summary {
	for i := range s.revised {
		r := &s.revised[i]
		if r.dirty && (p.Watermark >= r.start+int64(r.width) || p.Lane >= r.hold) {
			out = s.tell(r, out)
		}
	}
	return out
}

func (s *Series) tell(r *revision, out []Summary) []Summary {
	r.dirty = false
	r.told++
	m := s.sum(r.start, r.width)
	return append(out, m.summary(r.start, r.width, r.told))
}

// settle tells what is dirty in windows that no reading can change any more,
// before their readings are dropped, and forgets about such windows.
func (s *Series) settle(oldest int64, out []Summary) []Summary {
	kept := s.revised[:0]
	for _, r := range s.revised {
		over := r.start+int64(r.width) <= oldest
		if over && r.dirty {
			out = s.tell(&r, out)
		}
		if !over {
			kept = append(kept, r)
		}
	}
	s.revised = kept
	if len(kept) == 0 {
		s.revised = nil
	}
	return out
}
