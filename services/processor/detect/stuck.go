package detect

import (
	"math"

	"headwater/services/processor/codec"
)

// Stuck finds sensors that give the same value again and again: frozen, cut
// off, replaced by a constant. How long a value usually stays the same is
// learned for each series, from thirty such runs and from the third day on. A
// series that hardly ever changes is never judged. What happened twice in the
// last weeks is usual: the zero of every night. So an episode begins some
// readings after the second longest recent run is passed. How many depends on
// how often values repeat and on FalseAlarms.
type Stuck struct {
	Alarms
}

var _ Detector = (*Stuck)(nil)

const (
	// runsLeast is the number of runs from which the usual one is known,
	// runsMemory how many it is a mean of.
	runsLeast, runsMemory = 30, 200
	// runHalf is the time after which one of the two longest runs counts half.
	runHalf = 4 * week
	// runLeast is the shortest usual run: a value that repeats is never quite new.
	runLeast = 0.05
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Stuck) Validate() error { return d.validate("stuck") }

// Start returns the state of a series that has no readings yet.
func (d *Stuck) Start() State { return start(d.Alarms, new(stuckCore)) }

// Read returns the state that Append wrote.
func (d *Stuck) Read(r *codec.Reader) State { return resume(d.Alarms, new(stuckCore), r) }

// Bytes is the memory of the state of one series.
func (d *Stuck) Bytes() int { return bytesOf(new(stuckCore)) }

type stuckCore struct {
	any bool
	// last is the first reading of the run; run is how many readings have repeated
	// it.
	last Sample
	run  float64
	// step is the smallest change seen.
	step float64
	// runs and squares are the means of the runs and of their squares.
	runs, squares mean
	// longest are the two longest recent runs, with the times of their ends.
	longest [2]ended
	since   int64
}

// ended is a run that has ended.
type ended struct {
	run float64
	at  int64
}

// counts is how long the run counts as at a time.
func (e ended) counts(at int64) float64 {
	if e.run == 0 {
		return 0
	}
	return e.run * math.Exp2(-float64(at-e.at)/float64(runHalf))
}

// second is the second longest recent run.
func (c *stuckCore) second(at int64) float64 {
	return min(c.longest[0].counts(at), c.longest[1].counts(at))
}

// over takes in a run that has ended.
func (c *stuckCore) over(run float64, at int64) {
	shorter := 0
	if c.longest[1].counts(at) < c.longest[0].counts(at) {
		shorter = 1
	}
	if run >= c.longest[shorter].counts(at) {
		c.longest[shorter] = ended{run: run, at: at}
	}
}

// repeats reports whether the reading repeats the previous one.
func (c *stuckCore) repeats(r Sample) bool {
	return math.Abs(r.Value-c.last.Value) < c.step/2 || r.Value == c.last.Value
}

// usual is the mean run of a series that changes at each reading with the same
// probability. Of the two such series with the mean and with the deviation of
// the runs, the longer run counts.
func (c *stuckCore) usual() float64 {
	variance := max(c.squares.value-c.runs.value*c.runs.value, 0)
	return max(c.runs.value, (math.Sqrt(1+4*variance)-1)/2, runLeast)
}

// each is the surprise of one more repetition.
func (c *stuckCore) each() float64 {
	usual := c.usual()
	return math.Log10((1 + usual) / usual)
}

func (c *stuckCore) judge(r Sample, p *pace) opinion {
	if c.learning() {
		return opinion{}
	}
	if !c.any || p.gap || !c.repeats(r) {
		return opinion{over: true}
	}
	second := c.second(r.Time)
	beyond := max(c.run+1-second, 0)
	return opinion{
		surprise: min(beyond*c.each(), maxSurprise), expected: c.last.Value, scale: max(c.usual(), second), deviation: c.run + 1,
	}
}

func (c *stuckCore) learn(r Sample, p *pace, _ opinion) {
	switch {
	case !c.any || p.gap:
		c.run = 0
	case c.repeats(r):
		c.run++
		return
	default:
		if change := math.Abs(r.Value - c.last.Value); c.step == 0 || change < c.step {
			c.step = change
		}
		run := c.run
		if !c.learning() {
			run = min(run, math.Ceil(maxSurprise/c.each()))
		}
		c.runs.add(run, 1, runsMemory)
		c.squares.add(run*run, 1, runsMemory)
		c.over(c.run, r.Time)
		c.run = 0
	}
	if !c.any {
		c.since = r.Time
	}
	c.last, c.any = r, true
}

func (c *stuckCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	return Evidence{
		Baseline: c.last.Value, Low: math.Inf(-1), High: math.Inf(1),
		Sentence: quantity(r.Value, unit) + " " + times(o.deviation+1) + " in a row, for " + elapsed(c.last.Time, r.Time) +
			"; " + times(math.Round(1+o.scale)) + " is usual",
	}
}

// cluster is 1: a run is judged once.
func (c *stuckCore) cluster() float64 { return 1 }

func (c *stuckCore) learning() bool {
	return c.runs.n < runsLeast || c.last.Time-c.since < int64(seasonLeast)
}

func (c *stuckCore) append(b []byte) []byte {
	b = codec.Float(appendSample(codec.Bool(b, c.any), c.last), c.run)
	b = c.squares.append(c.runs.append(codec.Float(b, c.step)))
	for _, e := range c.longest {
		b = codec.Int(codec.Float(b, e.run), e.at)
	}
	return codec.Int(b, c.since)
}

func (c *stuckCore) read(r *codec.Reader) {
	c.any, c.last, c.run, c.step = r.Bool(), readSample(r), r.Float(), r.Float()
	c.runs.read(r)
	c.squares.read(r)
	for i := range c.longest {
		c.longest[i] = ended{run: r.Float(), at: r.Int()}
	}
	c.since = r.Int()
}
