package codec_test

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"headwater/services/processor/codec"
)

func TestColumnsComeBackBitForBit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		unit := rapid.SampledFrom([]int64{1, 1e3, 1e6, 1e9}).Draw(rt, "unit")
		times := rapid.SliceOf(rapid.Int64Range(0, 4e9)).Draw(rt, "times")
		decimal := rapid.Custom(func(rt *rapid.T) float64 {
			return float64(rapid.IntRange(-1e6, 1e6).Draw(rt, "n")) / rapid.SampledFrom([]float64{1, 10, 100, 16, 3}).Draw(rt, "d")
		})
		value := rapid.OneOf(decimal, rapid.Float64(), rapid.Just(math.Copysign(0, -1)))
		values := rapid.SliceOfN(value, len(times), len(times)).Draw(rt, "values")

		b := codec.Times(nil, len(times), func(i int) int64 { return times[i] * unit })
		b = codec.Values(b, len(values), func(i int) float64 { return values[i] })
		b = codec.String(b, "end")

		r := codec.NewReader(b)
		gotTimes := r.Times()
		gotValues := r.Values(len(gotTimes))
		if s := r.String(); s != "end" || r.Err() != nil || r.Len() != 0 {
			rt.Fatalf("after the columns: %q, %v, %d bytes left", s, r.Err(), r.Len())
		}
		for i := range times {
			if gotTimes[i] != times[i]*unit {
				rt.Fatalf("time %d is %d, not %d", i, gotTimes[i], times[i]*unit)
			}
			if math.Float64bits(gotValues[i]) != math.Float64bits(values[i]) {
				rt.Fatalf("value %d is %v, not %v", i, gotValues[i], values[i])
			}
		}
	})
}

func TestRegularReadingsAreCompact(t *testing.T) {
	t.Parallel()
	const n = 360
	b := codec.Times(nil, n, func(i int) int64 { return 1_700_000_000e9 + int64(i)*1e9 })
	b = codec.Values(b, n, func(i int) float64 { return float64(2000+i%7) / 100 })
	if len(b) > 2*n+16 {
		t.Errorf("%d regular readings take %d bytes, more than two each", n, len(b))
	}
}

func TestFieldsRoundTrip(t *testing.T) {
	t.Parallel()
	b := codec.Uint(nil, math.MaxUint64)
	b = codec.Int(b, math.MinInt64)
	b = codec.Float(b, math.Inf(-1))
	b = codec.Bool(b, true)
	b = codec.Bool(b, false)
	b = codec.Bytes(b, []byte{1, 2})
	r := codec.NewReader(b)
	if u, i, f, x, y, p := r.Uint(), r.Int(), r.Float(), r.Bool(), r.Bool(), r.Bytes(); u != math.MaxUint64 ||
		i != math.MinInt64 || !math.IsInf(f, -1) || !x || y || string(p) != "\x01\x02" || r.Err() != nil {
		t.Errorf("read %v %v %v %v %v %v, %v", u, i, f, x, y, p, r.Err())
	}
}

// FuzzReader checks that no input makes the Reader panic or ask for more memory
// than the input is long.
func FuzzReader(f *testing.F) {
	f.Add([]byte{}, uint8(3))
	f.Add(codec.Values(codec.Times(nil, 2, func(i int) int64 { return int64(i) }), 2, func(int) float64 { return 1.5 }), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, order uint8) {
		r := codec.NewReader(data)
		for i := uint8(0); i < 16 && r.Err() == nil; i++ {
			switch (order + i) % 8 {
			case 0:
				r.Values(len(r.Times()))
			case 1:
				_ = r.String()
			case 2:
				r.Count()
			case 3:
				r.Bool()
			case 4:
				r.Float()
			case 5:
				r.Int()
			case 6:
				r.Uint()
			case 7:
				r.Bytes()
			}
		}
		if err := r.Err(); err != nil && !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("unexpected error %v", err)
		}
	})
}
