package machine

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/lane"
	"headwater/services/processor/detect"
	"headwater/services/processor/internal/machinetest"
)

const derivedRules = `
rules:
  - {name: wide, match: {metric: spread}, detector: limit, above: 5}
  - {name: both, expression: spread > 5 and temperature > 20}
derived:
  - {metric: step, difference: spread}
  - {metric: spread, expression: temperature - outside, unit: K}
  - {metric: sums, sum: temperature, over: 5m}
  - {metric: load, integral: temperature, over: 5m}
`

// door returns the key of a metric of a door.
func door(metric string) telemetryv1.Key {
	return telemetryv1.Key{Site: "hall", Device: "door-1", Metric: metric, Unit: map[string]string{"temperature": "°C", "outside": "°C", "spread": "K"}[metric]}
}

// lasts returns the last value of each derived series and time.
func lasts(commits ...*derivedv1.Commit) map[string]float64 {
	out := make(map[string]float64)
	for _, c := range commits {
		for _, r := range machinetest.Derived(c) {
			out[fmt.Sprintf("%s/%s %d", r.Series.Device, r.Series.Metric, (r.Time-epoch)/second)] = r.Value
		}
	}
	return out
}

// TestDerivedSeries has windows, rules and further series of a derived one.
func TestDerivedSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, derivedRules)
	for i := range int64(4) {
		r.read(door("temperature"), i*20*second, 21+float64(i*i))
		r.read(door("outside"), i*20*second, 20)
	}
	r.read(door("spread"), 60*second, 99) // from the device itself: the name is taken
	r.send(61 * second)
	r.tick(62 * second)
	c := r.take()
	want := map[string]float64{
		"door-1/spread 0": 1, "door-1/spread 20": 2, "door-1/spread 40": 5, "door-1/spread 60": 10,
		"door-1/step 20": 1, "door-1/step 40": 3, "door-1/step 60": 5,
		"door-1/sums 0": 21, "door-1/sums 20": 43, "door-1/sums 40": 68, "door-1/sums 60": 98,
	}
	got := lasts(c)
	maps.DeleteFunc(got, func(k string, _ float64) bool { return k[:11] == "door-1/load" })
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	i := slices.IndexFunc(c.Summaries, func(s *derivedv1.WindowSummary) bool { return s.Series.Metric == "spread" })
	if i < 0 || c.Summaries[i].Count != 3 || c.Summaries[i].Max != 5 || c.Summaries[i].Unit != "K" {
		t.Errorf("summaries: %v", c.Summaries)
	}
	expect(t, "anomalies", brief(c), []string{
		"wide v1 hall/door-1/spread warning open from 1m0s at 1m0s, learned 1m1s: 10 K: above the limit of 5 K",
		"both v1 hall/door-1/spread warning open from 1m0s at 1m0s, learned 1m1s: spread 10 K, temperature 30: spread > 5 and temperature > 20",
	})
	if c.Counts.Readings != 9 || c.Counts.Duplicates+c.Counts.Conflicts+c.Counts.TooLate > 0 {
		t.Errorf("counts: %v", c.Counts)
	}
}

// TestDerivedSeriesOfConfigurations changes what is derived. A series that is derived as
// before keeps what it knows.
func TestDerivedSeriesOfConfigurations(t *testing.T) {
	t.Parallel()
	r := newRig(t, "derived:\n  - {metric: step, difference: temperature}\n")
	r.read(door("temperature"), 0, 20)
	r.send(0)
	r.configure(2, "derived:\n  - {metric: double, expression: 2 * temperature}\n  - {metric: step, difference: temperature}\n")
	r.reload()
	r.read(door("temperature"), 10*second, 21)
	r.send(10 * second)
	first := r.take()
	r.configure(3, "derived: []\n")
	r.reload()
	r.read(door("temperature"), 20*second, 22)
	r.send(20 * second)
	if got, want := lasts(first, r.take()), map[string]float64{"door-1/step 10": 1, "door-1/double 10": 42}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestOldSnapshotHasNoDerivedSeries restores a snapshot from before there were any.
func TestOldSnapshotHasNoDerivedSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, derivedRules)
	r.read(door("temperature"), 0, 20)
	r.read(door("outside"), 0, 15)
	r.send(0)
	r.take()
	var old []lane.Chunk
	for id, data := range r.state() {
		if turnOf(id) < 2 {
			old = append(old, lane.Chunk{ID: id, Data: data})
		}
	}
	if err := r.machine.Restore(old); err != nil {
		t.Fatal(err)
	}
	r.read(door("temperature"), 10*second, 21)
	r.read(door("outside"), 10*second, 15)
	r.send(10 * second)
	if got := lasts(r.take())["door-1/spread 10"]; got != 6 {
		t.Errorf("spread is %v", got)
	}
}

// TestTooManyDerivedReadingsWait makes more values stale than fit into a commit. The rest
// follows with the next ticks.
func TestTooManyDerivedReadingsWait(t *testing.T) {
	t.Parallel()
	r := newRig(t, "derived:\n  - {metric: both, expression: temperature + outside}\n")
	r.read(door("outside"), 0, 1)
	for i := range int64(200) {
		r.read(door("temperature"), i*second, 1)
	}
	r.tick(201 * second)
	r.read(door("outside"), 0, 2)
	r.send(202 * second)
	r.take()
	m, d := r.machine, r.machine.devices[deviceKey{"hall", "door-1"}]
	n := 0
	for ; d.derived[0].state.Stale(); n++ {
		m.outputLimit = m.output.weight() + 5
		m.tickDerived(d)
		if got := len(machinetest.Derived(r.take())); got > flushed {
			t.Fatalf("%d readings in a commit", got)
		}
	}
	if n != 200/flushed+1 {
		t.Errorf("%d commits", n)
	}
	// A message whose output is full leaves its values to the next tick.
	m.outputLimit = 0
	m.derive(d, "temperature", detect.Sample{Time: epoch + 210*second, Value: 5})
	if len(machinetest.Derived(r.take())) > 0 || !d.derived[0].state.Stale() {
		t.Error("a full commit holds further values")
	}
	r.tick(212 * second)
	if got := lasts(r.take()); got["door-1/both 210"] != 7 {
		t.Errorf("%v", got)
	}
}

// TestDerivedSeriesAreThoseOfSortedReadings gives a machine readings in a random order within
// the lateness, cut into messages and restored at random. The last values of the derived
// series, and the last summaries of their windows, are those of the sorted readings.
func TestDerivedSeriesAreThoseOfSortedReadings(t *testing.T) {
	t.Parallel()
	type reading struct {
		metric string
		at     int64
		v      float64
	}
	summaries := func(commits []*derivedv1.Commit) map[string][]byte {
		out := make(map[string][]byte)
		for _, c := range commits {
			for _, s := range c.Summaries {
				s.Revision = 0
				body, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				out[fmt.Sprintf("%s %s %d", s.Series.Metric, s.Window, s.Start)] = body
			}
		}
		return out
	}
	rapid.Check(t, func(rt *rapid.T) {
		var all []reading
		seen := make(map[string]bool)
		for range rapid.IntRange(1, 25).Draw(rt, "readings") {
			x := reading{
				rapid.SampledFrom([]string{"temperature", "outside"}).Draw(rt, "metric"),
				rapid.Int64Range(0, 20).Draw(rt, "at") * 10 * second, float64(rapid.IntRange(-30, 30).Draw(rt, "value")),
			}
			if key := fmt.Sprint(x.metric, x.at); !seen[key] {
				seen[key] = true
				all = append(all, x)
			}
		}
		run := func(order []reading, cut, restart func() bool) []*derivedv1.Commit {
			r := newRig(rt, derivedRules)
			var commits []*derivedv1.Commit
			arrival := int64(4 * minute)
			for _, x := range order {
				r.read(door(x.metric), x.at, x.v)
				if cut() {
					arrival += second / 4
					r.send(arrival)
					commits = append(commits, r.take())
				}
				if restart() {
					arrival += second / 4
					r.tick(arrival)
					commits = append(commits, r.take())
					r.reload()
				}
			}
			for range 4 { // the steps of a chain follow one another
				arrival += 2 * second
				r.tick(arrival)
			}
			r.tick(30 * minute)
			return append(commits, r.take())
		}
		coin := func(name string) func() bool {
			return func() bool { return rapid.IntRange(0, 5).Draw(rt, name) == 0 }
		}
		got := run(all, coin("cut"), coin("restart"))
		sorted := slices.Clone(all)
		slices.SortStableFunc(sorted, func(a, b reading) int { return cmp.Compare(a.at, b.at) })
		never := func() bool { return false }
		want := run(sorted, never, never)
		if a, b := lasts(got...), lasts(want...); !maps.Equal(a, b) {
			rt.Fatalf("%v, want %v", a, b)
		}
		if a, b := summaries(got), summaries(want); !maps.EqualFunc(a, b, bytes.Equal) {
			rt.Fatalf("the summaries differ")
		}
	})
}

// TestSoloDerives tries a rule about a series that is derived from a derived one.
func TestSoloDerives(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("rules", []byte(derivedRules))
	if err != nil {
		t.Fatal(err)
	}
	_, rule := machinetest.Rule(t, "{name: jump, match: {metric: step}, detector: limit, above: 2}")
	s, err := NewSolo(3, DefaultLimits(), c, rule)
	if err != nil {
		t.Fatal(err)
	}
	s.Steady(true)
	if got := s.Inputs(); !slices.Equal(got, []string{"spread", "temperature", "outside"}) {
		t.Errorf("inputs %v", got)
	}
	var b telemetryv1.Builder
	found := 0
	for i := range int64(3) {
		b.Value(door("temperature"), epoch+i*minute, float64(3*i))
		b.Value(door("outside"), epoch+i*minute, 0)
		b.Value(door("other"), epoch+i*minute, 0)
		anomalies, _ := s.Step(b.Take(epoch + i*minute))
		found += len(anomalies)
	}
	if found != 1 || s.Watched() != 1 || s.machine.seriesCount != 4 {
		t.Errorf("%d anomalies, %d series watched of %d", found, s.Watched(), s.machine.seriesCount)
	}
}
