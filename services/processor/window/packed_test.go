package window

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// all returns the readings since from.
func (p *packed) all(from int64) []Reading {
	var out []Reading
	for c := p.from(from); c.next(); {
		if c.reading.Time >= from {
			out = append(out, c.reading)
		}
	}
	return out
}

// same reports whether both are equal, bit for bit.
func same(a, b []Reading) bool {
	return slices.EqualFunc(a, b, func(a, b Reading) bool {
		return a.Time == b.Time && math.Float64bits(a.Value) == math.Float64bits(b.Value)
	})
}

func TestPackedGivesBackEveryBit(t *testing.T) {
	t.Parallel()
	const second = int64(1e9)
	for name, values := range map[string][]float64{
		"nothing":           nil,
		"one":               {20.5},
		"two decimals":      {20.51, 20.5, 20.49, -3.07, 0, 1e6},
		"more decimals":     {1, 1.5, 1.25, 1.125, 1.0625, 1.03125, 1},
		"minus zero":        {0, math.Copysign(0, -1), 0, 1, math.Copysign(0, -1)},
		"float32":           {float64(float32(20.1)), float64(float32(20.2)), float64(float32(-0.3))},
		"extremes":          {math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 0},
		"whole numbers":     {1 << 51, -(1 << 51), 1 << 52, 1 << 53, 1<<53 + 2, -1},
		"no decimals":       {math.Pi, math.Pi, math.E, 1.0 / 3},
		"decimal and other": {1.5, math.Pi, 1.5, math.Pi, 1.5},
	} {
		for scale, step := range map[string]int64{"s": second, "ms": second / 1000, "ns": 1, "far": MaxTime / 16} {
			t.Run(name+"/"+scale, func(t *testing.T) {
				t.Parallel()
				var p packed
				var want []Reading
				at := int64(-MaxTime / 4)
				for i, v := range values {
					at += step * int64(1+i%2)
					want = append(want, Reading{Time: at, Value: v})
					p.append(want[i])
					if p.last() != at || p.count != i+1 {
						t.Fatalf("the last of %d is %d, not %d", p.count, p.last(), at)
					}
				}
				if got := p.all(minTime); !same(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	}
}

// TestPackedIsASortedList compares it with a slice under every operation.
func TestPackedIsASortedList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var p packed
		var want []Reading
		at := rapid.Int64Range(-MaxTime/2, MaxTime/2).Draw(rt, "start")
		unit := rapid.SampledFrom([]int64{1, 1e3, 1e6, 1e9}).Draw(rt, "unit")
		value := rapid.SampledFrom([]*rapid.Generator[float64]{
			rapid.Just(21.5),
			rapid.Map(rapid.IntRange(-5000, 5000), func(n int) float64 { return float64(n) / 100 }),
			rapid.Float64Range(-1e308, 1e308),
			rapid.OneOf(rapid.Just(math.Copysign(0, -1)), rapid.Just(20.25), rapid.Float64Range(0, 1)),
		}).Draw(rt, "values")
		find := func(t int64) (int, bool) {
			return slices.BinarySearchFunc(want, t, func(r Reading, t int64) int { return int(max(-1, min(1, r.Time-t))) })
		}
		for range rapid.IntRange(0, 400).Draw(rt, "n") {
			switch op := rapid.IntRange(0, 9).Draw(rt, "op"); {
			case op < 7 || len(want) == 0:
				at += unit * rapid.SampledFrom([]int64{1, 1, 1, 2, 1000}).Draw(rt, "step")
				r := Reading{Time: at, Value: value.Draw(rt, "value")}
				p.append(r)
				want = append(want, r)
			case op < 9:
				r := Reading{Time: rapid.Int64Range(want[0].Time-unit, at).Draw(rt, "late"), Value: value.Draw(rt, "value")}
				if rapid.Bool().Draw(rt, "again") {
					r.Time = rapid.SampledFrom(want).Draw(rt, "known").Time
				}
				p.put(r)
				if i, known := find(r.Time); known {
					want[i] = r
				} else {
					want = slices.Insert(want, i, r)
				}
			default:
				from := rapid.Int64Range(want[0].Time, at+1).Draw(rt, "drop")
				i, _ := find(from)
				p.dropBefore(from)
				// Of earlier readings at most one block is kept: the last that begins
				// before the time. All its readings may be before it.
				if extra := p.count - (len(want) - i); extra < 0 || extra > blockReadings {
					rt.Fatalf("%d readings before %d are kept", extra, from)
				}
				want = want[len(want)-p.count:]
			}
			if p.count != len(want) {
				rt.Fatalf("%d readings, want %d", p.count, len(want))
			}
		}
		if !same(p.all(minTime), want) {
			rt.Fatalf("got %v, want %v", p.all(minTime), want)
		}
		if len(want) > 0 {
			from := rapid.Int64Range(want[0].Time-1, at+1).Draw(rt, "from")
			if i, _ := find(from); !same(p.all(from), want[i:]) {
				rt.Fatalf("from %d: got %v, want %v", from, p.all(from), want[i:])
			}
		}
	})
}

// FuzzPacked takes 16 bytes for a reading: the step since the previous one,
// then the bits of the value.
func FuzzPacked(f *testing.F) {
	seed := func(readings ...Reading) {
		var b []byte
		for _, r := range readings {
			b = binary.LittleEndian.AppendUint64(b, uint64(r.Time))
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(r.Value))
		}
		f.Add(b)
	}
	seed(Reading{1e9, 20.5}, Reading{1e9, 20.51}, Reading{1e9, math.Copysign(0, -1)})
	seed(Reading{1e6, math.Pi}, Reading{1e9, 1e300}, Reading{1, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p packed
		var want []Reading
		at := int64(minTime)
		for ; len(b) >= 16; b = b[16:] {
			step, v := int64(binary.LittleEndian.Uint64(b)), math.Float64frombits(binary.LittleEndian.Uint64(b[8:]))
			if step <= 0 || step > MaxTime-max(at, 0) || math.IsNaN(v) || math.IsInf(v, 0) {
				return // out of the promised range
			}
			at += step
			want = append(want, Reading{Time: at, Value: v})
			p.append(Reading{Time: at, Value: v})
		}
		if got := p.all(minTime); !same(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		// Put together in the other order, it is the same.
		var q packed
		for i := range want {
			if j := len(want) - 1 - i; i == 0 {
				q.append(want[j])
			} else {
				q.put(Reading{Time: want[j].Time})
				q.put(want[j])
			}
		}
		if got := q.all(minTime); !same(got, want) {
			t.Errorf("backwards: got %v, want %v", got, want)
		}
	})
}
