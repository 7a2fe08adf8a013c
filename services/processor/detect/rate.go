package detect

import (
	"errors"
	"math"
	"reflect"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Rate finds values that rise or fall by a fixed amount within a time: the
// warehouse door that was left open.
//
// A reading is compared with the lowest (for a fall the highest) of the
// readings within Within before it. A series that reports less often than that
// is compared with its last reading, in proportion to the time: a value that
// rose by twice the amount in twice the time has risen by the amount within
// some part of it. Nothing is compared across Silence.
//
// An episode remembers the baseline that it rose from. It closes when half of
// the rise is undone, or when the value has not risen further for Settle: then
// that is the new normal.
type Rate struct {
	// Rise and Fall are the changes that are abnormal, both positive; 0 for none.
	Rise, Fall float64
	// Within is the time in which the change happens.
	Within time.Duration
	// Settle is how long an episode lasts without a further change of at least a
	// tenth of Rise or Fall in its direction.
	Settle time.Duration
	// Silence closes an episode whose series has no reading for that long.
	Silence time.Duration
}

var _ Detector = (*Rate)(nil)

const (
	// slots is the number of candidates for a baseline kept in each direction.
	// Readings that come faster than Within/slots are thinned out. The time in
	// which a change is seen may then be shorter than Within by one part in
	// slots-1, never longer.
	slots = 32
	// further is the part of Rise or Fall that counts as a further change.
	further = 0.1
)

// Validate returns all that is wrong with the parameters, joined.
func (p *Rate) Validate() error {
	var errs []error
	for _, change := range []float64{p.Rise, p.Fall} {
		if !(change >= 0) || math.IsInf(change, 1) {
			errs = append(errs, errors.New("rate: rise and fall must be 0 or more"))
		}
	}
	if p.Rise == 0 && p.Fall == 0 {
		errs = append(errs, errors.New("rate: rise or fall must be above 0"))
	}
	if p.Within <= 0 || p.Settle <= 0 || p.Silence <= 0 {
		errs = append(errs, errors.New("rate: within, settle and silence must be above 0"))
	}
	return errors.Join(errs...)
}

// Bytes is the most memory that the state of one series takes; most series take
// a quarter of it.
func (p *Rate) Bytes() int {
	n := int(reflect.TypeFor[rateState]().Size())
	if p.Fall > 0 {
		n += int(reflect.TypeFor[candidates]().Size())
	}
	for _, change := range []float64{p.Rise, p.Fall} {
		if change > 0 {
			n += slots * int(reflect.TypeFor[Sample]().Size())
		}
	}
	return n
}

// Start returns the state of a series that has no readings yet.
func (p *Rate) Start() State {
	s := &rateState{rate: p, last: Sample{Time: noTime}}
	if p.Fall > 0 {
		s.highest = new(candidates)
	}
	return s
}

// rateState is what Rate knows of one series.
type rateState struct {
	rate *Rate
	last Sample
	deaf deaf
	// lowest and highest are the candidates for the baseline of a rise and of a
	// fall while no episode is open. Highest is nil if falls do not count.
	lowest  candidates
	highest *candidates
	episode *rise
	// spent means that an episode which the last reading began has ended: another
	// one must not begin at its time.
	spent bool
}

// spent says in what Append writes that there is no episode, but one was spent.
const spent = 2

// rise is an open episode, in either direction.
type rise struct {
	// base is the reading that the value changed from, peak the farthest reading,
	// level the last one that was a further change.
	base, peak, level Sample
	start             int64
	emitted           float64
	// sign is 1 for a rise and -1 for a fall.
	sign float64
}

// candidates are readings, oldest first. Each is lower (times sign) than all
// readings after the previous candidate, so the first is the lowest of all.
type candidates []Sample

// push adds the newest reading.
func (c candidates) push(s Sample, sign float64, within time.Duration) candidates {
	n := len(c)
	for n > 0 && c[n-1].Value*sign >= s.Value*sign {
		n--
	}
	c = c[:n]
	// Of readings close together only the first is kept: it is the lowest, or it
	// would have been removed above.
	if n > 0 && s.Time-c[n-1].Time <= int64(within)/(slots-1) {
		return c
	}
	if n == cap(c) {
		// There are few candidates, and most series never need more: the room that
		// append would reserve costs more than it saves.
		grown := make(candidates, n, n+2)
		copy(grown, c)
		c = grown
	}
	return append(c, s)
}

// expire removes the readings before the time.
func (c candidates) expire(from int64) candidates {
	n := 0
	for n < len(c) && c[n].Time < from {
		n++
	}
	if n == 0 {
		return c
	}
	return c[:copy(c, c[n:])]
}

// Append appends the state to b.
func (s *rateState) Append(b []byte) []byte {
	b = s.deaf.append(appendSample(b, s.last))
	for _, sign := range [...]float64{1, -1} {
		var c candidates
		if kept := s.candidates(sign); kept != nil {
			c = *kept
		}
		b = codec.Times(b, len(c), func(i int) int64 { return c[i].Time })
		b = codec.Values(b, len(c), func(i int) float64 { return c[i].Value })
	}
	e := s.episode
	switch {
	case e != nil:
		b = codec.Uint(b, 1)
	case s.spent:
		b = codec.Uint(b, spent)
	default:
		b = codec.Uint(b, 0)
	}
	if e != nil {
		b = appendSample(appendSample(appendSample(b, e.base), e.peak), e.level)
		b = codec.Bool(codec.Float(codec.Int(b, e.start), e.emitted), e.sign > 0)
	}
	return b
}

// Read returns the state that Append wrote.
func (p *Rate) Read(r *codec.Reader) State {
	s := &rateState{rate: p, last: readSample(r), deaf: readDeaf(r)}
	if p.Fall > 0 {
		s.highest = new(candidates)
	}
	for _, sign := range [...]float64{1, -1} {
		times, c := r.Times(), s.candidates(sign)
		values := r.Values(len(times))
		if len(values) > 0 {
			if c == nil {
				r.Fail()
				return s
			}
			*c = make(candidates, 0, len(values))
		}
		for i, v := range values {
			*c = append(*c, Sample{Time: times[i], Value: v})
		}
	}
	switch r.Uint() {
	case 0:
		return s
	case spent:
		s.spent = true
		return s
	case 1:
		s.episode = &rise{base: readSample(r), peak: readSample(r), level: readSample(r), start: r.Int(), emitted: r.Float(), sign: -1}
		if r.Bool() {
			s.episode.sign = 1
		}
	default:
		r.Fail()
	}
	return s
}

// Open returns the last score emitted for the open episode, or 0.
func (s *rateState) Open() float64 {
	if s.episode == nil {
		return 0
	}
	return s.episode.emitted
}

// Due is when an open episode settles or its series counts as silent.
func (s *rateState) Due() int64 {
	if s.episode == nil {
		return Never
	}
	return min(s.settles(), s.last.Time+int64(s.deaf)+int64(s.rate.Silence))
}

// settles is when the value has not changed further for long enough if nothing
// comes. Nobody may have heard that it did change.
func (s *rateState) settles() int64 {
	return s.episode.level.Time + int64(s.rate.Settle) + int64(s.deaf)
}

// Listen sets from when silence counts.
func (s *rateState) Listen(from int64) { s.deaf = listen(s.last.Time, from) }

// Score is how far the last reading was from the baseline of the episode.
func (s *rateState) Score() float64 {
	e := s.episode
	if e == nil {
		return 0
	}
	return share(ratio((s.last.Value-e.base.Value)*e.sign, s.threshold(e.sign)))
}

// Learning is false: the change is given.
func (s *rateState) Learning() bool { return false }

// candidates returns the candidates for a rise or a fall; nil when falls do not
// count.
func (s *rateState) candidates(sign float64) *candidates {
	if sign < 0 {
		return s.highest
	}
	return &s.lowest
}

// clear forgets the candidates.
func (s *rateState) clear() {
	s.lowest = s.lowest[:0]
	if s.highest != nil {
		*s.highest = (*s.highest)[:0]
	}
}

// threshold is the change that is abnormal in the direction.
func (s *rateState) threshold(sign float64) float64 {
	if sign < 0 {
		return s.rate.Fall
	}
	return s.rate.Rise
}

// Observe judges the next reading.
func (s *rateState) Observe(r Sample, unit string, out []Verdict) []Verdict {
	if !r.follows(s.last.Time) {
		return out
	}
	if s.episode != nil {
		out = s.Tick(r.Time, unit, out)
	}
	s.deaf = 0
	if s.episode != nil {
		return s.follow(r, r.Time, unit, out)
	}
	s.spent = false
	if s.last.Time == noTime || r.Time-s.last.Time >= int64(s.rate.Silence) {
		s.restart(r)
		return out
	}
	for _, sign := range [...]float64{1, -1} {
		threshold, c := s.threshold(sign), s.candidates(sign)
		if threshold == 0 {
			continue
		}
		*c = c.expire(r.Time - int64(s.rate.Within))
		base, longer := s.last, max(1, float64(r.Time-s.last.Time)/float64(s.rate.Within))
		if len(*c) > 0 {
			base, longer = (*c)[0], 1
		}
		if change := (r.Value - base.Value) * sign; change >= threshold*longer {
			return append(out, s.open(base, r, r.Time, sign, change/longer, unit))
		}
		*c = c.push(r, sign, s.rate.Within)
	}
	s.last = r
	return out
}

// Correct judges the latest reading again with another value. Readings that the
// previous value has pushed out of the candidates stay out.
func (s *rateState) Correct(r Sample, now int64, unit string, out []Verdict) []Verdict {
	if r.Time != s.last.Time || now >= r.Time+int64(s.deaf)+int64(s.rate.Silence) {
		return out
	}
	now = max(now, r.Time)
	if e := s.episode; e != nil {
		if e.level.Time == r.Time {
			e.level = r
		}
		n := len(out)
		out = s.follow(r, now, unit, out)
		if len(out) == n && s.episode != nil {
			v := s.verdict(Update, now, distinct(e.base, r))
			v.Evidence.Score = max(1, ratio((r.Value-e.base.Value)*e.sign, s.threshold(e.sign)))
			v.Evidence.Sentence = s.sentence("has risen", "has fallen", r, unit)
			out = append(out, v)
		}
		return out
	}
	for _, sign := range [...]float64{1, -1} {
		threshold, c := s.threshold(sign), s.candidates(sign)
		if threshold == 0 {
			continue
		}
		if n := len(*c); n > 0 && (*c)[n-1].Time == r.Time {
			*c = (*c)[:n-1]
		}
		// If there are no candidates, the previous value was the lowest of all.
		base := s.last
		if len(*c) > 0 {
			base = (*c)[0]
		}
		if change := (r.Value - base.Value) * sign; change >= threshold && !s.spent {
			return append(out, s.open(base, r, now, sign, change, unit))
		}
		*c = c.push(r, sign, s.rate.Within)
	}
	s.last = r
	return out
}

// restart forgets what came before the reading.
func (s *rateState) restart(r Sample) {
	s.spent = s.episode != nil && s.episode.start == r.Time
	s.last, s.episode = r, nil
	s.clear()
	if s.rate.Rise > 0 {
		s.lowest = append(s.lowest, r)
	}
	if s.rate.Fall > 0 {
		*s.highest = append(*s.highest, r)
	}
}

// open begins an episode with a reading that is too far from its baseline.
// Change is how far it is within the time of the rule; at is when that is
// known.
func (s *rateState) open(base, r Sample, at int64, sign, change float64, unit string) Verdict {
	threshold, c := s.threshold(sign), *s.candidates(sign)
	samples := thin(append(c, r))
	if len(c) == 0 {
		samples = distinct(base, r)
	}
	e := &rise{base: base, peak: r, level: r, start: r.Time, sign: sign}
	s.episode, s.last = e, r
	v := s.verdict(Open, at, samples)
	v.Evidence.Score = ratio(change, threshold)
	v.Evidence.Sentence = s.sentence("rose", "fell", r, unit)
	// The score of a slow series is about a part of its rise; later scores are
	// about the whole.
	e.emitted = max(v.Evidence.Score, ratio((r.Value-base.Value)*sign, threshold))
	s.clear()
	return v
}

// follow judges a reading at a time while an episode is open.
func (s *rateState) follow(r Sample, at int64, unit string, out []Verdict) []Verdict {
	e := s.episode
	s.last = r
	threshold := s.threshold(e.sign)
	if (r.Value-e.peak.Value)*e.sign > 0 {
		e.peak = r
	}
	if (r.Value-e.level.Value)*e.sign >= threshold*further {
		e.level = r
	}
	if (e.peak.Value-r.Value)*e.sign >= (e.peak.Value-e.base.Value)*e.sign/2 {
		back, went := "fell", "rise"
		if e.sign < 0 {
			back, went = "rose", "fall"
		}
		sentence := quantity(r.Value, unit) + ": recovered, " + back + " at least half of its " + quantity(s.change(e.peak), unit) + " " + went
		out = append(out, s.closed(at, sentence))
		s.restart(r)
		return out
	}
	if score := ratio((r.Value-e.base.Value)*e.sign, threshold); score >= e.emitted*worse {
		e.emitted = score
		v := s.verdict(Update, at, distinct(e.base, r))
		v.Evidence.Score = score
		v.Evidence.Sentence = s.sentence("has risen", "has fallen", r, unit)
		out = append(out, v)
	}
	return out
}

// Tick closes an episode that has settled or whose series is silent.
func (s *rateState) Tick(now int64, unit string, out []Verdict) []Verdict {
	due := s.Due()
	if due > now {
		return out
	}
	v := unheard(s.closed(due, silent(s.rate.Silence, s.last, unit)))
	if e := s.episode; due == s.settles() {
		direction := "risen"
		if e.sign < 0 {
			direction = "fallen"
		}
		v = s.closed(due, quantity(s.last.Value, unit)+": has not "+direction+" further for "+figure.Duration(s.rate.Settle)+
			", taken as the new normal")
	}
	out = append(out, v)
	s.restart(s.last)
	return out
}

// Stop closes the open episode for the caller's reason.
func (s *rateState) Stop(now int64, reason string, out []Verdict) []Verdict {
	if s.episode != nil {
		out = append(out, s.closed(max(now, s.last.Time), reason))
		s.restart(s.last)
	}
	return out
}

func (s *rateState) closed(at int64, sentence string) Verdict {
	v := s.verdict(Close, at, distinct(s.episode.base, s.episode.peak, s.last))
	v.Evidence.Sentence = sentence
	return v
}

func (s *rateState) verdict(phase Phase, at int64, samples []Sample) Verdict {
	e := s.episode
	v := Verdict{Phase: phase, Start: e.start, Time: at, Evidence: Evidence{
		Value: s.last.Value, Baseline: e.base.Value, Low: math.Inf(-1), High: math.Inf(1), Within: s.rate.Within, Samples: samples,
	}}
	if s.rate.Rise > 0 {
		v.Evidence.High = min(e.base.Value+s.rate.Rise, math.MaxFloat64)
	}
	if s.rate.Fall > 0 {
		v.Evidence.Low = max(e.base.Value-s.rate.Fall, -math.MaxFloat64)
	}
	return v
}

// sentence says how far the reading is from the baseline and what is allowed.
func (s *rateState) sentence(up, down string, r Sample, unit string) string {
	threshold := s.threshold(s.episode.sign)
	verb := up
	if s.episode.sign < 0 {
		verb = down
	}
	change, limit := beside(s.change(r), threshold, unit)
	return quantity(r.Value, unit) + ": " + verb + " " + change + " in " + figure.Duration(time.Duration(r.Time-s.episode.base.Time)) +
		" (limit " + limit + " in " + figure.Duration(s.rate.Within) + ")"
}

// change is how far the reading is from the baseline.
func (s *rateState) change(r Sample) float64 {
	return min((r.Value-s.episode.base.Value)*s.episode.sign, math.MaxFloat64)
}
