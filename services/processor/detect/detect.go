// Package detect decides whether a reading is abnormal. Each detector is a set
// of parameters, shared by all the series that a rule watches, and a small
// state for each of them. It is pure: event times and the clock are arguments,
// equal input gives equal verdicts, and a verdict never depends on what comes
// later.
//
// Limit and Rate take what people say. The others learn what is usual for each
// series and take how many false alarms a week are bearable: Range, Season,
// Shift, Surge, Stuck, Silence, Drift, and Auto for any series. Spike is no
// detector: it cleans the readings for one.
//
// Detectors own hysteresis and duration: what they tell are the transitions of
// episodes, not single readings. They are driven by readings in the order of
// their event times, each exactly once, and by the clock. Whether a deadline is
// noticed by the clock or only by the next reading makes no difference to the
// verdict.
package detect

import (
	"math"
	"time"

	"headwater/services/processor/codec"
)

const (
	// Never is a time that does not come.
	Never = math.MaxInt64
	// MaxSamples bounds the readings in an Evidence.
	MaxSamples = 16
	// MaxScore bounds scores.
	MaxScore = 1000

	// before is earlier than any event time.
	before = math.MinInt64 / 2
	// telling is how much the score must rise over what was told last for an
	// update: people hear again when it gets worse by half.
	telling = 1.5
)

// Sample is one reading: a finite number at an event time in nanoseconds since
// the Unix epoch.
type Sample struct {
	Time  int64
	Value float64
}

// Phase is the part of an episode's life that a verdict tells of.
type Phase uint8

const (
	// Open is the first verdict of an episode.
	Open Phase = iota + 1
	// Update tells that an open episode got worse.
	Update
	// Close is the last verdict of an episode.
	Close
)

// String returns the name of the phase.
func (p Phase) String() string {
	switch p {
	case Open:
		return "open"
	case Update:
		return "update"
	case Close:
		return "close"
	default:
		return "unknown"
	}
}

// Verdict is one transition of one episode. All times are event times in
// nanoseconds since the Unix epoch.
type Verdict struct {
	Phase Phase
	// Start is when the episode began. No two episodes of a series share it.
	Start int64
	// Time is when the transition happened.
	Time     int64
	Evidence Evidence
}

// Evidence says why.
type Evidence struct {
	// Value is the value that was judged.
	Value float64
	// Score says how far beyond the allowed it is: 1 at the threshold, 2 at
	// twice the allowed, at most MaxScore; 0 in a verdict that closes.
	Score float64
	// Baseline is what was expected.
	Baseline float64
	// Low and High bound what is not abnormal; infinite where nothing does.
	Low, High float64
	// Samples are the readings that the verdict rests on, oldest first.
	Samples []Sample
	// Sentence says the same in words for people.
	Sentence string
}

// Detector is the parameters of one detector. It may be used by several
// goroutines; its states may not.
type Detector interface {
	// Validate returns all that is wrong with the parameters, joined.
	Validate() error
	// Start returns the state of a series that has no readings yet.
	Start() State
	// Read returns the state that Append wrote under equal parameters. It is
	// good only if the reader has no error afterwards.
	Read(r *codec.Reader) State
	// Adopt returns the state of a series that continues from old, a state of the same
	// detector under other parameters, which must not be used afterwards. It appends
	// to out what the other parameters make of the last reading by now, in event
	// time: an open episode ends only if they would not have opened it, and says so.
	// It returns nil, and has done nothing, if old is of another detector.
	Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict)
	// Bytes is the most memory that the state of one series takes.
	Bytes() int
}

// State is what a detector knows of one series. All methods append their
// verdicts, in the order of their times, to out and return it. The unit of the
// series is for the sentences only. It is for one goroutine only.
type State interface {
	// Observe judges the next reading: its event time must be after that of the
	// one before. A reading that is not, or that is no finite number, changes
	// nothing.
	Observe(s Sample, unit string, out []Verdict) []Verdict
	// Listen sets from when on it counts that nothing has come since the
	// last reading: nobody listened before. It holds until the next reading, or the
	// next Listen; a time that is not after the last reading takes it back.
	Listen(from int64)
	// Tick tells the state that there was no further reading up to now, which
	// must not lie before a reading that was observed.
	Tick(now int64, unit string, out []Verdict) []Verdict
	// Stop closes the episode, if there is one, for a reason that has nothing to
	// do with the readings. The state must not be used afterwards.
	Stop(now int64, reason string, out []Verdict) []Verdict
	// Open returns the score that was told last of the open episode, or 0.
	Open() float64
	// Score says how abnormal the reading observed last was, from 0, not at all,
	// to 1. The calibrated detectors give a tenth of -log10 p, p being how seldom
	// such a reading comes; Limit and Rate give 0 while no episode is open and
	// from 0.5 on while one is. It is of the moment: 0 after Read.
	Score() float64
	// Learning reports whether too little is known of the series to judge it.
	Learning() bool
	// Due is the time from which on Tick has something to tell; Never if only a
	// reading can change anything.
	Due() int64
	// Append appends the state to b. Equal states give equal bytes.
	Append(b []byte) []byte
}

// Corrector is a State that judges the latest reading again when another value
// takes its place. What has learned from the value before, keeps that: one
// reading is next to nothing in what is learned.
type Corrector interface {
	State
	// Correct takes the latest reading with its new value, now as for Tick. One of
	// another event time changes nothing.
	Correct(s Sample, now int64, unit string, out []Verdict) []Verdict
}

// ratio returns part/whole as a score: finite and at least 1.
func ratio(part, whole float64) float64 {
	if s := part / whole; s < MaxScore { // false for NaN and infinities
		return max(s, 1)
	}
	return MaxScore
}

// share turns a score, 1 at the threshold, into a part of 1.
func share(score float64) float64 { return score / (1 + score) }

// thin returns at most MaxSamples of the samples, evenly spread, with the first
// and the last, in memory of their own.
func thin(samples []Sample) []Sample {
	n := len(samples)
	if n <= MaxSamples {
		return append([]Sample(nil), samples...)
	}
	out := make([]Sample, MaxSamples)
	for i := range out {
		out[i] = samples[i*(n-1)/(MaxSamples-1)]
	}
	return out
}

// distinct returns the samples without those that repeat the time of the one
// before.
func distinct(samples ...Sample) []Sample {
	out := samples[:0]
	for _, s := range samples {
		if len(out) == 0 || out[len(out)-1].Time < s.Time {
			out = append(out, s)
		}
	}
	return out
}

// silent is the sentence for an episode that ends because nothing is heard.
func silent(after time.Duration, last Sample, unit string) string {
	return "no reading for " + span(after) + "; the last was " + quantity(last.Value, unit)
}

// follows reports whether the sample may be judged after a reading at last.
func (s Sample) follows(last int64) bool {
	return s.Time > last && !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0)
}

// deaf is for how long after the last reading nobody listened: that nothing came
// in that time says nothing.
type deaf int64

// listen returns what is not heard from the last reading to a time.
func listen(last, from int64) deaf {
	if last == before {
		return 0
	}
	return deaf(max(0, from-last))
}

func (d deaf) append(b []byte) []byte { return codec.Uint(b, uint64(d)) }

func readDeaf(r *codec.Reader) deaf { return deaf(min(r.Uint(), Never/4)) }

func appendSample(b []byte, s Sample) []byte {
	return codec.Float(codec.Int(b, s.Time), s.Value)
}

func readSample(r *codec.Reader) Sample {
	return Sample{Time: r.Int(), Value: r.Float()}
}
