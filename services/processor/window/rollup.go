package window

import (
	"time"

	"headwater/services/processor/codec"
)

// rollup is the part of an hour and a day that consists of minutes which no
// reading can change any more. Minutes are folded into their hour one by one,
// in order, and hours into their day. A summary continues from there in the
// same steps, so it is the same, bit for bit, however much was folded.
type rollup struct {
	// folded is the time up to which minutes are folded.
	folded    int64
	hour, day fold
}

// spareBins is by how many bytes the sketch of a fold may grow before it needs
// a new allocation.
const spareBins = 4

// fold is a part of an hour or a day.
type fold struct {
	start int64
	moments
	// bins is an encoded sketch.
	bins []byte
}

// holds reports whether a part of the hour or day is folded.
func (u *rollup) holds(window uint8, start, end int64) bool {
	within := func(f *fold) bool { return f.count > 0 && f.firstTime >= start && f.firstTime < end }
	return u != nil && (window == ofHours && within(&u.hour) || window == ofDays && (within(&u.hour) || within(&u.day)))
}

// sketch decodes the sketch of the fold.
func (f *fold) sketch(into *sketch) {
	r := codec.NewReader(f.bins)
	into.read(r)
}

// add adds what comes next.
func (f *fold) add(start int64, m moments, pour func(*sketch)) {
	var bins sketch
	if f.count > 0 {
		f.sketch(&bins)
	}
	pour(&bins)
	f.start = start
	f.merge(m)
	f.keep(&bins)
}

// keep stores a sketch in hardly more memory than it needs.
func (f *fold) keep(bins *sketch) {
	var buffer [3 * maxBins]byte
	written := bins.append(buffer[:0])
	if n := len(written); n > cap(f.bins) || n+n/4+spareBins < cap(f.bins) {
		f.bins = make([]byte, 0, n+spareBins)
	}
	f.bins = append(f.bins[:0], written...)
}

// reset empties the fold.
func (f *fold) reset() { *f = fold{bins: f.bins[:0]} }

// roll folds the minutes that are final. Minutes that late readings have
// changed must have been emitted before.
func (s *Series) roll(spec *Spec, p Progress) {
	n, w := spec.minuteNumber()
	until := Start(s.final(w, p), time.Minute)
	from := int64(minTime)
	if s.rollup != nil {
		from = s.rollup.folded
	}
	t := int64(Never)
	if until > from {
		t = s.next(n, from)
	}
	if t >= until {
		return
	}
	if s.rollup == nil {
		s.rollup = new(rollup)
	}
	for ; t < until; t = s.next(n, t) {
		start := Start(t, time.Minute)
		sum := s.sum(spec, n, start, start+minute)
		if sum.count > 0 {
			s.rollup.minute(spec.Calendar, start, &sum)
		}
		t = start + minute
	}
	s.rollup.folded = until
}

// minute folds a minute.
func (u *rollup) minute(c *Calendar, start int64, sum *tally) {
	begin, _ := c.Hour(start)
	if u.hour.count > 0 && u.hour.start != begin {
		day, _ := c.Day(u.hour.start)
		if u.day.start != day {
			u.day.reset()
		}
		u.day.add(day, u.hour.moments, func(bins *sketch) {
			var more sketch
			u.hour.sketch(&more)
			bins.merge(&more)
		})
		u.hour.reset()
	}
	u.hour.add(begin, sum.moments, sum.pour)
}

// hour sums up the hour from start to end.
func (s *Series) hour(spec *Spec, start, end int64) tally {
	n, _ := spec.minuteNumber()
	t := tally{bins: new(sketch)}
	from := start
	if u := s.rollup; u != nil {
		if u.holds(ofHours, start, end) {
			t.moments = u.hour.moments
			u.hour.sketch(t.bins)
		}
		from = max(from, u.folded)
	}
	for at := s.next(n, from); at < end; at = s.next(n, at) {
		at = Start(at, time.Minute)
		sum := s.sum(spec, n, at, at+minute)
		sum.pour(t.bins)
		t.merge(sum.moments)
		at += minute
	}
	return t
}

// day sums up the day from start to end.
func (s *Series) day(spec *Spec, start, end int64) tally {
	t := tally{bins: new(sketch)}
	if u := s.rollup; u != nil && u.day.count > 0 && u.day.start == start {
		t.moments = u.day.moments
		u.day.sketch(t.bins)
	}
	for at := s.nextRolled(spec, start); at < end; at = s.nextRolled(spec, at) {
		from, to := spec.Calendar.Hour(at)
		sum := s.hour(spec, from, to)
		sum.pour(t.bins)
		t.merge(sum.moments)
		at = to
	}
	return t
}

// nextRolled returns a time in the hour of the first reading at or after t,
// where t is the start of an hour that is not in the fold of the day; or Never.
func (s *Series) nextRolled(spec *Spec, t int64) int64 {
	n, _ := spec.minuteNumber()
	first := int64(Never)
	if u := s.rollup; u != nil {
		if u.hour.count > 0 && u.hour.firstTime >= t {
			first = u.hour.firstTime
		}
		t = max(t, u.folded)
	}
	return min(first, s.next(n, t))
}

// closeRollups emits the hours and days with readings that end after from and
// not after until.
func (s *Series) closeRollups(spec *Spec, from, until int64, out []Summary) []Summary {
	// The day cannot end without its last hour.
	if _, end := spec.Calendar.Hour(from); end > until {
		return out
	}
	start, _ := spec.Calendar.Hour(from)
	for t := s.nextRolled(spec, start); t < until; t = s.nextRolled(spec, t) {
		start, end := spec.Calendar.Hour(t)
		if end > until {
			break
		}
		out = append(out, s.summary(spec, ofHours, start, end, 1))
		t = end
	}
	start, _ = spec.Calendar.Day(from)
	for t := s.firstOfDay(spec, start); t < until; t = s.firstOfDay(spec, t) {
		start, end := spec.Calendar.Day(t)
		if end > until {
			break
		}
		out = append(out, s.summary(spec, ofDays, start, end, 1))
		t = end
	}
	return out
}

// firstOfDay is nextRolled for the start of a day, including the fold of the
// day.
func (s *Series) firstOfDay(spec *Spec, t int64) int64 {
	first := s.nextRolled(spec, t)
	if u := s.rollup; u != nil && u.day.count > 0 && u.day.start >= t {
		first = min(first, u.day.firstTime)
	}
	return first
}

// nextRollup returns when the first open hour or day with readings ends, or
// Never.
func (s *Series) nextRollup(spec *Spec, closed int64) int64 {
	start, end := spec.Calendar.Hour(closed)
	last := s.readings.last()
	if last >= start && last < end { // there is no need to look for the first
		return end
	}
	due := int64(Never)
	if last >= start {
		if t := s.nextRolled(spec, start); t != Never {
			_, due = spec.Calendar.Hour(t)
		}
	} else if u := s.rollup; u != nil && u.hour.count > 0 && u.hour.start >= start {
		_, due = spec.Calendar.Hour(u.hour.start)
	}
	start, _ = spec.Calendar.Day(closed)
	if t := s.firstOfDay(spec, start); t != Never {
		_, end := spec.Calendar.Day(t)
		due = min(due, end)
	}
	return due
}
