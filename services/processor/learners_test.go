package processor

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
	told := make(map[string][]string)
	take := func() {
		for _, a := range r.take().Anomalies {
			if strings.HasSuffix(a.Phase.String(), "OPEN") {
				told[a.Rule] = append(told[a.Rule], time.Duration(a.Start-epoch).String()+" "+a.Evidence.Sentence)
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
		"lasting": "216h0m0s 13.06 °C, above the 5.39 that is usual, for 20 min",
		"range":   "216h0m0s 1",
		"season":  "216h0m0s 1",
		"drift":   "as the mean of a day", // that of the open door
		"stuck":   " times in a row",
		"silence": "no reading for 15 min; the last was 5.1 °C, and one every 5 min is usual",
	} {
		if all := strings.Join(told[rule], "\n"); !strings.Contains(all, want) {
			t.Errorf("%s tells %q, want %q among it", rule, all, want)
		}
	}
}
