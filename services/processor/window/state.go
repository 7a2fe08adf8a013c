package window

import (
	"headwater/services/processor/codec"
)

// Append appends the state of the series to b, without the readings that are no
// longer needed at p. Series that behave alike from here on give equal bytes.
func (s *Series) Append(b []byte, spec *Spec, p Progress) []byte {
	b = codec.Int(codec.Int(codec.Int(b, s.due), s.now), s.floor)
	var buffer [onStack]Reading
	kept := s.readings.appendTo(buffer[:0], s.keepFrom(spec, p))
	b = codec.Times(b, len(kept), func(i int) int64 { return kept[i].Time })
	b = codec.Values(b, len(kept), func(i int) float64 { return kept[i].Value })
	matters := func(r *revision) bool { return r.dirty || r.end > s.final(spec.window(r.window), p) }
	b = codec.Uint(b, count(s.revised(), matters))
	for i := range s.revised() {
		r := &s.revised()[i]
		if !matters(r) {
			continue
		}
		b = codec.Int(codec.Int(append(b, r.window), r.start), r.end-r.start)
		b = codec.Bool(codec.Uint(b, uint64(r.emitted)), r.dirty)
		b = codec.Int(b, r.hold)
	}
	remains := func(q *partial) bool { return s.matters(spec, p, q) }
	b = codec.Uint(b, count(s.partials(), remains))
	for i := range s.partials() {
		if q := &s.partials()[i]; remains(q) {
			b = q.tally.append(codec.Int(append(b, q.window), q.start))
			b = q.tally.bins.append(b)
		}
	}
	b = codec.Uint(b, uint64(len(s.sessions())))
	for i := range s.sessions() {
		b = s.sessions()[i].append(b)
	}
	b = codec.Bool(b, s.rollup != nil)
	if u := s.rollup; u != nil {
		b = codec.Int(b, u.folded)
		b = u.day.append(u.hour.append(b))
	}
	return b
}

// count counts the elements that matter.
func count[E any](list []E, matters func(*E) bool) uint64 {
	n := uint64(0)
	for i := range list {
		if matters(&list[i]) {
			n++
		}
	}
	return n
}

func (z *session) append(b []byte) []byte {
	b = codec.Int(append(b, z.window), z.anchor)
	b = codec.Int(codec.Int(codec.Bool(b, z.dirty), z.changed), z.hold)
	b = codec.Uint(b, uint64(len(z.emitted)))
	for _, t := range z.emitted {
		b = codec.Uint(codec.Uint(codec.Int(b, t.start), t.count), uint64(t.revision))
	}
	return b
}

func (f *fold) append(b []byte) []byte {
	b = codec.Bool(b, f.count > 0)
	if f.count == 0 {
		return b
	}
	return append(f.moments.append(codec.Int(b, f.start)), f.bins...)
}

// Read reads what Append wrote. The state is valid only if r.Err is nil
// afterwards. The specification must be the one that the state was written
// with.
func Read(r *codec.Reader, spec *Spec) Series {
	s := Series{due: r.Int(), now: r.Int(), floor: r.Int()}
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
	var revised []revision
	for range r.Count() {
		v := revision{window: r.Byte(), start: r.Int()}
		v.end = v.start + r.Int()
		v.emitted, v.dirty, v.hold = uint32(r.Uint()), r.Bool(), r.Int()
		revised = append(revised, v)
	}
	var partials []partial
	for range r.Count() {
		q := partial{window: r.Byte(), start: r.Int(), tally: tally{bins: new(sketch)}}
		q.tally.read(r)
		q.tally.bins.read(r)
		partials = append(partials, q)
	}
	var sessions []session
	for range r.Count() {
		z := session{window: r.Byte(), anchor: r.Int(), dirty: r.Bool(), changed: r.Int(), hold: r.Int()}
		for range r.Count() {
			z.emitted = append(z.emitted, emittedSession{start: r.Int(), count: r.Uint(), revision: uint32(r.Uint())})
		}
		sessions = append(sessions, z)
	}
	s.setRare(revised, partials, sessions)
	if r.Bool() {
		s.rollup = &rollup{folded: r.Int()}
		s.rollup.hour.read(r)
		s.rollup.day.read(r)
	}
	if !s.fits(spec) {
		r.Fail()
		return New()
	}
	return s
}

// fits reports whether the specification has all windows of the state.
func (s *Series) fits(spec *Spec) bool {
	for _, v := range s.revised() {
		if int(v.window) >= len(spec.Windows) && (v.window < ofHours || spec.Calendar == nil) {
			return false
		}
	}
	for _, q := range s.partials() {
		if int(q.window) >= len(spec.Windows) {
			return false
		}
	}
	for _, z := range s.sessions() {
		if int(z.window) >= len(spec.Windows) || spec.Windows[z.window].Kind != Session {
			return false
		}
	}
	return s.rollup == nil || spec.Calendar != nil
}

func (f *fold) read(r *codec.Reader) {
	if !r.Bool() {
		return
	}
	f.start = r.Int()
	f.moments.read(r)
	var bins sketch
	bins.read(r)
	f.keep(&bins)
}
