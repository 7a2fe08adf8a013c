package detect

import (
	"fmt"
	"math"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Surge finds values that change faster than is usual for their series: a door
// left open, a bad reading. It is Rate for people who do not know how fast is
// too fast.
//
// The change over the last three readings, per time, is compared with the usual
// change. Nothing is compared across a gap.
type Surge struct {
	Alarms
	// Direction says which changes count.
	Direction Direction
}

// Direction is the way a value goes.
type Direction uint8

const (
	// Both is up and down.
	Both Direction = iota
	// Up counts rises only.
	Up
	// Down counts falls only.
	Down
)

var _ Detector = (*Surge)(nil)

// surgeLag is the number of readings over which a change is measured,
// surgeMemory the number of changes that the usual one is a mean of.
const surgeLag, surgeMemory = 3, 1000

// Validate returns all that is wrong with the parameters, joined.
func (d *Surge) Validate() error {
	if d.Direction > Down {
		return fmt.Errorf("surge: %d is not a direction", d.Direction)
	}
	return d.validate("surge")
}

// Start returns the state of a series that has no readings yet.
func (d *Surge) Start() State { return start(d.Alarms, &surgeCore{direction: d.Direction}) }

// Read returns the state that Append wrote.
func (d *Surge) Read(r *codec.Reader) State {
	return resume(d.Alarms, &surgeCore{direction: d.Direction}, r)
}

// Bytes is the memory of the state of one series.
func (d *Surge) Bytes() int { return bytesOf(new(surgeCore)) }

type surgeCore struct {
	direction Direction
	any       bool
	// lags are the last n readings, oldest first.
	n        int32
	lags     [surgeLag]Sample
	extremes extremes
	scale    mean
	tail     tail
}

// change returns the change per second.
func (c *surgeCore) change(r Sample) float64 {
	return (r.Value - c.lags[0].Value) / time.Duration(r.Time-c.lags[0].Time).Seconds()
}

func (c *surgeCore) judge(r Sample, p *pace) opinion {
	if c.n < surgeLag || p.gap {
		return opinion{}
	}
	change := c.change(r)
	// The scale is at least a thousandth of the range in the usual time.
	least := c.extremes.floor() / (surgeLag * time.Duration(p.usual.value).Seconds())
	o := opinion{expected: c.lags[0].Value, scale: max(c.scale.value, least)}
	if c.direction == Up && change < 0 || c.direction == Down && change > 0 {
		change = 0
	}
	o.deviation = deviation(change, o.scale)
	if math.Abs(r.Value-c.lags[0].Value) >= c.extremes.floor() {
		o.surprise = c.tail.surprise(o.deviation, p.common())
	}
	return o
}

func (c *surgeCore) learn(r Sample, p *pace, o opinion) {
	switch {
	case p.gap:
		c.n = 0
	case c.n == surgeLag:
		c.tail.learn(o.deviation)
		c.scale.add(clip(c.change(r), o.scale), 1, surgeMemory)
	}
	c.extremes.include(r.Value, !c.any)
	c.any = true
	if c.n == surgeLag {
		copy(c.lags[:], c.lags[1:])
		c.n--
	}
	c.lags[c.n] = r
	c.n++
}

func (c *surgeCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	base := c.lags[0]
	in := time.Duration(r.Time - base.Time)
	usual := min(o.scale*in.Seconds(), math.MaxFloat64)
	allowed := min(c.tail.beyond(o.threshold, p.common())*usual, math.MaxFloat64)
	verb := "rose"
	if r.Value < base.Value {
		verb = "fell"
	}
	e := Evidence{
		Baseline: base.Value, Low: math.Inf(-1), High: math.Inf(1),
		Sentence: quantity(r.Value, unit) + ": " + verb + " " + quantity(apart(r.Value, base.Value), unit) + " in " + figure.Duration(in) +
			"; " + quantity(usual, unit) + " is usual",
	}
	if c.direction != Up {
		e.Low = base.Value - allowed
	}
	if c.direction != Down {
		e.High = base.Value + allowed
	}
	return e
}

// cluster is the number of changes that one reading takes part in.
func (c *surgeCore) cluster() float64 { return surgeLag }

func (c *surgeCore) learning() bool { return c.tail.learning() }

func (c *surgeCore) append(b []byte) []byte {
	b = codec.Uint(b, uint64(c.n))
	for _, s := range c.lags[:c.n] {
		b = appendSample(b, s)
	}
	return c.tail.append(c.scale.append(codec.Bool(c.extremes.append(b), c.any)))
}

func (c *surgeCore) read(r *codec.Reader) {
	c.n = int32(min(r.Count(), surgeLag+1))
	if c.n > surgeLag {
		r.Fail()
		c.n = 0
	}
	for i := range c.n {
		c.lags[i] = readSample(r)
	}
	c.extremes.read(r)
	c.any = r.Bool()
	c.scale.read(r)
	c.tail.read(r)
}
