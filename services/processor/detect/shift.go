package detect

import (
	"math"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Shift finds a level that has moved and stays there: a set point that was
// changed, a machine that slowly fails. It compares the mean of the last dozen
// readings with that of the last thousand. It judges from the third day on.
type Shift struct {
	Alarms
}

var _ Detector = (*Shift)(nil)

// shortMemory and longMemory are the lengths of the two means, in usual
// intervals.
const shortMemory, longMemory = 12, 1000

// Validate returns all that is wrong with the parameters, joined.
func (d *Shift) Validate() error { return d.validate("shift") }

// Start returns the state of a series that has no readings yet.
func (d *Shift) Start() State { return start(d.Alarms, newShiftCore()) }

// Read returns the state that Append wrote.
func (d *Shift) Read(r *codec.Reader) State { return resume(d.Alarms, new(shiftCore), r) }

// Bytes is the memory of the state of one series.
func (d *Shift) Bytes() int { return bytesOf(new(shiftCore)) }

type shiftCore struct {
	extremes    extremes
	short, long mean
	spread      mean
	tail        tail
	// since is the time of the first reading.
	since int64
	// now is the short mean including the reading that is being judged.
	now mean
}

func newShiftCore() *shiftCore { return &shiftCore{since: noTime} }

// next returns the short mean including the reading.
func (c *shiftCore) next(r Sample, p *pace) mean {
	short := c.short
	if p.gap {
		short = mean{}
	}
	short.add(c.tame(r), p.steps, shortMemory)
	return short
}

// tame returns the value that may enter the means.
func (c *shiftCore) tame(r Sample) float64 {
	if c.long.n == 0 {
		return r.Value
	}
	return near(r.Value, c.long.value, c.scale())
}

func (c *shiftCore) scale() float64 { return max(c.spread.value, c.extremes.floor()) }

func (c *shiftCore) judge(r Sample, p *pace) opinion {
	if c.long.n == 0 {
		return opinion{}
	}
	o := opinion{expected: c.long.value, scale: c.scale()}
	c.now = c.next(r, p)
	if c.now.n >= shortMemory {
		o.mean, o.averaged = c.now.value, true
		o.deviation = deviation(c.now.value-o.expected, o.scale)
		if r.Time-c.since >= int64(seasonLeast) && math.Abs(c.now.value-o.expected) >= c.extremes.floor() {
			o.surprise = c.tail.surprise(o.deviation, p.common())
		}
	}
	return o
}

func (c *shiftCore) learn(r Sample, p *pace, o opinion) {
	first := c.long.n == 0
	v := c.tame(r)
	c.short = c.next(r, p)
	if first {
		c.since = r.Time
	} else {
		if c.short.n >= shortMemory {
			c.tail.learn(o.deviation)
		}
		c.spread.add(clip(r.Value-o.expected, o.scale), 1, longMemory)
	}
	c.extremes.include(r.Value, first)
	c.long.add(v, min(p.steps, gapAfter), longMemory)
}

func (c *shiftCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	allowed := c.tail.beyond(o.threshold, p.common()) * o.scale
	level := c.now.value
	return Evidence{
		Baseline: o.expected, Low: o.expected - allowed, High: o.expected + allowed,
		Sentence: quantity(r.Value, unit) + ": the level has moved to " + figure.Number(level) + ", " + figure.Number(apart(level, o.expected)) +
			" " + direction(level, o.expected) + " where it was",
	}
}

// cluster is for how long a mean of the last dozen readings stays by chance.
func (c *shiftCore) cluster() float64 { return 3 * shortMemory }

func (c *shiftCore) learning() bool { return c.tail.learning() }

func (c *shiftCore) append(b []byte) []byte {
	return codec.Int(c.tail.append(c.spread.append(c.long.append(c.short.append(c.extremes.append(b))))), c.since)
}

func (c *shiftCore) read(r *codec.Reader) {
	c.extremes.read(r)
	c.short.read(r)
	c.long.read(r)
	c.spread.read(r)
	c.tail.read(r)
	c.since = r.Int()
}
