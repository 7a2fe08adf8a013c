package whatif

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/internal/machinetest"
	"headwater/services/processor/machine"
	"headwater/services/rule"
	"headwater/streams"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	// epoch is the start of a minute and of an hour.
	epoch = 1_700_002_800 * second
)

var thermometer = telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "temperature", Unit: "°C"}

func expect(tb testing.TB, what string, got, want []string) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// try runs a trial of one rule over batches, for a period after the epoch.
func try(tb machinetest.Fatal, text string, from, to int64, batches []*telemetryv1.Batch) *trial {
	tb.Helper()
	c, r := machinetest.Rule(tb, text)
	t, err := newTrial(3, machine.DefaultLimits(), c, r, epoch+from, epoch+to)
	if err != nil {
		tb.Fatalf("try: %v", err)
	}
	t.machine.Steady(true) // tests tick when they need it
	for _, b := range batches {
		t.take(proto.Clone(b).(*telemetryv1.Batch))
	}
	t.finish()
	return t
}

// alerts writes each alert of a trial in a line, in seconds after the epoch.
func alerts(t *trial) []string {
	result := summarise([]*trial{t}, time.Unix(0, t.from), time.Unix(0, t.to), time.Time{})
	var out []string
	for _, a := range result.Alerts {
		end := "ongoing"
		if !a.End.IsZero() {
			end = fmt.Sprint((a.End.UnixNano() - epoch) / second)
		}
		out = append(out, fmt.Sprintf("%s %d-%s", a.Device, (a.Start.UnixNano()-epoch)/second, end))
	}
	return out
}

// minutes are batches of one reading each of the thermometer and a clock, a minute
// apart, from the first minute after the epoch on.
func minutes(values ...float64) []*telemetryv1.Batch {
	var b telemetryv1.Builder
	var out []*telemetryv1.Batch
	for i, v := range values {
		at := epoch + int64(i+1)*minute
		b.Value(thermometer, at, v)
		batch := b.Take(at)
		batch.Clock = &telemetryv1.Clock{CaughtUp: at}
		out = append(out, batch)
	}
	return out
}

const above30 = "{name: warm, detector: limit, above: 30}"

func TestTrialReportsThePeriod(t *testing.T) {
	t.Parallel()
	//                  60  120 180 240 300 360 420 480 s
	warmings := minutes(35, 20, 35, 35, 20, 20, 35, 35)
	for _, c := range []struct {
		name     string
		from, to int64
		want     []string
		began    int
	}{
		{"all of it", 0, 9 * minute, []string{"door-1 60-120", "door-1 180-300", "door-1 420-ongoing"}, 3},
		{"what ended before is left out", 121 * second, 9 * minute, []string{"door-1 180-300", "door-1 420-ongoing"}, 2},
		{"an alert that is ongoing at its start counts, and did not begin in it", 4 * minute, 9 * minute, []string{"door-1 180-300", "door-1 420-ongoing"}, 1},
		{"a reading at the end is not judged", 0, 7 * minute, []string{"door-1 60-120", "door-1 180-300"}, 2},
		{"a reading right before the end is", 0, 7*minute + 1, []string{"door-1 60-120", "door-1 180-300", "door-1 420-ongoing"}, 3},
		{"an end at the end is not known yet", 0, 5 * minute, []string{"door-1 60-120", "door-1 180-ongoing"}, 2},
	} {
		tried := try(t, above30, c.from, c.to, warmings)
		expect(t, c.name, alerts(tried), c.want)
		result := summarise([]*trial{tried}, time.Unix(0, epoch+c.from), time.Unix(0, epoch+c.to), time.Time{})
		if result.Total != len(c.want) || result.Began != c.began {
			t.Errorf("%s: %d alerts, %d began, want %d and %d", c.name, result.Total, result.Began, len(c.want), c.began)
		}
	}
}

// TestTrialNeverLooksAhead changes everything after the end of the period.
func TestTrialNeverLooksAhead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(25, 35), 2, 40).Draw(rt, "values")
		cut := rapid.IntRange(1, len(values)).Draw(rt, "cut")
		future := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 0, 20).Draw(rt, "future")
		end := int64(cut)*minute + second
		want := alerts(try(rt, above30, 0, end, minutes(values...)))
		got := alerts(try(rt, above30, 0, end, minutes(append(values[:cut:cut], future...)...)))
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("another future changes the past (-want +got):\n%s", diff)
		}
	})
}

// TestTrialOfAnExpression checks that a rule about several metrics of a device sees
// them all, and that the result names the device for which it could not be evaluated.
func TestTrialOfAnExpression(t *testing.T) {
	t.Parallel()
	var b telemetryv1.Builder
	var batches []*telemetryv1.Batch
	humidity, other := thermometer, thermometer
	humidity.Metric, other.Metric = "humidity", "pressure"
	for i, v := range []float64{20, 35, 35, 20} {
		at := epoch + int64(i+1)*minute
		b.Value(thermometer, at, v)
		b.Value(humidity, at, 70-float64(i)*35)
		b.Value(other, at, 1000)
		batch := b.Take(at)
		batch.Clock = &telemetryv1.Clock{CaughtUp: at}
		batches = append(batches, batch)
	}
	tried := try(t, "{name: muggy, expression: temperature > 30 && humidity < 40}", 0, hour, batches)
	expect(t, "alerts", alerts(tried), []string{"door-1 120-240"})
	if tried.machine.Watched() != 1 || tried.problem != "" {
		t.Errorf("%d devices, %q; want one and no problem", tried.machine.Watched(), tried.problem)
	}
	tried = try(t, "{name: ratio, expression: temperature / humidity > 100}", 0, hour, batches)
	if result := summarise([]*trial{tried}, time.Unix(0, epoch), time.Unix(0, epoch+hour), time.Time{}); !strings.Contains(result.Problem, "hall/door-1: ") {
		t.Errorf("the problem is %q", result.Problem)
	}
	a := newArchive(nil, rule.Rule{}, []*trial{nil, tried}, nil)
	if want := `"temperature", "humidity"`; a.what != want {
		t.Errorf("InfluxDB is asked for %s, want %s", a.what, want)
	}
}

// TestTrialCountsAllReadings checks that readings count that the rule does not watch:
// people see how much was replayed.
func TestTrialCountsAllReadings(t *testing.T) {
	t.Parallel()
	tried := try(t, `{name: other, match: {device: "gate-*"}, detector: limit, above: 30}`, 0, hour, minutes(20, 35, 20, 35))
	if tried.readings != 4 || tried.machine.Watched() != 0 {
		t.Errorf("%d readings, %d series are watched, want 4 and none", tried.readings, tried.machine.Watched())
	}
}

// TestTrialCountsBeyondWhatItKeeps checks that alerts are counted even if there are
// too many to list.
func TestTrialCountsBeyondWhatItKeeps(t *testing.T) {
	t.Parallel()
	n := 2*streams.MaxReplayAlerts + 100
	values := make([]float64, n)
	for i := range values {
		values[i] = 20 + 15*float64(i%2)
	}
	to := int64(n+2) * minute
	tried := try(t, above30, 0, to, minutes(values...))
	result := summarise([]*trial{tried}, time.Unix(0, epoch), time.Unix(0, epoch+to), time.Time{})
	if len(result.Alerts) != streams.MaxReplayAlerts || result.Total != n/2 {
		t.Errorf("%d alerts of %d, want %d of %d", len(result.Alerts), result.Total, streams.MaxReplayAlerts, n/2)
	}
	week := 7 * 24 * time.Hour
	for _, covered := range []int64{to, to / 2} {
		result = summarise([]*trial{tried}, time.Unix(0, epoch), time.Unix(0, epoch+to), time.Unix(0, epoch+to-covered))
		if got, want := result.Devices[0].PerWeek, float64(n/2)*float64(week)/float64(covered); got < 0.99*want || got > 1.01*want {
			t.Errorf("%v alerts a week when readings cover %v, want %v", got, time.Duration(covered), want)
		}
	}
}

func TestKeepBefore(t *testing.T) {
	t.Parallel()
	var builder telemetryv1.Builder
	key := func(metric string) telemetryv1.Key {
		return telemetryv1.Key{Site: "hall", Device: "door-1", Metric: metric}
	}
	for i := range int64(6) {
		builder.Value(key("temperature"), i, float64(i))
		builder.Flag(key("open"), 5-i, i%2 == 0)
		builder.Text(key("note"), i, fmt.Sprint(i))
	}
	b := builder.Take(6)
	keepBefore(b, 3)
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := range b.Readings() {
		got = append(got, fmt.Sprintf("%d %v %v %q", r.Time, r.Value, r.Flag, r.Text))
	}
	expect(t, "what is left", got, []string{
		`0 0 false ""`, `0 0 false "0"`, `1 1 false ""`, `1 0 false "1"`, `2 2 false ""`, `2 0 false "2"`,
		`2 0 false ""`, `1 0 true ""`, `0 0 false ""`,
	})
}
