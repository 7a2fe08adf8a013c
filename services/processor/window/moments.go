package window

import (
	"math"
	"slices"
	"time"

	"headwater/services/processor/codec"
)

// Values beyond huge are scaled down by shrink, so that the square of a
// difference stays finite whatever the values are. Both are powers of two:
// scaling loses nothing that the deviation of such values could show.
const (
	huge   = 0x1p480
	shrink = 0x1p-600
)

// moments are the running sums of a window (Welford's method), fed in the order
// of event time. Conversions of products keep the compiler from fusing a
// multiplication with an addition, which would make the result depend on the
// worker's processor.
type moments struct {
	count                 uint64
	min, max, first, last float64
	firstTime, lastTime   int64
	// mean and squares, the sum of squared differences from the mean, are in
	// units of 1/shrink when scaled is set.
	mean, squares float64
	// timeMean is the mean over the time from the first reading to the last, with
	// straight lines between readings.
	timeMean float64
	scaled   bool
}

// add takes one finite value.
func (m *moments) add(r Reading) {
	v := r.Value
	m.count++
	if m.count == 1 {
		m.min, m.max, m.first, m.firstTime, m.timeMean = v, v, v, r.Time, v
	} else {
		m.timeMean = weigh(m.timeMean, m.lastTime-m.firstTime, m.last/2+v/2, r.Time-m.lastTime)
	}
	m.min, m.max, m.last, m.lastTime = min(m.min, v), max(m.max, v), v, r.Time
	if v > huge || v < -huge {
		m.scale()
	}
	if m.scaled {
		v *= shrink
	}
	delta := v - m.mean
	m.mean += delta / float64(m.count)
	m.squares += float64(delta * float64(v-m.mean))
}

// scale converts mean and squares to units of 1/shrink.
func (m *moments) scale() {
	if !m.scaled {
		m.scaled = true
		m.mean *= shrink
		m.squares = m.squares * shrink * shrink
	}
}

// weigh returns the mean of two means, weighted by their spans.
func weigh(a float64, spanA int64, b float64, spanB int64) float64 {
	whole := float64(spanA + spanB)
	if whole == 0 {
		return b
	}
	return float64(a*(float64(spanA)/whole)) + float64(b*(float64(spanB)/whole))
}

// merge adds the sums over readings that are all later (the method of Chan,
// Golub and LeVeque).
func (m *moments) merge(o moments) {
	if o.count == 0 {
		return
	}
	if m.count == 0 {
		*m = o
		return
	}
	m.timeMean = weigh(m.timeMean, m.lastTime-m.firstTime, m.last/2+o.first/2, o.firstTime-m.lastTime)
	m.timeMean = weigh(m.timeMean, o.firstTime-m.firstTime, o.timeMean, o.lastTime-o.firstTime)
	m.min, m.max, m.last, m.lastTime = min(m.min, o.min), max(m.max, o.max), o.last, o.lastTime
	if o.scaled {
		m.scale()
	}
	if m.scaled {
		o.scale()
	}
	n := m.count + o.count
	delta := o.mean - m.mean
	part := float64(o.count) / float64(n)
	m.mean += float64(delta * part)
	m.squares += o.squares + float64(float64(delta*delta)*float64(float64(m.count)*part))
	m.count = n
}

// append appends the sums.
func (m *moments) append(b []byte) []byte {
	b = codec.Int(codec.Int(codec.Uint(b, m.count), m.firstTime), m.lastTime-m.firstTime)
	for _, v := range [...]float64{m.min, m.max, m.first, m.last, m.mean, m.squares, m.timeMean} {
		b = codec.Float(b, v)
	}
	return codec.Bool(b, m.scaled)
}

// read reads what append wrote.
func (m *moments) read(r *codec.Reader) {
	m.count, m.firstTime = r.Uint(), r.Int()
	m.lastTime = m.firstTime + r.Int()
	for _, v := range [...]*float64{&m.min, &m.max, &m.first, &m.last, &m.mean, &m.squares, &m.timeMean} {
		*v = r.Float()
	}
	m.scaled = r.Bool()
}

// tally is what is known of a window: its moments and its values, or a sketch
// of them once some are no longer kept.
type tally struct {
	moments
	values []float64
	bins   *sketch
}

// add takes one reading; it must be later than the previous ones.
func (t *tally) add(r Reading) {
	t.moments.add(r)
	if t.bins != nil {
		t.bins.add(r.Value)
		return
	}
	t.values = append(t.values, r.Value)
}

// pour adds the values of a tally to a sketch.
func (t *tally) pour(into *sketch) {
	if t.bins != nil {
		into.merge(t.bins)
		return
	}
	for _, v := range t.values {
		into.add(v)
	}
}

// summary returns the summary of at least one reading. It sorts the values.
func (t *tally) summary(window string, start, end int64, revision uint32) Summary {
	m := &t.moments
	mean, deviation := m.mean, math.Sqrt(m.squares/float64(m.count))
	if m.scaled {
		mean /= shrink
		deviation = min(deviation/shrink, math.MaxFloat64)
	}
	s := Summary{
		Window: window, At: start, Start: start, Width: time.Duration(end - start), Count: m.count, Min: m.min, Max: m.max, First: m.first, Last: m.last,
		// Rounding may carry the mean of nearly equal values past all of them.
		Mean: m.clamp(mean), TimeMean: m.clamp(m.timeMean), Deviation: deviation, Revision: revision,
	}
	if span := float64(m.lastTime-m.firstTime) / float64(time.Second); span > 0 {
		s.Rate = min(max((m.last-m.first)/span, -math.MaxFloat64), math.MaxFloat64)
	}
	slices.Sort(t.values)
	low, high := t.at((m.count-1)/2), t.at(m.count/2)
	s.P50 = low
	if low != high {
		s.P50 = low/2 + high/2
	}
	s.P90, s.P95, s.P99 = t.percentile(90), t.percentile(95), t.percentile(99)
	return s
}

func (m *moments) clamp(v float64) float64 { return min(max(v, m.min), m.max) }

// percentile returns the value of the nearest rank, as InfluxQL counts it.
func (t *tally) percentile(p uint64) float64 { return t.at((2*t.count*p+100)/200 - 1) }

// at returns the value of a rank, counted from 0.
func (t *tally) at(rank uint64) float64 {
	if t.bins == nil {
		return t.values[rank]
	}
	return t.bins.at(rank, t.min, t.max)
}
