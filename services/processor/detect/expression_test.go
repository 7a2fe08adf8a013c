package detect

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/processor/codec"
)

// expressed is an Expression on one device. Times are in seconds.
type expressed struct {
	tb      testing.TB
	state   *ExpressionState
	emitted []string
}

func express(tb testing.TB, condition, resolve, shown string, holds time.Duration) *expressed {
	tb.Helper()
	e, err := NewExpression(condition, resolve, shown, holds, time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	return &expressed{tb: tb, state: e.Start()}
}

func (d *expressed) note(vs []Verdict) {
	for _, v := range vs {
		d.emitted = append(d.emitted, fmt.Sprintf("%s from %d at %d: %s", v.Phase, v.Start/1e9, v.Time/1e9, v.Evidence.Sentence))
	}
}

func (d *expressed) read(at int64, metric string, v float64) {
	d.note(d.state.Observe(metric, Sample{Time: at * 1e9, Value: v}, "°C", nil))
}

func (d *expressed) tick(at int64) { d.note(d.state.Tick(at*1e9, "°C", nil)) }

func (d *expressed) want(want ...string) {
	d.tb.Helper()
	if diff := cmp.Diff(want, d.emitted); diff != "" {
		d.tb.Errorf("-want +got:\n%s", diff)
	}
}

func TestExpressionOverTwoMetrics(t *testing.T) {
	d := express(t, "temperature > outside + 5", "", "", 0)
	d.read(10, "temperature", 30)
	d.read(11, "power", 99)
	d.read(20, "outside", 26)
	d.read(30, "outside", 20)
	d.read(30, "outside", 40) // the same time again
	d.read(25, "outside", 40) // back in time
	d.read(40, "temperature", math.NaN())
	d.read(50, "temperature", 24)
	d.want(
		"open from 30 at 30: temperature 30 °C, outside 20: temperature > outside + 5",
		"close from 30 at 50: temperature 24 °C, outside 20: over after 20 s",
	)
}

func TestExpressionHasToHold(t *testing.T) {
	t.Run("long enough, noticed by the clock", func(t *testing.T) {
		d := express(t, "a > 5", "", "", time.Minute)
		d.read(10, "a", 6)
		d.tick(70)
		d.tick(71)
		d.want("open from 10 at 70: a 6 °C: a > 5 for 1 min")
	})
	t.Run("long enough, noticed by the next reading", func(t *testing.T) {
		d := express(t, "a > 5", "", "", time.Minute)
		d.read(10, "a", 6)
		d.read(90, "a", 7)
		d.want("open from 10 at 70: a 6 °C: a > 5 for 1 min")
	})
	t.Run("not long enough", func(t *testing.T) {
		d := express(t, "a > 5", "", "", time.Minute)
		d.read(10, "a", 6)
		d.read(70, "a", 4) // at the very end
		d.read(80, "a", 6)
		d.tick(120)
		d.want()
	})
}

func TestExpressionWithAnotherForTheEnd(t *testing.T) {
	d := express(t, "a > 5", "a < 3", "", 0)
	for i, v := range []float64{6, 4, 6, 2, 4, 6} {
		d.read(int64(i), "a", v)
	}
	d.want(
		"open from 0 at 0: a 6 °C: a > 5",
		"close from 0 at 3: a 2 °C: over after 3 s",
		"open from 5 at 5: a 6 °C: a > 5",
	)
}

func TestExpressionEndsInSilence(t *testing.T) {
	d := express(t, "a > b", "", "b", 0)
	d.read(0, "a", 6)
	d.read(10, "b", 5)
	d.read(2000, "b", 5)
	d.tick(3599)
	d.tick(3700)
	d.read(3800, "b", 1) // a is too old to count
	d.want(
		"open from 10 at 10: a 6, b 5 °C: a > b",
		"close from 10 at 3600: no reading of a for 1 h",
	)
}

func TestExpressionOverWindows(t *testing.T) {
	for name, tc := range map[string]struct {
		condition string
		want      string
	}{
		"avg":   {`avg("a", "10m") > 5`, `open from 540 at 540: avg("a", "10m") 5.5: avg("a", "10m") > 5`},
		"min":   {`min("a", "5m") > 3`, `open from 420 at 420: min("a", "5m") 4: min("a", "5m") > 3`},
		"max":   {`max("a", "10m") >= 10`, `open from 540 at 540: max("a", "10m") 10: max("a", "10m") >= 10`},
		"sum":   {`sum("a", "10m") > 20`, `open from 300 at 300: sum("a", "10m") 21: sum("a", "10m") > 20`},
		"count": {`count("a", "10m") == 6`, `open from 300 at 300: count("a", "10m") 6: count("a", "10m") == 6`},
		"last":  {`last("a", "30s") > 6`, `open from 360 at 360: last("a", "30s") 7: last("a", "30s") > 6`},
	} {
		t.Run(name, func(t *testing.T) {
			d := express(t, tc.condition, "", "", 0)
			for i := range int64(10) {
				d.read(i*60, "a", float64(i+1))
			}
			if len(d.emitted) == 0 || d.emitted[0] != tc.want {
				t.Errorf("emitted %q, want %q", d.emitted, tc.want)
			}
		})
	}
}

func TestExpressionIsJudgedByTheClock(t *testing.T) {
	t.Run("a window that empties", func(t *testing.T) {
		d := express(t, `count("a", "5m") > 2`, "", "", 0)
		for i := range int64(3) {
			d.read(i*60, "a", 1)
		}
		for at := int64(121); at < 600; at++ {
			d.tick(at)
		}
		// In steps of a sixtieth of the span.
		d.want(
			`open from 120 at 120: count("a", "5m") 3: count("a", "5m") > 2`,
			`close from 120 at 300: count("a", "5m") 2: over after 3 min`,
		)
	})
	t.Run("a reading that does not come", func(t *testing.T) {
		d := express(t, `age("a") > 7200`, "", "", 0)
		d.read(0, "a", 1)
		for at := int64(0); at < 8000; at += 10 {
			d.tick(at)
		}
		d.read(8000, "a", 1)
		d.want(
			`open from 7210 at 7210: age("a") 7210: age("a") > 7200`,
			`close from 7210 at 8000: age("a") 0: over after 13 min 10 s`,
		)
	})
}

func TestExpressionThatFails(t *testing.T) {
	d := express(t, "a / b > 2", "", "", 0)
	d.read(0, "a", 6)
	d.read(1, "b", 0)
	if got := d.state.Failed(); got != "division by zero" {
		t.Errorf("failed: %q", got)
	}
	d.read(2, "b", 2)
	if got := d.state.Failed(); got != "" {
		t.Errorf("still failed: %q", got)
	}
	d.read(3, "b", 0) // an open episode is not ended by what can't be computed
	d.read(4, "b", 6)
	d.want("open from 2 at 2: a 6 °C, b 2: a / b > 2", "close from 2 at 4: a 6 °C, b 6: over after 2 s")
}

func TestExpressionIsBounded(t *testing.T) {
	e, err := NewExpression(`avg("a", "1h") > 5 and max("a", "24h") > 3 and b > 1`, "", "", 0, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := e.Start()
	most := 0
	for i := range int64(200_000) {
		s.Observe("a", Sample{Time: i * 1e9, Value: float64(i % 7)}, "", nil)
		most = max(most, len(s.rolls[0]), len(s.rolls[1]))
	}
	if most > rollBuckets {
		t.Errorf("%d parts of a window are kept", most)
	}
	if n := len(s.Append(nil)); n > e.Bytes() {
		t.Errorf("%d bytes, more than the %d that Bytes returns", n, e.Bytes())
	}
}

// TestExpressionRestored stores and restores the state at any point: it
// continues as if nothing had happened, byte for byte.
func TestExpressionRestored(t *testing.T) {
	e, err := NewExpression(`a > b / (b - 1) and avg("a", "1m") > 1 or age("b") > 90`, `max("a", "30s") < 2`, "b", 20*time.Second, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		one, other := e.Start(), e.Start()
		at := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			at += rapid.Int64Range(0, 100).Draw(t, "after") * 1e9
			r := codec.NewReader(other.Append(nil))
			other = e.Read(r)
			if r.Err() != nil || r.Len() != 0 {
				t.Fatalf("read: %v, %d left", r.Err(), r.Len())
			}
			var x, y []Verdict
			if metric := rapid.SampledFrom([]string{"a", "b", "clock"}).Draw(t, "metric"); metric == "clock" {
				x, y = one.Tick(at, "", nil), other.Tick(at, "", nil)
			} else {
				s := Sample{Time: at, Value: float64(rapid.IntRange(0, 4).Draw(t, "value"))}
				x, y = one.Observe(metric, s, "", nil), other.Observe(metric, s, "", nil)
			}
			if diff := cmp.Diff(x, y); diff != "" {
				t.Fatal(diff)
			}
			if !bytes.Equal(one.Append(nil), other.Append(nil)) {
				t.Fatal("the states differ")
			}
			for _, v := range x {
				if v.Time > at || v.Start > v.Time {
					t.Fatalf("verdict from the future: %+v at %d", v, at)
				}
			}
		}
	})
}

func TestExpressionRefused(t *testing.T) {
	for want, e := range map[string][3]string{
		"expression: ": {"a >", "", ""}, "resolve: ": {"a > 1", "a", ""}, "metric: x": {"a > 1", "", "x"},
	} {
		if _, err := NewExpression(e[0], e[1], e[2], 0, time.Hour); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewExpression("a > 1", "", "", -1, time.Hour); err == nil {
		t.Error("a negative for was accepted")
	}
}

// BenchmarkExpression measures a reading of one of two metrics, with a window.
func BenchmarkExpression(b *testing.B) {
	e, err := NewExpression(`temperature > outside + 5 and avg("temperature", "10m") > 8`, "", "", 0, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	s := e.Start()
	s.Observe("outside", Sample{Time: 0, Value: 20}, "", nil)
	b.ReportAllocs()
	at := int64(0)
	for b.Loop() {
		at += 1e9
		s.Observe("temperature", Sample{Time: at, Value: 21}, "", nil)
		s.latest[1].Time = at
	}
}
