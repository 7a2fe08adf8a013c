package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/internal/machinetest"
)

// newSolo returns a Solo for a rule, with the default configuration.
func newSolo(t *testing.T, text string) *Solo {
	t.Helper()
	c, r := machinetest.Rule(t, text)
	s, err := NewSolo(3, DefaultLimits(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	s.Steady(true) // tests tick when they need it
	return s
}

// TestSoloFindsWhatTheLaneFinds compares each of several rules alone with
// a lane that has them all.
func TestSoloFindsWhatTheLaneFinds(t *testing.T) {
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
		s := newSolo(t, rules[i])
		var got []string
		for _, b := range batches {
			anomalies, _ := s.Step(proto.Clone(b).(*telemetryv1.Batch))
			for _, a := range anomalies {
				if a.Phase == derivedv1.Phase_PHASE_OPEN {
					got = append(got, fmt.Sprintf("%s/%s %d", a.Series.Device, a.Series.Metric, a.Start))
				}
			}
		}
		if len(got) == 0 {
			t.Errorf("%s: the rule found nothing", name)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(committed[name])), slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("%s (-lane +solo):\n%s", name, diff)
		}
	}
}

// TestSoloKeepsNothingOfOthers checks that series which the rule does not watch take
// no memory, and that outputs don't pile up.
func TestSoloKeepsNothingOfOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule            string
		series, watched int
	}{
		{`{name: other, match: {device: "gate-*"}, detector: limit, above: 30}`, 0, 0},
		{"{name: warm, detector: limit, above: 30}", 3, 3},
		{"{name: muggy, expression: temperature > 30 && humidity < 40}", 2, 1},
	} {
		s := newSolo(t, c.rule)
		var b telemetryv1.Builder
		alerts := 0
		for i := range int64(8) {
			at := epoch + (i+1)*minute
			for _, metric := range []string{"temperature", "humidity", "pressure"} {
				key := thermometer
				key.Metric = metric
				b.Value(key, at, float64(20+15*(i%2)))
			}
			batch := b.Take(at)
			batch.Clock = &telemetryv1.Clock{CaughtUp: at}
			anomalies, _ := s.Step(batch)
			alerts += len(anomalies)
			if n := s.machine.Pending(); n > 16 {
				t.Errorf("%s: %d outputs wait after minute %d", c.rule, n, i)
			}
		}
		if s.machine.seriesCount != c.series || s.Watched() != c.watched {
			t.Errorf("%s: %d series, %d watched, want %d and %d", c.rule, s.machine.seriesCount, s.Watched(), c.series, c.watched)
		}
		if (alerts > 0) != (c.watched > 0) {
			t.Errorf("%s: %d anomalies", c.rule, alerts)
		}
	}
}
