package detect

import (
	"math"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Season finds values that are unusual for the time of the day or week.
//
// It learns the mean of each quarter of an hour of the day, of each hour of the
// week, and of the latest readings. It expects what the best of the three says,
// and corrects that by its latest error where this helps. How far a value may
// be away is learned for each series and hour of the day. Season judges from
// the third day on.
type Season struct {
	Alarms
	// Location is the time zone of days and weeks; nil means UTC. Where clocks are
	// put back, the hour that comes twice is twice the same hour of the day.
	Location *time.Location
}

var _ Detector = (*Season)(nil)

const (
	daySlots, weekSlots = 96, 168
	// levelMemory, errorMemory, scaleMemory and biasMemory are in readings.
	levelMemory, errorMemory, scaleMemory, biasMemory = 100, 500, 1000, 6
	// hourlyPrior is the number of assumed readings that make an hour like any
	// other.
	hourlyPrior = 60
	// better is how small the error of a more complex model must be, relative to
	// that of a simpler one, for the complex one to be used.
	better = 0.95
	// visitWeight is the least weight of a visit in the mean of a slot.
	visitWeight = 0.15
	// visitsLeast is the number of visits that make a slot usable.
	visitsLeast = 2
	// seasonLeast is how long a series is watched before it is judged.
	seasonLeast = 2 * day
)

// The models that predict a value.
const (
	byLevel = iota
	byDay
	byWeek
	// The plain models come a second time, corrected by the latest distance of the
	// readings from them.
	plain
	ways = 2 * plain
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Season) Validate() error { return d.validate("season") }

// Start returns the state of a series that has no readings yet.
func (d *Season) Start() State { return start(d.Alarms, d.core()) }

// Read returns the state that Append wrote.
func (d *Season) Read(r *codec.Reader) State { return resume(d.Alarms, d.core(), r) }

// Bytes is the memory of the state of one series.
func (d *Season) Bytes() int { return bytesOf(d.core()) }

func (d *Season) core() *seasonCore {
	return &seasonCore{calendar: calendar{location: d.Location}, since: noTime}
}

// visit is the mean of the readings in the current slot.
type visit struct {
	// slot counts from 1970.
	slot int64
	sum  float64
	n    int64
}

// over reports whether another slot has begun.
func (v *visit) over(slot int64) bool { return v.n > 0 && v.slot != slot }

type seasonCore struct {
	calendar calendar
	extremes extremes
	tail     tail
	// origin is the first value. Slots hold differences from it, for which half
	// the precision is enough.
	origin float64
	since  int64
	level  mean
	scale  mean
	errors [ways]mean
	// bias is the latest mean distance of the readings from each plain model. That
	// of the level is from 0, so that the level does not lag twice.
	bias [plain]mean

	dayMeans   [daySlots]float32
	weekMeans  [weekSlots]float32
	dayVisits  [daySlots]uint8
	weekVisits [weekSlots]uint8
	// hourly is how much larger than usual distances are in each hour of the day.
	hourly [24]mean
	ofDay  visit
	ofWeek visit

	// quarter, hour and now belong to the reading that is being judged: its slots,
	// counted from 1970, and the predictions for it.
	quarter, hour int64
	now           expectations
}

// slots returns the slots of the day and of the week, counted from 1970.
func (c *seasonCore) slots(t int64) (quarter, hour int64) {
	local := c.calendar.local(t)
	return floor(local, 15*time.Minute), floor(local, time.Hour)
}

// expectations are the predictions of the models that have one.
type expectations struct {
	value [ways]float64
	known [ways]bool
}

func (c *seasonCore) expect(quarter, hour int64) (e expectations) {
	e.value[byLevel], e.known[byLevel] = c.level.value, true
	if i := mod(quarter, daySlots); c.dayVisits[i] >= visitsLeast {
		e.value[byDay], e.known[byDay] = c.origin+float64(c.dayMeans[i]), true
	}
	if i := hourOfWeek(hour); c.weekVisits[i] >= visitsLeast {
		e.value[byWeek], e.known[byWeek] = c.origin+float64(c.weekMeans[i]), true
	}
	for way := range plain {
		if c.bias[way].n > 0 {
			e.value[plain+way], e.known[plain+way] = e.value[way]+c.bias[way].value, e.known[way]
		}
	}
	e.value[plain+byLevel] = c.bias[byLevel].value
	return e
}

func mod(n, m int64) int { return int((n%m + m) % m) }

func (c *seasonCore) judge(r Sample, p *pace) opinion {
	if c.since == noTime {
		return opinion{}
	}
	c.quarter, c.hour = c.slots(r.Time)
	c.now = c.expect(c.quarter, c.hour)
	e := &c.now
	o := opinion{part: byLevel}
	for way := byDay; way < ways; way++ {
		// A model must have proved itself for a part of a day.
		if e.known[way] && c.errors[way].n >= tailLeast && c.errors[way].value < better*c.errors[o.part].value {
			o.part = way
		}
	}
	o.expected = e.value[o.part]
	o.scale = max(c.scale.value*c.factor(c.hour), c.extremes.floor())
	o.deviation = deviation(r.Value-o.expected, o.scale)
	if r.Time-c.since >= int64(seasonLeast) && math.Abs(r.Value-o.expected) >= c.extremes.floor() {
		o.surprise = c.tail.surprise(o.deviation, p.common())
	}
	return o
}

// factor is how much larger than usual distances are in the hour.
func (c *seasonCore) factor(hour int64) float64 {
	h := c.hourly[mod(hour, 24)]
	return (hourlyPrior + h.n*h.value) / (hourlyPrior + h.n)
}

// deviation is a distance in scales: finite.
func deviation(distance, scale float64) float64 {
	switch d := math.Abs(distance) / scale; {
	case distance == 0:
		return 0
	case d < maxDeviation:
		return d
	default:
		return maxDeviation
	}
}

func (c *seasonCore) learn(r Sample, _ *pace, o opinion) {
	first := c.since == noTime
	if first {
		c.since, c.origin = r.Time, r.Value
		c.quarter, c.hour = c.slots(r.Time)
	}
	quarter, hour := c.quarter, c.hour
	v := r.Value
	if !first {
		v = near(v, o.expected, o.scale)
		e := &c.now
		for way := range ways {
			if !e.known[way] {
				continue
			}
			c.errors[way].add(math.Abs(v-e.value[way]), 1, errorMemory)
			if way == byDay || way == byWeek {
				c.bias[way].add(v-e.value[way], 1, biasMemory)
			}
		}
		c.tail.learn(o.deviation)
		far := clip(r.Value-o.expected, o.scale)
		if s := c.scale.value; s > 0 {
			c.hourly[mod(hour, 24)].add(min(far/s, 100), 1, scaleMemory)
		}
		c.scale.add(far, 1, scaleMemory)
	}
	c.extremes.include(r.Value, first)
	c.level.add(v, 1, levelMemory)
	c.bias[byLevel].add(v, 1, biasMemory)
	if c.ofDay.over(quarter) {
		i := mod(c.ofDay.slot, daySlots)
		fold(&c.ofDay, &c.dayMeans[i], &c.dayVisits[i])
	}
	if c.ofWeek.over(hour) {
		i := hourOfWeek(c.ofWeek.slot)
		fold(&c.ofWeek, &c.weekMeans[i], &c.weekVisits[i])
	}
	for _, to := range [...]struct {
		visit *visit
		slot  int64
	}{{&c.ofDay, quarter}, {&c.ofWeek, hour}} {
		to.visit.slot = to.slot
		to.visit.sum += v - c.origin
		to.visit.n++
	}
}

// near returns the value that may enter a mean: at most farthest scales from
// the expected value. A scale of 0 means that nothing is known.
func near(v, expected, scale float64) float64 {
	if scale == 0 {
		return v
	}
	return min(max(v, expected-farthest*scale), expected+farthest*scale)
}

// clip returns the distance that may be learned: at most outlier scales.
func clip(distance, scale float64) float64 {
	if scale == 0 {
		return math.Abs(distance)
	}
	return min(math.Abs(distance), outlier*scale)
}

// fold adds a finished visit to the mean of its slot.
func fold(v *visit, mean *float32, visits *uint8) {
	*visits = uint8(min(int(*visits)+1, math.MaxUint8))
	weight := max(visitWeight, 1/float64(*visits))
	value := float64(*mean) + (v.sum/float64(v.n)-float64(*mean))*weight
	*mean = float32(min(max(value, -math.MaxFloat32), math.MaxFloat32))
	*v = visit{}
}

func (c *seasonCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	allowed := c.tail.beyond(o.threshold, p.common()) * o.scale
	// Corrected models report what was expected, not what is usual.
	usual, of := "has been usual recently", "is usual"
	if o.part >= plain {
		usual, of = "was expected from the last readings", "was expected"
	}
	switch o.part % plain {
	case byDay:
		usual = of + " at " + clock(mod(c.quarter, daySlots)*15)
	case byWeek:
		h := hourOfWeek(c.hour)
		usual = of + " on " + time.Weekday(h/24).String() + "s at " + clock(h%24*60)
	}
	return Evidence{
		Baseline: o.expected, Low: o.expected - allowed, High: o.expected + allowed,
		Sentence: quantity(r.Value, unit) + ", " + figure.Number(apart(r.Value, o.expected)) + " " + direction(r.Value, o.expected) + " what " + usual,
	}
}

// cluster is 1: a lasting change is soon expected.
func (c *seasonCore) cluster() float64 { return 1 }

func (c *seasonCore) learning() bool {
	return c.since == noTime || c.tail.learning() || c.errors[byDay].n == 0 && c.errors[byWeek].n == 0
}

func (c *seasonCore) append(b []byte) []byte {
	b = codec.Int(codec.Float(b, c.origin), c.since)
	b = c.scale.append(c.level.append(c.tail.append(c.extremes.append(b))))
	for i := range c.errors {
		b = c.errors[i].append(b)
	}
	for i := range c.bias {
		b = c.bias[i].append(b)
	}
	for i := range c.hourly {
		b = c.hourly[i].append(b)
	}
	b = appendSmall(appendSmall(b, c.dayMeans[:]), c.weekMeans[:])
	b = codec.Bytes(codec.Bytes(b, c.dayVisits[:]), c.weekVisits[:])
	for _, v := range [...]visit{c.ofDay, c.ofWeek} {
		b = codec.Int(codec.Float(codec.Int(b, v.slot), v.sum), v.n)
	}
	return b
}

func (c *seasonCore) read(r *codec.Reader) {
	c.origin, c.since = r.Float(), r.Int()
	c.extremes.read(r)
	c.tail.read(r)
	c.level.read(r)
	c.scale.read(r)
	for i := range c.errors {
		c.errors[i].read(r)
	}
	for i := range c.bias {
		c.bias[i].read(r)
	}
	for i := range c.hourly {
		c.hourly[i].read(r)
	}
	readSmall(r, c.dayMeans[:])
	readSmall(r, c.weekMeans[:])
	if copy(c.dayVisits[:], r.Bytes()) != daySlots || copy(c.weekVisits[:], r.Bytes()) != weekSlots {
		r.Fail()
	}
	for _, v := range [...]*visit{&c.ofDay, &c.ofWeek} {
		*v = visit{slot: r.Int(), sum: r.Float(), n: r.Int()}
	}
}
