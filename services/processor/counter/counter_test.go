package counter

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"headwater/services/internal/calendar"
	"headwater/services/processor/codec"
	"headwater/services/processor/derive"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
)

// epoch is 2026-10-24 12:00 in Berlin, the day before the clock is set back.
var epoch = time.Date(2026, 10, 24, 10, 0, 0, 0, time.UTC).UnixNano()

func berlin(tb rapid.TB) *time.Location {
	place, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return place
}

// at is a reading so many minutes after the epoch.
func at(minutes int64, v float64) derive.Reading {
	return derive.Reading{Time: epoch + minutes*minute, Value: v}
}

// meter collects the last value of each point.
type meter struct {
	state *State
	last  map[int64]float64
}

func newMeter(tb rapid.TB, s *Spec) *meter {
	s.Place = berlin(tb)
	if s.Lateness == 0 {
		s.Lateness = 2 * time.Hour
	}
	return &meter{s.Start(), make(map[int64]float64)}
}

func (m *meter) take(out []derive.Reading) {
	for _, r := range out {
		m.last[r.Time] = r.Value
	}
}

func (m *meter) add(r derive.Reading) bool {
	out, ok := m.state.Add(0, r, r.Time, false, nil)
	m.take(out)
	for m.state.Stale() {
		m.take(m.state.Flush(0, nil))
	}
	return ok
}

// between adds up the points in [from, to), in minutes after the epoch.
func (m *meter) between(from, to int64) float64 {
	sum := 0.0
	for _, t := range slices.Sorted(maps.Keys(m.last)) {
		if t >= epoch+from*minute && t < epoch+to*minute {
			sum += m.last[t]
		}
	}
	return sum
}

func (m *meter) sum() float64 { return m.between(-1, 1_000_000) }

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// TestNastyMeters reads meters that do more than count.
func TestNastyMeters(t *testing.T) {
	const r16, r32 = 1 << 16, 1 << 32
	for name, tc := range map[string]struct {
		spec Spec
		in   []derive.Reading
		want float64
	}{
		"counts":                       {Spec{}, []derive.Reading{at(0, 5), at(1, 5), at(2, 7.5)}, 2.5},
		"one reading":                  {Spec{}, []derive.Reading{at(0, 5)}, 0},
		"begins at 0":                  {Spec{}, []derive.Reading{at(0, 0), at(1, 0), at(2, 3)}, 3},
		"reset":                        {Spec{}, []derive.Reading{at(0, 100), at(1, 110), at(2, 4), at(3, 6)}, 16},
		"reset to 0":                   {Spec{}, []derive.Reading{at(0, 100), at(1, 0), at(2, 0), at(3, 2), at(4, 5)}, 5},
		"reset that is not decided":    {Spec{}, []derive.Reading{at(0, 100), at(1, 4)}, 0},
		"two resets":                   {Spec{}, []derive.Reading{at(0, 100), at(1, 4), at(2, 9), at(3, 1), at(4, 2)}, 11},
		"roll-over at 2^16":            {Spec{Rollover: r16}, []derive.Reading{at(0, r16-6), at(1, 4), at(2, 9)}, 15},
		"roll-over at 2^32":            {Spec{Rollover: r32}, []derive.Reading{at(0, r32-1), at(1, 0), at(2, 9), at(3, 10)}, 11},
		"roll-over at 999999":          {Spec{Rollover: 1e6}, []derive.Reading{at(0, 999_998), at(1, 3), at(2, 3)}, 5},
		"reset of one that rolls over": {Spec{Rollover: r16}, []derive.Reading{at(0, 20_000), at(1, 4), at(2, 9)}, 9},
		"a zero in between":            {Spec{}, []derive.Reading{at(0, 100), at(1, 0), at(2, 102)}, 2},
		"zeros in between":             {Spec{}, []derive.Reading{at(0, 100), at(1, 0), at(2, 0), at(3, 0), at(4, 102)}, 2},
		"a slip":                       {Spec{}, []derive.Reading{at(0, 100), at(1, 37), at(2, 102)}, 2},
		"a slip of one that rolls":     {Spec{Rollover: r16}, []derive.Reading{at(0, 65_000), at(1, 3), at(2, 65_001)}, 1},
		"replaced by a used one":       {Spec{MaxRate: 600}, []derive.Reading{at(0, 100), at(1, 5000), at(2, 5003)}, 3},
		"replaced by a lower one":      {Spec{MaxRate: 600}, []derive.Reading{at(0, 9000), at(1, 5000), at(2, 5003), at(3, 5004)}, 4},
		"replaced by a new one":        {Spec{}, []derive.Reading{at(0, 9000), at(1, 0.5), at(2, 2)}, 2},
		"reset of a small one":         {Spec{MaxRate: 600}, []derive.Reading{at(0, 5), at(1, 2), at(2, 7)}, 7},
		"a spike":                      {Spec{MaxRate: 600}, []derive.Reading{at(0, 100), at(1, 1e6), at(2, 102), at(3, 104)}, 2},
		"twice":                        {Spec{}, []derive.Reading{at(0, 5), at(1, 6), at(1, 6), at(2, 7), at(1, 6)}, 2},
		"late":                         {Spec{}, []derive.Reading{at(0, 5), at(3, 9), at(1, 6), at(2, 7)}, 4},
		"late, after a reset":          {Spec{}, []derive.Reading{at(0, 5), at(3, 1), at(4, 2), at(1, 8), at(2, 9)}, 6},
		"corrected":                    {Spec{}, []derive.Reading{at(0, 5), at(1, 66), at(2, 7), at(1, 6), at(3, 8)}, 3},
		"a gap":                        {Spec{}, []derive.Reading{at(0, 5), at(3000, 65)}, 60},
		"a gap of weeks":               {Spec{}, []derive.Reading{at(0, 5), at(30_000, 65)}, 60},
		"over midnight and the clock":  {Spec{}, []derive.Reading{at(700, 0), at(760, 60), at(1000, 300)}, 300},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t, &tc.spec)
			for _, r := range tc.in {
				if !m.add(r) {
					t.Errorf("%v is too late", r)
				}
			}
			if got := m.sum(); !near(got, tc.want) {
				t.Errorf("consumed %v, want %v: %v", got, tc.want, m.last)
			}
		})
	}
}

// TestTimeOfConsumption divides a gap by hours, days and tariffs of the place.
func TestTimeOfConsumption(t *testing.T) {
	s := &Spec{}
	m := newMeter(t, s)
	m.add(at(30, 10)) // 12:30
	m.add(at(90, 70)) // 13:30
	if a, b := m.between(0, 60), m.between(60, 120); a != 30 || b != 30 {
		t.Errorf("%v and %v in the two hours", a, b)
	}
	// Up to a full hour, it is that of the hour which ends.
	m = newMeter(t, s)
	m.add(at(60, 10))
	m.add(at(120, 70))
	m.add(at(180, 90))
	if a, b, c := m.between(60, 120), m.between(120, 180), m.between(180, 240); a != 60 || b != 20 || c != 0 {
		t.Errorf("%v, %v and %v in the hours between full hours", a, b, c)
	}
	// From 23:30 to 03:30, which is five hours later in the night when the clock is set back.
	m = newMeter(t, s)
	m.add(at(690, 0))
	m.add(at(990, 300))
	for from, want := range map[int64]float64{660: 30, 720: 60, 780: 60, 840: 60, 900: 60, 960: 30} {
		if got := m.between(from, from+60); !near(got, want) {
			t.Errorf("%v in the hour from minute %d, want %v", got, from, want)
		}
	}
	if today, tomorrow := m.between(0, 720), m.between(720, 720+25*60); !near(today, 30) || !near(tomorrow, 270) {
		t.Errorf("%v before midnight, %v on the day of 25 hours", today, tomorrow)
	}

	night := Price{calendar.Weekly{Days: calendar.EveryDay, Start: 21*60 + 30, End: 6 * 60}, 0.1}
	cost := &Spec{Cost: true, Price: 0.5, Prices: []Price{night}}
	m = newMeter(t, cost)
	m.add(at(540, 0))   // 21:00
	m.add(at(600, 60))  // 22:00
	m.add(at(1260, 60)) // nothing in the night
	if got, want := m.sum(), 30*0.5+30*0.1; !near(got, want) {
		t.Errorf("costs %v, want %v", got, want)
	}
	m.add(at(1261, 61))
	if got, want := m.sum(), 30*0.5+30*0.1+0.5; !near(got, want) {
		t.Errorf("costs %v, want %v", got, want)
	}
}

// TestDropIsNoSpike shows that a value which falls changes nothing before the next one.
func TestDropIsNoSpike(t *testing.T) {
	m := newMeter(t, &Spec{})
	m.add(at(0, 100))
	out, _ := m.state.Add(0, at(1, 40), at(1, 0).Time, false, nil)
	if len(out) != 1 || out[0].Value != 0 {
		t.Errorf("%v at once", out)
	}
	out, _ = m.state.Add(0, at(2, 41), at(2, 0).Time, false, nil)
	if len(out) != 2 || out[0] != at(1, 40) || out[1] != at(2, 1) {
		t.Errorf("%v when it is decided", out)
	}
}

// TestLongRuns keeps memory bounded and still counts.
func TestLongRuns(t *testing.T) {
	m := newMeter(t, &Spec{Lateness: 20 * 24 * time.Hour})
	m.add(at(0, 1))
	m.add(at(1, 2))
	for i := range int64(3000) {
		m.add(at(2+i, 0))
	}
	if n := len(m.state.kept); n > MaxReadings {
		t.Errorf("%d zeros are kept", n)
	}
	for i := range int64(3000) {
		m.add(at(4000+i, float64(3+i)))
	}
	if n := len(m.state.kept); n > MaxReadings+1 {
		t.Errorf("%d readings are kept", n)
	}
	if got := m.sum(); got != 3001 {
		t.Errorf("consumed %v", got)
	}
}

// TestSumIsWhatWasConsumed plays a meter that rolls over, is reset, slips to zero, repeats
// itself and is late, with restarts. The sum of its points is what was consumed while it was
// read, whatever the order of arrival.
func TestSumIsWhatWasConsumed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := &Spec{Rollover: rapid.SampledFrom([]float64{0, 1 << 16, 1 << 32, 1e6}).Draw(t, "rollover"), Lateness: 48 * time.Hour}
		var all []derive.Reading
		shown, consumed, now := 50_000.0, 0.0, int64(0)
		if spec.Rollover > 0 {
			shown = spec.Rollover - float64(rapid.IntRange(1, 400).Draw(t, "before"))
		}
		show := func(v float64) {
			all = append(all, at(now, v))
			now += rapid.Int64Range(1, 90).Draw(t, "pause")
		}
		show(shown)
		count := func() {
			used := float64(rapid.IntRange(0, 50).Draw(t, "used"))
			consumed += used
			shown += used
			if spec.Rollover > 0 && shown >= spec.Rollover {
				shown -= spec.Rollover
			}
			show(shown)
		}
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0: // a slip to zero, if that tells it from a meter that began again
				if shown > 0 {
					show(0)
				}
			case 1: // reset: it counts from 0 and is still below on the next reading
				if shown > 2000 && (spec.Rollover == 0 || shown < spec.Rollover/2) {
					shown = 0
					show(0)
					shown = 1
					consumed++
					show(1)
				}
			default:
				count()
			}
		}
		count() // what is not decided, is
		shown++
		consumed++
		show(shown)
		shown++
		consumed++
		show(shown)

		// The first and the last reading come when they are due; what lies between in any order.
		m := newMeter(t, spec)
		inner := rapid.Permutation(all[1:]).Draw(t, "order")
		for _, r := range append([]derive.Reading{all[0]}, inner...) {
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				out, ok := m.state.Add(0, r, r.Time, rapid.IntRange(0, 3).Draw(t, "full") == 0, nil)
				if !ok {
					t.Fatalf("%v is too late", r)
				}
				m.take(out)
			}
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				m.take(m.state.Flush(0, nil))
			case 1:
				b := m.state.Append(nil)
				reader := codec.NewReader(b)
				m.state = spec.Read(reader)
				if reader.Err() != nil || reader.Len() > 0 || !bytes.Equal(b, m.state.Append(nil)) {
					t.Fatalf("restored: %v", reader.Err())
				}
			}
		}
		m.take(m.state.Flush(0, nil))
		if got := m.sum(); !near(got, consumed) {
			t.Fatalf("%v of %v in %v", got, consumed, all)
		}
		// The points are those of the same readings in order.
		sorted := newMeter(t, spec)
		for _, r := range all {
			sorted.add(r)
		}
		for at, v := range m.last {
			if !near(v, sorted.last[at]) {
				t.Fatalf("%v at %d, in order %v", v, at, sorted.last[at])
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	m := newMeter(b, &Spec{Lateness: 5 * time.Minute})
	var out []derive.Reading
	for i := int64(0); b.Loop(); i++ {
		r := derive.Reading{Time: epoch + 10*i*second, Value: float64(i)}
		out, _ = m.state.Add(0, r, r.Time, false, out[:0])
	}
}
