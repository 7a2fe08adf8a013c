package window

import (
	"slices"
)

// Series is the state of one series: its readings of the last width, delay and
// lateness, and what was emitted for closed windows. It must be made with New,
// and must not be used by two goroutines at a time.
type Series struct {
	readings history
	// due is when the first open window with readings closes.
	due int64
	// now is the time up to which windows were closed, before their delay.
	now int64
	// floor is the latest event time folded into partials. Nothing at or before it
	// can be distinguished from a repeat.
	floor int64
	// rare is nil while there is nothing in it.
	rare *rare
	// rollup is the part of hours and days that consists of final minutes; nil
	// until there is one.
	rollup *rollup
}

// rare holds what most series do not have.
type rare struct {
	// revised are the closed windows that late readings have changed.
	revised []revision
	// partials are the windows that reach back to the floor or further.
	partials []partial
	// sessions are the states of the session windows that had a reading.
	sessions []session
}

func (s *Series) revised() []revision {
	if s.rare == nil {
		return nil
	}
	return s.rare.revised
}

func (s *Series) partials() []partial {
	if s.rare == nil {
		return nil
	}
	return s.rare.partials
}

func (s *Series) sessions() []session {
	if s.rare == nil {
		return nil
	}
	return s.rare.sessions
}

// setRare replaces all parts of rare.
func (s *Series) setRare(revised []revision, partials []partial, sessions []session) {
	if len(revised) == 0 && len(partials) == 0 && len(sessions) == 0 {
		s.rare = nil
		return
	}
	if s.rare == nil {
		s.rare = new(rare)
	}
	*s.rare = rare{revised: revised, partials: partials, sessions: sessions}
}

// revision is what is known of a closed window that a late reading changed.
type revision struct {
	window     uint8
	start, end int64
	// emitted is the revision of the last summary emitted, 0 for none.
	emitted uint32
	// dirty means that a reading has come since.
	dirty bool
	// hold is the time by the lane's clock before which a window is not emitted
	// again while the device itself is still in it.
	hold int64
}

// partial is a window some of whose readings are no longer kept.
type partial struct {
	window uint8
	start  int64
	tally  tally
}

// New returns the state of a series without readings.
func New() Series { return Series{due: Never, now: minTime, floor: minTime} }

// Due is when Advance next has something to do: when the watermark of the
// device or the clock of the lane reaches it. Never if nothing is open.
func (s *Series) Due() int64 { return s.due }

// Dirty reports whether Revise has, or will have, something to emit.
func (s *Series) Dirty() bool {
	return slices.ContainsFunc(s.revised(), func(r revision) bool { return r.dirty }) ||
		slices.ContainsFunc(s.sessions(), func(z session) bool { return z.dirty })
}

// closed is the time that the ends of all closed windows have reached.
func (s *Series) closed(w *Window) int64 { return max(s.now-int64(w.Delay), s.floor+1) }

// Closed is the time that the ends of all closed hours and days have reached;
// the specification must have a calendar.
func (s *Series) Closed(spec *Spec) int64 { return s.closed(spec.minute()) }

// final is the time that the ends of all windows have reached that no reading
// can change any more.
func (s *Series) final(w *Window, p Progress) int64 {
	return max(max(p.Watermark, minTime/2)-int64(w.Delay+w.Lateness), s.floor+1)
}

// Add takes one reading. The watermark of p includes it. Add appends the
// summaries of windows that close by p, or whose lateness has passed, to out
// and returns it. It allocates only when it must keep more readings than ever
// before.
func (s *Series) Add(spec *Spec, p Progress, r Reading, out []Summary) (Result, []Summary) {
	out = s.Advance(spec, p, out)
	out = s.settle(spec, p, out)
	oldest := max(p.Watermark, minTime/2) - spec.reach()
	if r.Time < oldest || r.Time <= s.floor || r.Time > MaxTime {
		return TooLate, out
	}
	if s.readings.last() >= r.Time {
		if known, ok := s.readings.find(r.Time); ok {
			if known.Value == r.Value {
				return Duplicate, out
			}
			s.readings.replace(r)
			if s.place(spec, p, r.Time, true) == TooLate {
				return LateConflict, out
			}
			return Conflict, out
		}
	}
	if s.readings.full() || s.readings.len() >= spec.MaxReadings {
		out = s.makeRoom(spec, p, out)
		if r.Time <= s.floor {
			return TooLate, out
		}
	}
	s.readings.insert(r)
	return s.place(spec, p, r.Time, false), out
}

// place opens the windows of the reading at t, or marks them as dirty. Known
// means that only its value is new.
func (s *Series) place(spec *Spec, p Progress, t int64, known bool) Result {
	s.now = max(s.now, p.Now())
	result := Counted
	for i := range spec.Windows {
		w := &spec.Windows[i]
		n := uint8(i)
		switch w.Kind {
		case Tumbling:
			start := Start(t, w.Width)
			r := s.enter(spec, p, n, t, start, start+int64(w.Width), known)
			if r == Late && int64(w.Width) == minute && spec.Calendar != nil {
				start, end := spec.Calendar.Hour(t)
				s.enter(spec, p, ofHours, t, start, end, known)
				start, end = spec.Calendar.Day(t)
				s.enter(spec, p, ofDays, t, start, end, known)
			}
			result = max(result, r)
		case Hopping:
			for start := w.first(t); start <= t; start += int64(w.Every) {
				result = max(result, s.enter(spec, p, n, t, start, start+int64(w.Width), known))
			}
		case Sliding:
			result = max(result, s.slide(spec, p, n, t, known))
		case Session:
			result = max(result, s.join(spec, n, t, known))
		}
	}
	return result
}

// first returns the start of the first window that ends after t.
func (w *Window) first(t int64) int64 {
	return Start(t-int64(w.Width), w.step()) + int64(w.step())
}

// enter counts the reading at t in a window.
func (s *Series) enter(spec *Spec, p Progress, window uint8, t, start, end int64, known bool) Result {
	w := spec.window(window)
	switch {
	case end > s.closed(w):
		s.due = min(s.due, end+int64(w.Delay))
		return Counted
	case end <= s.final(w, p):
		return TooLate
	}
	s.touch(p, window, t, start, end, known)
	return Late
}

// slide counts the reading in the steps of a sliding window that end with it or
// with later readings.
func (s *Series) slide(spec *Spec, p Progress, window uint8, t int64, known bool) Result {
	w := &spec.Windows[window]
	start := Start(t, w.Every)
	result := s.enter(spec, p, window, t, start, start+int64(w.Every), known)
	for c := s.readings.from(start + int64(w.Every)); c.next() && c.reading.Time-t < int64(w.Width); {
		start = Start(c.reading.Time, w.Every)
		result = max(result, s.enter(spec, p, window, t, start, start+int64(w.Every), known))
	}
	return result
}

// touch marks a closed window as changed by the reading at t.
func (s *Series) touch(p Progress, window uint8, t, start, end int64, known bool) {
	i := slices.IndexFunc(s.revised(), func(r revision) bool { return r.start == start && r.window == window })
	if i < 0 {
		emitted := uint32(1)
		if !known && s.partial(window, start) < 0 && s.alone(t, start, end) && !s.rollup.holds(window, start, end) {
			emitted = 0
		}
		i = len(s.revised())
		s.setRare(append(s.revised(), revision{window: window, start: start, end: end, emitted: emitted}), s.partials(), s.sessions())
	}
	r := &s.revised()[i]
	if r.dirty {
		return
	}
	// The lane's clock closes the windows of a device whose clock is behind while
	// the device is still filling them. Emitting such a window at every tick would
	// multiply the output, so after the first time it waits.
	r.dirty, r.hold = true, minTime
	if r.emitted > 0 && p.Watermark < end {
		r.hold = p.Lane + end - start
	}
}

// alone reports whether the reading at t is the only one kept from start to
// end.
func (s *Series) alone(t, start, end int64) bool {
	for c := s.readings.from(start); c.next() && c.reading.Time < end; {
		if c.reading.Time != t {
			return false
		}
	}
	return true
}

// Advance closes the windows whose end and delay p has passed. It appends their
// summaries to out and returns it: in the order of the windows, then by time,
// hours and days last. Call it for all series of a device when the watermark or
// the clock reaches Due.
func (s *Series) Advance(spec *Spec, p Progress, out []Summary) []Summary {
	if p.Now() < s.due {
		return out
	}
	out = s.close(spec, p, max(s.now, p.Now()), s.floor, out)
	out = s.settle(spec, p, out)
	if spec.Calendar != nil {
		s.roll(spec, p)
	}
	s.due = s.nextDue(spec)
	return out
}

// close emits the windows that end by a time, before their delay, or by the
// floor, and sets both.
func (s *Series) close(spec *Spec, p Progress, now, floor int64, out []Summary) []Summary {
	for i := range spec.Windows {
		w := &spec.Windows[i]
		from, until := s.closed(w), max(now-int64(w.Delay), floor+1)
		if from >= until {
			continue
		}
		switch w.Kind {
		case Tumbling, Hopping:
			out = s.closeFixed(spec, uint8(i), from, until, out)
		case Sliding:
			out = s.closeSliding(spec, uint8(i), from, until, out)
		case Session:
			out = s.closeSessions(spec, p, uint8(i), from, until, out)
		}
	}
	if w := spec.minute(); spec.Calendar != nil && w != nil {
		if from, until := s.closed(w), max(now-int64(w.Delay), floor+1); from < until {
			out = s.closeRollups(spec, from, until, out)
		}
	}
	s.now, s.floor = now, floor
	return out
}

// closeFixed emits the tumbling or hopping windows with readings that end after
// from and not after until.
func (s *Series) closeFixed(spec *Spec, window uint8, from, until int64, out []Summary) []Summary {
	w := &spec.Windows[window]
	for start := w.first(from); ; start += int64(w.step()) {
		t := s.next(window, start)
		if t >= until {
			return out
		}
		start = max(start, w.first(t))
		end := start + int64(w.Width)
		if end > until {
			return out
		}
		if sum := s.sum(spec, window, start, end); sum.count > 0 {
			out = append(out, sum.fixed(w, start))
		}
	}
}

// fixed returns the first summary of a tumbling or hopping window.
func (t *tally) fixed(w *Window, start int64) Summary {
	return t.summary(w.Name, start, start+int64(w.Width), 1)
}

// next returns the time of the first reading at or after t, or the start of the
// first partial of the window, or Never.
func (s *Series) next(window uint8, t int64) int64 {
	first := int64(Never)
	for _, q := range s.partials() {
		if q.window == window && q.start >= t {
			first = min(first, q.start)
		}
	}
	if s.readings.last() < t {
		return first
	}
	if c := s.readings.from(t); c.next() {
		first = min(first, c.reading.Time)
	}
	return first
}

// closeSliding emits the steps with readings that end after from and not after
// until.
func (s *Series) closeSliding(spec *Spec, window uint8, from, until int64, out []Summary) []Summary {
	every := spec.Windows[window].Every
	for at := Start(from-int64(every), every) + int64(every); ; at += int64(every) {
		t := s.next(window, at)
		if t >= until {
			return out
		}
		at = Start(t, every)
		if at+int64(every) > until {
			return out
		}
		out = append(out, s.summary(spec, window, at, at+int64(every), 1))
	}
}

// summary sums up a window with readings: the one from start to end, or the one
// that ends with the last reading of that step.
func (s *Series) summary(spec *Spec, window uint8, start, end int64, revision uint32) Summary {
	switch {
	case window == ofHours:
		sum := s.hour(spec, start, end)
		return sum.summary(NameHour, start, end, revision)
	case window == ofDays:
		sum := s.day(spec, start, end)
		return sum.summary(NameDay, start, end, revision)
	case spec.Windows[window].Kind == Sliding:
		return s.sliding(spec, window, start, end, revision)
	}
	sum := s.sum(spec, window, start, end)
	return sum.summary(spec.Windows[window].Name, start, end, revision)
}

func (s *Series) sliding(spec *Spec, window uint8, start, end int64, revision uint32) Summary {
	w := &spec.Windows[window]
	last := start
	for c := s.readings.from(start); c.next() && c.reading.Time < end; {
		last = c.reading.Time
	}
	sum := s.sum(spec, window, last+1-int64(w.Width), last+1)
	out := sum.summary(w.Name, last+1-int64(w.Width), last+1, revision)
	out.At = start
	return out
}

// Change adopts another specification. New windows that have not ended are
// emitted in full, as far as their readings are kept. Windows that no longer
// exist are not emitted any more. Change reports whether the current hour and
// day are incomplete: they miss everything before the change if they now begin
// at other times.
func (s *Series) Change(previous, spec *Spec, p Progress) (incomplete bool) {
	if previous.equal(spec) {
		return false
	}
	// The number of readings kept beyond the needed ones depends on when there was
	// no room. The output from here on must not depend on it.
	if previous.Calendar != nil {
		s.roll(previous, p)
	}
	var buffer [onStack]Reading
	s.readings.set(s.readings.appendTo(buffer[:0], s.keepFrom(previous, p)))
	number := func(old uint8) (uint8, bool) {
		if old >= ofHours {
			return old, spec.Calendar != nil && previous.Calendar != nil && *spec.minute() == *previous.minute() &&
				spec.Calendar.zone.String() == previous.Calendar.zone.String()
		}
		i := slices.Index(spec.Windows, previous.Windows[old])
		return uint8(i), i >= 0
	}
	s.setRare(
		renumber(s.revised(), number, func(r *revision) *uint8 { return &r.window }),
		renumber(s.partials(), number, func(q *partial) *uint8 { return &q.window }),
		renumber(s.sessions(), number, func(z *session) *uint8 { return &z.window }),
	)
	if _, same := number(ofDays); !same {
		incomplete, s.rollup = s.rollup != nil, nil
	}
	s.due = s.nextDue(spec)
	return incomplete
}

// renumber gives the elements the new numbers of their windows and drops those
// whose window is gone.
func renumber[E any](list []E, number func(uint8) (uint8, bool), of func(*E) *uint8) []E {
	var kept []E
	for i := range list {
		if n, ok := number(*of(&list[i])); ok {
			*of(&list[i]) = n
			kept = append(kept, list[i])
		}
	}
	return kept
}

// nextDue returns when the first open window with readings closes.
func (s *Series) nextDue(spec *Spec) int64 {
	due := int64(Never)
	for i := range spec.Windows {
		w := &spec.Windows[i]
		if end := s.nextEnd(spec, uint8(i)); end != Never {
			due = min(due, end+int64(w.Delay))
		}
	}
	if w := spec.minute(); spec.Calendar != nil && w != nil {
		if end := s.nextRollup(spec, s.closed(w)); end != Never {
			due = min(due, end+int64(w.Delay))
		}
	}
	return due
}

// nextEnd returns when the first open window with readings ends, or an earlier
// time, or Never.
func (s *Series) nextEnd(spec *Spec, window uint8) int64 {
	w := &spec.Windows[window]
	closed := s.closed(w)
	switch w.Kind {
	case Session:
		return s.nextSession(spec, window, closed)
	case Sliding:
		at := Start(closed-int64(w.Every), w.Every) + int64(w.Every)
		if t := s.next(window, at); t != Never {
			return Start(t, w.Every) + int64(w.Every)
		}
		return Never
	}
	start := w.first(closed)
	if last := s.readings.last(); last >= start && last < start+int64(w.Width) { // there is no need to look for the first
		return start + int64(w.Width)
	}
	if t := s.next(window, start); t != Never {
		return max(start, w.first(t)) + int64(w.Width)
	}
	return Never
}

// Revise emits the windows that late readings have changed once more, with a
// higher revision. Call it when the clock of the lane ticks. A window that was
// already emitted waits until the watermark of its device has left it, at most
// for its width by the lane's clock.
func (s *Series) Revise(spec *Spec, p Progress, out []Summary) []Summary {
	for i := range s.revised() {
		r := &s.revised()[i]
		if r.dirty && (p.Watermark >= r.end || p.Lane >= r.hold) {
			out = s.emit(spec, r, out)
		}
	}
	for i := range s.sessions() {
		if z := &s.sessions()[i]; z.dirty && p.Lane >= z.hold {
			out = s.reviseSessions(spec, p, z, out)
		}
	}
	return out
}

func (s *Series) emit(spec *Spec, r *revision, out []Summary) []Summary {
	r.dirty = false
	r.emitted++
	return append(out, s.summary(spec, r.window, r.start, r.end, r.emitted))
}

// settle emits the dirty windows that no reading can change any more, before
// their readings are dropped, and forgets such windows.
func (s *Series) settle(spec *Spec, p Progress, out []Summary) []Summary {
	if s.rare == nil {
		return out
	}
	kept := s.revised()[:0]
	for _, r := range s.revised() {
		over := r.end <= s.final(spec.window(r.window), p)
		if over && r.dirty {
			out = s.emit(spec, &r, out)
		}
		if !over {
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 {
		kept = nil
	}
	s.setRare(kept, s.partials(), s.sessions())
	for i := range s.sessions() {
		if z := &s.sessions()[i]; z.dirty && z.changed <= s.final(&spec.Windows[z.window], p) {
			out = s.reviseSessions(spec, p, z, out)
		}
	}
	return out
}
