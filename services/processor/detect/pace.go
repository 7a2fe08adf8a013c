package detect

import (
	"math"
	"time"

	"headwater/services/processor/codec"
)

const (
	week = 7 * 24 * time.Hour
	// gapAfter is the number of usual intervals from which the time between two
	// readings is a gap.
	gapAfter = 4
	// gapsAccepted is the number of gaps in a row that become the new usual
	// interval.
	gapsAccepted = 8
	// paceMemory is the number of intervals that the usual one is a mean of.
	paceMemory = 100
	// paceLeast is the number of intervals from which the usual one is known.
	paceLeast = 10
)

// pace learns how often a series reports.
type pace struct {
	// usual is the mean interval in nanoseconds, without gaps, and jitter the mean
	// distance from it.
	usual, jitter mean
	last          int64
	gaps          int
	// since is the time since the previous reading in nanoseconds, steps the same
	// in usual intervals, and gap reports whether it is too long to compare the
	// two readings. All three are about the reading that is being judged.
	since, steps float64
	gap          bool
}

// begin takes in the time of the reading to be judged.
func (p *pace) begin(at int64) {
	p.since, p.steps, p.gap = 0, 1, false
	if p.last == noTime {
		return
	}
	p.since = float64(at - p.last)
	if p.usual.n > 0 {
		p.steps = p.since / p.usual.value
		p.gap = p.steps > gapAfter
	}
}

// end learns the interval that begin took in.
func (p *pace) end(at int64) {
	first := p.last == noTime
	p.last = at
	if first {
		return
	}
	if p.gap {
		p.gaps++
		if p.gaps < gapsAccepted {
			return
		}
		p.usual, p.jitter = mean{}, mean{}
	}
	p.gaps = 0
	if p.usual.n > 0 {
		p.jitter.add(math.Abs(p.since-p.usual.value), 1, paceMemory)
	}
	p.usual.add(p.since, 1, paceMemory)
}

// aWeek is the number of readings in a week.
func (p *pace) aWeek() float64 { return float64(week) / p.usual.value }

// faultsAWeek is how many readings a week may be faults: enough for a few
// episodes.
const faultsAWeek = 10

// common is the share of readings that may all be faults.
func (p *pace) common() float64 { return faultsAWeek / p.aWeek() }

func (p *pace) known() bool { return p.usual.n >= paceLeast }

func (p *pace) append(b []byte) []byte {
	return codec.Uint(codec.Int(p.jitter.append(p.usual.append(b)), p.last), uint64(p.gaps))
}

func (p *pace) read(r *codec.Reader) {
	p.usual.read(r)
	p.jitter.read(r)
	p.last, p.gaps = r.Int(), int(min(r.Uint(), gapsAccepted))
}

// mean is an exponentially weighted mean that begins as a plain one.
type mean struct {
	value float64
	n     float64
}

// add takes in a value that counts as steps readings of a memory of that many.
func (m *mean) add(v, steps, memory float64) {
	m.n = min(m.n+1, memory)
	m.value += (v - m.value) * max(steps/(memory+steps), 1/m.n)
}

func (m *mean) append(b []byte) []byte { return codec.Uint(codec.Float(b, m.value), uint64(m.n)) }

func (m *mean) read(r *codec.Reader) { m.value, m.n = r.Float(), float64(r.Uint()) }
