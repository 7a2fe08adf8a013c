package window

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"headwater/services/processor/codec"
)

// TestSketch checks the promises of a sketch: every rank is within half a bin,
// the bins are as fine as possible, and neither the order of values nor their
// distribution over sketches changes a bit of it.
func TestSketch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]*rapid.Generator[float64]{
			rapid.Float64Range(18, 25), rapid.Float64Range(1000, 1030), rapid.Float64Range(-40, 40),
			rapid.Custom(func(t *rapid.T) float64 { return math.Pow(10, rapid.Float64Range(-3, 3).Draw(t, "power")) }),
			rapid.SampledFrom([]float64{0, 1, -1, 21.5, 1e300, -1e300, 5e-324, math.MaxFloat64}),
		}).Draw(t, "kind")
		values := rapid.SliceOfN(value, 1, 400).Draw(t, "values")
		var whole, a, b sketch
		for i, v := range values {
			whole.add(v)
			if i%3 == 0 {
				a.add(v)
			} else {
				b.add(v)
			}
		}
		b.merge(&a)
		if again := slices.Clone(whole.append(nil)); !slices.Equal(again, b.append(nil)) {
			t.Fatalf("two halves give %v, all at once %v", b.append(nil), again)
		}
		r := codec.NewReader(whole.append(nil))
		var read sketch
		read.read(r)
		if r.Err() != nil || r.Len() != 0 || !slices.Equal(read.append(nil), whole.append(nil)) {
			t.Fatalf("read back: %v", r.Err())
		}
		slices.Sort(values)
		half := math.Exp2(float64(whole.shift) - 53)
		for i, v := range values {
			got := whole.at(uint64(i), values[0], values[len(values)-1])
			// Around zero a bin holds values that are nearly nothing.
			if math.Abs(got-v) > half*math.Abs(v)*(1+1e-9)+1e-300 {
				t.Fatalf("rank %d is %v, want %v within %v of it", i, got, v, half)
			}
		}
		if whole.shift > finest && whole.n <= maxBins/4 {
			t.Fatalf("%d bins at %d", whole.n, whole.shift)
		}
	})
}

// TestSketchBytes writes and reads bins of every distance and count that takes
// another number of bytes.
func TestSketchBytes(t *testing.T) {
	t.Parallel()
	distances := []int64{1, 2, 62, 63, 64, 65, 1000, 1 << 30}
	counts := []uint64{1, 2, few, few + 1, some, some + 1, math.MaxUint64}
	for _, first := range []int32{math.MinInt32, -3, 0, 7} {
		var s sketch
		s.shift = finest
		key := int64(first)
		for _, d := range distances {
			for _, n := range counts {
				if key > math.MaxInt32 {
					break
				}
				s.keys[s.n], s.counts[s.n] = int32(key), n
				s.n++
				key += d
			}
		}
		b := s.append(nil)
		r := codec.NewReader(b)
		var read sketch
		read.read(r)
		if r.Err() != nil || r.Len() != 0 || read != s {
			t.Errorf("from %d: %d bins are read back as %d, %v, %d bytes left", first, s.n, read.n, r.Err(), r.Len())
		}
	}
}

func TestSketchRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	head := func(bins uint64) []byte { return codec.Uint(codec.Uint(nil, bins), finest) }
	for name, b := range map[string][]byte{
		"no values in the first bin": codec.Uint(codec.Int(head(1), 5), 0),
		"no values in another bin":   codec.Uint(append(codec.Uint(codec.Int(head(2), 5), 1), other), 0),
		"a bin beyond all values":    append(codec.Uint(codec.Int(head(2), math.MaxInt32), 1), 3),
		"a bin very far beyond":      codec.Uint(codec.Uint(append(codec.Uint(codec.Int(head(2), 5), 1), other|far), math.MaxUint64), 1),
		"fewer bins than it says":    codec.Uint(codec.Int(head(2), 5), 1),
		"too many bins":              head(maxBins + 1),
		"bins finer than there are":  codec.Uint(codec.Int(codec.Uint(codec.Uint(nil, 1), finest-1), 5), 1),
	} {
		r := codec.NewReader(b)
		var s sketch
		s.read(r)
		if r.Err() == nil {
			t.Errorf("%s: was read as %d bins", name, s.n)
		}
	}
}
