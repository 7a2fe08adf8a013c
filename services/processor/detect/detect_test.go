package detect_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // tests must not depend on the machine's

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	// epoch is the start of a minute.
	epoch = 1_700_000_040 * second
)

// step is a reading at a time after the epoch, or a tick.
type step struct {
	at    time.Duration
	value float64
	tick  bool
	// again means that the value replaces the value of the previous reading.
	again bool
	// text is the value that came instead of a number.
	text string
}

func read(at time.Duration, v float64) step  { return step{at: at, value: v} }
func tick(at time.Duration) step             { return step{at: at, tick: true} }
func again(at time.Duration, v float64) step { return step{at: at, value: v, again: true} }

// take applies the step to a state.
func (p step) take(s detect.State, unit string, out []detect.Verdict) []detect.Verdict {
	at := epoch + int64(p.at)
	switch m, ok := s.(detect.Misreader); {
	case p.tick:
		return s.Tick(at, unit, out)
	case p.again:
		if c, ok := s.(detect.Corrector); ok {
			now := at // not before the last verdict
			if n := len(out); n > 0 {
				now = max(now, out[n-1].Time)
			}
			return c.Correct(detect.Sample{Time: at, Value: p.value}, now, unit, out)
		}
		return out
	case p.text == "":
		return s.Observe(detect.Sample{Time: at, Value: p.value}, unit, out)
	case ok:
		return m.Misread(at, p.text, unit, out)
	}
	return out
}

// every makes readings at a fixed step, beginning at from.
func every(from, by time.Duration, values ...float64) []step {
	var out []step
	for i, v := range values {
		out = append(out, read(from+time.Duration(i)*by, v))
	}
	return out
}

func join(parts ...[]step) []step {
	var out []step
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// reload stores and restores a state.
func reload(tb interface{ Fatalf(string, ...any) }, d detect.Detector, s detect.State) detect.State {
	b := s.Append(nil)
	r := codec.NewReader(b)
	got := d.Read(r)
	if r.Err() != nil || r.Len() != 0 {
		tb.Fatalf("state of %d bytes: %v, %d bytes left", len(b), r.Err(), r.Len())
	}
	if !bytes.Equal(b, got.Append(nil)) {
		tb.Fatalf("the state changed in a snapshot")
	}
	return got
}

// play runs the steps through a fresh state.
func play(tb interface{ Fatalf(string, ...any) }, d detect.Detector, steps []step, snapshots bool) []detect.Verdict {
	s := d.Start()
	var out []detect.Verdict
	for _, p := range steps {
		out = p.take(s, "°C", out)
		if snapshots {
			s = reload(tb, d, s)
		}
	}
	return out
}

// brief formats a verdict in one line: phase, start and time after the epoch,
// score and sentence.
func brief(v detect.Verdict) string {
	return fmt.Sprintf("%v %v %v %.4g: %s", v.Phase, time.Duration(v.Start-epoch), time.Duration(v.Time-epoch), v.Evidence.Score, v.Evidence.Sentence)
}

var inf = math.Inf(1)

func TestDetectors(t *testing.T) {
	t.Parallel()
	limit := &detect.Limit{Above: 30, Below: -inf, Hysteresis: 1, For: 2 * time.Minute, Silence: time.Hour}
	at := func(change func(*detect.Limit)) *detect.Limit {
		l := &detect.Limit{Above: 30, Below: -inf, Silence: time.Hour}
		change(l)
		return l
	}
	door := &detect.Rate{Rise: 3, Within: 5 * time.Minute, Settle: time.Hour, Silence: time.Hour}
	both := &detect.Rate{Rise: 3, Fall: 3, Within: 5 * time.Minute, Settle: time.Hour, Silence: time.Hour}
	const m, h = time.Minute, time.Hour
	for _, test := range []struct {
		name     string
		detector detect.Detector
		steps    []step
		want     []string
	}{
		{"limit: equal is normal", at(func(*detect.Limit) {}), every(0, m, 29, 30, 30), nil},
		{"limit: opens at once and closes at the limit", at(func(*detect.Limit) {}), every(0, m, 29, 31, 30), []string{
			"open 1m0s 1m0s 1.033: 31 °C: above the limit of 30 °C",
			"close 1m0s 2m0s 0: 30 °C: no longer above the limit of 30 °C after 1 min, highest 31 °C",
		}},
		{"limit: another value of the same time is beyond it", at(func(*detect.Limit) {}), []step{read(0, 29), again(0, 31), read(m, 29)}, []string{
			"open 0s 0s 1.033: 31 °C: above the limit of 30 °C",
			"close 0s 1m0s 0: 29 °C: no longer above the limit of 30 °C after 1 min, highest 31 °C",
		}},
		{"limit: another value of the same time is not", at(func(*detect.Limit) {}), []step{read(0, 31), again(0, 29), read(m, 29)}, []string{
			"open 0s 0s 1.033: 31 °C: above the limit of 30 °C",
			"close 0s 0s 0: 29 °C: no longer above the limit of 30 °C after 0 s, highest 31 °C",
		}},
		{"limit: another value of the same time is an update", at(func(*detect.Limit) {}), []step{read(0, 31), again(0, 33)}, []string{
			"open 0s 0s 1.033: 31 °C: above the limit of 30 °C",
			"update 0s 0s 1.1: 33 °C: above the limit of 30 °C",
		}},
		{"limit: another value before `for`", limit, []step{read(0, 31), again(0, 29), tick(h)}, nil},
		{"rate: another value of the same time is a rise", door, []step{read(0, 20), read(m, 20), again(m, 25)}, []string{
			"open 1m0s 1m0s 1.667: 25 °C: rose 5 °C in 0 s (limit 3 °C in 5 min)",
		}},
		{"rate: another value of the same time is none", door, []step{read(0, 20), read(m, 60), again(m, 21), read(2*m, 21)}, []string{
			"open 1m0s 1m0s 13.33: 60 °C: rose 40 °C in 1 min (limit 3 °C in 5 min)",
			"close 1m0s 1m0s 0: 21 °C: recovered, fell at least half of its 40 °C rise",
		}},
		{"limit: hysteresis keeps it open", limit, every(0, m, 31, 31, 31, 29.5, 30.5, 29), []string{
			"open 0s 2m0s 1.033: 31 °C: above the limit of 30 °C for 2 min",
			"close 0s 5m0s 0: 29 °C: no longer above the limit of 30 °C after 5 min, highest 31 °C",
		}},
		{"limit: too short for `for`", limit, every(0, m, 31, 31, 29, 31, 31, 29), nil},
		{"limit: the value holds between two readings", limit, every(0, 5*m, 20, 31, 20), []string{
			"open 5m0s 7m0s 1.033: 31 °C: above the limit of 30 °C for 2 min",
			"close 5m0s 10m0s 0: 20 °C: no longer above the limit of 30 °C after 5 min, highest 31 °C",
		}},
		{"limit: the clock opens it", limit, []step{read(0, 31), tick(119 * time.Second), tick(121 * time.Second), tick(h)}, []string{
			"open 0s 2m0s 1.033: 31 °C: above the limit of 30 °C for 2 min",
			"close 0s 1h0m0s 0: no reading for 1 h; the last was 31 °C",
		}},
		{"limit: silence ends it before the next reading", limit, []step{read(0, 31), read(2*m, 32), read(3*h, 33)}, []string{
			"open 0s 2m0s 1.067: 32 °C: above the limit of 30 °C for 2 min",
			"close 0s 1h2m0s 0: no reading for 1 h; the last was 32 °C",
		}},
		{
			"limit: silence comes before `for`", at(func(l *detect.Limit) { l.For = 2 * h }),
			[]step{read(0, 31), tick(h), tick(3 * h), read(4*h, 31)},
			nil,
		},
		{"limit: below", at(func(l *detect.Limit) { l.Above, l.Below = inf, -18 }), every(0, m, -20, -25, -18), []string{
			"open 0s 0s 1.111: −20 °C: below the limit of −18 °C",
			"close 0s 2m0s 0: −18 °C: no longer below the limit of −18 °C after 2 min, lowest −25 °C",
		}},
		{"limit: from one side to the other", at(func(l *detect.Limit) { l.Below = 10 }), every(0, m, 31, 9, 15), []string{
			"open 0s 0s 1.1: 31 °C: above the limit of 30 °C",
			"close 0s 1m0s 0: 9 °C: no longer above the limit of 30 °C after 1 min, highest 31 °C",
			"open 1m0s 1m0s 1.1: 9 °C: below the limit of 10 °C",
			"close 1m0s 2m0s 0: 15 °C: no longer below the limit of 10 °C after 1 min, lowest 9 °C",
		}},
		{"limit: updates are sparing", at(func(l *detect.Limit) { l.Below = 20 }), every(0, m, 31, 32, 33, 34, 35, 36, 37, 38, 39), []string{
			"open 0s 0s 1.2: 31 °C: above the limit of 30 °C",
			"update 0s 3m0s 1.8: 34 °C: above the limit of 30 °C for 3 min",
			"update 0s 8m0s 2.8: 39 °C: above the limit of 30 °C for 8 min",
		}},
		{"limit of zero", at(func(l *detect.Limit) { l.Above = 0 }), every(0, m, 2), []string{
			"open 0s 0s 3: 2 °C: above the limit of 0 °C",
		}},

		{"rate: a door left open", door, join(every(0, m, 4.3, 4.4, 4.3, 5.5, 7, 8.4), every(6*m, m, 9, 9.5, 6, 5)), []string{
			"open 5m0s 5m0s 1.367: 8.4 °C: rose 4.1 °C in 3 min (limit 3 °C in 5 min)",
			"close 5m0s 8m0s 0: 6 °C: recovered, fell at least half of its 5.2 °C rise",
		}},
		{"rate: slower than the limit", door, every(0, m, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8, 8.5), nil},
		{"rate: a fall is none of a rise's business", door, every(0, m, 9, 4, 1), nil},
		{"rate: a fall", both, every(0, m, 9, 4, 8), []string{
			"open 1m0s 1m0s 1.667: 4 °C: fell 5 °C in 1 min (limit 3 °C in 5 min)",
			"close 1m0s 2m0s 0: 8 °C: recovered, rose at least half of its 5 °C fall",
		}},
		{"rate: gets worse", door, every(0, m, 4, 8, 9, 10, 12, 13), []string{
			"open 1m0s 1m0s 1.333: 8 °C: rose 4 °C in 1 min (limit 3 °C in 5 min)",
			"update 1m0s 3m0s 2: 10 °C: has risen 6 °C in 3 min (limit 3 °C in 5 min)",
			"update 1m0s 5m0s 3: 13 °C: has risen 9 °C in 5 min (limit 3 °C in 5 min)",
		}},
		{"rate: a reading every five minutes and a bit", door, every(0, 5*m+time.Second, 4, 4.2, 7.4), []string{
			"open 10m2s 10m2s 1.063: 7.4 °C: rose 3.2 °C in 5 min 1 s (limit 3 °C in 5 min)",
		}},
		{"rate: a seldom reading needs as much more", door, every(0, 15*m, 4, 12.9, 22), []string{
			"open 30m0s 30m0s 1.011: 22 °C: rose 9.1 °C in 15 min (limit 3 °C in 5 min)",
		}},
		{"rate: nothing is compared across silence", door, []step{read(0, 4), read(h, 400), read(h+m, 401)}, nil},
		{"rate: settles on a new normal", door, join(every(0, m, 4, 8), every(2*m, 20*m, 8.1, 8.2, 8.1, 8.2)), []string{
			"open 1m0s 1m0s 1.333: 8 °C: rose 4 °C in 1 min (limit 3 °C in 5 min)",
			"close 1m0s 1h1m0s 0: 8.1 °C: has not risen further for 1 h, taken as the new normal",
		}},
		{"rate: a further rise puts settling off", door, join(every(0, m, 4, 8), every(31*m, 30*m, 8.4, 8.4, 8.4)), []string{
			"open 1m0s 1m0s 1.333: 8 °C: rose 4 °C in 1 min (limit 3 °C in 5 min)",
			"close 1m0s 1h31m0s 0: 8.4 °C: has not risen further for 1 h, taken as the new normal",
		}},
		{"rate: the clock settles it", door, append(every(0, m, 4, 8, 8), tick(61*m), tick(62*m)), []string{
			"open 1m0s 1m0s 1.333: 8 °C: rose 4 °C in 1 min (limit 3 °C in 5 min)",
			"close 1m0s 1h1m0s 0: 8 °C: has not risen further for 1 h, taken as the new normal",
		}},
		{
			"rate: silence ends it", &detect.Rate{Rise: 3, Within: 5 * m, Settle: time.Hour, Silence: 10 * m},
			append(every(0, m, 4, 8, 8), tick(12*m), read(13*m, 20), read(14*m, 24)),
			[]string{
				"open 1m0s 1m0s 1.333: 8 °C: rose 4 °C in 1 min (limit 3 °C in 5 min)",
				"close 1m0s 12m0s 0: no reading for 10 min; the last was 8 °C",
				"open 14m0s 14m0s 1.333: 24 °C: rose 4 °C in 1 min (limit 3 °C in 5 min)",
			},
		},
		{"rate: a glitch is one episode", both, every(0, m, 4, 40, 4, 4.1, 4), []string{
			"open 1m0s 1m0s 12: 40 °C: rose 36 °C in 1 min (limit 3 °C in 5 min)",
			"close 1m0s 2m0s 0: 4 °C: recovered, fell at least half of its 36 °C rise",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if err := test.detector.Validate(); err != nil {
				t.Fatal(err)
			}
			for _, snapshots := range []bool{false, true} {
				var got []string
				for _, v := range play(t, test.detector, test.steps, snapshots) {
					got = append(got, brief(v))
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("verdicts, with snapshots: %v (-want +got):\n%s", snapshots, diff)
				}
			}
		})
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	door := &detect.Rate{Rise: 3, Within: 5 * time.Minute, Settle: time.Hour, Silence: time.Hour}
	got := play(t, door, every(0, time.Minute, 4.5, 4, 5, 4.5, 8), false)
	want := []detect.Verdict{{
		Phase: detect.Open, Start: epoch + 4*minute, Time: epoch + 4*minute,
		Evidence: detect.Evidence{
			Value: 8, Score: 4.0 / 3, Baseline: 4, Low: math.Inf(-1), High: 7, Within: 5 * time.Minute,
			Samples:  []detect.Sample{{Time: epoch + minute, Value: 4}, {Time: epoch + 3*minute, Value: 4.5}, {Time: epoch + 4*minute, Value: 8}},
			Sentence: "8 °C: rose 4 °C in 3 min (limit 3 °C in 5 min)",
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rate (-want +got):\n%s", diff)
	}

	limit := &detect.Limit{Above: 30, Below: 10, For: time.Minute, Silence: time.Hour}
	got = play(t, limit, every(0, 30*time.Second, 40, 41, 42), false)
	want = []detect.Verdict{{
		Phase: detect.Open, Start: epoch, Time: epoch + minute,
		Evidence: detect.Evidence{
			Value: 42, Score: 2.2, Baseline: 30, Low: 10, High: 30,
			Samples:  []detect.Sample{{Time: epoch, Value: 40}, {Time: epoch + minute, Value: 42}},
			Sentence: "42 °C: above the limit of 30 °C for 1 min",
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("limit (-want +got):\n%s", diff)
	}

	var ramp []step
	for i := range 300 {
		ramp = append(ramp, read(time.Duration(i)*time.Second, 4+float64(i)*0.0102))
	}
	got = play(t, door, ramp, false)
	if len(got) != 1 || len(got[0].Evidence.Samples) != detect.MaxSamples {
		t.Fatalf("a slow ramp gives %d verdicts, %+v", len(got), got)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	for name, d := range detectors() {
		s := d.Start()
		out := s.Stop(epoch, "the rule was removed", nil)
		if len(out) != 0 {
			t.Errorf("%s: stopping without an episode emits %v", name, out)
		}
		s = d.Start()
		for i, v := range []float64{0, 100, 100} {
			out = s.Observe(detect.Sample{Time: epoch + int64(i)*10*minute, Value: v}, "", out)
		}
		if len(out) != 1 || s.Open() < 1 {
			t.Fatalf("%s: %v, open with score %v", name, out, s.Open())
		}
		out = s.Stop(epoch, "the rule was removed", out[:0])
		if len(out) != 1 || out[0].Phase != detect.Close || out[0].Time != epoch+20*minute || out[0].Evidence.Sentence != "the rule was removed" {
			t.Errorf("%s: stopping emits %+v", name, out)
		}
	}
	s := (&detect.Unreadable{Share: 10, Within: time.Hour, Silence: time.Hour}).Start()
	if emitted := s.Stop(epoch, "the rule was removed", nil); len(emitted) != 0 {
		t.Errorf("unreadable: stopping without an episode emits %v", emitted)
	}
	var emitted []detect.Verdict
	for _, p := range garbled(every(0, time.Minute, make([]float64, 40)...), "ERR", 35, 1, 5) {
		emitted = p.take(s, "", emitted)
	}
	emitted = s.Stop(epoch, "the rule was removed", emitted[:0])
	if len(emitted) != 1 || emitted[0].Phase != detect.Close || emitted[0].Time != epoch+39*minute {
		t.Errorf("unreadable: stopping emits %+v", emitted)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	const m = time.Minute
	for name, d := range map[string]detect.Detector{
		"limit without limits":         &detect.Limit{Above: inf, Below: -inf, Silence: m},
		"limit that is not a number":   &detect.Limit{Above: nan, Below: -inf, Silence: m},
		"limits the wrong way round":   &detect.Limit{Above: 1, Below: 2, Silence: m},
		"negative hysteresis":          &detect.Limit{Above: 1, Below: -inf, Hysteresis: -1, Silence: m},
		"negative for":                 &detect.Limit{Above: 1, Below: -inf, For: -1, Silence: m},
		"limit without silence":        &detect.Limit{Above: 1, Below: -inf},
		"rate without rise":            &detect.Rate{Within: m, Settle: m, Silence: m},
		"rate with a negative fall":    &detect.Rate{Rise: 1, Fall: -1, Within: m, Settle: m, Silence: m},
		"rate with a rise of no bound": &detect.Rate{Rise: inf, Within: m, Settle: m, Silence: m},
		"rate without a time":          &detect.Rate{Rise: 1, Settle: m, Silence: m},
		"auto without false alarms":    &detect.Auto{Alarms: detect.Alarms{Silence: m}},
		"surge with too many":          &detect.Surge{Alarms: detect.Alarms{FalseAlarms: 1001, Silence: m}},
		"surge in no direction":        &detect.Surge{Alarms: detect.DefaultAlarms(), Direction: 3},
		"season without silence":       &detect.Season{Alarms: detect.Alarms{FalseAlarms: 1}},
		"range with a negative for":    &detect.Range{Alarms: detect.Alarms{FalseAlarms: 1, For: -1, Silence: m}},
		"silence without false alarms": &detect.Silence{},
		"unreadable without a share":   &detect.Unreadable{Within: m, Silence: m},
		"unreadable with all of it":    &detect.Unreadable{Share: 100, Within: m, Silence: m},
		"unreadable, a share of NaN":   &detect.Unreadable{Share: nan, Within: m, Silence: m},
		"unreadable within a moment":   &detect.Unreadable{Share: 10, Within: m - 1, Silence: m},
		"unreadable without silence":   &detect.Unreadable{Share: 10, Within: m},
	} {
		if d.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func detectors() map[string]detect.Detector {
	return map[string]detect.Detector{
		"limit": &detect.Limit{Above: 10, Below: -10, Hysteresis: 2, For: 3 * time.Minute, Silence: 30 * time.Minute},
		"rate":  &detect.Rate{Rise: 5, Fall: 8, Within: 5 * time.Minute, Settle: 20 * time.Minute, Silence: 30 * time.Minute},
	}
}

// learners are the detectors that learn, with parameters under which they find
// something in a test.
func learners() map[string]detect.Detector {
	often := detect.Alarms{FalseAlarms: 20, Silence: 30 * time.Minute}
	lasting := often
	lasting.For = 20 * time.Minute
	return map[string]detect.Detector{
		"range":       &detect.Range{Alarms: often},
		"season":      &detect.Season{Alarms: often},
		"shift":       &detect.Shift{Alarms: often},
		"surge":       &detect.Surge{Alarms: often},
		"rising":      &detect.Surge{Alarms: often, Direction: detect.Up},
		"stuck":       &detect.Stuck{Alarms: often},
		"silence":     &detect.Silence{FalseAlarms: 20},
		"drift":       &detect.Drift{Alarms: often},
		"auto":        &detect.Auto{Alarms: often},
		"auto, local": &detect.Auto{Alarms: often, Location: berlin},

		"season, lasting": &detect.Season{Alarms: lasting},
		"surge, lasting":  &detect.Surge{Alarms: lasting},
		"stuck, lasting":  &detect.Stuck{Alarms: lasting},
	}
}

// berlin has days of 23 and of 25 hours.
var berlin = func() *time.Location {
	l, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return l
}()

// everyDetector returns all detectors.
func everyDetector() map[string]detect.Detector {
	all := detectors()
	maps.Copy(all, learners())
	all["unreadable"] = &detect.Unreadable{Share: 10, Within: time.Hour, Silence: 30 * time.Minute}
	return all
}

// draw makes ordered readings with steps of seconds to an hour. Some begin with
// a few days of ordinary readings, so that the detectors have learned.
func draw(rt *rapid.T, value *rapid.Generator[float64]) []step {
	var out []step
	var at time.Duration
	for i := range rapid.SampledFrom([]int{0, 0, 100, 700}).Draw(rt, "before") {
		at = time.Duration(i) * 5 * time.Minute
		out = append(out, read(at, math.Round(8*math.Sin(float64(i)*0.7)+math.Sin(float64(i)*0.013))))
	}
	for range rapid.IntRange(1, 80).Draw(rt, "n") {
		at += time.Duration(rapid.SampledFrom([]int{1, 10, 60, 61, 180, 300, 301, 900, 3600}).Draw(rt, "dt")) * time.Second
		out = append(out, read(at, value.Draw(rt, "value")))
		if rapid.IntRange(0, 9).Draw(rt, "again") == 0 {
			out = append(out, again(at, value.Draw(rt, "value")))
		}
	}
	return out
}

// TestEveryDetector checks the rules of streaming for all detectors: the clock
// reveals nothing that the next reading would not, a snapshot changes nothing,
// the past does not depend on the future, episodes are well formed and every
// number is finite.
func TestEveryDetector(t *testing.T) {
	t.Parallel()
	values := rapid.OneOf(rapid.Float64Range(-20, 20), rapid.Float64Range(-9, 9),
		rapid.SampledFrom([]float64{0, 10, -10, 1e300, -1e300, math.MaxFloat64, -math.MaxFloat64, 1e-300}))
	for name, d := range everyDetector() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				steps := draw(rt, values)
				if _, sees := d.Start().(detect.Misreader); sees {
					for i := range steps {
						if !steps[i].again && rapid.IntRange(0, 5).Draw(rt, "text") == 0 {
							steps[i].text = "ERR"
						}
					}
				}
				want := play(rt, d, steps, false)
				if diff := cmp.Diff(want, play(rt, d, steps, true)); diff != "" {
					rt.Fatalf("a snapshot changes the verdicts (-without +with):\n%s", diff)
				}
				var ticked []step
				for i, s := range steps {
					ticked = append(ticked, s)
					if i+1 < len(steps) && steps[i+1].at > s.at {
						next := steps[i+1].at - s.at
						ticked = append(ticked, tick(s.at+next/3), tick(s.at+next/2), tick(steps[i+1].at-1))
					}
				}
				if diff := cmp.Diff(want, play(rt, d, ticked, false)); diff != "" {
					rt.Fatalf("the clock changes the verdicts (-without +with):\n%s", diff)
				}
				cut := rapid.IntRange(0, len(steps)).Draw(rt, "cut")
				past := play(rt, d, steps[:cut], false)
				if len(past) > len(want) || len(past) > 0 && !cmp.Equal(past, want[:len(past)]) {
					rt.Fatalf("the future changes the past")
				}
				wellFormed(rt, want)
			})
		})
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func wellFormed(rt interface{ Fatalf(string, ...any) }, emitted []detect.Verdict) {
	var open *detect.Verdict
	starts := make(map[int64]bool)
	last := int64(math.MinInt64)
	for i, v := range emitted {
		e := v.Evidence
		switch {
		case v.Time < last || v.Start > v.Time:
			rt.Fatalf("verdict %d goes back in time: %s", i, brief(v))
		case v.Phase == detect.Open && (open != nil || starts[v.Start]):
			rt.Fatalf("verdict %d opens an episode twice: %s", i, brief(v))
		case v.Phase != detect.Open && (open == nil || open.Start != v.Start):
			rt.Fatalf("verdict %d belongs to no open episode: %s", i, brief(v))
		case v.Phase != detect.Close && !(e.Score >= 1 && e.Score <= detect.MaxScore):
			rt.Fatalf("verdict %d has score %v", i, e.Score)
		case !finite(e.Value), !finite(e.Baseline), !(e.Low <= e.High):
			rt.Fatalf("verdict %d has evidence %+v", i, e)
		case len(e.Samples) == 0 || len(e.Samples) > detect.MaxSamples:
			rt.Fatalf("verdict %d has %d samples", i, len(e.Samples))
		case strings.Contains(e.Sentence, "Inf") || strings.Contains(e.Sentence, "NaN") || e.Sentence == "":
			rt.Fatalf("verdict %d says %q", i, e.Sentence)
		}
		for j := 1; j < len(e.Samples); j++ {
			if e.Samples[j].Time <= e.Samples[j-1].Time {
				rt.Fatalf("verdict %d has samples out of order: %+v", i, e.Samples)
			}
		}
		last, starts[v.Start] = v.Time, true
		switch v.Phase {
		case detect.Open:
			open = &emitted[i]
		case detect.Close:
			open = nil
		}
	}
}

// TestRateFindsEveryRise compares the opening of episodes with all pairs of
// readings.
func TestRateFindsEveryRise(t *testing.T) {
	t.Parallel()
	d := &detect.Rate{Rise: 3, Within: 5 * time.Minute, Settle: time.Hour, Silence: 2 * time.Hour}
	rapid.Check(t, func(rt *rapid.T) {
		// Steps of at least Within/31 keep every candidate.
		var steps []step
		var at time.Duration
		for range rapid.IntRange(2, 60).Draw(rt, "n") {
			at += time.Duration(rapid.IntRange(10, 400).Draw(rt, "dt")) * time.Second
			steps = append(steps, read(at, float64(rapid.IntRange(-40, 40).Draw(rt, "value"))/16))
		}
		want := -1
		for i := 1; i < len(steps) && want < 0; i++ {
			for j := range i {
				span := max(steps[i].at-steps[j].at, d.Within)
				if (span == d.Within || j == i-1) && steps[i].value-steps[j].value >= d.Rise*span.Seconds()/d.Within.Seconds() {
					want = i
				}
			}
		}
		got := play(rt, d, steps, false)
		switch {
		case want < 0 && len(got) > 0:
			rt.Fatalf("no rise, but %s", brief(got[0]))
		case want >= 0 && (len(got) == 0 || got[0].Start != epoch+int64(steps[want].at)):
			rt.Fatalf("the rise at %v is not the first found: %+v", steps[want].at, got)
		}
	})
}

// TestRateOfFastSeries bounds the effect of thinning out: a rise within 30/31
// of the time is always found, one that takes longer than the time never.
func TestRateOfFastSeries(t *testing.T) {
	t.Parallel()
	d := &detect.Rate{Rise: 3, Within: 310 * time.Second, Settle: time.Hour, Silence: time.Hour}
	for _, test := range []struct {
		name string
		ramp time.Duration
		want bool
	}{{"fast enough", 299 * time.Second, true}, {"too slow", 312 * time.Second, false}} {
		for offset := 0; offset < 40; offset += 3 {
			var steps []step
			for i := range 20_000 {
				at := time.Duration(i) * 100 * time.Millisecond
				rise := 3.0 * max(0, min(1, (at-(500+time.Duration(offset))*time.Second).Seconds()/test.ramp.Seconds()))
				steps = append(steps, read(at, 1+rise))
			}
			if got := play(t, d, steps, false); len(got) > 0 != test.want {
				t.Fatalf("%s, %d s off: verdicts %v", test.name, offset, got)
			}
		}
	}
}

// TestUnits checks that a rate does not depend on the unit.
func TestUnits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		d := &detect.Rate{Rise: 3, Fall: 5, Within: 5 * time.Minute, Settle: time.Hour, Silence: time.Hour}
		e := &detect.Rate{Rise: 12, Fall: 20, Within: 5 * time.Minute, Settle: time.Hour, Silence: time.Hour}
		steps := draw(rt, rapid.Custom(func(rt *rapid.T) float64 { return float64(rapid.IntRange(-160, 160).Draw(rt, "v")) / 16 }))
		other := make([]step, len(steps))
		for i, s := range steps {
			other[i] = s
			other[i].value = s.value*4 + 32
		}
		a, b := play(rt, d, steps, false), play(rt, e, other, false)
		if len(a) != len(b) {
			rt.Fatalf("%d verdicts, in another unit %d", len(a), len(b))
		}
		for i := range a {
			if a[i].Phase != b[i].Phase || a[i].Time != b[i].Time || a[i].Evidence.Score != b[i].Evidence.Score {
				rt.Fatalf("%s, in another unit %s", brief(a[i]), brief(b[i]))
			}
		}
	})
}

func TestRule10AStateDoesNotGrowBeyondWhatIsPublished(t *testing.T) {
	t.Parallel()
	limits := map[string]int{
		"limit": 80, "rate": 1200, "unreadable": 200, "range": 400, "season": 3072, "shift": 1024, "surge": 1024, "rising": 1024,
		"stuck": 400, "silence": 160, "drift": 1024, "auto": 4096, "auto, local": 4096,
		"season, lasting": 3072, "surge, lasting": 1024, "stuck, lasting": 400,
	}
	for name, d := range everyDetector() {
		if d.Bytes() > limits[name] {
			t.Errorf("%s takes %d bytes a series, more than %d", name, d.Bytes(), limits[name])
		}
		s := d.Start()
		var out []detect.Verdict
		largest := 0
		for i := range 1_000_000 {
			v := math.Mod(float64(i), 70_000) / 10_000 * math.Copysign(1, math.Mod(float64(i), 140_000)-70_000)
			out = s.Observe(detect.Sample{Time: epoch + int64(i)*second/100, Value: v}, "", out[:0])
			if i%1000 == 0 {
				largest = max(largest, len(s.Append(nil)))
			}
		}
		if largest > d.Bytes() {
			t.Errorf("%s: the state grew to %d bytes, published are %d", name, largest, d.Bytes())
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	for name, d := range everyDetector() {
		b.Run(name, func(b *testing.B) {
			s := d.Start()
			var out []detect.Verdict
			noise := make([]float64, 1024)
			for i := range noise {
				noise[i] = math.Sin(float64(i)*0.7) + math.Sin(float64(i)*0.013)
			}
			at := epoch
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				at += second
				out = s.Observe(detect.Sample{Time: at, Value: noise[i&1023]}, "°C", out[:0])
			}
			b.ReportMetric(float64(d.Bytes()), "B/series")
		})
	}
}
