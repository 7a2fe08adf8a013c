package detect

import (
	"errors"
	"math"
	"slices"

	"headwater/services/processor/codec"
)

// Spike replaces bad readings, one or two far off, before detectors see them.
// It is a Hampel filter: it raises no alarm and is not a Detector. What lasts
// for three readings is not a spike and passes.
type Spike struct {
	// Width is the distance from which a reading is a spike, as a multiple of the
	// usual distance from the median of the previous readings; above 0.
	Width float64
}

// DefaultSpike returns the filter used when a person sets no width.
func DefaultSpike() Spike { return Spike{Width: 6} }

const (
	// spikeWindow is the number of readings in the median, spikeLeast the number
	// from which there is one, spikesMost how many in a row may be spikes.
	spikeWindow, spikeLeast, spikesMost = 61, 15, 2
	// medianToDeviation turns a median distance into a standard deviation.
	medianToDeviation = 1.4826
)

// Validate returns what is wrong with the parameters.
func (f Spike) Validate() error {
	if !(f.Width > 0) || math.IsInf(f.Width, 1) {
		return errors.New("spike: width must be above 0")
	}
	return nil
}

// Cleaner is what Spike knows of one series. It is for one goroutine only.
type Cleaner struct {
	width float64
	// values is a ring of the last readings in order of arrival, which begins at
	// first; sorted are the same readings in order of size.
	values, sorted [spikeWindow]float64
	n, first       int
	last           int64
	spikes         int
}

// Start returns the state of a series that has no readings yet.
func (f Spike) Start() *Cleaner { return &Cleaner{width: f.Width, last: noTime} }

// Clean returns the reading, or the median of the previous readings and true. A
// reading that is not after the previous one, or not finite, is returned as it
// is and changes nothing.
func (c *Cleaner) Clean(r Sample) (Sample, bool) {
	if !r.follows(c.last) {
		return r, false
	}
	c.last = r.Time
	median, spike := c.judge(r.Value)
	c.push(min(max(r.Value, -largest), largest))
	if !spike || c.spikes == spikesMost {
		if !spike {
			c.spikes = 0
		}
		return r, false
	}
	c.spikes++
	return Sample{Time: r.Time, Value: median}, true
}

// judge returns the median of the previous readings and whether the value is
// far from it.
func (c *Cleaner) judge(v float64) (float64, bool) {
	if c.n < spikeLeast {
		return v, false
	}
	sorted := c.sorted[:c.n]
	median := sorted[c.n/2]
	// The distances from the median grow to both sides of it: the median distance
	// is found by walking outwards.
	low, high, distance := c.n/2-1, c.n/2, 0.0
	for range c.n/2 + 1 {
		below, above := math.Inf(1), math.Inf(1)
		if low >= 0 {
			below = median - sorted[low]
		}
		if high < c.n {
			above = sorted[high] - median
		}
		distance = min(below, above)
		if below < above {
			low--
		} else {
			high++
		}
	}
	scale := max(distance*medianToDeviation, (sorted[c.n-1]-sorted[0])/1000)
	return median, math.Abs(v-median) > c.width*scale && scale > 0
}

// push takes in a value and drops the oldest.
func (c *Cleaner) push(v float64) {
	if c.n == spikeWindow {
		i, _ := slices.BinarySearch(c.sorted[:], c.values[c.first])
		copy(c.sorted[i:], c.sorted[i+1:])
		c.n--
		c.values[c.first] = v
		c.first = (c.first + 1) % spikeWindow
	} else {
		c.values[c.n] = v
	}
	i, _ := slices.BinarySearch(c.sorted[:c.n], v)
	copy(c.sorted[i+1:c.n+1], c.sorted[i:c.n])
	c.sorted[i] = v
	c.n++
}

// Append appends the state to b.
func (c *Cleaner) Append(b []byte) []byte {
	b = codec.Uint(codec.Int(b, c.last), uint64(c.spikes))
	at := func(i int) float64 { return c.values[(c.first+i)%spikeWindow] }
	return codec.Values(codec.Uint(b, uint64(c.n)), c.n, at)
}

// Read returns the state that Append wrote under equal parameters.
func (f Spike) Read(r *codec.Reader) *Cleaner {
	c := &Cleaner{width: f.Width, last: r.Int(), spikes: int(min(r.Uint(), spikesMost))}
	n := r.Count()
	if n > spikeWindow {
		r.Fail()
		return c
	}
	for _, v := range r.Values(n) {
		c.push(v)
	}
	return c
}
