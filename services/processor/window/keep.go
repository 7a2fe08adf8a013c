package window

import (
	"cmp"
	"slices"
	"time"
)

// oldest returns the least event time that is still within the lateness.
func (s *Series) oldest(spec *Spec, p Progress) int64 {
	return max(p.Watermark, minTime/2) - int64(spec.Delay+spec.Lateness)
}

// keepFrom returns the least event time whose readings are still needed, given
// the least one that is within the lateness.
func (s *Series) keepFrom(spec *Spec, oldest int64) int64 {
	keep := oldest
	for _, width := range spec.Widths {
		keep = min(keep, Start(oldest, width))
	}
	for _, r := range s.revised {
		if r.dirty {
			keep = min(keep, r.start)
		}
	}
	return keep
}

// makeRoom drops readings that are no longer needed, and folds the oldest
// quarter if the series has the greatest size nevertheless.
func (s *Series) makeRoom(spec *Spec, oldest int64, out []Summary) []Summary {
	if len(s.partials) > 0 {
		s.partials = slices.DeleteFunc(s.partials, func(q partial) bool {
			end := q.start + int64(q.width)
			return end <= oldest && end <= s.closed
		})
	}
	keep := s.keepFrom(spec, oldest)
	if n := s.readings.len(); n >= spec.MaxReadings {
		var buffer [onStack]Reading
		all := s.readings.appendTo(buffer[:0], minTime)
		drop, _ := slices.BinarySearchFunc(all, keep, func(r Reading, t int64) int { return cmp.Compare(r.Time, t) })
		if drop == 0 || drop < n/16 {
			drop = n / 4
			out = s.fold(all[:drop], out, spec)
		}
		s.readings.set(all[drop:])
	}
	if s.readings.full() {
		s.readings.makeRoom(keep)
	}
	return out
}

// fold tells readings, the oldest, that are to be given up. Windows that they
// belong to go on from the sums so far; late readings of that age are too late
// from now on.
func (s *Series) fold(readings []Reading, out []Summary, spec *Spec) []Summary {
	floor := readings[len(readings)-1].Time
	for i := range s.revised {
		if r := &s.revised[i]; r.dirty && r.start <= floor {
			out = s.tell(r, out)
		}
	}
	var partials []partial
	for _, width := range spec.Widths {
		for _, q := range s.partials {
			if q.width == width && q.start+int64(width) <= readings[0].Time && q.start+int64(width) > s.closed {
				partials = append(partials, q)
			}
		}
		for i := 0; i < len(readings); {
			start := Start(readings[i].Time, width)
			end := start + int64(width)
			m := s.before(start, width)
			for ; i < len(readings) && readings[i].Time < end; i++ {
				m.add(readings[i].Value)
			}
			if end > floor || end > s.closed {
				partials = append(partials, partial{start: start, width: width, moments: m})
			}
		}
	}
	s.partials, s.floor = partials, floor
	return out
}

// sum adds up the window.
func (s *Series) sum(start int64, width time.Duration) moments {
	m := s.before(start, width)
	end := start + int64(width)
	for c := s.readings.from(start); c.next() && c.reading.Time < end; {
		m.add(c.reading.Value)
	}
	return m
}

// before returns the sums over the folded readings of the window.
func (s *Series) before(start int64, width time.Duration) moments {
	if i := s.partial(start, width); i >= 0 {
		return s.partials[i].moments
	}
	return moments{}
}

func (s *Series) partial(start int64, width time.Duration) int {
	if len(s.partials) == 0 {
		return -1
	}
	return slices.IndexFunc(s.partials, func(q partial) bool { return q.start == start && q.width == width })
}
