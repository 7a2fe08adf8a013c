package detect

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Silence finds series that have stopped reporting. It opens by the clock,
// without a new reading, and closes with the next reading. How often and how
// regularly a series reports is learned: an episode never opens before three
// usual intervals have passed.
type Silence struct {
	// FalseAlarms is as in Alarms.
	FalseAlarms float64
}

var _ Detector = (*Silence)(nil)

const (
	// silenceLeast is the shortest silence, in usual intervals.
	silenceLeast = 3
	// jitterTail turns the mean distance from the usual interval into the mean of
	// an exponential law. Neither includes gaps.
	jitterTail = 1.4
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Silence) Validate() error {
	if !(d.FalseAlarms > 0) || d.FalseAlarms > 1000 {
		return fmt.Errorf("silence: false alarms must be above 0 and at most 1000 a week")
	}
	return nil
}

// Start returns the state of a series that has no readings yet.
func (d *Silence) Start() State { return &silenceState{silence: d, pace: pace{last: noTime}} }

// Bytes is the memory of the state of one series.
func (d *Silence) Bytes() int { return int(reflect.TypeFor[silenceState]().Size()) }

// Read returns the state that Append wrote.
func (d *Silence) Read(r *codec.Reader) State {
	s := &silenceState{silence: d}
	s.pace.read(r)
	s.deaf = readDeaf(r)
	s.value, s.start, s.open = r.Float(), r.Int(), r.Bool()
	s.longest, s.ago = r.Int(), int(min(r.Uint(), holdOff+1))
	return s
}

type silenceState struct {
	silence *Silence
	pace    pace
	deaf    deaf
	// value is the value of the last reading.
	value float64
	start int64
	open  bool
	// longest is the last silence emitted, ago the number of readings since: for
	// holdOff readings only a longer silence is news.
	longest int64
	ago     int
	score   float64
}

// Append appends the state to b.
func (s *silenceState) Append(b []byte) []byte {
	b = s.deaf.append(s.pace.append(b))
	b = codec.Bool(codec.Int(codec.Float(b, s.value), s.start), s.open)
	return codec.Uint(codec.Int(b, s.longest), uint64(min(s.ago, holdOff+1)))
}

// Open is 1 while the series is silent.
func (s *silenceState) Open() float64 {
	if s.open {
		return 1
	}
	return 0
}

// Score is above 0 for a reading that ends a silence.
func (s *silenceState) Score() float64 { return s.score }

// Learning reports whether it is unknown how often the series reports.
func (s *silenceState) Learning() bool { return !s.pace.known() }

// allowed is how long the series may be silent, in nanoseconds.
func (s *silenceState) allowed() int64 {
	usual := s.pace.usual.value
	accepted := math.Log(max(s.pace.aWeek()/s.silence.FalseAlarms, 1))
	allowed := max(usual*silenceLeast, usual+jitterTail*s.pace.jitter.value*accepted)
	return int64(min(allowed, float64(Never/4)))
}

// Due is when the series has been silent for too long.
func (s *silenceState) Due() int64 {
	if s.open || !s.pace.known() {
		return Never
	}
	allowed := s.allowed()
	if s.ago <= holdOff {
		allowed = max(allowed, s.longest)
	}
	// At the very end a reading may still come.
	return s.pace.last + int64(s.deaf) + allowed + 1
}

// Listen sets from when silence counts.
func (s *silenceState) Listen(from int64) { s.deaf = listen(s.pace.last, from) }

// Observe ends a silence.
func (s *silenceState) Observe(r Sample, unit string, out []Verdict) []Verdict {
	if !r.follows(s.pace.last) {
		return out
	}
	out = s.Tick(r.Time, unit, out)
	s.score = 0
	s.ago = min(s.ago+1, holdOff+1)
	if s.open {
		surprise := math.Log10(max(s.pace.aWeek()/s.silence.FalseAlarms, 100))
		s.score = min(surprise*float64(r.Time-s.pace.last)/float64(s.allowed())/10, 1)
		s.longest, s.ago = r.Time-s.pace.last, 0
		// A device that was cut off first sends the readings it kept, which may be
		// from before the episode began.
		sentence := quantity(r.Value, unit) + ": back after " + elapsed(s.pace.last, r.Time)
		if r.Time < s.start {
			sentence = quantity(r.Value, unit) + ": back, with readings from while it was silent"
		}
		out = append(out, s.closed(max(s.start, r.Time), Sample{Time: r.Time, Value: r.Value}, sentence))
	}
	s.value = r.Value
	if s.deaf > 0 {
		s.pace.last = r.Time // how often it reports does not show
	} else {
		s.pace.begin(r.Time)
		s.pace.end(r.Time)
	}
	s.deaf = 0
	return out
}

// Tick opens an episode when the series has been silent for too long.
func (s *silenceState) Tick(now int64, unit string, out []Verdict) []Verdict {
	due := s.Due()
	if due > now {
		return out
	}
	s.open, s.start = true, due
	v := s.verdict(Open, due, Sample{Time: s.pace.last, Value: s.value})
	v.Evidence.Score = 1
	v.Evidence.Sentence = "no reading for " + elapsed(s.pace.last, due-1) + "; the last was " + quantity(s.value, unit) +
		"; one every " + figure.Duration(time.Duration(s.pace.usual.value)) + " is usual"
	return append(out, v)
}

// Stop closes the open episode for the caller's reason.
func (s *silenceState) Stop(now int64, reason string, out []Verdict) []Verdict {
	if s.open {
		out = append(out, s.closed(max(now, s.start), Sample{Time: s.pace.last, Value: s.value}, reason))
	}
	return out
}

func (s *silenceState) closed(at int64, r Sample, sentence string) Verdict {
	v := s.verdict(Close, at, r)
	v.Evidence.Sentence = sentence
	s.open = false
	return v
}

func (s *silenceState) verdict(phase Phase, at int64, r Sample) Verdict {
	return Verdict{Phase: phase, Start: s.start, Time: at, Evidence: Evidence{
		Value: r.Value, Baseline: s.value, Low: math.Inf(-1), High: math.Inf(1), Samples: []Sample{r},
	}}
}
