package group

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headwater/services/processor/codec"
	"headwater/services/processor/derive"
	"headwater/services/rule"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
)

// epoch is a full minute.
var epoch = time.Date(2026, 10, 24, 10, 0, 0, 0, time.UTC).UnixNano()

func spec(tb rapid.TB, expression string, lateness time.Duration) *Spec {
	g := rule.Group{Name: "hall", Metric: "x", Expression: expression, MaxAge: 5 * time.Minute}.WithDefaults()
	if p := g.Problems(); len(p) > 0 {
		tb.Fatalf("%v", p)
	}
	s, err := New(g, lateness)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return s
}

// TestFunctions computes each function of five doors.
func TestFunctions(t *testing.T) {
	for expression, want := range map[string]float64{
		`mean("t")`:   6.2,
		`median("t")`: 5,
		`min("t")`:    3, `max("t")`: 14, `spread("t")`: 11, `sum("t")`: 31, `count("t")`: 5,
		`odd("t")`:                         9,
		`of("d1", "t") - of("d0", "t")`:    1,
		`sum("open") / count("open")`:      0.5,
		`sum("open") >= 3 ? 1 : 0`:         0,
		`count("nothing") + count("t")`:    5,
		`max("t") > 10 ? mean("t") : 0`:    6.2,
		`abs(of("d4", "t") - median("t"))`: 9,
	} {
		s := spec(t, expression, time.Minute)
		x := s.Start()
		for i, v := range []float64{3, 4, 5, 5, 14} {
			for input, metric := range s.Inputs {
				switch {
				case metric == "t":
					x.Add(fmt.Sprint("d", i), input, derive.Reading{Time: epoch - int64(i)*second, Value: v})
				case metric == "open" && i < 4:
					x.Add(fmt.Sprint("d", i), input, derive.Reading{Time: epoch - second, Value: float64(i % 2)})
				}
			}
		}
		got := x.Tick(epoch+settleAfter, 10, nil)
		if len(got) != 1 || got[0].Time != epoch || math.Abs(got[0].Value-want) > 1e-12 {
			t.Errorf("%s: %v, want %v", expression, got, want)
		}
	}
}

// TestTimes shows when values are computed, and which readings are in them.
func TestTimes(t *testing.T) {
	x := spec(t, `count("t")`, time.Minute).Start()
	x.Add("a", 0, derive.Reading{Time: epoch - 10*second})
	if got := x.Tick(epoch+second, 10, nil); len(got) != 0 {
		t.Errorf("%v before the readings on their way", got)
	}
	x.Add("b", 0, derive.Reading{Time: epoch})
	x.Add("c", 0, derive.Reading{Time: epoch + 1})
	if got, want := x.Tick(epoch+2*second, 10, nil), []derive.Reading{{Time: epoch, Value: 2}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	x.Add("d", 0, derive.Reading{Time: epoch - 20*second}) // late
	if got, want := x.Tick(epoch+3*second, 10, nil), []derive.Reading{{Time: epoch, Value: 3}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if x.Add("e", 0, derive.Reading{Time: epoch - 58*second}) {
		t.Error("a reading counts that is too late")
	}
	// After five minutes the readings are no longer valid, and after an hour without any the
	// next one has its value at once.
	got := x.Tick(epoch+60*minute, 1000, nil)
	if n := len(got); n != 5 || got[4] != (derive.Reading{Time: epoch + 5*minute, Value: 2}) {
		t.Errorf("%v", got)
	}
	if len(x.members) != 0 || x.Due() != derive.Never {
		t.Errorf("%d devices are kept", len(x.members))
	}
	x.Add("a", 0, derive.Reading{Time: epoch + 61*minute - second})
	if got := x.Tick(epoch+61*minute+2*second, 10, nil); len(got) != 1 || got[0].Time != epoch+61*minute {
		t.Errorf("%v after a pause", got)
	}
}

// TestMemoryIsBounded adds more devices than fit, and a fast one.
func TestMemoryIsBounded(t *testing.T) {
	x := spec(t, `mean("t")`, 10*time.Minute).Start()
	left := 0
	for i := range MaxMembers + 5 {
		if !x.Add(fmt.Sprint(i), 0, derive.Reading{Time: epoch}) {
			left++
		}
	}
	for i := range int64(36_000) {
		x.Add("7", 0, derive.Reading{Time: epoch + i*second/10, Value: float64(i)})
		if i%100 == 0 {
			x.Tick(epoch+i*second/10, 10, nil)
		}
	}
	if left != 5 || len(x.members) != 1 || len(x.members[0].inputs[0]) > 13 {
		t.Errorf("%d are left out, %d are kept", left, len(x.members))
	}
}

// TestValuesAreThoseOfSortedReadings plays readings late, twice and corrected, with restarts.
// The last value of each time is the one of the readings in order, each event time once.
func TestValuesAreThoseOfSortedReadings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := spec(t, rapid.SampledFrom([]string{
			`mean("t")`, `odd("t") + count("u")`, `of("d1", "t") - of("d2", "t")`, `sum("t") / sum("u")`, `median("u")`,
		}).Draw(t, "expression"), 10*time.Minute)
		x := s.Start()
		last := make(map[int64]float64)
		type key struct {
			device, metric string
			at             int64
		}
		readings := make(map[key]float64)
		clock := epoch
		take := func(out []derive.Reading) {
			for _, r := range out {
				if r.Time > clock {
					t.Fatalf("a value at %d, after the clock", (r.Time-clock)/second)
				}
				last[r.Time] = r.Value
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0, 1:
				clock += rapid.Int64Range(0, 200).Draw(t, "passes") * second
				take(x.Tick(clock, rapid.IntRange(1, 5).Draw(t, "most"), nil))
			case 2:
				b := x.Append(nil)
				r := codec.NewReader(b)
				x = s.Read(r)
				if r.Err() != nil || r.Len() > 0 || !bytes.Equal(b, x.Append(nil)) {
					t.Fatalf("restored: %v", r.Err())
				}
			default:
				k := key{
					rapid.SampledFrom([]string{"d1", "d2", "d3"}).Draw(t, "device"), rapid.SampledFrom(s.Inputs).Draw(t, "metric"),
					clock - rapid.Int64Range(-100, 599).Draw(t, "late")*second,
				}
				v := float64(rapid.IntRange(0, 9).Draw(t, "value"))
				if !x.Add(k.device, slices.Index(s.Inputs, k.metric), derive.Reading{Time: k.at, Value: v}) {
					t.Fatal("a reading is too late")
				}
				readings[k] = v
			}
		}
		clock += 20 * minute
		for x.Due() <= clock {
			take(x.Tick(clock, 7, nil))
		}
		// All readings in order, at once, and no restart.
		order := slices.SortedFunc(maps.Keys(readings), func(a, b key) int { return int((a.at - b.at) / second) })
		plain, want := spec(t, s.program.Text(), 1000*time.Hour).Start(), make(map[int64]float64)
		for _, k := range order {
			plain.Add(k.device, slices.Index(s.Inputs, k.metric), derive.Reading{Time: k.at, Value: readings[k]})
		}
		for _, r := range plain.Tick(clock, 100_000, nil) {
			want[r.Time] = r.Value
		}
		for at, v := range want {
			if got, there := last[at]; !there || got != v {
				t.Fatalf("%v (%v) at minute %d, in order %v", got, there, (at-epoch)/minute, v)
			}
		}
		for at := range last {
			if _, there := want[at]; !there && s.program.Text() != `sum("t") / sum("u")` { // by zero, after a correction
				t.Fatalf("a value at minute %d, in order none", (at-epoch)/minute)
			}
		}
	})
}
