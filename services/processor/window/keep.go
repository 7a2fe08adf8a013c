package window

import (
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

// makeRoom drops readings that are no longer needed, or else lets the series
// grow by an eighth, or else, at the greatest size, folds its oldest quarter.
func (s *Series) makeRoom(spec *Spec, oldest int64, out []Summary) []Summary {
	n := len(s.readings)
	drop := s.search(s.keepFrom(spec, oldest))
	if len(s.partials) > 0 {
		s.partials = slices.DeleteFunc(s.partials, func(q partial) bool {
			end := q.start + int64(q.width)
			return end <= oldest && end <= s.closed
		})
	}
	switch {
	case drop > 0 && drop >= n/16:
		s.readings = s.readings[:copy(s.readings, s.readings[drop:])]
	case n < spec.MaxReadings:
		grown := make([]Reading, n-drop, min(n-drop+n/8+2, max(spec.MaxReadings, n+1)))
		copy(grown, s.readings[drop:])
		s.readings = grown
	default:
		out = s.fold(n/4, out, spec)
	}
	return out
}

// fold gives up the n oldest readings. Windows that they belong to go on from
// the sums so far; late readings of that age are too late from now on.
func (s *Series) fold(n int, out []Summary, spec *Spec) []Summary {
	floor := s.readings[n-1].Time
	for i := range s.revised {
		if r := &s.revised[i]; r.dirty && r.start <= floor {
			out = s.tell(r, out)
		}
	}
	var partials []partial
	for _, width := range spec.Widths {
		for _, q := range s.partials {
			if q.width == width && q.start+int64(width) <= s.readings[0].Time && q.start+int64(width) > s.closed {
				partials = append(partials, q)
			}
		}
		for i := 0; i < n; {
			start := Start(s.readings[i].Time, width)
			end := start + int64(width)
			m := s.before(start, width)
			for ; i < n && s.readings[i].Time < end; i++ {
				m.add(s.readings[i].Value)
			}
			if end > floor || end > s.closed {
				partials = append(partials, partial{start: start, width: width, moments: m})
			}
		}
	}
	s.partials, s.floor = partials, floor
	s.readings = s.readings[:copy(s.readings, s.readings[n:])]
	return out
}

// sum adds up the window whose first kept reading has the index and returns the
// index of the first reading after it.
func (s *Series) sum(start int64, width time.Duration, i int) (moments, int) {
	m := s.before(start, width)
	end := start + int64(width)
	for ; i < len(s.readings) && s.readings[i].Time < end; i++ {
		m.add(s.readings[i].Value)
	}
	return m, i
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

// search returns the index of the first reading at or after t. What is looked
// for is nearly always close to the end.
func (s *Series) search(t int64) int {
	n := len(s.readings)
	step := 1
	for step <= n && s.readings[n-step].Time >= t {
		step *= 2
	}
	low, high := max(0, n-step), n-step/2
	for low < high {
		if mid := int(uint(low+high) / 2); s.readings[mid].Time < t {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}
