package detect

import (
	"math"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/pack"
)

// Drift finds slow ageing: days whose mean leaves that of the week before, day
// after day in one direction. It judges each day once, with the first reading of
// the next, and from the second week on; so it comes a day late. A day in which
// the clock of the site is put forward or back is left out.
type Drift struct {
	Alarms
	// Location is whose days count; nil means UTC.
	Location *time.Location
}

var _ Detector = (*Drift)(nil)

const (
	// driftDays is how many days there must be before the first judgement, and of
	// how many days the usual mean is one; spreadDays the same for its spread.
	driftDays, spreadDays = 7, 14
	// driftSlack is how much of a day's distance is usual, in scales, driftSurprise
	// what each scale beyond means in -log10 p.
	driftSlack, driftSurprise = 1.5, 1.3
	// meanToDeviation turns a mean distance into a standard deviation.
	meanToDeviation = 1.25
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Drift) Validate() error { return d.validate("drift") }

// Start returns the state of a series that has no readings yet.
func (d *Drift) Start() State { return start(d.Alarms, d.core()) }

// Read returns the state that Append wrote.
func (d *Drift) Read(r *pack.Reader) State { return resume(d.Alarms, d.core(), r) }

// Bytes is the memory of the state of one series.
func (d *Drift) Bytes() int { return bytesOf(d.core()) }

func (d *Drift) core() *driftCore { return &driftCore{calendar: calendar{location: d.Location}} }

type driftCore struct {
	calendar calendar
	days
	extremes extremes
	any      bool
}

// days is what is known of the days that are over, and the one that is going on.
type days struct {
	today        int64
	mean         mean // of the readings of today, in which each counts alike
	week, spread mean
	// up and down are the sums of what was beyond the usual in each direction.
	up, down float64
	// last is the mean of the last day that is over, expected what it should have
	// been.
	last, expected float64
	// offset is that of the site's clock from UTC when today began, uneven that
	// it is another by now.
	offset int64
	uneven bool
}

// turn ends the day that is going on if it is over at a time, local by the site's
// clock.
func (d *days) turn(local, at int64, least float64) {
	d.uneven = d.uneven || local-at != d.offset
	if floor(local, day) != d.today {
		d.end(least)
	}
}

// end ends the day that is going on. A day in which an hour came twice or never
// has another mean than others with nothing wrong: it is left out.
func (d *days) end(floor float64) {
	if d.uneven {
		d.mean, d.uneven = mean{}, false
		return
	}
	d.last, d.expected = d.mean.value, d.week.value
	if d.week.n > 0 {
		far := d.last - d.expected
		scale := d.scale(floor)
		if d.week.n >= driftDays {
			z := math.Copysign(deviation(far, scale), far)
			z = min(max(z, -outlier), outlier)
			d.up = max(0, d.up+z-driftSlack)
			d.down = max(0, d.down-z-driftSlack)
		}
		d.spread.add(min(math.Abs(far), largest), 1, spreadDays)
	}
	d.week.add(d.last, 1, driftDays)
	d.mean = mean{}
}

func (d *days) scale(floor float64) float64 { return max(d.spread.value*meanToDeviation, floor) }

func (c *driftCore) judge(r Sample, p *pace) opinion {
	d := c.days
	if c.any {
		d.turn(c.calendar.local(r.Time), r.Time, c.extremes.floor())
	}
	o := opinion{expected: d.expected, scale: d.scale(c.extremes.floor()), deviation: max(d.up, d.down), over: true, mean: d.last, averaged: true}
	if d.week.n >= driftDays && o.deviation > 0 {
		// The surprise is for days; the threshold is for readings.
		o.surprise = min(o.deviation*driftSurprise+math.Log10(max(p.aWeek()/7, 1)), maxSurprise)
	}
	return o
}

func (c *driftCore) learn(r Sample, _ *pace, _ opinion) {
	local := c.calendar.local(r.Time)
	if c.any {
		c.turn(local, r.Time, c.extremes.floor())
	}
	if c.mean.n == 0 {
		c.today, c.offset = floor(local, day), local-r.Time
	}
	c.mean.add(r.Value, 0, math.Inf(1))
	c.extremes.include(r.Value, !c.any)
	c.any = true
}

func (c *driftCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	d := c.days
	d.turn(c.calendar.local(r.Time), r.Time, c.extremes.floor())
	return Evidence{
		Baseline: d.expected, Low: d.expected - driftSlack*o.scale, High: d.expected + driftSlack*o.scale,
		Sentence: quantity(d.last, unit) + " as the mean of a day, " + figure.Number(apart(d.last, d.expected)) + " " +
			direction(d.last, d.expected) + " that of the week before",
	}
}

// cluster is 1: a day is judged once.
func (c *driftCore) cluster() float64 { return 1 }

func (c *driftCore) learning() bool { return c.week.n < driftDays }

func (c *driftCore) append(b []byte) []byte {
	b = pack.Bool(c.extremes.append(b), c.any)
	b = c.spread.append(c.week.append(c.mean.append(pack.Int(b, c.today))))
	for _, v := range [...]float64{c.up, c.down, c.last, c.expected} {
		b = pack.Float(b, v)
	}
	return pack.Bool(pack.Int(b, c.offset), c.uneven)
}

func (c *driftCore) read(r *pack.Reader) {
	c.extremes.read(r)
	c.any, c.today = r.Bool(), r.Int()
	c.mean.read(r)
	c.week.read(r)
	c.spread.read(r)
	c.up, c.down, c.last, c.expected = r.Float(), r.Float(), r.Float(), r.Float()
	c.offset, c.uneven = r.Int(), r.Bool()
}
