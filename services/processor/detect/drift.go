package detect

import (
	"math"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Drift finds slow ageing: days that leave the week before bit by bit. A step
// is not a drift, however long it lasts, nor are the values of a stuck sensor.
// Drift judges each day once, with the first reading of the next day, from the
// second week on, so it reports a day late.
type Drift struct {
	Alarms
	// Location is the time zone of days and hours; nil means UTC.
	Location *time.Location
}

var _ Detector = (*Drift)(nil)

const (
	// driftDays is how many days must pass before the first judgement, and the
	// number of days in the mean of what is usual; spreadDays is the latter for
	// the spread.
	driftDays, spreadDays = 7, 14
	// driftSlack is how much of a day's distance is usual, in scales; driftMost is
	// the most that one day counts; driftSurprise is what each further scale adds
	// in -log10 p.
	driftSlack, driftMost, driftSurprise = 1.5, 4, 2
	// driftPart is the part of a day that is compared with the same part of other
	// days. driftParts of them are remembered to distinguish a drift from a step:
	// a drift takes at least driftLeast of them.
	driftPart, driftParts, driftLeast = 4 * time.Hour, 84, 4
	partsADay                         = int64(day / driftPart)
	// flatReadings is the number of readings from which a part shows whether a
	// sensor is stuck. If at least flatShare of the last flatMemory parts had no
	// change, being flat is normal for the sensor.
	flatReadings, flatShare, flatMemory = 3, 0.2, 84
	// meanToDeviation turns a mean distance into a standard deviation.
	meanToDeviation = 1.25
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Drift) Validate() error { return d.validate("drift") }

// Start returns the state of a series that has no readings yet.
func (d *Drift) Start() State { return start(d.Alarms, d.core()) }

// Read returns the state that Append wrote.
func (d *Drift) Read(r *codec.Reader) State { return resume(d.Alarms, d.core(), r) }

// Bytes is the memory of the state of one series.
func (d *Drift) Bytes() int { return bytesOf(d.core()) }

func (d *Drift) core() *driftCore {
	c := &driftCore{calendar: calendar{location: d.Location}}
	for i := range c.past {
		c.past[i] = float32(math.NaN())
	}
	return c
}

type driftCore struct {
	calendar calendar
	days
	extremes extremes
	any      bool
}

// days is what is known of the past days and the current one.
type days struct {
	// part is the number of the current part by local time. mean is the mean of
	// its readings, in which each counts alike; low and high are its least and
	// greatest reading.
	part      int64
	mean      mean
	low, high float64
	// usual is the mean of each part of a day, flat the share of parts without a
	// change.
	usual [partsADay]mean
	flat  mean
	// past is the distance of the last parts from the usual, each at its number
	// modulo their count; NaN where nothing is known.
	past [driftParts]float32
	// value and far are the means of today's parts and of their distances.
	value, far mean
	// over counts the days that have ended; parts is the mean number of parts in a
	// day that count.
	over          uint8
	parts, spread mean
	// up and down sum what was beyond the usual in each direction.
	up, down float64
	// last is the mean of the last whole day, expected what it should have been.
	last, expected float64
}

// at returns where the part with that number is remembered.
func (d *days) at(part int64) *float32 {
	return &d.past[((part%driftParts)+driftParts)%driftParts]
}

// turn ends the current part, and the current day, if they are over at a local
// time.
func (d *days) turn(local int64, least float64) {
	part := floor(local, driftPart)
	if part == d.part || d.mean.n == 0 {
		return
	}
	d.endPart()
	if floor(local, day) != floor(d.part*int64(driftPart), day) {
		d.endDay(least)
	}
	for range min(max(part-d.part, 0), driftParts) {
		d.part++
		*d.at(d.part) = float32(math.NaN())
	}
	d.part = part
}

// endPart ends the current part. It ignores a sensor that is stuck, unless
// being flat is normal for it.
func (d *days) endPart() {
	m := d.mean
	d.mean = mean{}
	if m.n >= flatReadings {
		same := 0.0
		if d.low == d.high {
			same = 1
		}
		stuck := same == 1 && d.flat.value < flatShare
		d.flat.add(same, 1, flatMemory)
		if stuck {
			return
		}
	}
	usual := &d.usual[((d.part%partsADay)+partsADay)%partsADay]
	if usual.n > 0 {
		far := m.value - usual.value
		d.value.add(m.value, 0, math.Inf(1))
		d.far.add(far, 0, math.Inf(1))
		*d.at(d.part) = float32(far)
	}
	usual.add(m.value, 1, driftDays)
}

// endDay ends the current day. A day with few parts does not count.
func (d *days) endDay(least float64) {
	value, far := d.value, d.far
	d.value, d.far = mean{}, mean{}
	if value.n == 0 {
		return
	}
	few := 2*value.n < d.parts.value
	d.parts.add(value.n, 1, driftDays)
	if few {
		return
	}
	d.last, d.expected = value.value, value.value-far.value
	scale := d.scale(least)
	d.over = min(d.over+1, driftDays)
	if d.over >= driftDays {
		z := min(deviation(far.value, scale), driftMost)
		gradual := z > driftSlack && d.gradual()
		d.up = beyond(d.up, math.Copysign(z, far.value), gradual)
		d.down = beyond(d.down, -math.Copysign(z, far.value), gradual)
	}
	distance := math.Abs(far.value)
	if d.spread.n > 0 {
		distance = min(distance, driftMost*scale)
	}
	d.spread.add(min(distance, largest), 1, spreadDays)
}

// beyond adds one more day to a sum of what was beyond the usual. The first day
// that is as usual resets the sum.
func beyond(sum, z float64, gradual bool) float64 {
	switch {
	case z > driftSlack && gradual:
		return sum + z - driftSlack
	case z < driftSlack/2:
		return 0
	default:
		return sum
	}
}

// gradual reports whether the remembered parts look more like a ramp than like
// a step. Both have a beginning, an end and one height, so that the better fit is
// the better guess.
func (d *days) gradual() bool {
	var sum [driftParts + 1]float64
	parts := make([]float64, 0, driftParts)
	for i := range driftParts {
		v := float64(*d.at(d.part - driftParts + 1 + int64(i)))
		if math.IsNaN(v) {
			v = 0 // as usual, as far as is known
		}
		sum[i+1] = sum[i] + v
		parts = append(parts, v)
	}
	// step and ramp are what each fit explains of the sum of squares.
	step, ramp := 0.0, 0.0
	for from := range parts {
		rise, squares := 0.0, 0.0
		for to := from; to < len(parts); to++ {
			long := float64(to - from + 1)
			rise += long * parts[to]
			squares += long * long
			box := sum[to+1] - sum[from]
			step = max(step, box*box/long)
			if to-from+1 >= driftLeast {
				ramp = max(ramp, rise*rise/squares)
			}
		}
	}
	return ramp > step
}

func (d *days) scale(floor float64) float64 { return max(d.spread.value*meanToDeviation, floor) }

func (c *driftCore) judge(r Sample, p *pace) opinion {
	d := c.days
	if c.any {
		d.turn(c.calendar.local(r.Time), c.extremes.floor())
	}
	o := opinion{expected: d.expected, scale: d.scale(c.extremes.floor()), deviation: max(d.up, d.down), over: true, firm: true, mean: d.last, averaged: true}
	if o.deviation > 0 {
		// The surprise is per day; the threshold is per reading.
		o.surprise = min(o.deviation*driftSurprise+math.Log10(max(p.aWeek()/7, 1)), maxSurprise)
	}
	return o
}

func (c *driftCore) learn(r Sample, _ *pace, _ opinion) {
	local := c.calendar.local(r.Time)
	if c.any {
		c.turn(local, c.extremes.floor())
	}
	if c.mean.n == 0 {
		c.part, c.low, c.high = floor(local, driftPart), r.Value, r.Value
	}
	c.mean.add(r.Value, 0, math.Inf(1))
	c.low, c.high = min(c.low, r.Value), max(c.high, r.Value)
	c.extremes.include(r.Value, !c.any)
	c.any = true
}

func (c *driftCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	d := c.days
	d.turn(c.calendar.local(r.Time), c.extremes.floor())
	return Evidence{
		Baseline: d.expected, Low: d.expected - driftSlack*o.scale, High: d.expected + driftSlack*o.scale,
		Sentence: quantity(d.last, unit) + " as the daily mean, " + figure.Number(apart(d.last, d.expected)) + " " +
			direction(d.last, d.expected) + " that of the previous week",
	}
}

// cluster is 1: a day is judged once.
func (c *driftCore) cluster() float64 { return 1 }

func (c *driftCore) learning() bool { return c.over < driftDays }

func (c *driftCore) append(b []byte) []byte {
	b = codec.Int(codec.Bool(c.extremes.append(b), c.any), c.part)
	b = codec.Float(codec.Float(c.mean.append(b), c.low), c.high)
	for i := range c.usual {
		b = c.usual[i].append(b)
	}
	b = appendSmall(c.flat.append(b), c.past[:])
	b = codec.Uint(c.far.append(c.value.append(b)), uint64(c.over))
	b = c.spread.append(c.parts.append(b))
	for _, v := range [...]float64{c.up, c.down, c.last, c.expected} {
		b = codec.Float(b, v)
	}
	return b
}

func (c *driftCore) read(r *codec.Reader) {
	c.extremes.read(r)
	c.any, c.part = r.Bool(), r.Int()
	c.mean.read(r)
	c.low, c.high = r.Float(), r.Float()
	for i := range c.usual {
		c.usual[i].read(r)
	}
	c.flat.read(r)
	if readSmall(r, c.past[:]) < driftParts {
		r.Fail()
	}
	c.value.read(r)
	c.far.read(r)
	c.over = uint8(min(r.Uint(), driftDays))
	c.parts.read(r)
	c.spread.read(r)
	c.up, c.down, c.last, c.expected = r.Float(), r.Float(), r.Float(), r.Float()
}
