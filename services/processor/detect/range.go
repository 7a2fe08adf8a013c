package detect

import (
	"math"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Range finds values that were never seen before: above the greatest or below
// the least so far.
//
// The farther beyond, relative to the width of the range, the less usual. A
// value seen once widens the range. The range narrows again with a half-life of
// half a year, so that one extreme does not blind it permanently.
type Range struct {
	Alarms
}

var _ Detector = (*Range)(nil)

const (
	// rangeLeast is the number of readings from which there is a range.
	rangeLeast = 30
	// rangeDoubt bounds how much n readings can prove: no value is considered
	// rarer than once in 10 n readings.
	rangeDoubt, rangeCount = 1, 1 << 32
	// rangeHalf is the half-life of a range; rangeMemory is that of the level to
	// which it shrinks, in readings.
	rangeHalf   = 26 * week
	rangeMemory = 1000
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Range) Validate() error { return d.validate("range") }

// Start returns the state of a series that has no readings yet.
func (d *Range) Start() State { return start(d.Alarms, new(rangeCore)) }

// Read returns the state that Append wrote.
func (d *Range) Read(r *codec.Reader) State { return resume(d.Alarms, new(rangeCore), r) }

// Bytes is the memory of the state of one series.
func (d *Range) Bytes() int { return bytesOf(new(rangeCore)) }

// extremes are the least and greatest value so far. Each moves at most by their
// distance, so that one outlier teaches little.
type extremes struct{ low, high float64 }

func (e *extremes) include(v float64, first bool) {
	if first {
		e.low, e.high = v, v
		return
	}
	if w := e.width(); w > 0 {
		v = min(max(v, e.low-w), e.high+w)
	}
	e.low, e.high = min(e.low, v), max(e.high, v)
}

func (e *extremes) width() float64 { return e.high - e.low }

// floor is the least scale and the least distance that mean anything: a
// thousandth of the range.
func (e *extremes) floor() float64 { return e.width() / 1000 }

// round formats a value with as many digits as the range is known to.
func (e *extremes) round(v float64) string {
	if step := math.Pow(10, math.Floor(math.Log10(e.width()))-2); step > 0 && math.Abs(v)/step < 1<<52 {
		v = math.Round(v/step) * step
	}
	return figure.Number(v)
}

func (e *extremes) append(b []byte) []byte { return codec.Float(codec.Float(b, e.low), e.high) }

func (e *extremes) read(r *codec.Reader) { e.low, e.high = r.Float(), r.Float() }

type rangeCore struct {
	extremes
	level mean
	// seen counts readings, up to rangeCount.
	seen float64
}

func (c *rangeCore) judge(r Sample, _ *pace) opinion {
	if c.seen < rangeLeast {
		return opinion{}
	}
	over := max(r.Value-c.high, c.low-r.Value)
	if over <= 0 {
		return opinion{}
	}
	o := opinion{expected: c.level.value, scale: c.width(), deviation: deviation(over, c.width())}
	// What a few readings have not shown may still be common.
	most := math.Log10(c.seen) + rangeDoubt
	o.surprise = min(2+2*math.Log10(1+100*o.deviation), most, maxSurprise)
	return o
}

func (c *rangeCore) learn(r Sample, p *pace, _ opinion) {
	c.level.add(r.Value, 1, rangeMemory)
	if c.seen > 0 {
		shrink := min(p.since/float64(rangeHalf)*math.Ln2, 0.5)
		c.low += (c.level.value - c.low) * shrink
		c.high += (c.level.value - c.high) * shrink
	}
	c.include(r.Value, c.seen == 0)
	c.seen = min(c.seen+1, rangeCount)
}

func (c *rangeCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	allowed := (math.Pow(10, (o.threshold-2)/2) - 1) / 100 * o.scale
	side := "higher"
	if r.Value < c.low {
		side = "lower"
	}
	return Evidence{
		Baseline: c.level.value, Low: c.low - allowed, High: c.high + allowed,
		Sentence: quantity(r.Value, unit) + ": " + side + " than ever seen (" + c.round(c.low) + " to " + c.round(c.high) + ")",
	}
}

// cluster is 1: the next reading must be beyond this one.
func (c *rangeCore) cluster() float64 { return 1 }

func (c *rangeCore) learning() bool { return c.seen < rangeLeast }

func (c *rangeCore) append(b []byte) []byte {
	return codec.Uint(c.level.append(c.extremes.append(b)), uint64(c.seen))
}

func (c *rangeCore) read(r *codec.Reader) {
	c.extremes.read(r)
	c.level.read(r)
	c.seen = float64(min(r.Uint(), rangeCount))
}

// direction says on which side of the expected value a value is.
func direction(v, expected float64) string {
	if v < expected {
		return "below"
	}
	return "above"
}

// apart is the distance of two numbers, which may be the largest there are.
func apart(a, b float64) float64 { return min(math.Abs(a-b), math.MaxFloat64) }
