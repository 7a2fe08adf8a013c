package machine

import (
	"math"
	"strings"
	"testing"
	"time"
)

const learnerRules = `
rules:
  - {name: auto, detector: auto}
  - {name: surge, detector: surge, direction: up, false_alarms: 0.2}
  - {name: lasting, detector: surge, for: 20m}
  - {name: range, detector: range}
  - {name: season, detector: season}
  - {name: shift, detector: shift}
  - {name: stuck, detector: stuck}
  - {name: silence, detector: silence}
  - {name: drift, detector: drift, severity: info}
`

// TestDetectorsThatLearnAreRules lets every detector that learns watch a series
// for ten days, through a restart, until a door is left open, the sensor is stuck
// and then silent.
func TestDetectorsThatLearnAreRules(t *testing.T) {
	t.Parallel()
	const rows, opens, sticks = 10 * 288, 9 * 288, 9*288 + 100
	r := newRig(t, learnerRules)
	found := make(map[string][]string)
	take := func() {
		for _, a := range r.take().Anomalies {
			if strings.HasSuffix(a.Phase.String(), "OPEN") {
				found[a.Rule] = append(found[a.Rule], time.Duration(a.Start-epoch).String()+" "+a.Evidence.Sentence)
			}
		}
	}
	for i := range int64(rows) {
		v := 5 + math.Sin(2*math.Pi*float64(i)/288) + 0.1*math.Sin(float64(i*i))
		switch {
		case i >= opens && i < opens+12:
			v += 8
		case i >= sticks:
			v = 5.1
		}
		r.read(thermometer, i*5*minute, math.Round(v*100)/100)
		r.tick(i * 5 * minute)
		if i == rows/2 || i == opens+3 {
			take()
			r.reload()
		}
	}
	take()
	r.tick((rows + 12) * 5 * minute)
	take()
	for rule, want := range map[string]string{
		"auto":    "216h0m0s 1",
		"surge":   "216h0m0s 1",
		"lasting": "216h0m0s 13.06 °C, above the usual 5.392, for 20 min",
		"range":   "216h0m0s 1",
		"season":  "216h0m0s 1",
		"stuck":   " times in a row",
		"silence": "no reading for 15 min; the last was 5.1 °C; one every 5 min is usual",
	} {
		if all := strings.Join(found[rule], "\n"); !strings.Contains(all, want) {
			t.Errorf("%s found %q, want %q among it", rule, all, want)
		}
	}
	if all := found["drift"]; len(all) > 0 { // TestDetectorsUseTheTimeOfTheirSite has one that drifts
		t.Errorf("an open door is a drift: %q", all)
	}
}

// TestDetectorsUseTheTimeOfTheirSite has a series drift in a site whose days
// begin at 18:30 UTC, through a restart, and in one that moved from there to UTC:
// drift judges a day when the next one begins.
func TestDetectorsUseTheTimeOfTheirSite(t *testing.T) {
	t.Parallel()
	const rules = "rules: [{name: drift, detector: drift, false_alarms: 100}]\ntime_zone: "
	for to, want := range map[string]string{"Asia/Kolkata": "18:30", "UTC": "00:00"} {
		r := newRig(t, rules+"Asia/Kolkata\n")
		counts := map[string]int{}
		for i := range int64(34 * 48) {
			if i == 16*48 {
				r.configure(2, rules+to+"\n")
			}
			r.read(thermometer, i*30*minute, 5+math.Sin(float64(i*i))+0.5*max(0, float64(i)/48-18))
			r.tick(i * 30 * minute)
			for _, a := range r.take().Anomalies {
				if i > 17*48 && a.Rule == "drift" && !strings.HasSuffix(a.Phase.String(), "CLOSE") {
					counts[time.Unix(0, a.Time).UTC().Format("15:04")]++
				}
			}
			if i == 20*48+13 {
				r.reload()
			}
		}
		if counts[want] == 0 || len(counts) != 1 {
			t.Errorf("in %s, days are judged at %v, want %s", to, counts, want)
		}
	}
}
