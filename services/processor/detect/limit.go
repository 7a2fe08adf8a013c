package detect

import (
	"errors"
	"math"
	"reflect"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Limit finds values beyond hard limits that a person sets.
//
// An episode opens when the value has been beyond a limit for For and closes
// when it has come back by Hysteresis. Between two readings the earlier one is
// taken to hold, for Silence at most.
type Limit struct {
	// Above and Below are the limits; a value equal to a limit is normal. Set +Inf
	// for no limit above, -Inf for no limit below.
	Above, Below float64
	// Hysteresis is how far the value must come back inside the limit before the
	// episode closes; 0 or more.
	Hysteresis float64
	// For is how long the value must be beyond the limit before the episode opens;
	// 0 opens it with the first reading.
	For time.Duration
	// Silence closes an episode whose series has no reading for that long.
	Silence time.Duration
}

var _ Detector = (*Limit)(nil)

// Validate returns all that is wrong with the parameters, joined.
func (l *Limit) Validate() error {
	var errs []error
	if math.IsNaN(l.Above) || math.IsNaN(l.Below) || l.Above == math.Inf(-1) || l.Below == math.Inf(1) ||
		math.IsInf(l.Above, 1) && math.IsInf(l.Below, -1) {
		errs = append(errs, errors.New("limit: above or below must be a number"))
	}
	if l.Below >= l.Above {
		errs = append(errs, errors.New("limit: below must be less than above"))
	}
	if !(l.Hysteresis >= 0) || math.IsInf(l.Hysteresis, 1) {
		errs = append(errs, errors.New("limit: hysteresis must be 0 or more"))
	}
	if l.For < 0 {
		errs = append(errs, errors.New("limit: for must be 0 or more"))
	}
	if l.Silence <= 0 {
		errs = append(errs, errors.New("limit: silence must be above 0"))
	}
	return errors.Join(errs...)
}

// Bytes is the memory of the state of one series.
func (l *Limit) Bytes() int { return int(reflect.TypeFor[limitState]().Size()) }

// Start returns the state of a series that has no readings yet.
func (l *Limit) Start() State { return &limitState{limit: l, last: Sample{Time: noTime}, used: noTime} }

// Read returns the state that Append wrote.
func (l *Limit) Read(r *codec.Reader) State {
	s := &limitState{limit: l, last: readSample(r), deaf: readDeaf(r), side: int8(r.Int()), used: noTime}
	if s.side > 1 {
		s.side, s.used = s.side-withUsed, r.Int()
	}
	if s.side != 0 {
		s.first, s.peak, s.emitted = readSample(r), r.Float(), r.Float()
	}
	if s.side < -1 || s.side > 1 {
		r.Fail()
	}
	return s
}

// limitState is what Limit knows of one series.
type limitState struct {
	limit *Limit
	last  Sample
	deaf  deaf
	// first is the first reading beyond the limit, peak the farthest value since;
	// both are valid only if side is not 0.
	first Sample
	peak  float64
	// emitted is the last score emitted; 0 while no episode is open.
	emitted float64
	// side is 1 while the value is above the upper limit, -1 while it is below the
	// lower one, and 0 otherwise.
	side int8
	// used is when the last episode that has ended began, or later: another one must
	// begin after it.
	used int64
}

// withUsed is added to the side in what Append writes if used follows.
const withUsed = 4

// Append appends the state to b.
func (s *limitState) Append(b []byte) []byte {
	// An episode that is open began after used, and one that begins with a later reading
	// will.
	side, used := int64(s.side), s.emitted == 0 && s.last.Time != noTime && s.used >= s.last.Time
	if used {
		side += withUsed
	}
	b = codec.Int(s.deaf.append(appendSample(b, s.last)), side)
	if used {
		b = codec.Int(b, s.used)
	}
	if s.side != 0 {
		b = codec.Float(codec.Float(appendSample(b, s.first), s.peak), s.emitted)
	}
	return b
}

// Open returns the last score emitted for the open episode, or 0.
func (s *limitState) Open() float64 { return s.emitted }

// Due is when For or Silence has passed.
func (s *limitState) Due() int64 {
	if s.side == 0 {
		return Never
	}
	due := s.quiet()
	if s.emitted == 0 {
		// At the very end a reading may still show that it did not last.
		due = min(due, s.opens()+1)
	}
	return due
}

// quiet is when the series counts as silent.
func (s *limitState) quiet() int64 { return s.last.Time + int64(s.deaf) + int64(s.limit.Silence) }

// opens is when the value has been beyond the limit for long enough if nothing
// comes. Nobody may have heard that it came back.
func (s *limitState) opens() int64 {
	return s.first.Time + int64(s.limit.For) + int64(s.deaf)
}

// Listen sets from when silence counts.
func (s *limitState) Listen(from int64) { s.deaf = listen(s.last.Time, from) }

// Score is how far beyond the limit the last reading was.
func (s *limitState) Score() float64 {
	if s.emitted == 0 {
		return 0
	}
	return share(s.score(s.last.Value))
}

// Learning is false: the limits are given.
func (s *limitState) Learning() bool { return false }

// Observe judges the next reading.
func (s *limitState) Observe(r Sample, unit string, out []Verdict) []Verdict {
	if !r.follows(s.last.Time) {
		return out
	}
	if s.side == 0 && s.limit.side(r.Value) == 0 {
		s.last, s.deaf = r, 0
		return out
	}
	out = s.Tick(r.Time, unit, out)
	s.last, s.deaf = r, 0
	return s.judge(r, r.Time, unit, out)
}

// Correct judges the latest reading again with another value. If this reading
// began an episode that has ended, the next episode starts when that is known.
func (s *limitState) Correct(r Sample, now int64, unit string, out []Verdict) []Verdict {
	if r.Time != s.last.Time || now >= s.quiet() {
		return out
	}
	at, n := max(now, r.Time), len(out)
	s.last = r
	if s.side != 0 && s.first.Time == r.Time {
		switch {
		case s.emitted == 0:
			s.clear()
		case s.limit.side(r.Value) != s.side:
			out = append(out, s.closed(at, s.limit.sentenceBack(s, unit)))
			s.end(at)
		default:
			s.first, s.peak = r, r.Value
		}
	}
	out = s.judge(r, at, unit, out)
	if len(out) == n && s.emitted > 0 {
		out = append(out, s.beyond(Update, at, unit))
	}
	return out
}

// judge takes the last reading at a time.
func (s *limitState) judge(r Sample, at int64, unit string, out []Verdict) []Verdict {
	side := s.limit.side(r.Value)
	switch {
	case s.emitted > 0 && s.back(r.Value):
		out = append(out, s.closed(at, s.limit.sentenceBack(s, unit)))
		s.end(at)
	case s.emitted > 0:
		s.track(r.Value)
		if score := s.score(r.Value); score >= s.emitted*worse {
			out = append(out, s.beyond(Update, at, unit))
		}
		return out
	case s.side != 0 && side != s.side:
		s.clear()
	}
	if side == 0 {
		return out
	}
	if s.side == 0 {
		at = s.begin(side, at)
	}
	s.track(r.Value)
	if at-s.first.Time >= int64(s.limit.For) {
		out = append(out, s.beyond(Open, at, unit))
	}
	return out
}

// Tick opens an episode that has lasted for long enough and closes one whose
// series is silent.
func (s *limitState) Tick(now int64, unit string, out []Verdict) []Verdict {
	if s.side == 0 {
		return out
	}
	quiet := s.quiet()
	if opens := s.opens(); s.emitted == 0 && opens < now && opens < quiet {
		out = append(out, s.beyond(Open, opens, unit))
	}
	if quiet > now {
		return out
	}
	if s.emitted > 0 {
		out = append(out, unheard(s.closed(quiet, silent(s.limit.Silence, s.last, unit))))
	}
	s.end(s.last.Time)
	return out
}

// Stop closes the open episode for the caller's reason.
func (s *limitState) Stop(now int64, reason string, out []Verdict) []Verdict {
	if s.emitted > 0 {
		out = append(out, s.closed(max(now, s.last.Time), reason))
	}
	s.end(s.last.Time)
	return out
}

// begin starts what may become an episode: with the last reading, or now if an episode
// that began then has ended. It returns now, which is later if one began now as well.
func (s *limitState) begin(side int8, now int64) int64 {
	s.side, s.first, s.peak = side, s.last, s.last.Value
	if s.used >= s.first.Time {
		now = max(now, s.used+1)
		s.first.Time = now
	}
	return now
}

// end forgets an episode that has ended. Another one may begin from then on, but not at
// the same time as that one.
func (s *limitState) end(from int64) {
	if s.emitted > 0 {
		s.used = max(s.first.Time, from-1)
	}
	s.clear()
}

func (s *limitState) clear() { s.side, s.emitted, s.first, s.peak = 0, 0, Sample{}, 0 }

// track remembers the farthest value.
func (s *limitState) track(v float64) {
	if s.side > 0 {
		s.peak = max(s.peak, v)
	} else {
		s.peak = min(s.peak, v)
	}
}

// back reports whether the value has come back far enough.
func (s *limitState) back(v float64) bool {
	if s.side > 0 {
		return v <= s.limit.Above-s.limit.Hysteresis
	}
	return v >= s.limit.Below+s.limit.Hysteresis
}

// score is 1 at the limit and rises with the distance: by one for half the
// width of the band between two limits, or for the distance of a single limit
// from zero.
func (s *limitState) score(v float64) float64 {
	l := s.limit
	bound := s.bound()
	scale := math.Abs(bound)
	switch {
	case !math.IsInf(l.Above, 0) && !math.IsInf(l.Below, 0):
		scale = l.Above/2 - l.Below/2
	case scale == 0 && l.Hysteresis > 0:
		scale = l.Hysteresis
	case scale == 0:
		scale = 1
	}
	return ratio(scale+(v-bound)*float64(s.side), scale)
}

func (s *limitState) bound() float64 {
	if s.side > 0 {
		return s.limit.Above
	}
	return s.limit.Below
}

// beyond returns the verdict of an episode that opens or gets worse.
func (s *limitState) beyond(phase Phase, at int64, unit string) Verdict {
	s.emitted = s.score(s.last.Value)
	v := s.verdict(phase, at)
	v.Evidence.Score = s.emitted
	value, bound := beside(s.last.Value, s.bound(), unit)
	v.Evidence.Sentence = value + ": " + s.where() + " the limit of " + bound
	if lasted := time.Duration(at - s.first.Time); lasted > 0 {
		v.Evidence.Sentence += " for " + figure.Duration(lasted)
	}
	return v
}

func (s *limitState) closed(at int64, sentence string) Verdict {
	v := s.verdict(Close, at)
	v.Evidence.Sentence = sentence
	return v
}

func (s *limitState) verdict(phase Phase, at int64) Verdict {
	baseline := s.bound()
	if math.IsInf(baseline, 0) { // a change took the limit away
		baseline = s.last.Value
	}
	return Verdict{Phase: phase, Start: s.first.Time, Time: at, Evidence: Evidence{
		Value: s.last.Value, Baseline: baseline, Low: s.limit.Below, High: s.limit.Above,
		Samples: distinct(s.first, s.last),
	}}
}

func (s *limitState) where() string {
	if s.side > 0 {
		return "above"
	}
	return "below"
}

// side returns on which side of the limits the value lies.
func (l *Limit) side(v float64) int8 {
	switch {
	case v > l.Above:
		return 1
	case v < l.Below:
		return -1
	default:
		return 0
	}
}

// sentenceBack says that the value came back inside the limit.
func (l *Limit) sentenceBack(s *limitState, unit string) string {
	extreme := "highest"
	if s.side < 0 {
		extreme = "lowest"
	}
	value, bound := beside(s.last.Value, s.bound(), unit)
	return value + ": no longer " + s.where() + " the limit of " + bound +
		" after " + figure.Duration(time.Duration(s.last.Time-s.first.Time)) + ", " + extreme + " " + quantity(s.peak, unit)
}
