package machine

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/internal/machinetest"
)

const meterRules = `
time_zone: Asia/Kolkata
counters:
  - {metric: energy, unit: kWh, rollover: 65536, price: %v, currency: EUR}
rules:
  - {name: much, match: {metric: energy_used}, detector: limit, above: 50}
`

// TestCounters reads a meter that rolls over, with restarts and another price in between. The
// hours of its consumption add up to their parts, and begin at half past of UTC.
func TestCounters(t *testing.T) {
	t.Parallel()
	meter := telemetryv1.Key{Site: "hall", Device: "meter-1", Metric: "energy", Unit: "kWh"}
	r := newRig(t, fmt.Sprintf(meterRules, 0.5))
	used, cost, anomalies := make(map[int64]float64), make(map[int64]float64), 0
	hours := make(map[int64]float64)
	var mends []*derivedv1.Mend
	take := func() {
		t.Helper()
		c := r.take()
		for _, x := range machinetest.Derived(c) {
			map[string]map[int64]float64{"energy_used": used, "energy_cost": cost}[x.Series.Metric][x.Time] = x.Value
			if want := map[string]string{"energy_used": "kWh", "energy_cost": "EUR"}[x.Series.Metric]; x.Series.Unit != want {
				t.Errorf("%s is in %q", x.Series.Metric, x.Series.Unit)
			}
		}
		for _, s := range c.Summaries {
			if s.Series.Metric == "energy_used" && s.Window == "1h" {
				hours[s.Start] = s.Sum()
				if (s.Start/minute)%60 != 30 {
					t.Errorf("an hour begins at %d", s.Start)
				}
			}
		}
		mends = append(mends, c.Mends...)
		anomalies += len(c.Anomalies)
	}
	shown := int64(65500)
	for i := range int64(40) { // each 6 minutes, 2 kWh
		r.read(meter, 6*i*minute, float64(shown%65536))
		shown += 2
		r.tick(6*i*minute + second)
		take()
		if i%7 == 3 {
			r.reload()
		}
		if i == 19 {
			r.configure(2, fmt.Sprintf(meterRules, 1))
			take()
		}
	}
	r.read(meter, 60*minute*6, float64((shown+58)%65536)) // 60 kWh in a gap of 2 h 6 min
	r.tick(6*hour + second)
	r.read(meter, 60*minute*6+minute, float64((shown+58)%65536))
	r.tick(12 * hour)
	r.tick(12*hour + 2*minute)
	take()
	sum := func(m map[int64]float64) (all float64) {
		for _, v := range m {
			all += v
		}
		return all
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if got := sum(used); !near(got, 138) {
		t.Errorf("consumed %v", got)
	}
	// An hour adds up to its part, or the writer is to compute it again from the history.
	parts := make(map[int64]float64)
	for at, v := range used {
		parts[at-(at+30*minute)%hour] += v
	}
	for start, want := range parts {
		mended := slices.ContainsFunc(mends, func(d *derivedv1.Mend) bool {
			return d.Window == "1h" && d.Series.Metric == "energy_used" && start >= d.From && start < d.To
		})
		if !near(hours[start], want) && !mended {
			t.Errorf("the hour from %v adds up to %v, not %v", time.Duration(start-epoch), hours[start], want)
		}
	}
	// The readings within the lateness of the new price cost that.
	if got := sum(cost); got < 119*1-20 || got > 138-15 {
		t.Errorf("costs %v", got)
	}
	if anomalies != 0 {
		t.Errorf("%d anomalies: no roll-over and no gap is a peak", anomalies)
	}
}
