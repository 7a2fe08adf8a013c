package detect

import (
	"time"

	"headwater/services/processor/codec"
)

// Auto finds unusual values in any series with nothing to set: values beyond
// the range so far, as Range does, values that are unusual for their time, as
// Season does, and levels that have moved, as Shift does. The most surprising
// one counts.
type Auto struct {
	Alarms
	// Location is the time zone of days and weeks; nil means UTC.
	Location *time.Location
}

var _ Detector = (*Auto)(nil)

// rangeAlone is by how much the surprise of a value beyond the range may exceed
// that of its distance from the expected value. In a series that often leaves
// its range by far, that is not news.
const rangeAlone = 2

// Validate returns all that is wrong with the parameters, joined.
func (d *Auto) Validate() error { return d.validate("auto") }

// Start returns the state of a series that has no readings yet.
func (d *Auto) Start() State { return start(d.Alarms, d.core()) }

// Read returns the state that Append wrote.
func (d *Auto) Read(r *codec.Reader) State { return resume(d.Alarms, d.core(), r) }

// Bytes is the memory of the state of one series.
func (d *Auto) Bytes() int { return bytesOf(d.core()) }

func (d *Auto) core() *autoCore {
	return &autoCore{season: *(&Season{Location: d.Location}).core(), shift: *newShiftCore()}
}

// The parts of Auto, beside the ways of Season.
const (
	byRange = ways + iota
	byShift
)

type autoCore struct {
	beyond rangeCore
	season seasonCore
	shift  shiftCore
	// unseasonal and shifted are the parts' opinions of the reading that is being
	// judged.
	unseasonal, shifted opinion
}

func (c *autoCore) judge(r Sample, p *pace) opinion {
	c.unseasonal = c.season.judge(r, p)
	c.shifted = c.shift.judge(r, p)
	beyond := c.beyond.judge(r, p)
	if beyond.surprise > 0 && !c.season.tail.learning() {
		beyond.surprise = min(beyond.surprise, c.season.tail.surprise(c.unseasonal.deviation, p.common())+rangeAlone)
	}
	beyond.part, c.shifted.part = byRange, byShift
	// The parts take turns, so what they report must be of one thing: the reading.
	c.shifted.averaged = false
	most := c.unseasonal
	for _, o := range [...]opinion{beyond, c.shifted} {
		if o.surprise > most.surprise {
			most = o
		}
	}
	return most
}

func (c *autoCore) learn(r Sample, p *pace, _ opinion) {
	c.beyond.learn(r, p, opinion{})
	c.season.learn(r, p, c.unseasonal)
	c.shift.learn(r, p, c.shifted)
}

func (c *autoCore) explain(r Sample, p *pace, o opinion, unit string) Evidence {
	switch o.part {
	case byRange:
		return c.beyond.explain(r, p, o, unit)
	case byShift:
		return c.shift.explain(r, p, o, unit)
	default:
		return c.season.explain(r, p, o, unit)
	}
}

// cluster is 1, because there are three parts.
func (c *autoCore) cluster() float64 { return 1 }

// learning ends when the first part can judge.
func (c *autoCore) learning() bool { return c.beyond.learning() }

func (c *autoCore) append(b []byte) []byte {
	return c.shift.append(c.season.append(c.beyond.append(b)))
}

func (c *autoCore) read(r *codec.Reader) {
	c.beyond.read(r)
	c.season.read(r)
	c.shift.read(r)
}
