package window

import (
	"math"
	"slices"
)

const (
	// fewReadings is the number of readings that a series keeps unpacked. Beyond
	// it the older half of them is packed.
	fewReadings = 8
	// onStack is the number of readings that are unpacked without an allocation.
	onStack = 512
)

// history holds the readings of a series in the order of their times, each time
// once. Nearly all readings come in order, and nearly all lookups are among the
// newest: those are kept as they are, older ones packed. The zero value is
// empty.
type history struct {
	// old are all readings before recent; nil if there are none.
	old    *packed
	recent []Reading
}

func (h *history) len() int {
	if h.old == nil {
		return len(h.recent)
	}
	return h.old.count + len(h.recent)
}

// last returns the newest time, or the least possible one without readings.
func (h *history) last() int64 {
	if n := len(h.recent); n > 0 {
		return h.recent[n-1].Time
	}
	if h.old != nil && h.old.count > 0 {
		return h.old.last()
	}
	return math.MinInt64
}

// full reports whether the next reading in order needs makeRoom first.
func (h *history) full() bool { return len(h.recent) == cap(h.recent) }

// isOld reports whether a reading at t belongs to the packed ones.
func (h *history) isOld(t int64) bool { return h.old != nil && h.old.count > 0 && t <= h.old.last() }

// find returns the reading at t.
func (h *history) find(t int64) (Reading, bool) {
	c := h.from(t)
	if c.next() && c.reading.Time == t {
		return c.reading, true
	}
	return Reading{}, false
}

// insert adds a reading whose time is new; the history must not be full.
func (h *history) insert(r Reading) {
	if h.isOld(r.Time) {
		h.old.put(r)
		return
	}
	h.recent = append(h.recent, r)
	for i := len(h.recent) - 1; i > 0 && h.recent[i-1].Time > r.Time; i-- {
		h.recent[i-1], h.recent[i] = h.recent[i], h.recent[i-1]
	}
}

// replace gives the reading of that time, which must exist, another value.
func (h *history) replace(r Reading) {
	if h.isOld(r.Time) {
		h.old.put(r)
		return
	}
	for i := range h.recent {
		if h.recent[i].Time == r.Time {
			h.recent[i] = r
		}
	}
}

// makeRoom drops readings before keep, not necessarily all, and ensures that
// the history is not full.
func (h *history) makeRoom(keep int64) {
	if h.old != nil {
		h.old.dropBefore(keep)
		if h.old.count == 0 {
			h.old = nil
		}
	}
	n := len(h.recent)
	if h.old == nil {
		drop := 0
		for drop < n && h.recent[drop].Time < keep {
			drop++
		}
		if drop > 0 {
			h.recent = h.recent[:copy(h.recent, h.recent[drop:])]
			return
		}
	}
	if n < fewReadings {
		grown := make([]Reading, n, min(n+2, fewReadings))
		copy(grown, h.recent)
		h.recent = grown
		return
	}
	if h.old == nil {
		h.old = new(packed)
	}
	for _, r := range h.recent[:n/2] {
		h.old.append(r)
	}
	h.recent = h.recent[:copy(h.recent, h.recent[n/2:])]
}

// set replaces all readings.
func (h *history) set(readings []Reading) {
	n := max(0, len(readings)-fewReadings)
	h.old = nil
	if n > 0 {
		h.old = new(packed)
		for _, r := range readings[:n] {
			h.old.append(r)
		}
	}
	h.recent = slices.Clone(readings[n:])
}

// appendTo appends the readings since from to out and returns it.
func (h *history) appendTo(out []Reading, from int64) []Reading {
	for c := h.from(from); c.next(); {
		out = append(out, c.reading)
	}
	return out
}

// from returns an iterator before the first reading at or after t. It is valid
// until the next change.
func (h *history) from(t int64) iterator {
	it := iterator{recent: h.recent}
	if h.isOld(t) {
		it.cursor = h.old.from(t)
		it.skip = t
		return it
	}
	for len(it.recent) > 0 && it.recent[0].Time < t {
		it.recent = it.recent[1:]
	}
	return it
}

// iterator walks through a history.
type iterator struct {
	cursor
	recent []Reading
	// skip is the earliest time that the first reading may have.
	skip int64
}

// next moves to the next reading and reports whether there is one.
func (it *iterator) next() bool {
	for it.cursor.next() {
		if it.reading.Time >= it.skip {
			return true
		}
	}
	if len(it.recent) == 0 {
		return false
	}
	it.reading, it.recent = it.recent[0], it.recent[1:]
	return true
}
