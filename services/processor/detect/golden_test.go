package detect_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/processor/detect"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// story is a series about which a detector emits something.
type story struct {
	name     string
	detector detect.Detector
	unit     string
	steps    []step
}

// usual makes readings of some days with a daily swing about a level. Change
// may alter each of them.
func usual(days int, by time.Duration, level float64, change func(at time.Duration, v float64) float64) []step {
	var out []step
	for at := time.Duration(0); at < time.Duration(days)*24*time.Hour; at += by {
		i := float64(at / by)
		v := level + level/10*hump(at.Hours()/24) + level/200*math.Sin(i*i)
		v = change(at, v)
		if math.IsNaN(v) {
			continue
		}
		out = append(out, read(at, math.Round(v*100)/100))
	}
	return out
}

// from returns a change that alters the values of a period.
func from(begin, long time.Duration, do func(v float64) float64) func(time.Duration, float64) float64 {
	return func(at time.Duration, v float64) float64 {
		if at >= begin && at < begin+long {
			return do(v)
		}
		return v
	}
}

// garbled replaces every nth reading by a text, from one reading on until there
// are enough texts.
func garbled(steps []step, text string, from, each, count int) []step {
	for i := range count {
		p := &steps[from+i*each]
		*p = step{at: p.at, text: text}
	}
	return steps
}

func plus(by float64) func(float64) float64   { return func(v float64) float64 { return v + by } }
func always(is float64) func(float64) float64 { return func(float64) float64 { return is } }

// stories make each detector use all its sentences.
func stories() []story {
	a := detect.Alarms{FalseAlarms: 0.2, Silence: 6 * time.Hour}
	lasting := a
	lasting.For = 30 * time.Minute
	const m, h, d = time.Minute, time.Hour, 24 * time.Hour
	nothing := func(_ time.Duration, v float64) float64 { return v }
	return []story{
		{
			"a bound is passed, further, and all is well again", &detect.Limit{Above: 8, Below: math.Inf(-1), Hysteresis: 1, For: m, Silence: h}, "°C",
			every(0, 30*time.Second, 7.9, 8.2, 8.4, 8.6, 13.25, 13, 6.98),
		},
		{
			"a bound is passed from above by a trifle", &detect.Limit{Above: math.Inf(1), Below: 0.001, Silence: h}, "bar",
			every(0, 125*time.Millisecond, 0.0012, 0.00025, 0.0012),
		},
		{
			"the bound of a counter, no unit", &detect.Limit{Above: 12_345_678, Below: math.Inf(-1), Silence: h}, "",
			append(every(0, m, 12_345_677, 12_345_679), tick(2*h)),
		},
		{
			"a rise, more of it, back", &detect.Rate{Rise: 3, Within: 5 * m, Settle: h, Silence: h}, "°C",
			every(0, m, 4.3, 4.4, 8.25, 12.75, 13, 5),
		},
		{
			"a fall that settles", &detect.Rate{Fall: 10, Within: 90 * time.Second, Settle: 30 * m, Silence: h}, "%",
			append(every(0, 10*time.Second, 80, 80, 65.5, 65), tick(2*h)),
		},
		{"higher than ever", &detect.Range{Alarms: a}, "°C", usual(9, 15*m, 20, from(8*d+5*h, 2*h, plus(9)))},
		{"lower than ever, and it stays", &detect.Range{Alarms: a}, "V", usual(12, 15*m, 230, from(8*d+5*h, 4*d, plus(-60)))},
		{"unusual for the hour", &detect.Season{Alarms: a}, "°C", usual(22, 5*m, 20, from(21*d+2*h, h, plus(2.2)))},
		{"unusual for the hour of the week", &detect.Season{Alarms: a}, "people", usual(40, 5*m, 20, func(at time.Duration, v float64) float64 {
			if number := int(at.Hours() / 24); number%7 > 4 && (at < 33*d+14*h || at > 33*d+15*h) {
				return v + 6
			}
			return v
		})},
		{"unusual for half an hour", &detect.Season{Alarms: lasting}, "°C", usual(22, 5*m, 20, from(21*d+2*h, 3*h, plus(2.2)))},
		{"fast", &detect.Surge{Alarms: a}, "°C", usual(9, 5*m, 20, from(8*d+5*h, 2*h, plus(6)))},
		{"a surge that lasts", &detect.Surge{Alarms: lasting}, "°C", usual(9, 5*m, 20, from(8*d+5*h, 2*h, plus(6)))},
		{
			"a fall, and silence", &detect.Surge{Alarms: a, Direction: detect.Down}, "l/s",
			append(usual(8, 5*m, 2000, from(8*d-20*m, h, plus(-700))), tick(9*d)),
		},
		{"the level moves", &detect.Shift{Alarms: a}, "°C", usual(14, 15*m, 20, from(8*d+5*h, 2*d, plus(9)))},
		{"stuck", &detect.Stuck{Alarms: a}, "°C", usual(9, 5*m, 20, from(8*d+5*h, 3*h, always(20.5)))},
		{"stuck, fast", &detect.Stuck{Alarms: a}, "mm/s", usual(4, 30*time.Second, 2, from(3*d+5*h, 3*h, always(2.1)))},
		{"no readings", &detect.Silence{FalseAlarms: 0.2}, "°C", append(usual(1, 5*m, 20, nothing), tick(25*h), read(26*h, 20))},
		{"no readings of a fast series", &detect.Silence{FalseAlarms: 0.2}, "V", append(every(0, 200*time.Millisecond,
			1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1), tick(3*time.Second), read(5*time.Second, 2))},
		{"ageing", &detect.Drift{Alarms: a}, "°C", usual(26, 30*m, 20, func(at time.Duration, v float64) float64 {
			return v + 0.3*max(0, at.Hours()/24-18)
		})},
		{
			"texts among numbers, more of them, none", &detect.Unreadable{Share: 10, Within: h, Silence: 6 * h}, "°C",
			garbled(usual(1, m, 20, nothing), "unavailable", 300, 7, 25),
		},
		{
			"nothing but texts, then nothing", &detect.Unreadable{Share: 20, Within: h, Silence: 6 * h}, "",
			append(garbled(usual(1, 5*m, 20, nothing), "a\tlong \x1b text that somebody wrote into a reading", 250, 1, 38), tick(31*h)),
		},
		{"anything", &detect.Auto{Alarms: a}, "°C", usual(16, 15*m, 20, from(15*d+2*h, 3*h, plus(9)))},
		{"anything at an hour of the site", &detect.Auto{Alarms: a, Location: berlin}, "°C", usual(22, 5*m, 20, from(21*d+14*h, 2*h, plus(-1.6)))},
	}
}

// kindOf names a detector as rules do.
func kindOf(d detect.Detector) string {
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", d), "*detect."))
}

// TestSentences compares all verdicts with sentences that a person has
// reviewed. To rewrite them: go test -run TestSentences -update.
func TestSentences(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, s := range stories() {
		kind := kindOf(s.detector)
		fmt.Fprintf(&b, "%s: %s\n", kind, s.name)
		state := s.detector.Start()
		var emitted []detect.Verdict
		for _, p := range s.steps {
			emitted = p.take(state, s.unit, emitted)
		}
		if len(emitted) == 0 {
			t.Errorf("%s, %s: nothing is emitted", kind, s.name)
		}
		for _, v := range emitted {
			fmt.Fprintf(&b, "  %-6v %s\n", v.Phase, v.Evidence.Sentence)
			e := v.Evidence
			fmt.Fprintf(&b, "         value %.4g, score %.3g, expected %.4g, usual %.4g to %.4g, %d samples\n",
				e.Value, e.Score, e.Baseline, e.Low, e.High, len(e.Samples))
		}
	}
	path := filepath.Join("testdata", "sentences.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("sentences (-want +got):\n%s", diff)
	}
}
