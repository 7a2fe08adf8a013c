package derive

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headwater/services/processor/codec"
	"headwater/services/rule"
)

const second = int64(time.Second)

func spec(tb rapid.TB, d rule.Derived, lateness time.Duration) *Spec {
	d = d.WithDefaults()
	if p := d.Problems(); len(p) > 0 {
		tb.Fatalf("%+v: %v", d, p)
	}
	s, err := New(d, lateness)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return s
}

// TestValues derives series from readings in order, each with when it arrived.
func TestValues(t *testing.T) {
	type in struct {
		input    int
		at, when int64
		v        float64
	}
	for name, tc := range map[string]struct {
		d    rule.Derived
		in   []in
		tick int64
		want []Reading
	}{
		"together": {
			rule.Derived{Metric: "d", Expression: "a - b"},
			[]in{{0, 1, 1, 5}, {1, 1, 1, 2}, {0, 2, 2, 7}, {1, 2, 2, 3}},
			0,
			[]Reading{{1, 3}, {2, 4}},
		},
		"the other one comes later": {
			rule.Derived{Metric: "d", Expression: "a - b"},
			[]in{{0, 1, 1, 5}, {1, 2, 2, 2}, {0, 3, 3, 7}},
			5,
			[]Reading{{2, 3}, {3, 5}},
		},
		"it waits for the clock": {
			rule.Derived{Metric: "d", Expression: "a - b"},
			[]in{{0, 1, 1, 5}, {1, 1, 1, 2}, {0, 2, 2, 7}},
			2,
			[]Reading{{1, 3}},
		},
		"too old": {
			rule.Derived{Metric: "d", Expression: "a - b", MaxAge: 5 * time.Second},
			[]in{{1, 1, 1, 2}, {0, 5, 5, 9}, {0, 7, 7, 9}},
			20,
			[]Reading{{5, 7}},
		},
		"no result": {
			rule.Derived{Metric: "d", Expression: "a / b"},
			[]in{{1, 1, 1, 0}, {0, 1, 1, 9}, {0, 2, 2, 9}, {1, 2, 2, 3}},
			20,
			[]Reading{{2, 3}},
		},
		"one metric needs no clock": {
			rule.Derived{Metric: "d", Expression: "a * 2"},
			[]in{{0, 1, 1, 5}},
			0,
			[]Reading{{1, 10}},
		},
		"difference": {
			rule.Derived{Metric: "d", Difference: "a"},
			[]in{{0, 1, 1, 5}, {0, 2, 2, 7}, {0, 9, 9, 4}},
			0,
			[]Reading{{2, 2}, {9, -3}},
		},
		"difference across a gap": {
			rule.Derived{Metric: "d", Difference: "a", MaxAge: 5 * time.Second},
			[]in{{0, 1, 1, 5}, {0, 9, 9, 7}, {0, 10, 10, 4}},
			0,
			[]Reading{{10, -3}},
		},
		"difference over a span": {
			rule.Derived{Metric: "d", Difference: "a", Over: 10 * time.Second},
			[]in{{0, 1, 1, 5}, {0, 5, 5, 6}, {0, 11, 11, 7}, {0, 16, 16, 9}},
			0,
			[]Reading{{11, 2}, {16, 3}},
		},
		"sum": {
			rule.Derived{Metric: "d", Sum: "a", Over: 10 * time.Second},
			[]in{{0, 1, 1, 5}, {0, 5, 5, 6}, {0, 11, 11, 7}},
			0,
			[]Reading{{1, 5}, {5, 11}, {11, 13}},
		},
		"integral": {
			rule.Derived{Metric: "d", Integral: "a", Over: 30 * time.Minute},
			[]in{{0, 0, 0, 2}, {0, 1200, 1200, 4}, {0, 2400, 2400, 4}},
			0,
			[]Reading{{0, 0}, {1200, 1}, {2400, 3.5/6 + 4.0/3}},
		},
		"integral across a gap": {
			rule.Derived{Metric: "d", Integral: "a", Over: time.Hour, MaxAge: 10 * time.Minute},
			[]in{{0, 0, 0, 6}, {0, 600, 600, 6}, {0, 1800, 1800, 6}, {0, 2400, 2400, 6}},
			0,
			[]Reading{{0, 0}, {600, 1}, {1800, 1}, {2400, 2}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, tc.d, time.Minute)
			x := s.Start()
			var got []Reading
			for _, r := range tc.in {
				var ok bool
				if got, ok = x.Add(r.input, Reading{r.at * second, r.v}, r.when*second, false, got); !ok {
					t.Errorf("%+v is too late", r)
				}
			}
			got = x.Tick(tc.tick*second, got)
			near := func(a, b Reading) bool { return a.Time == b.Time*second && math.Abs(a.Value-b.Value) < 1e-12 }
			if !slices.EqualFunc(got, tc.want, near) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestLateReadings changes what is already known.
func TestLateReadings(t *testing.T) {
	s := spec(t, rule.Derived{Metric: "d", Expression: "a - b"}, time.Minute)
	x := s.Start()
	add := func(input int, at int64, v float64) []Reading {
		out, ok := x.Add(input, Reading{at * second, v}, 100*second, false, nil)
		if !ok {
			t.Fatalf("%d is too late", at)
		}
		return out
	}
	add(1, 10, 1)
	for at := int64(20); at <= 60; at += 10 {
		add(0, at, float64(at))
	}
	if add(0, 60, 60); x.Stale() {
		t.Error("a repeated reading makes values stale")
	}
	if out := add(1, 35, 2); out != nil || x.Due() != past {
		t.Errorf("a late reading gives %v at once; due %d", out, x.Due())
	}
	// Those from the late reading on, and not the one that waits.
	if got := fmt.Sprint(x.Flush(2, nil), x.Flush(9, nil), x.Stale()); got != "[{35000000000 28} {40000000000 38}] [{50000000000 48}] false" {
		t.Error(got)
	}
	if got := fmt.Sprint(x.Tick(101*second, nil)); got != "[{60000000000 58}]" {
		t.Error(got)
	}
	add(0, 50, 0) // a correction
	if got := fmt.Sprint(x.Flush(9, nil)); got != "[{50000000000 -2}]" {
		t.Error(got)
	}
	add(0, 200, 1)
	if _, ok := x.Add(0, Reading{39 * second, 1}, 200*second, false, nil); ok {
		t.Error("a reading beyond the lateness counts; it arrived at 100 s or later")
	}
}

// TestTooManyReadings drops the oldest ones, and gives no sums that would be wrong.
func TestTooManyReadings(t *testing.T) {
	s := spec(t, rule.Derived{Metric: "d", Sum: "a", Over: time.Hour}, time.Minute)
	x := s.Start()
	var out []Reading
	for i := range int64(MaxReadings + 2) {
		out, _ = x.Add(0, Reading{i * second / 10, 1}, i*second, false, out[:0])
		if sum := i < MaxReadings; sum != (len(out) == 1) {
			t.Fatalf("reading %d gives %v", i, out)
		}
	}
	if n := len(x.inputs[0]); n != MaxReadings {
		t.Errorf("%d are kept", n)
	}
}

// TestValuesAreThoseOfSortedReadings gives a State readings in a random order within the
// lateness, some twice and some corrected, with ticks, postponed values and restarts between
// them. The last values are those of the sorted readings.
func TestValuesAreThoseOfSortedReadings(t *testing.T) {
	kinds := []rule.Derived{
		{Metric: "d", Expression: "2 * a + b - c", MaxAge: 40 * time.Second},
		{Metric: "d", Difference: "a", MaxAge: 40 * time.Second},
		{Metric: "d", Difference: "a", Over: 20 * time.Second, MaxAge: 40 * time.Second},
		{Metric: "d", Sum: "a", Over: 20 * time.Second},
		{Metric: "d", Integral: "a", Over: 20 * time.Second, MaxAge: 15 * time.Second},
	}
	rapid.Check(t, func(t *rapid.T) {
		const lateness = 5 * time.Minute
		s := spec(t, rapid.SampledFrom(kinds).Draw(t, "kind"), lateness)
		x := s.Start()
		valid := make([]map[int64]float64, len(s.Inputs))
		for i := range valid {
			valid[i] = make(map[int64]float64)
		}
		got := make(map[int64]float64)
		take := func(out []Reading) {
			for _, r := range out {
				got[r.Time] = r.Value
			}
		}
		now := int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				now += rapid.Int64Range(0, 3).Draw(t, "pause") * second
				take(x.Tick(now, nil))
			case 1:
				take(x.Flush(rapid.IntRange(1, 5).Draw(t, "some"), nil))
			case 2:
				b := x.Append(nil)
				r := codec.NewReader(b)
				x = s.Read(r)
				if r.Err() != nil || r.Len() != 0 || !bytes.Equal(x.Append(nil), b) {
					t.Fatalf("restored: %v", r.Err())
				}
			default:
				input := rapid.IntRange(0, len(s.Inputs)-1).Draw(t, "input")
				at := rapid.Int64Range(0, 240).Draw(t, "at") * second
				v := float64(rapid.IntRange(-9, 9).Draw(t, "value"))
				out, ok := x.Add(input, Reading{at, v}, max(now, at), rapid.IntRange(0, 5).Draw(t, "full") == 0, nil)
				if !ok {
					t.Fatalf("%d is too late", at)
				}
				take(out)
				valid[input][at] = v
			}
		}
		take(x.Tick(now+lateness.Nanoseconds(), nil))
		for x.Stale() {
			take(x.Flush(7, nil))
		}
		if want := oracle(s, valid); !maps.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// oracle computes the values from all readings.
func oracle(s *Spec, valid []map[int64]float64) map[int64]float64 {
	x := s.Start()
	times := make(map[int64]bool)
	for i, readings := range valid {
		for at, v := range readings {
			x.inputs[i] = append(x.inputs[i], Reading{at, v})
			times[at] = true
		}
		slices.SortFunc(x.inputs[i], func(a, b Reading) int { return cmp.Compare(a.Time, b.Time) })
	}
	want := make(map[int64]float64)
	for at := range times {
		if v, ok := s.at(s, x, at); ok {
			want[at] = v
		}
	}
	return want
}

func BenchmarkAdd(b *testing.B) {
	s := spec(b, rule.Derived{Metric: "d", Expression: "a - b"}, 5*time.Minute)
	x := s.Start()
	var out []Reading
	for i := int64(0); b.Loop(); i++ {
		out, _ = x.Add(0, Reading{i * second, 1}, i*second, false, out[:0])
		out, _ = x.Add(1, Reading{i * second, 2}, i*second, false, out[:0])
	}
}
