package window

import (
	"time"

	"headwater/services/processor/pack"
)

// Append appends the state of the series to b, without the readings that are no
// longer needed at p. Series that behave alike from here on give equal bytes.
func (s *Series) Append(b []byte, spec *Spec, p Progress) []byte {
	b = pack.Int(b, s.due)
	b = pack.Int(b, s.closed)
	b = pack.Int(b, s.floor)
	oldest := s.oldest(spec, p)
	var buffer [onStack]Reading
	kept := s.readings.appendTo(buffer[:0], s.keepFrom(spec, oldest))
	b = pack.Times(b, len(kept), func(i int) int64 { return kept[i].Time })
	b = pack.Values(b, len(kept), func(i int) float64 { return kept[i].Value })
	revised := 0
	for _, r := range s.revised {
		if r.matters(oldest) {
			revised++
		}
	}
	b = pack.Uint(b, uint64(revised))
	for _, r := range s.revised {
		if !r.matters(oldest) {
			continue
		}
		b = pack.Int(b, r.start)
		b = pack.Int(b, int64(r.width))
		b = pack.Uint(b, uint64(r.told))
		b = pack.Bool(b, r.dirty)
		b = pack.Int(b, r.hold)
	}
	partials := 0
	for _, q := range s.partials {
		if q.matters(s.closed, oldest) {
			partials++
		}
	}
	b = pack.Uint(b, uint64(partials))
	for _, q := range s.partials {
		if !q.matters(s.closed, oldest) {
			continue
		}
		b = pack.Int(b, q.start)
		b = pack.Int(b, int64(q.width))
		b = pack.Uint(b, q.moments.count)
		for _, v := range [...]float64{q.moments.min, q.moments.max, q.moments.first, q.moments.last, q.moments.mean, q.moments.squares} {
			b = pack.Float(b, v)
		}
		b = pack.Bool(b, q.moments.scaled)
	}
	return b
}

// matters reports whether the window can still be told again.
func (r *revision) matters(oldest int64) bool {
	return r.dirty || r.start+int64(r.width) > oldest
}

// matters reports whether the window can still be told, for the first time or
// again.
func (q *partial) matters(closed, oldest int64) bool {
	end := q.start + int64(q.width)
	return end > oldest || end > closed
}

// Read reads what Append wrote. The state is good only if r.Err is nil
// afterwards.
func Read(r *pack.Reader) Series {
	s := Series{due: r.Int(), closed: r.Int(), floor: r.Int()}
	times := r.Times()
	values := r.Values(len(times))
	if r.Err() != nil {
		return New()
	}
	readings := make([]Reading, len(times))
	for i := range times {
		readings[i] = Reading{Time: times[i], Value: values[i]}
		if i > 0 && times[i] <= times[i-1] {
			r.Fail()
			return New()
		}
	}
	s.readings.set(readings)
	for range r.Count() {
		s.revised = append(s.revised, revision{
			start: r.Int(), width: time.Duration(r.Int()), told: uint32(r.Uint()), dirty: r.Bool(), hold: r.Int(),
		})
	}
	for range r.Count() {
		q := partial{start: r.Int(), width: time.Duration(r.Int())}
		q.moments.count = r.Uint()
		for _, v := range [...]*float64{
			&q.moments.min, &q.moments.max, &q.moments.first, &q.moments.last, &q.moments.mean, &q.moments.squares,
		} {
			*v = r.Float()
		}
		q.moments.scaled = r.Bool()
		s.partials = append(s.partials, q)
	}
	return s
}
