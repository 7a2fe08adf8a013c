package window

import (
	"math"
	"time"
)

// Values beyond huge are summed up scaled down by shrink, so that the square of
// a difference stays finite whatever the values are. Both are powers of two:
// scaling loses nothing that the deviation of such values could show.
const (
	huge   = 0x1p480
	shrink = 0x1p-600
)

// moments are the running sums of a window (Welford's method), fed in the order
// of event time.
type moments struct {
	count                 uint64
	min, max, first, last float64
	// mean and squares, the sum of squared differences from the mean, are in
	// units of 1/shrink when scaled is set.
	mean, squares float64
	scaled        bool
}

// add takes one finite value. The conversions forbid the compiler to fuse a
// multiplication with an addition, which would make the result depend on the
// processor that the worker runs on.
func (m *moments) add(v float64) {
	m.count++
	if m.count == 1 {
		m.min, m.max, m.first = v, v, v
	}
	m.min, m.max, m.last = min(m.min, v), max(m.max, v), v
	if !m.scaled && (v > huge || v < -huge) {
		m.scaled = true
		m.mean *= shrink
		m.squares = m.squares * shrink * shrink
	}
	if m.scaled {
		v *= shrink
	}
	delta := v - m.mean
	m.mean += delta / float64(m.count)
	m.squares += float64(delta * float64(v-m.mean))
}

// summary returns the summary of the window; at least one value was added.
func (m *moments) summary(start int64, width time.Duration, revision uint32) Summary {
	mean, deviation := m.mean, math.Sqrt(m.squares/float64(m.count))
	if m.scaled {
		mean /= shrink
		deviation = min(deviation/shrink, math.MaxFloat64)
	}
	return Summary{
		Start: start, Width: width, Count: m.count, Min: m.min, Max: m.max, First: m.first, Last: m.last,
		// Rounding may carry the mean of nearly equal values past all of them.
		Mean: min(max(mean, m.min), m.max), Deviation: deviation, Revision: revision,
	}
}
