package machine

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/lane"
	"headwater/services/processor/internal/machinetest"
	"headwater/streams"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	day    = 24 * hour
	// epoch is the start of a minute and of an hour.
	epoch = 1_700_002_800 * second
)

const doorRules = `
rules:
  - name: door-left-open
    match: {device: "door-*", metric: temperature}
    detector: rate
    rise: 3
    within: 5m
    severity: critical
  - name: too-warm
    match: {metric: temperature}
    detector: limit
    above: 30
    for: 2m
`

// rig drives a machine as a lane does.
type rig struct {
	tb       machinetest.Fatal
	machine  *Machine
	sequence uint64
	builder  telemetryv1.Builder
	// chunks is what a store of snapshots holds.
	chunks map[string][]byte
}

func newRig(tb machinetest.Fatal, rules string) *rig {
	tb.Helper()
	r := &rig{tb: tb, machine: New(3, DefaultLimits(), nil), chunks: make(map[string][]byte)}
	r.machine.heard.Steady = true // tests tick when they need it
	r.configure(1, rules)
	return r
}

func (r *rig) configure(revision uint64, text string) {
	r.tb.Helper()
	if err := r.machine.Configure(revision, []byte(text)); err != nil {
		r.tb.Fatalf("configure: %v", err)
	}
}

var thermometer = telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "temperature", Unit: "°C"}

// read puts a reading into the next batch, at a time after the epoch.
func (r *rig) read(k telemetryv1.Key, at int64, v float64) { r.builder.Value(k, epoch+at, v) }

// send applies what was read, as it arrived at a time after the epoch.
func (r *rig) send(arrival int64) {
	r.tb.Helper()
	r.apply(r.builder.Take(epoch + arrival))
}

// tick sends what was read with a clock.
func (r *rig) tick(at int64) {
	r.tb.Helper()
	b := r.builder.Take(epoch + at)
	b.Clock = &telemetryv1.Clock{CaughtUp: epoch + at}
	r.apply(b)
}

func (r *rig) apply(b *telemetryv1.Batch) {
	r.tb.Helper()
	msg, err := streams.TelemetryMsg(3, streams.SourceMQTT, b)
	if err != nil {
		r.tb.Fatalf("encode: %v", err)
	}
	r.sequence++
	n, err := r.machine.Apply(lane.Input{Subject: msg.Subject, Sequence: r.sequence, Data: msg.Data})
	if err != nil || n != len(b.Series) {
		r.tb.Fatalf("apply %d readings: %d, %v", len(b.Series), n, err)
	}
}

var incarnation = time.Unix(1_600_000_000, 0)

// body returns the encoded commit.
func (r *rig) body() []byte {
	r.tb.Helper()
	body, err := r.machine.Take(lane.Position{Incarnation: incarnation, Sequence: r.sequence}, nil)
	if err != nil {
		r.tb.Fatalf("take: %v", err)
	}
	return body
}

func (r *rig) take() *derivedv1.Commit {
	r.tb.Helper()
	c, err := streams.DecodeDerived(r.body())
	if err != nil {
		r.tb.Fatalf("decode: %v", err)
	}
	return c
}

// reload stores what changed, and continues with a new machine that was restored from the
// store.
func (r *rig) reload() {
	r.tb.Helper()
	chunks, err := r.machine.Snapshot(len(r.chunks) == 0)
	if err != nil {
		r.tb.Fatalf("snapshot: %v", err)
	}
	for _, c := range chunks {
		r.chunks[c.ID] = c.Data
	}
	restored := New(3, r.machine.limits, nil)
	if g := r.machine.groups; g != nil {
		restored = NewGroups(r.machine.lane, len(g.clocks), r.machine.limits, nil)
	}
	var all []lane.Chunk
	for id, data := range r.chunks {
		all = append(all, lane.Chunk{ID: id, Data: data})
	}
	if err := restored.Restore(all); err != nil {
		r.tb.Fatalf("restore: %v", err)
	}
	before, after := r.state(), snapshot(r.tb, restored)
	if !maps.EqualFunc(before, after, bytes.Equal) {
		r.tb.Fatalf("the state changed in a snapshot:\n%x\n%x", before, after)
	}
	restored.heard.Steady = r.machine.heard.Steady
	r.machine = restored
}

// state returns the whole state in a comparable form.
func (r *rig) state() map[string][]byte { return snapshot(r.tb, r.machine) }

func snapshot(tb machinetest.Fatal, m *Machine) map[string][]byte {
	tb.Helper()
	chunks, err := m.Snapshot(true)
	if err != nil {
		tb.Fatalf("snapshot: %v", err)
	}
	out := make(map[string][]byte)
	for _, c := range chunks {
		out[c.ID] = c.Data
	}
	return out
}

// brief writes each anomaly of a commit in a line.
func brief(c *derivedv1.Commit) []string {
	var out []string
	at := func(t int64) time.Duration { return time.Duration(t - epoch) }
	for _, a := range c.Anomalies {
		phase := strings.ToLower(strings.TrimPrefix(a.Phase.String(), "PHASE_"))
		severity := strings.ToLower(strings.TrimPrefix(a.Severity.String(), "SEVERITY_"))
		out = append(out, fmt.Sprintf("%s v%d %s/%s/%s %s %s from %v at %v, learned %v: %s", a.Rule, a.RuleVersion, a.Series.Site,
			a.Series.Device, a.Series.Metric, severity, phase, at(a.Start), at(a.Time), at(a.Learned), a.Evidence.Sentence))
	}
	return out
}

func expect(tb testing.TB, what string, got, want []string) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFromBatchToCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.read(thermometer, 0, 4)
	r.read(thermometer, 30*second, 5)
	r.builder.Flag(telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "open"}, epoch+31*second, true)
	r.builder.Text(telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "note"}, epoch+32*second, "x")
	r.read(thermometer, 30*second, 5)
	r.read(thermometer, 30*second, 6)
	r.read(thermometer, 40*second, math.NaN())
	r.read(thermometer, 60*second, 8.5)
	r.send(61 * second)
	want := &derivedv1.Commit{
		Input: &derivedv1.Position{Incarnation: incarnation.UnixNano(), Sequence: 1},
		Summaries: []*derivedv1.WindowSummary{{
			Series: &derivedv1.Series{Site: "hall", Device: "door-1", Metric: "temperature"}, Unit: "°C",
			Start: epoch, Width: minute, Count: 2, Min: 4, Max: 6, Mean: 5, First: 4, Last: 6, Deviation: 1, Revision: 1,
			Window: "1m", TimeMean: 5, Rate: 2.0 / 30, P50: 5, P90: 6, P95: 6, P99: 6,
		}},
		Anomalies: []*derivedv1.Anomaly{{
			Rule: "door-left-open", RuleVersion: 1,
			Series: &derivedv1.Series{Site: "hall", Device: "door-1", Metric: "temperature"}, Unit: "°C",
			Start: epoch + minute, Time: epoch + minute, Learned: epoch + 61*second,
			Phase: derivedv1.Phase_PHASE_OPEN, Severity: derivedv1.Severity_SEVERITY_CRITICAL,
			Evidence: &derivedv1.Evidence{
				Value: 8.5, Score: 1.5, Baseline: 4, High: new(7.0), Within: int64(5 * time.Minute),
				Samples:  []*derivedv1.Sample{{Time: epoch, Value: 4}, {Time: epoch + 30*second, Value: 6}, {Time: epoch + minute, Value: 8.5}},
				Sentence: "8.5 °C: rose 4.5 °C in 1 min (limit 3 °C in 5 min)",
			},
		}},
		Corrections: []*derivedv1.Correction{{
			Series: &derivedv1.Series{Site: "hall", Device: "door-1", Metric: "temperature"}, Time: epoch + 30*second, Value: 6, Unit: "°C",
		}},
		Counts:     &derivedv1.Counts{Readings: 8, Duplicates: 1, Conflicts: 1, NotNumeric: 3},
		LedgerOpen: 8, LedgerOpenSince: epoch + minute,
	}
	if diff := cmp.Diff(want, r.take(), protocmp.Transform()); diff != "" {
		t.Errorf("commit (-want +got):\n%s", diff)
	}
	if n := r.machine.Pending(); n != 0 {
		t.Errorf("%d outputs wait after Take", n)
	}

	r.read(thermometer, 45*second, 7)
	r.tick(65 * second)
	got := r.take()
	if len(got.Summaries) != 1 || got.Summaries[0].Revision != 2 || got.Summaries[0].Count != 3 || got.Summaries[0].Last != 7 {
		t.Errorf("a late reading gives %v", got.Summaries)
	}
	r.tick(119 * second)
	r.tick(121 * second)
	if got := r.take(); len(got.Summaries) != 1 || got.Summaries[0].Start != epoch+minute {
		t.Errorf("the clock closes %v", got.Summaries)
	}
	r.tick(hour)
	r.tick(hour + minute)
	expect(t, "after an hour without readings", brief(r.take()), []string{
		"door-left-open v1 hall/door-1/temperature critical close from 1m0s at 1h1m0s, learned 1h1m0s: " +
			"8.5 °C: has not risen further for 1 h, taken as the new normal",
	})
}

// TestDeadlinesFollowTheDevice checks that the clock of the lane is translated
// into the time of a device whose readings come late.
func TestDeadlinesFollowTheDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.tick(3 * hour)
	r.read(thermometer, 0, 31)
	r.tick(3*hour + second)
	r.tick(3*hour + 2*minute)
	if got := r.take(); len(got.Anomalies) != 0 {
		t.Errorf("opened before its time: %v", brief(got))
	}
	r.tick(3*hour + 2*minute + second)
	expect(t, "when it has lasted", brief(r.take()), []string{
		"too-warm v1 hall/door-1/temperature warning open from 0s at 2m0s, learned 3h2m1s: 31 °C: above the limit of 30 °C for 2 min",
	})
	r.tick(4*hour - second)
	if got := r.take(); len(got.Anomalies) != 0 {
		t.Errorf("silent before its time: %v", brief(got))
	}
	r.tick(4*hour + second)
	expect(t, "when it is silent", brief(r.take()), []string{
		"too-warm v1 hall/door-1/temperature warning close from 0s at 1h0m0s, learned 4h0m1s: no reading for 1 h; the last was 31 °C",
	})
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	const others = "  - {name: other, detector: limit, above: 1000}\n"
	for _, test := range []struct {
		name, rules string
		// now is what the change emits, later what a reading over the limit does.
		now, later []string
	}{
		{"the same text", doorRules, nil, nil},
		{"another rule beside", doorRules + others, nil, nil},
		{"in another order", strings.Replace(doorRules, "rules:\n", "rules:\n"+others, 1), nil, nil},
		{"another description", strings.Replace(doorRules, "for: 2m", "for: 2m\n    description: Too warm.", 1), nil, nil},
		{"another severity", strings.Replace(doorRules, "for: 2m", "for: 2m\n    severity: info", 1), nil, nil},
		{"another lateness", doorRules + "lateness: 1m\nwindows: [10s, 1m]\n", nil, nil},
		{"removed", "rules: []", []string{
			"too-warm v1 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule was removed",
		}, nil},
		{"a draft", strings.Replace(doorRules, "for: 2m", "for: 2m\n    state: draft", 1), []string{
			"too-warm v1 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule was made a draft",
		}, nil},
		{"another limit", strings.Replace(doorRules, "above: 30", "above: 31", 1), []string{
			"too-warm v2 hall/door-1/temperature warning update from 0s at 4m0s, learned 4m0s: 32 °C: above the limit of 31 °C for 4 min",
		}, nil},
		{"a limit that was not reached", strings.Replace(doorRules, "above: 30", "above: 32", 1), []string{
			"too-warm v2 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule was changed: 32 °C is not above the limit of 32 °C",
		}, nil},
		{"a limit on the other side", strings.Replace(doorRules, "above: 30", "below: 40", 1), []string{
			"too-warm v2 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule was changed: the limit above was removed",
		}, []string{
			"too-warm v2 hall/door-1/temperature warning open from 4m0s at 6m0s, learned 8m0s: 32 °C: below the limit of 40 °C for 2 min",
		}},
		{"a longer time", strings.Replace(doorRules, "for: 2m", "for: 2h", 1), nil, nil},
		{"another detector", strings.Replace(doorRules, "limit\n    above: 30\n    for: 2m", "rate\n    rise: 30\n    within: 5m", 1), []string{
			"too-warm v1 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule has another detector now",
		}, nil},
		{"an expression", strings.Replace(doorRules, "match: {metric: temperature}\n    detector: limit\n    above: 30", "expression: temperature > 50", 1), []string{
			"too-warm v1 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule has another detector now",
		}, nil},
		{"a narrower match", strings.Replace(doorRules, "match: {metric: temperature}", "match: {device: door-1}", 1), nil, nil},
		{"another match", strings.Replace(doorRules, "match: {metric: temperature}", "match: {device: gate}", 1), []string{
			"too-warm v1 hall/door-1/temperature warning close from 0s at 4m0s, learned 4m0s: the rule does not watch this series any more",
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, doorRules)
			r.read(thermometer, 0, 31)
			r.read(thermometer, 3*minute, 32)
			r.tick(4 * minute)
			if got := r.take(); len(got.Anomalies) != 1 {
				t.Fatalf("no episode: %v", brief(got))
			}
			r.configure(2, test.rules)
			expect(t, "the change", brief(r.take()), test.now)
			r.reload()
			r.configure(2, test.rules)
			r.read(thermometer, 5*minute, 32)
			r.tick(8 * minute)
			expect(t, "later", brief(r.take()), test.later)
		})
	}
}

func TestConfigureRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	before := r.state()
	if err := r.machine.Configure(2, []byte("rules: 7")); err == nil {
		t.Error("accepted")
	}
	if !maps.EqualFunc(before, r.state(), bytes.Equal) {
		t.Error("a configuration that was refused has changed the state")
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.configure(2, strings.Replace(doorRules, "for: 2m", "for: 2m\n    severity: info", 1))
	r.reload()
	r.read(thermometer, 0, 31)
	r.read(thermometer, 3*minute, 35)
	r.send(3 * minute)
	expect(t, "versions", brief(r.take()), []string{
		"door-left-open v1 hall/door-1/temperature critical open from 3m0s at 3m0s, learned 3m0s: 35 °C: rose 4 °C in 3 min (limit 3 °C in 5 min)",
		"too-warm v2 hall/door-1/temperature info open from 0s at 2m0s, learned 3m0s: 31 °C: above the limit of 30 °C for 2 min",
	})
}

func TestMalformedInputIsOnlyCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.read(thermometer, 0, 31)
	r.tick(minute)
	before := r.state()
	r.read(thermometer, 3*minute, 40)
	bad := r.builder.Take(0)
	bad.Value = append(bad.Value, 1)
	msg, err := streams.TelemetryMsg(3, streams.SourceMQTT, bad)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"no protobuf": []byte("{}"), "columns that contradict": msg.Data} {
		r.sequence++
		if _, err := r.machine.Apply(lane.Input{Subject: msg.Subject, Sequence: r.sequence, Stored: time.Unix(0, epoch), Data: data}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	after := r.state()
	delete(before, chunkLedger)
	delete(after, chunkLedger)
	if !maps.EqualFunc(before, after, bytes.Equal) {
		t.Error("the state has changed")
	}
	if got := r.take(); got.LedgerOpen != 3 {
		t.Errorf("a reading and two dead letters count as %d", got.LedgerOpen)
	}
	// Times out of range are counted, and move neither watermark nor clock.
	for _, at := range []int64{math.MinInt64, math.MaxInt64} {
		r.builder.Value(thermometer, at, 1)
	}
	b := r.builder.Take(0)
	b.Clock = &telemetryv1.Clock{CaughtUp: math.MaxInt64}
	r.take()
	r.apply(b)
	if got := r.take(); got.Counts.TooLate != 2 || len(got.Summaries) != 0 {
		t.Errorf("times out of bounds: %v", got)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.machine.limits.Series, r.machine.limits.DeviceSeries = 30, 20
	for d := range 2 {
		for i := range 25 {
			k := telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("d%d", d), Metric: fmt.Sprintf("m%d", i)}
			r.read(k, 0, 1)
		}
	}
	r.tick(minute)
	if n := r.machine.seriesCount; n != 30 {
		t.Errorf("%d series are kept, not 30", n)
	}
	if n := r.machine.output.counts.overLimit; n != 20 {
		t.Errorf("%d readings are over the limit, not 20", n)
	}
	if got := r.take(); len(got.Summaries) != 30 || got.Counts.Readings != 50 {
		t.Errorf("%d summaries, %v", len(got.Summaries), got.Counts)
	}
	// A device of many series is found in its index, also after a snapshot.
	r.reload()
	r.machine.limits.Series, r.machine.limits.DeviceSeries = 30, 20
	r.read(telemetryv1.Key{Site: "hall", Device: "d0", Metric: "m19"}, minute, 1)
	r.send(minute)
	if n := r.machine.seriesCount; n != 30 {
		t.Errorf("a series was made twice: %d", n)
	}
}

func TestEviction(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	other := thermometer
	other.Device = "door-2"
	r.read(thermometer, 0, 20)
	r.read(other, 0, 20)
	r.tick(minute)
	r.read(other, day, 20)
	r.tick(day)
	r.tick(7*day - second)
	if n := r.machine.seriesCount; n != 2 {
		t.Errorf("%d series before the time, not 2", n)
	}
	r.tick(7*day + 2*hour)
	if n := r.machine.seriesCount; n != 1 || len(r.machine.devices) != 1 {
		t.Errorf("%d series and %d devices after the time, not 1", n, len(r.machine.devices))
	}
	r.reload()
	r.read(thermometer, 7*day+3*hour, 20)
	r.tick(8*day + 4*hour)
	if got := r.take(); r.machine.seriesCount != 1 || r.machine.devices[deviceKey{"hall", "door-1"}] == nil {
		t.Errorf("a device that comes back: %v, %d series", got, r.machine.seriesCount)
	}
}

// TestOutputIsBounded checks that a message whose outputs don't fit into a commit leaves the
// rest to the next messages, and that nothing is lost.
func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	const n, metrics = 2 * maxOutputs, 20
	key := func(i int) telemetryv1.Key {
		return telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("d%d", i/metrics), Metric: fmt.Sprintf("m%d", i%metrics)}
	}
	for i := range n {
		r.read(key(i), 0, 1)
	}
	r.send(0)
	// A reading of each device, which closes the windows of all its series.
	for i := 0; i < n; i += metrics {
		r.read(key(i), minute, 1)
	}
	seen := make(map[string]bool)
	for i := range 4 {
		r.send(minute)
		r.tick(minute + int64(i)*second)
		got := r.take()
		if len(got.Summaries) > 2*maxOutputs {
			t.Errorf("message %d derives %d summaries", i, len(got.Summaries))
		}
		for _, s := range got.Summaries {
			id := s.Series.Device + "/" + s.Series.Metric
			if seen[id] {
				t.Errorf("the window of %s is emitted twice", id)
			}
			seen[id] = true
		}
		r.reload()
	}
	if len(seen) != n {
		t.Errorf("%d windows are emitted, not %d", len(seen), n)
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.read(thermometer, 0, 31)
	r.tick(minute)
	good := r.state()
	for id, data := range good {
		for cut := range data {
			for _, bad := range [][]byte{data[:cut], append(slices.Clone(data), 0)} {
				var chunks []lane.Chunk
				for other, data := range good {
					if other == id {
						data = bad
					}
					chunks = append(chunks, lane.Chunk{ID: other, Data: data})
				}
				if err := New(3, DefaultLimits(), nil).Restore(chunks); err == nil {
					t.Fatalf("chunk %s with %d of %d bytes is accepted", id, len(bad), len(data))
				}
			}
		}
	}
	err := New(3, DefaultLimits(), nil).Restore([]lane.Chunk{{ID: "clock", Data: []byte{99, 0}}})
	if err == nil || !strings.Contains(err.Error(), "format 99") {
		t.Errorf("another format: %v", err)
	}
	if err := New(3, DefaultLimits(), nil).Restore([]lane.Chunk{{ID: "what", Data: []byte{1}}}); err == nil {
		t.Error("an unknown chunk is accepted")
	}
}

// event is a reading, or a tick if its device is empty.
type event struct {
	key telemetryv1.Key
	at  int64
	v   float64
}

// draw returns a stream of a few devices with late, repeated and contradicting
// readings, rises and falls, and ticks.
func draw(rt *rapid.T) []event {
	var out []event
	var now int64
	value := rapid.OneOf(rapid.Float64Range(0, 40), rapid.SampledFrom([]float64{4, 8, 20, 31, 35, 1e300, math.Inf(1)}))
	for range rapid.IntRange(1, 40).Draw(rt, "n") {
		now += rapid.SampledFrom([]int64{0, 1, 10, 60, 300, 3700}).Draw(rt, "dt") * second
		if rapid.IntRange(0, 4).Draw(rt, "tick") == 0 {
			out = append(out, event{at: now})
			continue
		}
		k := telemetryv1.Key{
			Site: "hall", Unit: "°C", Device: rapid.SampledFrom([]string{"door-1", "door-2", "gate"}).Draw(rt, "device"),
			Metric: rapid.SampledFrom([]string{"temperature", "humidity"}).Draw(rt, "metric"),
		}
		back := rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 30, 200, 1000}).Draw(rt, "back") * second
		out = append(out, event{k, now - back, value.Draw(rt, "value")})
	}
	return out
}

// play runs the events, cutting batches and taking snapshots where events say so, and
// returns all outputs as one commit.
func play(tb machinetest.Fatal, events []event, cut, reload func() bool) *derivedv1.Commit {
	tb.Helper()
	r := newRig(tb, doorRules+"windows: [10s, 1m]\n")
	all := new(derivedv1.Commit)
	gather := func() {
		c := r.take()
		all.Summaries = append(all.Summaries, c.Summaries...)
		all.Anomalies = append(all.Anomalies, c.Anomalies...)
		if reload() {
			r.reload()
		}
	}
	for _, e := range events {
		if e.key.Device == "" {
			r.tick(e.at)
			gather()
			continue
		}
		r.read(e.key, e.at, e.v)
		if cut() {
			// The packing of readings decides when they were learned, and nothing else.
			r.send(100 * day)
			gather()
		}
	}
	r.tick(100 * day)
	gather()
	return all
}

func always(v bool) func() bool { return func() bool { return v } }

// TestBatchingAndSnapshotsChangeNothing checks what recovery rests on: the same readings and
// ticks give the same outputs, however they are packed into messages, and wherever the
// state is restored from a snapshot.
func TestBatchingAndSnapshotsChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		events := draw(rt)
		want := play(rt, events, always(true), always(false))
		coin := func(name string) func() bool {
			return func() bool { return rapid.Bool().Draw(rt, name) }
		}
		for name, got := range map[string]*derivedv1.Commit{
			"packed at random":     play(rt, events, coin("cut"), always(false)),
			"a snapshot each time": play(rt, events, coin("cut"), always(true)),
		} {
			for _, a := range slices.Concat(got.Anomalies, want.Anomalies) {
				a.Learned = 0
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				rt.Fatalf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

// TestReplay checks that a machine which is restored and fed the same messages
// again gives the same bytes, whatever happened in between.
func TestReplay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		events := draw(rt)
		at := rapid.IntRange(0, len(events)-1).Draw(rt, "snapshot")
		r := newRig(rt, doorRules)
		var want, got [][]byte
		feed := func(events []event) (bodies [][]byte) {
			for _, e := range events {
				if e.key.Device == "" {
					r.tick(e.at)
				} else {
					r.read(e.key, e.at, e.v)
					r.send(e.at)
				}
				bodies = append(bodies, r.body())
			}
			return bodies
		}
		feed(events[:at])
		chunks, err := r.machine.Snapshot(true)
		if err != nil {
			rt.Fatalf("snapshot: %v", err)
		}
		sequence := r.sequence
		want = feed(events[at:])
		r.machine, r.sequence = New(3, DefaultLimits(), nil), sequence
		if err := r.machine.Restore(chunks); err != nil {
			rt.Fatalf("restore: %v", err)
		}
		r.machine.heard.Steady = true
		r.configure(1, doorRules)
		got = feed(events[at:])
		if !slices.EqualFunc(want, got, bytes.Equal) {
			rt.Fatalf("the second run differs")
		}
	})
}

func TestTakeDiscards(t *testing.T) {
	t.Parallel()
	r := newRig(t, doorRules)
	r.read(thermometer, 0, 31)
	r.tick(minute)
	if body, err := r.machine.Take(lane.Position{}, nil); body != nil || err != nil || r.machine.Pending() != 0 {
		t.Errorf("%x, %v, %d wait", body, err, r.machine.Pending())
	}
	body, err := r.machine.Take(lane.Position{Incarnation: incarnation}, &lane.ConfigChange{Revision: 7, Content: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	pos, change, err := ReadCommit(body)
	if err != nil || pos.Sequence != 0 || !pos.Incarnation.Equal(incarnation) || change == nil || change.Revision != 7 || string(change.Content) != "x" {
		t.Errorf("%+v, %+v, %v", pos, change, err)
	}
	if _, _, err := ReadCommit([]byte("\xff")); err == nil {
		t.Error("bytes that are not a commit are accepted")
	}
}

// TestTagsOfTheRegistry changes a tag of a device: the rule that matches it judges the device
// from then on, and not any more once the tag is gone; a machine that is restored before each
// change, as after a crash, gives the same bytes.
func TestTagsOfTheRegistry(t *testing.T) {
	t.Parallel()
	rules := strings.Replace(doorRules, "match: {metric: temperature}", "match: {tags: {kind: door}}", 1)
	run := func(restored bool) (bodies [][]byte) {
		r := newRig(t, rules)
		step := func(revision uint64, tags config.Tags, want ...string) {
			t.Helper()
			if restored {
				r.reload()
			}
			content, err := config.Parts{File: []byte(rules), Tags: tags}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.machine.Configure(revision, content); err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range int64(2) {
				at := (int64(revision)*10 + 3*i) * minute
				r.read(thermometer, at, 32)
				r.tick(at + second)
				body := r.body()
				c, err := streams.DecodeDerived(body)
				if err != nil {
					t.Fatal(err)
				}
				bodies, got = append(bodies, body), append(got, brief(c)...)
			}
			expect(t, fmt.Sprintf("revision %d", revision), got, want)
		}
		step(2, nil)
		step(3, config.Tags{"hall/door-1": {"kind": "door"}},
			"too-warm v1 hall/door-1/temperature warning open from 30m0s at 32m0s, learned 33m1s: 32 °C: above the limit of 30 °C for 2 min")
		step(4, config.Tags{"hall/door-1": {"kind": "gate"}},
			"too-warm v1 hall/door-1/temperature warning close from 30m0s at 33m1s, learned 33m1s: the rule does not watch this series any more")
		return bodies
	}
	if once, again := run(false), run(true); !slices.EqualFunc(once, again, bytes.Equal) {
		t.Error("the restored machine decides otherwise")
	}
}

// TestRestoredMachineIsConfigured changes the rules of a machine that was just restored, and
// of one that was not: the same episodes end, learned at the same time.
func TestRestoredMachineIsConfigured(t *testing.T) {
	closed := func(restored bool) []byte {
		r := newRig(t, doorRules)
		r.read(thermometer, 0, 20)
		r.tick(second)
		r.read(thermometer, 2*second, 29)
		r.send(3 * second)
		r.take()
		if restored {
			r.reload()
		}
		r.configure(2, "rules: []\n")
		if c := r.machine.Pending(); c != 1 {
			t.Fatalf("%d outputs, want the end of an episode", c)
		}
		return r.body()
	}
	if a, b := closed(false), closed(true); !bytes.Equal(a, b) {
		t.Errorf("undisturbed %x, restored %x", a, b)
	}
}
