package window

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"headwater/services/processor/pack"
)

// TestSketch holds a sketch to its promise: every rank is told within half a
// bin, the bins are as fine as they may be, and neither the order of values nor
// how they are spread over sketches changes a bit of it.
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
		r := pack.NewReader(whole.append(nil))
		var read sketch
		if read.read(r); r.Err() != nil || r.Len() != 0 || !slices.Equal(read.append(nil), whole.append(nil)) {
			t.Fatalf("read back: %v", r.Err())
		}
		slices.Sort(values)
		half := math.Exp2(float64(whole.shift) - 53)
		for i, v := range values {
			got := whole.at(uint64(i), values[0], values[len(values)-1])
			// Around zero a bin holds what is next to nothing.
			if math.Abs(got-v) > half*math.Abs(v)*(1+1e-9)+1e-300 {
				t.Fatalf("rank %d is %v, want %v within %v of it", i, got, v, half)
			}
		}
		if whole.shift > finest && whole.n <= maxBins/4 {
			t.Fatalf("%d bins at %d", whole.n, whole.shift)
		}
	})
}
