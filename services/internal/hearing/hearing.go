// Package hearing keeps track of when Headwater was listening to the devices.
// Its clock ticks about once a second while Headwater takes in everything that
// arrives. Time without ticks says nothing about which devices were silent. The
// package is pure: all times are arguments, in nanoseconds since the Unix
// epoch.
package hearing

import (
	"slices"
	"time"
)

const (
	// pauseLeast and pauseMost bound the distance of two ticks from which the time
	// between them is a gap: twice the previous distance, so that a clock which is
	// slow for long, under load, has no gaps.
	pauseLeast, pauseMost = int64(3 * time.Second), int64(20 * time.Second)
	// forgiven is how many times its length a gap takes from the silence before
	// it. After a gap that is not short, a silent device gets its whole wait
	// again, yet a clock that stumbles now and then does not put off every wait
	// forever.
	forgiven = 4
	// MaxGaps is the number of gaps that are remembered.
	MaxGaps = 16
)

// Never is earlier than any tick.
const Never = -1 << 62

// Gap is a stretch of time [From, To) in which Headwater did not listen.
type Gap struct{ From, To int64 }

// Clock keeps track of the time in which Headwater listened. It must be made
// with New. It must not be used by two goroutines at a time.
type Clock struct {
	// Now is the last tick; Never before the first.
	Now int64
	// Stride is the distance of the last two ticks.
	Stride int64
	// Gaps are the gaps that count, in order, at most MaxGaps.
	Gaps []Gap
	// Steady means that Headwater listens however seldom the clock ticks.
	Steady bool
}

// New returns a clock that has not ticked.
func New() Clock { return Clock{Now: Never} }

// pause is the longest time to the next tick that is not a gap.
func (c *Clock) pause() int64 { return min(max(2*c.Stride, pauseLeast), pauseMost) }

// Tick moves the clock. A time that is not after the last tick changes nothing.
func (c *Clock) Tick(now int64) {
	if now <= c.Now {
		return
	}
	if c.Now != Never {
		if c.deaf(now) {
			c.note(Gap{From: c.Now, To: now})
		}
		c.Stride = now - c.Now
	}
	c.Now = now
}

// deaf reports whether Headwater is not known to have listened since the last tick.
func (c *Clock) deaf(now int64) bool { return !c.Steady && c.Now != Never && now-c.Now > c.pause() }

// note remembers a gap. If there are too many, it forgets the one that is
// shortest for its age.
func (c *Clock) note(g Gap) {
	if n := len(c.Gaps); n > 0 && c.Gaps[n-1].To == g.From {
		c.Gaps[n-1].To = g.To
		return
	}
	c.Gaps = append(c.Gaps, g)
	if len(c.Gaps) <= MaxGaps {
		return
	}
	weight := func(g Gap) float64 { return float64(g.To-g.From) / float64(c.Gaps[len(c.Gaps)-1].To-g.To) }
	least := 0
	for i := range MaxGaps {
		if weight(c.Gaps[i]) < weight(c.Gaps[least]) {
			least = i
		}
	}
	c.Gaps = slices.Delete(c.Gaps, least, least+1)
}

// Since returns the time from which hearing nothing between two times counts:
// as if Headwater had started to listen then and never stopped. It is from
// itself if it never stopped listening.
func (c *Clock) Since(from, to int64) int64 {
	if !c.Missed(from) && !c.deaf(to) || from >= to {
		return from
	}
	silent, at := int64(0), from
	c.each(from, to, func(g Gap) {
		silent = max(0, silent+g.From-at-forgiven*(g.To-g.From))
		at = g.To
	})
	return to - (silent + to - at)
}

// Listened returns how long Headwater listened between two times.
func (c *Clock) Listened(from, to int64) int64 {
	whole := max(0, to-from)
	c.each(from, to, func(g Gap) { whole -= g.To - g.From })
	return whole
}

// Missed reports whether there was a gap after a time.
func (c *Clock) Missed(after int64) bool {
	return len(c.Gaps) > 0 && c.Gaps[len(c.Gaps)-1].To > after
}

// each calls visit with the parts of gaps between two times, in order. The last
// may be a gap that has not ended.
func (c *Clock) each(from, to int64, visit func(Gap)) {
	part := func(g Gap) {
		g.From, g.To = max(g.From, from), min(g.To, to)
		if g.From < g.To {
			visit(g)
		}
	}
	for _, g := range c.Gaps {
		part(g)
	}
	if c.deaf(to) {
		part(Gap{From: c.Now, To: to})
	}
}
