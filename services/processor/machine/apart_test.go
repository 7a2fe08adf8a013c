package machine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/proto/units"
	"headwater/services/rule"
)

var barometer = telemetryv1.Key{Site: "hall", Device: "baro-1", Metric: "pressure", Unit: "hPa"}

func in(unit string) telemetryv1.Key {
	k := barometer
	k.Unit = unit
	return k
}

const pressureRules = `
auto: off
rules:
  - {name: too-high, match: {metric: pressure}, detector: limit, above: 1100, severity: critical}
  - {name: sum, expression: 'pressure > 1100 or avg("pressure", "10m") > 1100', severity: critical}
`

// TestUnitChangeIsReportedAndNotJudged: a metric that comes in another unit is reported
// once, summed up apart, and judged by no rule, across restarts; the episode ends
// when the unit is the old one again.
func TestUnitChangeIsReportedAndNotJudged(t *testing.T) {
	t.Parallel()
	r := newRig(t, pressureRules)
	var commits []*derivedv1.Commit
	step := func(unit string, at int64, v float64) {
		r.read(in(unit), at*second, v)
		r.tick(at*second + 1)
		commits = append(commits, r.take())
		r.reload()
	}
	for at := int64(0); at < 60; at += 10 {
		step("hPa", at, 1013)
	}
	for at := int64(60); at < 120; at += 10 {
		step("Pa", at, 101300)
	}
	step("", 120, 1014) // without a unit it is in that of the metric
	step("mbar", 125, 1014)
	for at := int64(130); at < 220; at += 10 {
		step("hPa", at, 1014)
	}
	for at := int64(220); at < 400; at += 60 {
		step("hPa", at, 1014)
	}
	var told []string
	for _, c := range commits {
		for _, a := range c.GetAnomalies() {
			told = append(told, fmt.Sprintf("%s %s at %d from %d in %s: %s", a.GetRule(), strings.ToLower(strings.TrimPrefix(a.GetPhase().String(), "PHASE_")),
				(a.GetTime()-epoch)/second, (a.GetStart()-epoch)/second, a.GetUnit(), a.GetEvidence().GetSentence()))
			if a.GetSeverity() != derivedv1.Severity_SEVERITY_INFO {
				t.Errorf("%s has severity %s", a.GetRule(), a.GetSeverity())
			}
		}
		for _, s := range c.GetSummaries() {
			low, high := 1000.0, 1100.0
			if s.GetUnit() == "Pa" {
				low, high = 100000, 110000
			}
			if s.GetMin() < low || s.GetMax() > high || s.GetUnit() == "" {
				t.Errorf("a %s summary in %q reaches from %v to %v", s.GetWindow(), s.GetUnit(), s.GetMin(), s.GetMax())
			}
		}
	}
	want := []string{
		"unit-change open at 60 from 60 in Pa: 101\u202f300 Pa: comes in Pa instead of hPa; until its unit is declared it has summaries of its own and no rule judges it",
		"unit-change close at 180 from 60 in hPa: 1014 hPa: comes in hPa again",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// TestSilenceOfAnotherUnit: a metric that comes only in another unit is silent to its
// rules, because none of them judges what comes. The alert says what comes instead, and
// ends when the metric is back in its unit.
func TestSilenceOfAnotherUnit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "auto: off\nrules: [{name: quiet, match: {metric: pressure}, detector: silence}]\n")
	at := int64(0)
	step := func(unit string, v float64) {
		at += 10 * second
		r.read(in(unit), at, v)
		r.tick(at + 1)
	}
	for range 200 {
		step("hPa", 1013)
	}
	for range 200 {
		step("Pa", 101300)
	}
	step("hPa", 1014)
	var got []string
	for _, a := range r.take().GetAnomalies() {
		if a.GetRule() == "quiet" {
			got = append(got, a.GetPhase().String()+" "+a.GetEvidence().GetSentence())
		}
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], "PHASE_OPEN no reading for ") || !strings.HasSuffix(got[0], "; readings in Pa come, which no rule judges") ||
		!strings.HasPrefix(got[1], "PHASE_CLOSE 1014 hPa: back after ") {
		t.Errorf("%q", got)
	}
}

// TestDeclaredUnitStartsAgain: a metric is in the declared unit from then on, with
// rules that start again; what was in another unit stays apart.
func TestDeclaredUnitStartsAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, pressureRules)
	r.read(in("hPa"), 0, 1200)
	r.read(in("Pa"), 10*second, 101300)
	r.tick(11 * second)
	open := map[string]bool{}
	note := func() {
		for _, a := range r.take().GetAnomalies() {
			open[a.GetRule()] = a.GetPhase() != derivedv1.Phase_PHASE_CLOSE
		}
	}
	if note(); !open["too-high"] || !open[rule.UnitChangeName] {
		t.Fatalf("open: %v", open)
	}
	r.configure(2, strings.Replace(pressureRules, "1100,", "110000,", 1)+"series:\n  - {match: {metric: pressure}, unit: Pa}\n")
	if note(); open["too-high"] || open[rule.UnitChangeName] {
		t.Errorf("after the unit was declared, open: %v", open)
	}
	r.reload()
	r.read(in("Pa"), 20*second, 120000)
	r.read(in("hPa"), 15*second, 1200) // late, in the old unit
	r.tick(21 * second)
	if note(); !open["too-high"] || open[rule.UnitChangeName] {
		t.Errorf("above the limit in the declared unit, open: %v", open)
	}
}

// TestNoWindowHoldsTwoUnits draws units as devices mix them, with spellings of the
// same one, late readings, restarts and readings without a unit: each summary sums
// up exactly the readings of its time in its unit.
func TestNoWindowHoldsTwoUnits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, "auto: off\n")
		type window struct {
			start int64
			unit  string
		}
		type total struct {
			count uint64
			sum   float64
		}
		want, got := map[window]total{}, map[window]total{}
		first := rapid.SampledFrom([]string{"hPa", "mbar"}).Draw(t, "first")
		take := func() {
			for _, s := range r.take().GetSummaries() {
				if s.GetWindow() == "1m" {
					got[window{s.GetStart(), units.Name(s.GetUnit())}] = total{s.GetCount(), s.GetMean() * float64(s.GetCount())}
				}
			}
		}
		seen := map[int64]bool{}
		now := int64(0)
		for i := range rapid.IntRange(1, 60).Draw(t, "readings") {
			now += rapid.Int64Range(1, 40).Draw(t, "pause")
			at := max(0, now-rapid.SampledFrom([]int64{0, 0, 0, 30, 90}).Draw(t, "late"))
			unit := first
			if i > 0 {
				unit = rapid.SampledFrom([]string{"hPa", "hPa", "mbar", "", "Pa", "Pa", "psi", "widgets"}).Draw(t, "unit")
			}
			if seen[at] {
				continue
			}
			seen[at] = true
			name := units.Name(unit)
			if name == "" {
				name = "hPa"
			}
			// Whole numbers, so that sums are exact.
			v := float64(rapid.IntRange(1, 1000).Draw(t, "value"))
			r.read(in(unit), at*second, v)
			w := window{epoch + at*second/minute*minute, name}
			want[w] = total{want[w].count + 1, want[w].sum + v}
			r.tick(now * second)
			if rapid.Bool().Draw(t, "restart") {
				take()
				r.reload()
			}
		}
		for at := now; at < now+600; at += 30 {
			r.tick(at * second)
		}
		take()
		for w, sum := range want {
			if g := got[w]; g.count != sum.count || g.sum < sum.sum-1e-6 || g.sum > sum.sum+1e-6 {
				t.Errorf("the minute at %d s in %s has %v, want %v", (w.start-epoch)/second, w.unit, got[w], sum)
			}
		}
		for w := range got {
			if _, there := want[w]; !there {
				t.Errorf("there is a minute at %d s in %s that nothing was sent for", (w.start-epoch)/second, w.unit)
			}
		}
	})
}

// TestUnitsAreBounded: a device that invents units has no more than some series of
// one metric.
func TestUnitsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, "auto: off\n")
	for i := range 100 {
		r.read(in(fmt.Sprintf("unit-%d", i)), int64(i)*second, 1)
		r.tick(int64(i) * second)
	}
	r.reload()
	if r.machine.seriesCount != maxUnits {
		t.Errorf("there are %d series, want %d", r.machine.seriesCount, maxUnits)
	}
}

// TestClashesAreInTheLedger: a second value for an event time is counted for its
// device, also when it comes too late for every window; then the history gets the
// last one, whichever writer is faster.
func TestClashesAreInTheLedger(t *testing.T) {
	t.Parallel()
	r := newRig(t, "auto: off\n")
	r.read(thermometer, 3*hour, 20)
	r.tick(3 * hour)
	r.read(thermometer, 3*hour, 21)
	r.read(thermometer, 3*hour, 21) // a repeat is no clash
	r.read(thermometer, 0, 5)       // hours too late
	r.read(thermometer, 0, 6)
	r.read(thermometer, 0, 6)
	r.tick(3*hour + second)
	var entries, stands []string
	note := func() {
		c := r.take()
		for _, e := range c.GetLedger() {
			entries = append(entries, fmt.Sprintf("%s: %d readings, %d clashes", e.GetDevice(), e.GetReadings(), e.GetConflicts()))
		}
		for _, x := range c.GetCorrections() {
			stands = append(stands, fmt.Sprintf("%d s: %v %s", (x.GetTime()-epoch)/second, x.GetValue(), x.GetUnit()))
		}
	}
	note()
	r.reload()
	r.read(thermometer, 0, 7)
	r.tick(3*hour + 2*second)
	note()
	r.tick(3*hour + 2*minute)
	note()
	if want := []string{"door-1: 7 readings, 3 clashes"}; !slices.Equal(entries, want) {
		t.Errorf("entries: %v, want %v", entries, want)
	}
	if want := []string{"10800 s: 21 °C", "0 s: 6 °C", "0 s: 7 °C"}; !slices.Equal(stands, want) {
		t.Errorf("the history gets %v, want %v", stands, want)
	}
}
