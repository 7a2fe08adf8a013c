package machine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/lane"
	"headwater/services/processor/internal/machinetest"
	"headwater/streams"
)

const (
	groupLanes = 2
	groupRules = `
rules:
  - {name: open-doors, match: {device: doors, metric: open}, detector: limit, above: 2}
  - {name: warm, expression: mean > 8 and open > 1}
groups:
  - {name: doors, metric: open, expression: sum("open"), match: {device: "door-*"}}
  - {name: doors, metric: mean, expression: mean("temperature"), match: {device: "door-*"}, unit: °C}
  - {name: rooms, metric: gap, expression: 'of("door-1", "temperature") - of("door-2", "temperature")', every: 30s}
derived:
  - {metric: double, expression: 2 * mean, match: {device: doors}}
`
)

// groupRig drives a machine of groups.
type groupRig struct {
	*rig
	batches [groupLanes]telemetryv1.Builder
}

func newGroupRig(tb machinetest.Fatal, rules string) *groupRig {
	tb.Helper()
	r := &groupRig{rig: &rig{tb: tb, machine: NewGroups(groupLanes, groupLanes, DefaultLimits(), nil), chunks: make(map[string][]byte)}}
	r.machine.heard.Steady = true
	r.configure(1, rules)
	return r
}

// batch returns the builder of the lane of a door.
func (r *groupRig) batch(device int) *telemetryv1.Builder { return &r.batches[device%groupLanes] }

func temperatureOf(device int) telemetryv1.Key {
	return telemetryv1.Key{Site: "hall", Device: fmt.Sprint("door-", device), Metric: "temperature", Unit: "°C"}
}

// flush sends what was read of a lane, with its clock if that is above 0.
func (r *groupRig) flush(number int, clock int64) {
	r.tb.Helper()
	b := r.batches[number].Take(epoch + clock)
	if clock > 0 {
		b.Clock = &telemetryv1.Clock{CaughtUp: epoch + clock}
	}
	msg, err := streams.TelemetryMsg(number, streams.SourceMQTT, b)
	if err != nil {
		r.tb.Fatalf("encode: %v", err)
	}
	r.sequence++
	if _, err := r.machine.Apply(lane.Input{Subject: msg.Subject, Sequence: r.sequence, Data: msg.Data}); err != nil {
		r.tb.Fatalf("apply: %v", err)
	}
}

func (r *groupRig) flushAll(clock int64) {
	for number := range groupLanes {
		r.flush(number, clock)
	}
}

// TestGroups has values, windows, rules and derived series of several devices, and leaves the
// devices themselves to their lanes.
func TestGroups(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, groupRules)
	for i := range 4 {
		r.batch(i).Value(temperatureOf(i), epoch-10*second, float64(6+2*i))
		r.batch(i).Flag(telemetryv1.Key{Site: "hall", Device: fmt.Sprint("door-", i), Metric: "open"}, epoch-5*second, i > 0)
		r.batch(i).Text(telemetryv1.Key{Site: "hall", Device: fmt.Sprint("door-", i), Metric: "mode"}, epoch-5*second, "defrost")
	}
	r.flush(0, 3*second)
	if len(r.take().GetReadings().GetTime()) > 0 {
		t.Error("a value while one lane has not come so far")
	}
	r.flush(1, 3*second)
	c := r.take()
	r.reload()
	want := map[string]float64{"doors/open 0": 3, "doors/mean 0": 9, "rooms/gap 0": -2, "doors/double 0": 18}
	if got := lasts(c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	expect(t, "anomalies", brief(c), []string{
		"open-doors v1 hall/doors/open warning open from 0s at 0s, learned 3s: 3: above the limit of 2",
		"warm v1 hall/doors/mean warning open from 0s at 0s, learned 3s: mean 9 °C, open 3: mean > 8 and open > 1",
	})
	if len(c.Ledger) > 0 || c.GetCounts().GetReadings() > 0 {
		t.Errorf("the readings count twice: %v", c)
	}
	r.batch(1).Value(temperatureOf(1), epoch-2*second, 16) // late
	r.flushAll(90 * second)
	r.flushAll(130 * second)
	c = r.take()
	if got := lasts(c); got["doors/mean 0"] != 11 || got["doors/mean 60"] != 11 || got["rooms/gap 30"] != 6 {
		t.Errorf("%v after a late reading", got)
	}
	i := slices.IndexFunc(c.Summaries, func(s *derivedv1.WindowSummary) bool {
		return s.Series.Device == "doors" && s.Series.Metric == "mean" && s.Revision == 2
	})
	if i < 0 || c.Summaries[i].Max != 11 || c.Summaries[i].Unit != "°C" {
		t.Errorf("summaries: %v", c.Summaries)
	}
}

// TestGroupsOfConfigurations changes groups. One that is computed as before keeps what it knows,
// without the devices that left it.
func TestGroupsOfConfigurations(t *testing.T) {
	t.Parallel()
	const same = "  - {name: all, metric: n, expression: count(\"temperature\"), match: {tags: {kind: door}}}\n"
	tagged := func(device string) string {
		return "devices:\n  - {match: {device: \"" + device + "\"}, tags: {kind: door}}\n"
	}
	r := newGroupRig(t, tagged("door-*")+"groups:\n"+same)
	for i := range 4 {
		r.batch(i).Value(temperatureOf(i), epoch-second, 1)
	}
	r.flushAll(3 * second)
	first := r.take()
	r.configure(2, tagged("door-[12]")+"groups:\n  - {name: more, metric: n, expression: sum(\"temperature\")}\n"+same)
	r.reload()
	r.flushAll(63 * second)
	second := r.take()
	r.configure(3, "groups: []\n")
	r.reload()
	r.batch(1).Value(temperatureOf(1), epoch+100*1e9, 1)
	r.flushAll(123 * 1e9)
	if got, want := lasts(first, second, r.take()), map[string]float64{"all/n 0": 4, "all/n 60": 2}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestGroupsAreBounded has a device name ever more sites. Each has its own group, but not without
// end; those that have no valid readings any more make room for others.
func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "groups:\n  - {name: all, metric: n, expression: count(\"temperature\")}\n")
	r.machine.limits.Series = 3
	send := func(sites string, at int64) {
		for i := range 10 {
			r.batch(0).Value(telemetryv1.Key{Site: fmt.Sprint(sites, i), Device: "d", Metric: "temperature"}, epoch+at, 1)
		}
		r.flush(0, 0)
	}
	send("a", -second)
	if got, dropped := len(r.machine.groups.slots), r.machine.output.counts.overLimit; got != 3 || dropped != 7 {
		t.Errorf("%d groups and %d readings over the limit, want 3 and 7", got, dropped)
	}
	r.flushAll(3 * second)
	if got := lasts(r.take()); len(got) != 1 || got["all/n 0"] != 1 {
		t.Errorf("values: %v", got)
	}
	r.flushAll(48 * 3600 * second)
	r.take()
	send("b", 48*3600*second)
	if !r.machine.groups.has("b0", 0) || r.machine.groups.has("a0", 0) {
		t.Error("a group without valid readings makes no room")
	}
	r.reload()
}

// TestGroupsAreThoseOfSortedReadings plays batches of two lanes, late, repeated and corrected,
// with crashes that repeat what was not committed. The last values are those of one run in order.
func TestGroupsAreThoseOfSortedReadings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newGroupRig(t, groupRules)
		type key struct {
			device int
			at     int64
		}
		readings := make(map[key]float64)
		clocks, last := [groupLanes]int64{}, make(map[string]float64)
		add := func(c *derivedv1.Commit) { maps.Copy(last, lasts(c)) }
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			number := rapid.IntRange(0, groupLanes-1).Draw(t, "lane")
			for range rapid.IntRange(0, 6).Draw(t, "readings") {
				k := key{rapid.IntRange(0, 1).Draw(t, "device")*groupLanes + number, clocks[number] - rapid.Int64Range(-20, 90).Draw(t, "late")*second}
				readings[k] = float64(rapid.IntRange(0, 9).Draw(t, "value"))
				r.batch(k.device).Value(temperatureOf(k.device), epoch+k.at, readings[k])
			}
			clocks[number] = max(clocks[number]+rapid.Int64Range(0, 90).Draw(t, "passes")*second, slices.Min(clocks[:]))
			if ahead := slices.Min(clocks[:]) + 100*second; clocks[number] > ahead {
				clocks[number] = ahead
			}
			r.flush(number, clocks[number])
			add(r.take())
			if rapid.IntRange(0, 3).Draw(t, "then") == 0 {
				r.reload()
			}
		}
		end := slices.Max(clocks[:]) + 600*second
		r.flushAll(end)
		add(r.take())
		order := slices.SortedFunc(maps.Keys(readings), func(a, b key) int { return cmp.Or(cmp.Compare(a.at, b.at), a.device-b.device) })
		plain := newGroupRig(t, groupRules)
		for _, k := range order {
			plain.batch(k.device).Value(temperatureOf(k.device), epoch+k.at, readings[k])
		}
		want := make(map[string]float64)
		plain.flushAll(end)
		maps.Copy(want, lasts(plain.take()))
		for k, v := range want {
			if got, there := last[k]; !there || got != v {
				t.Fatalf("%s is %v (%v), in order %v", k, got, there, v)
			}
		}
		if len(last) != len(want) {
			t.Fatalf("%d values, in order %d", len(last), len(want))
		}
	})
}
