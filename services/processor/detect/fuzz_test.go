package detect_test

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

// FuzzDetectors feeds detectors with anything: values that are not numbers, the
// largest and the smallest numbers, times that stand still, go back or jump by
// years. Nothing may panic, every verdict must be well formed, every score
// between 0 and 1, and a state restored from its own bytes must behave alike.
func FuzzDetectors(f *testing.F) {
	names := slices.Sorted(maps.Keys(everyDetector()))
	numbers := []float64{0, 1, -1, 5, 5.1, 20, math.NaN(), inf, -inf, math.MaxFloat64, -math.MaxFloat64, 1e300, 1e-300, math.SmallestNonzeroFloat64}
	steps := []int64{second, minute, 5 * minute, 15 * minute, 0, -minute, 1, 24 * 60 * minute, 400 * 24 * 60 * minute, math.MaxInt64 / 4}
	for i := range names {
		var series []byte
		for n := range 400 {
			series = append(series, byte(n%7)<<4|3, byte(n*n))
		}
		f.Add(uint8(i), series)
		f.Add(uint8(i), append(series, 0x63, 0, 0x73, 0, 0x83, 0, 0x44, 1, 0x55, 2, 0x97, 3, 0xa8, 4, 0xb9, 5))
	}
	f.Fuzz(func(t *testing.T, which uint8, series []byte) {
		d := everyDetector()[names[int(which)%len(names)]]
		s, at := d.Start(), epoch
		var emitted []detect.Verdict
		if len(series) > 4000 {
			series = series[:4000]
		}
		for ; len(series) >= 2; series = series[2:] {
			// The lower half of a byte is a step, the upper a number; beyond the table
			// the second byte is the number.
			step, v := int(series[0]&15), float64(int8(series[1]))/8
			if n := int(series[0] >> 4); n >= 6 && n < len(numbers) {
				v = numbers[n]
			}
			next := at
			if step < len(steps) {
				next += steps[step]
			} else {
				next += int64(step) * second / 10
			}
			if next < at && step != 5 || next > detectTimes {
				continue // beyond what the machine accepts
			}
			switch {
			case series[1] == 250:
				s = reload(t, d, s)
			case series[1] == 251:
				at = max(at, next)
				emitted = s.Tick(at, "°C", emitted)
			case series[1] == 252:
				if m, ok := s.(detect.Misreader); ok {
					emitted = m.Misread(next, string(series[:2]), "°C", emitted)
				}
				at = max(at, next)
			default:
				emitted = s.Observe(detect.Sample{Time: next, Value: v}, "°C", emitted)
				at = max(at, next)
			}
			if score := s.Score(); !(score >= 0 && score <= 1) {
				t.Fatalf("%s: score %v", names[int(which)%len(names)], score)
			}
		}
		wellFormed(t, emitted)
		// A state restored from the bytes behaves like the one that wrote them.
		again := reload(t, d, s)
		for i := range 20 {
			r := detect.Sample{Time: at + int64(i+1)*minute, Value: float64(i % 3)}
			if diff := cmp.Diff(s.Observe(r, "°C", nil), again.Observe(r, "°C", nil)); diff != "" {
				t.Fatalf("after a snapshot (-without +with):\n%s", diff)
			}
		}
	})
}

// detectTimes bounds the times of the test as the machine does.
const detectTimes = 1 << 61

// FuzzRead reads states from any bytes: it must fail or return a state that
// works.
func FuzzRead(f *testing.F) {
	names := slices.Sorted(maps.Keys(everyDetector()))
	for i, name := range names {
		s := everyDetector()[name].Start()
		for _, r := range usualDays(1)[:700] {
			s.Observe(r, "", nil)
		}
		f.Add(uint8(i), s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, which uint8, state []byte) {
		d := everyDetector()[names[int(which)%len(names)]]
		r := codec.NewReader(state)
		s := d.Read(r)
		if r.Err() != nil {
			return
		}
		b := s.Append(nil)
		if again := d.Read(codec.NewReader(b)).Append(nil); !bytes.Equal(b, again) {
			t.Fatalf("%d bytes become other %d", len(b), len(again))
		}
	})
}
