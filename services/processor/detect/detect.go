// Package detect decides whether a reading is abnormal. A detector holds the
// parameters that all series of a rule share, plus a small state for each
// series. The package is pure: event times and the clock are arguments, equal
// input gives equal verdicts, and a verdict never depends on later input.
//
// Limit, Rate and Unreadable take thresholds that a person sets. The other
// detectors learn what is usual for each series and take the number of false
// alarms a week that people accept: Range, Season, Shift, Surge, Stuck,
// Silence, Drift, and Auto for any series. Spike is not a detector: it cleans
// the readings for one.
//
// Detectors own hysteresis and duration: they emit the transitions of episodes,
// not single readings. They are driven by readings in the order of their event
// times, each exactly once, and by the clock. The verdict is the same whether
// the clock or the next reading reveals that a deadline has passed.
package detect

import (
	"math"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

const (
	// Never is a time that never comes.
	Never = math.MaxInt64
	// MaxSamples bounds the readings in an Evidence.
	MaxSamples = 16
	// MaxScore bounds scores.
	MaxScore = 1000

	// noTime stands for the time of a reading that does not exist. It is earlier
	// than any event time.
	noTime = math.MinInt64 / 2
	// worse is the factor by which the score must exceed the last one emitted for
	// an update: people are notified again when it gets worse by half.
	worse = 1.5
)

// Sample is one reading: a finite number at an event time in nanoseconds since
// the Unix epoch.
type Sample struct {
	Time  int64
	Value float64
}

// Phase is the part of an episode's life that a verdict reports.
type Phase uint8

const (
	// Open is the first verdict of an episode.
	Open Phase = iota + 1
	// Update reports that an open episode got worse.
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
	// End is why the episode ended, if the phase is Close.
	End End
}

// End is why an episode ended.
type End uint8

const (
	// Recovered means that the values are normal again, or taken as the new normal.
	Recovered End = iota
	// NoData means that no readings come any more.
	NoData
	// RuleChanged means that the rule was changed or removed. Detectors leave it to
	// their caller, who changes the rule.
	RuleChanged
)

// unheard returns the verdict that closes an episode because no readings come.
func unheard(v Verdict) Verdict {
	v.End = NoData
	return v
}

// Evidence explains a verdict.
type Evidence struct {
	// Value is the value that was judged.
	Value float64
	// Score is how far Value is beyond what is allowed: 1 at the threshold, 2 at
	// twice the threshold, at most MaxScore; 0 in a verdict that closes.
	Score float64
	// Baseline is what was expected.
	Baseline float64
	// Low and High bound the normal values; an infinite one means no bound.
	Low, High float64
	// Within is above 0 when Low and High bound a change from Baseline within that
	// time and not a level.
	Within time.Duration
	// Samples are the readings behind the verdict, oldest first.
	Samples []Sample
	// Sentence explains the verdict in words for people.
	Sentence string
}

// Detector is the parameters of one detector. It may be used by several
// goroutines; its states may not.
type Detector interface {
	// Validate returns all problems of the parameters, joined.
	Validate() error
	// Start returns the state of a series without readings.
	Start() State
	// Read returns the state that Append wrote under equal parameters. The state
	// is valid only if the reader has no error afterwards.
	Read(r *codec.Reader) State
	// Adopt returns the state of a series that continues from old, a state of the
	// same detector under other parameters. Old must not be used afterwards. Adopt
	// appends to out what the new parameters make of the last reading by now, in
	// event time. An open episode ends only if the new parameters would not have
	// opened it; its last verdict says so. If old belongs to another detector,
	// Adopt returns nil and does nothing.
	Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict)
	// Bytes is the most memory that the state of one series takes.
	Bytes() int
}

// State is what a detector knows of one series. All methods append their
// verdicts to out, in the order of their times, and return it. The unit of the
// series is used only in sentences. A State must not be used by two goroutines
// at a time.
type State interface {
	// Observe judges the next reading. Its event time must be after that of the
	// previous reading, and its value finite; otherwise Observe does nothing.
	Observe(s Sample, unit string, out []Verdict) []Verdict
	// Listen sets the time from which the absence of readings counts, because
	// before it Headwater did not listen. It holds until the next reading or the next
	// Listen. A time that is not after the last reading cancels it.
	Listen(from int64)
	// Tick says that no further reading came up to now, which must not be before
	// an observed reading.
	Tick(now int64, unit string, out []Verdict) []Verdict
	// Stop closes the open episode, if any, for a reason that has nothing to do
	// with the readings. The state must not be used afterwards.
	Stop(now int64, reason string, out []Verdict) []Verdict
	// Open returns the last score emitted for the open episode, or 0 without one.
	Open() float64
	// Score is how abnormal the last observed reading was, from 0, not at all, to
	// 1. The calibrated detectors give a tenth of -log10 p, where p is the
	// probability of such a reading. Limit and Rate give 0 without an open episode
	// and 0.5 or more with one. The score is momentary: 0 after Read.
	Score() float64
	// Learning reports whether too little is known of the series to judge it.
	Learning() bool
	// Due is the earliest time at which Tick may emit something; Never if only a
	// reading can change anything.
	Due() int64
	// Append appends the state to b. Equal states give equal bytes.
	Append(b []byte) []byte
}

// Corrector is a State that judges the latest reading again when another value
// takes its place. What has been learned from the previous value stays: one
// reading hardly changes what is learned.
type Corrector interface {
	State
	// Correct takes the latest reading with its new value; now is as for Tick. A
	// reading with another event time changes nothing.
	Correct(s Sample, now int64, unit string, out []Verdict) []Verdict
}

// ratio returns part/whole as a score: finite and at least 1.
func ratio(part, whole float64) float64 {
	if s := part / whole; s < MaxScore { // false for NaN and infinities
		return max(s, 1)
	}
	return MaxScore
}

// share maps a score, 1 at the threshold, to the range from 0 to 1.
func share(score float64) float64 { return score / (1 + score) }

// thin returns at most MaxSamples of the samples, evenly spread, including the
// first and the last, in memory of their own.
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

// distinct drops the samples whose time is not after that of the previous one.
func distinct(samples ...Sample) []Sample {
	out := samples[:0]
	for _, s := range samples {
		if len(out) == 0 || out[len(out)-1].Time < s.Time {
			out = append(out, s)
		}
	}
	return out
}

// Unbounded is the evidence of what has no bounds.
func Unbounded(r Sample, sentence string) Evidence {
	return Evidence{Value: r.Value, Baseline: r.Value, Low: math.Inf(-1), High: math.Inf(1), Samples: []Sample{r}, Sentence: sentence}
}

// silent is the sentence for an episode that ends because its series is silent.
func silent(after time.Duration, last Sample, unit string) string {
	return "no reading for " + figure.Duration(after) + "; the last was " + quantity(last.Value, unit)
}

// follows reports whether the sample may be judged after a reading at last.
func (s Sample) follows(last int64) bool {
	return s.Time > last && !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0)
}

// deaf is for how long after the last reading Headwater did not listen. The absence of
// readings in that time proves nothing.
type deaf int64

// listen returns the time between the last reading and from, in which nobody
// listened.
func listen(last, from int64) deaf {
	if last == noTime {
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
