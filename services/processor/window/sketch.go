package window

import (
	"math"

	"headwater/services/processor/codec"
)

const (
	// maxBins is the largest number of bins in a sketch.
	maxBins = 128
	// finest is how many of the lowest bits of a value the finest bins drop: ten
	// bits of its fraction remain, half a thousandth of the value.
	finest = 42
)

// sketch counts values in bins, for percentiles of readings that are no longer
// kept. It is DDSketch (Masson, Rim, Lee, VLDB 2019) with bins that are linear
// between two powers of two, and with the uniform collapse of UDDSketch
// (Epicoco et al., 2020): when there are more than maxBins bins, each two
// neighbours become one. So the bins are as fine as the spread of the values
// allows, all of the same relative width. The bin of a value is its upper bits.
// No logarithm is taken, so the counts are the same on every processor and for
// every order of adding values and merging sketches.
//
// A percentile is off by at most half a bin: 0.05 % of itself at first, and no
// more than it takes for the values to lie in 65 or more different bins.
type sketch struct {
	n      int
	shift  uint8
	keys   [2 * maxBins]int32
	counts [2 * maxBins]uint64
}

// keyOf returns the bin of a finite value: ascending, 0 for values around zero.
func keyOf(v float64, shift uint8) int32 {
	k := int32(math.Float64bits(math.Abs(v)) >> shift)
	if v < 0 {
		return -k
	}
	return k
}

// valueOf returns the middle of a bin.
func valueOf(key int32, shift uint8) float64 {
	if key == 0 {
		return 0
	}
	k := uint64(max(key, -key))
	high := math.Float64frombits(min((k+1)<<shift, math.Float64bits(math.MaxFloat64)))
	v := math.Float64frombits(k<<shift)/2 + high/2
	if key < 0 {
		return -v
	}
	return v
}

// add counts one finite value.
func (s *sketch) add(v float64) {
	s.shift = max(s.shift, finest)
	s.insert(keyOf(v, s.shift), 1)
	s.bound()
}

// insert counts n values of a bin. There must be room.
func (s *sketch) insert(key int32, n uint64) {
	low, high := 0, s.n
	for low < high {
		if middle := (low + high) / 2; s.keys[middle] < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < s.n && s.keys[low] == key {
		s.counts[low] += n
		return
	}
	copy(s.keys[low+1:s.n+1], s.keys[low:s.n])
	copy(s.counts[low+1:s.n+1], s.counts[low:s.n])
	s.keys[low], s.counts[low] = key, n
	s.n++
}

// bound ensures that there are no more bins than allowed.
func (s *sketch) bound() {
	for s.n > maxBins {
		s.collapse()
	}
}

// collapse merges each two neighbours into one bin.
func (s *sketch) collapse() {
	s.shift++
	n := 0
	for i := range s.n {
		key := s.keys[i] / 2 // towards zero, as the bits of a value are dropped
		if n > 0 && s.keys[n-1] == key {
			s.counts[n-1] += s.counts[i]
			continue
		}
		s.keys[n], s.counts[n] = key, s.counts[i]
		n++
	}
	s.n = n
}

// merge adds the counts of another sketch, which may collapse.
func (s *sketch) merge(o *sketch) {
	if o.n == 0 {
		return
	}
	if s.n == 0 {
		*s = *o
		return
	}
	for s.shift < o.shift {
		s.collapse()
	}
	for o.shift < s.shift {
		o.collapse()
	}
	for i := range o.n {
		s.insert(o.keys[i], o.counts[i])
	}
	s.bound()
}

// at returns about the value of that rank, counted from 0; low and high are the
// least and the greatest value.
func (s *sketch) at(rank uint64, low, high float64) float64 {
	for i := range s.n {
		if rank < s.counts[i] {
			return min(max(valueOf(s.keys[i], s.shift), low), high)
		}
		rank -= s.counts[i]
	}
	return high
}

// The encoding of a bin after the first one. Most bins directly follow the
// previous one and hold few values.
const (
	// few and some are the greatest counts of a bin directly after the previous
	// one that take one byte, 0xxxxxxx, and two, 10xxxxxx yyyyyyyy.
	few  = 1 << 7
	some = few + 1<<14
	// Others are 11xxxxxx, the number of bins skipped, and the count. From far on,
	// the excess over far is written between the two.
	more, other, far = 0x80, 0xc0, 0x3f
)

// append appends the sketch in one or two bytes a bin.
func (s *sketch) append(b []byte) []byte {
	b = codec.Uint(codec.Uint(b, uint64(s.n)), uint64(s.shift))
	for i, count := range s.counts[:s.n] {
		if i == 0 {
			b = codec.Uint(codec.Int(b, int64(s.keys[0])), count)
			continue
		}
		switch passed := uint64(int64(s.keys[i]) - int64(s.keys[i-1]) - 1); {
		case passed == 0 && count <= few:
			b = append(b, byte(count-1))
		case passed == 0 && count <= some:
			rest := count - few - 1
			b = append(b, more|byte(rest>>8), byte(rest))
		case passed < far:
			b = codec.Uint(append(b, other|byte(passed)), count)
		default:
			b = codec.Uint(codec.Uint(append(b, other|far), passed-far), count)
		}
	}
	return b
}

// read reads what append wrote.
func (s *sketch) read(r *codec.Reader) {
	n, shift := r.Uint(), r.Uint()
	if n > maxBins || shift > 64 || n > 0 && shift < finest {
		r.Fail()
		return
	}
	s.n, s.shift = int(n), uint8(shift)
	last := int64(0)
	for i := range s.n {
		var key int64
		var count uint64
		if i == 0 {
			key, count = r.Int(), r.Uint()
		} else {
			var passed uint64
			passed, count = readBin(r)
			key = last + 1 + int64(passed)
		}
		if key > math.MaxInt32 || key < math.MinInt32 || count == 0 {
			r.Fail()
			s.n = 0
			return
		}
		s.keys[i], s.counts[i] = int32(key), count
		last = key
	}
}

// readBin reads the number of bins skipped, and a count.
func readBin(r *codec.Reader) (passed, count uint64) {
	switch head := r.Byte(); {
	case head < more:
		return 0, uint64(head) + 1
	case head < other:
		return 0, few + 1 + uint64(head&far)<<8 + uint64(r.Byte())
	default:
		passed = uint64(head & far)
		if passed == far {
			passed += min(r.Uint(), math.MaxUint32)
		}
		return passed, r.Uint()
	}
}
