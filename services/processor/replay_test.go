package processor

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// try has a trial of one rule take batches, for a period after the epoch.
func try(tb fatal, text string, from, to int64, batches []*telemetryv1.Batch) *trial {
	tb.Helper()
	c, err := config.Parse("rules", []byte("rules: []\n"))
	if err != nil {
		tb.Fatalf("parse: %v", err)
	}
	r, err := config.ParseRule("rule", []byte(text), nil)
	if err != nil {
		tb.Fatalf("parse: %v", err)
	}
	t, err := newTrial(3, DefaultLimits(), c, r, epoch+from, epoch+to)
	if err != nil {
		tb.Fatalf("try: %v", err)
	}
	t.machine.heard.Steady = true // tests tick when they need it
	for _, b := range batches {
		t.take(proto.Clone(b).(*telemetryv1.Batch))
	}
	t.finish()
	return t
}

// told says what a trial found, in seconds after the epoch.
func told(t *trial) []string {
	result := summarise([]*trial{t}, time.Unix(0, t.from), time.Unix(0, t.to), time.Time{})
	var out []string
	for _, a := range result.Alerts {
		end := "lasts"
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

func TestTrialTellsOfThePeriod(t *testing.T) {
	t.Parallel()
	//                  60  120 180 240 300 360 420 480 s
	warmings := minutes(35, 20, 35, 35, 20, 20, 35, 35)
	for _, c := range []struct {
		name     string
		from, to int64
		want     []string
		began    int
	}{
		{"all of it", 0, 9 * minute, []string{"door-1 60-120", "door-1 180-300", "door-1 420-lasts"}, 3},
		{"what ended before is left out", 121 * second, 9 * minute, []string{"door-1 180-300", "door-1 420-lasts"}, 2},
		{"what lasts into it is told, and did not begin in it", 4 * minute, 9 * minute, []string{"door-1 180-300", "door-1 420-lasts"}, 1},
		{"a reading at the end is not judged", 0, 7 * minute, []string{"door-1 60-120", "door-1 180-300"}, 2},
		{"a reading right before the end is", 0, 7*minute + 1, []string{"door-1 60-120", "door-1 180-300", "door-1 420-lasts"}, 3},
		{"an end at the end is not known yet", 0, 5 * minute, []string{"door-1 60-120", "door-1 180-lasts"}, 2},
	} {
		tried := try(t, above30, c.from, c.to, warmings)
		expect(t, c.name, told(tried), c.want)
		result := summarise([]*trial{tried}, time.Unix(0, epoch+c.from), time.Unix(0, epoch+c.to), time.Time{})
		if result.Total != len(c.want) || result.Began != c.began {
			t.Errorf("%s: %d alerts, %d began, want %d and %d", c.name, result.Total, result.Began, len(c.want), c.began)
		}
	}
}

// TestTrialNeverLooksAhead changes all that comes from the end of the period on.
func TestTrialNeverLooksAhead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(25, 35), 2, 40).Draw(rt, "values")
		cut := rapid.IntRange(1, len(values)).Draw(rt, "cut")
		future := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 0, 20).Draw(rt, "future")
		end := int64(cut)*minute + second
		want := told(try(rt, above30, 0, end, minutes(values...)))
		got := told(try(rt, above30, 0, end, minutes(append(values[:cut:cut], future...)...)))
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("another future changes the past (-want +got):\n%s", diff)
		}
	})
}

// TestTrialFindsWhatTheLaneFound compares the trial of each of several rules with
// what a lane committed that had them all.
func TestTrialFindsWhatTheLaneFound(t *testing.T) {
	t.Parallel()
	rules := []string{
		`{name: door-left-open, match: {device: "door-*", metric: temperature}, detector: rate, rise: 3, within: 5m}`,
		`{name: warm, match: {metric: temperature}, detector: limit, above: 25, hysteresis: 1, for: 2m}`,
		`{name: quiet, detector: silence}`,
		`{name: odd, detector: surge, false_alarms: 5}`,
	}
	text := "rules:\n"
	for _, r := range rules {
		text += "  - " + r + "\n"
	}
	r := newRig(t, text)
	rng := rand.New(rand.NewPCG(1, 2))
	var batches []*telemetryv1.Batch
	levels := make([]float64, 6)
	for i := range 3000 {
		at := int64(i) * minute
		for d := range levels {
			if rng.IntN(500) == 0 {
				levels[d] = rng.Float64() * 15
			}
			if d == 5 && i%400 > 350 {
				continue // it is silent
			}
			if d == 1 && i > 2500 && i < 2600 {
				levels[d] = 200
			}
			k := telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("door-%d", d), Metric: []string{"temperature", "humidity"}[d%2], Unit: "°C"}
			r.read(k, at, 18+levels[d]+rng.NormFloat64()/3)
		}
		b := r.builder.Take(epoch + at)
		b.Clock = &telemetryv1.Clock{CaughtUp: epoch + at}
		batches = append(batches, b)
		r.apply(b)
	}
	committed := make(map[string][]string)
	for _, a := range r.take().Anomalies {
		if a.Phase == derivedv1.Phase_PHASE_OPEN {
			committed[a.Rule] = append(committed[a.Rule], fmt.Sprintf("%s/%s %d", a.Series.Device, a.Series.Metric, a.Start))
		}
	}
	for i, name := range []string{"door-left-open", "warm", "quiet", "odd"} {
		tried := try(t, rules[i], 0, 3001*minute, batches)
		var got []string
		for _, a := range tried.over {
			got = append(got, fmt.Sprintf("%s/%s %d", a.Device, a.Metric, a.Start.UnixNano()))
		}
		if len(got) == 0 {
			t.Errorf("%s: the rule found nothing", name)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(committed[name])), slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("%s (-lane +trial):\n%s", name, diff)
		}
	}
}

// TestTrialOfAnExpression checks that a rule about several metrics of a device sees
// them all, and that it is told when it could not be evaluated.
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
	expect(t, "alerts", told(tried), []string{"door-1 120-240"})
	if tried.matched() != 1 || tried.machine.seriesCount != 2 || tried.problem != "" {
		t.Errorf("%d devices, %d series, %q; want one with two and no problem", tried.matched(), tried.machine.seriesCount, tried.problem)
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

// TestTrialKeepsNothingOfOthers checks that series which the rule does not watch
// take no memory, and that no outputs pile up.
func TestTrialKeepsNothingOfOthers(t *testing.T) {
	t.Parallel()
	batches := minutes(20, 35, 20, 35)
	tried := try(t, `{name: other, match: {device: "gate-*"}, detector: limit, above: 30}`, 0, hour, batches)
	if n := tried.machine.seriesCount; n != 0 || tried.matched() != 0 {
		t.Errorf("%d series, %d of them watched, want none", n, tried.matched())
	}
	if tried.readings != 4 {
		t.Errorf("%d readings, want 4", tried.readings)
	}
	tried = try(t, above30, 0, hour, batches)
	if tried.machine.Pending() != 0 || tried.matched() != 1 {
		t.Errorf("%d outputs wait, %d series are watched, want none and one", tried.machine.Pending(), tried.matched())
	}
}

// TestTrialCountsBeyondWhatItKeeps checks that alerts which are too many to be
// told are counted.
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

func TestBefore(t *testing.T) {
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
	before(b, 3)
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

// desk is what answers questions about replays, without a processor, and a replay
// that works until it is told to end.
type desk struct {
	t       *testing.T
	replays *replays
	nc      *nats.Conn
	job     *replayJob
}

func newDesk(t *testing.T) *desk {
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	d := &desk{t: t, nc: server.Conn(t, natsd.UserOf(streams.ServiceDashboard))}
	d.replays = newReplays(&Service{
		js: server.JS(t), log: slog.New(slog.DiscardHandler), limits: DefaultLimits(),
		replays: newReplayMetrics(prometheus.NewRegistry()),
	}, 2)
	d.job = &replayJob{id: "long", replay: new(replay), began: time.Now(), wanted: time.Now()}
	d.job.work = func(ctx context.Context) (*streams.ReplayResult, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	var err error
	if d.job.subs, err = d.replays.js.Conn().ChanSubscribe(streams.ReplaySubject("long"), d.replays.asked); err != nil {
		t.Fatal(err)
	}
	return d
}

// run answers until the returned function is called.
func (d *desk) run() (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	d.replays.launch(ctx, d.job)
	go func() { done <- d.replays.run(ctx) }()
	streamtest.Eventually(d.t, "that questions are answered", func() bool {
		_, err := d.nc.Request(streams.ReplaySubject("long"), nil, time.Second)
		return err == nil
	})
	return func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	}
}

func (d *desk) ask(subject string, body []byte) streams.ReplayStatus {
	d.t.Helper()
	m, err := d.nc.Request(subject, body, 10*time.Second)
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := streams.DecodeReplayStatus(m.Data)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// awaitEnd asks until the long replay has ended.
func (d *desk) awaitEnd() streams.ReplayStatus {
	d.t.Helper()
	var s streams.ReplayStatus
	streamtest.Eventually(d.t, "that the replay ends", func() bool {
		s = d.ask(streams.ReplaySubject("long"), nil)
		return s.State.Over()
	})
	return s
}

func TestReplaysOneAtATime(t *testing.T) {
	d := newDesk(t)
	defer d.run()()
	body, err := streams.ReplayRequest{ID: "other", Rule: above30, From: time.Unix(1, 0), To: time.Unix(2, 0)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if s := d.ask(streams.ReplayStart, body); s.State != streams.ReplayBusy {
		t.Errorf("a second replay is %s, want busy", s.State)
	}
	if s := d.ask(streams.ReplaySubject("long"), []byte(streams.ReplayCancel)); s.State.Over() && s.State != streams.ReplayFailed {
		t.Errorf("the answer to its end is %s", s.State)
	}
	if s := d.awaitEnd(); s.State != streams.ReplayFailed || s.Error != errReplayCancelled.Error() {
		t.Errorf("the replay ended as %s: %s", s.State, s.Error)
	}
}

func TestReplaysEndWithTheirProcessor(t *testing.T) {
	d := newDesk(t)
	d.run()()
	if d.job.last.State != streams.ReplayFailed || d.job.last.Error != errReplayStopped.Error() {
		t.Errorf("the replay ended as %s: %s", d.job.last.State, d.job.last.Error)
	}
}

// TestReplaysAreWaitedFor checks that a replay is ended when nobody has asked for
// it in a while, and its result forgotten when it is old.
func TestReplaysAreWaitedFor(t *testing.T) {
	d := newDesk(t)
	now := time.Now()
	d.job.wanted = now
	d.replays.launch(t.Context(), d.job)
	d.replays.look(now.Add(streams.ReplayPatience))
	select {
	case <-d.replays.done:
		t.Fatal("the replay was ended while somebody waited")
	default:
	}
	d.replays.look(now.Add(streams.ReplayPatience + 1))
	d.replays.finish(<-d.replays.done)
	if d.job.last.Error != errReplayLeft.Error() {
		t.Errorf("it ended with %q", d.job.last.Error)
	}
	d.replays.look(d.job.ended.Add(streams.ReplayKept))
	if len(d.replays.jobs) != 1 {
		t.Error("the result was forgotten too early")
	}
	d.replays.look(d.job.ended.Add(streams.ReplayKept + 1))
	if len(d.replays.jobs) != 0 {
		t.Error("an old result is kept")
	}
}
