package machine

import (
	"fmt"
	"slices"
	"testing"

	derivedv1 "headwater/proto/derived/v1"
)

// TestDecision asks, with a batch of two devices in turn, what the rules say after it.
func TestDecision(t *testing.T) {
	t.Parallel()
	r := newRig(t, `auto: off
rules:
  - {name: warm, match: {metric: temperature}, detector: limit, above: 30, severity: critical}
  - {name: same, match: {metric: temperature, device: door-1}, detector: stuck}
  - {name: apart, match: {device: door-1}, expression: temperature > outside + 5}
`)
	gate := thermometer
	gate.Device = "gate"
	send := func(at int64, decide bool, values map[string]float64) []string {
		t.Helper()
		r.read(thermometer, at, values["inside"])
		r.read(gate, at, values["gate"])
		r.read(outside, at, values["outside"])
		b := r.builder.Take(epoch + at + second)
		b.Decide = decide
		r.apply(b)
		var got []string
		c := r.take()
		for _, d := range c.Decisions {
			line := fmt.Sprintf("%d %s/%s", d.Sequence, d.Site, d.Device)
			for _, s := range d.Rules {
				line += fmt.Sprintf(", %s %s %s %s %.1f at %d", s.Rule, s.Metric, s.Judgement, s.Severity, s.Score, (s.Judged-epoch)/second)
			}
			got = append(got, line)
		}
		r.reload()
		return got
	}
	const (
		normal, learning, abnormal = "JUDGEMENT_NORMAL SEVERITY_UNSPECIFIED 0.0", "JUDGEMENT_LEARNING SEVERITY_UNSPECIFIED 0.0", "JUDGEMENT_ABNORMAL"
	)
	expect(t, "a batch that asks", send(0, true, map[string]float64{"inside": 20, "gate": 31, "outside": 18}), []string{
		"1 hall/door-1, warm temperature " + normal + " at 0, same temperature " + learning + " at 0, apart temperature " + normal + " at 0",
		"1 hall/gate, warm temperature " + abnormal + " SEVERITY_CRITICAL 1.0 at 0",
	})
	expect(t, "one that does not", send(60*second, false, map[string]float64{"inside": 20, "gate": 31, "outside": 18}), nil)
	expect(t, "the next that asks", send(120*second, true, map[string]float64{"inside": 24, "gate": 20, "outside": 18}), []string{
		"3 hall/door-1, warm temperature " + normal + " at 120, same temperature " + learning + " at 120, apart temperature " + abnormal + " SEVERITY_WARNING 1.0 at 120",
		"3 hall/gate, warm temperature " + normal + " at 120",
	})

	// Much that is asked at once fits into a commit.
	r = newRig(t, rulesOf(100))
	for i := range 30 {
		k := thermometer
		k.Device = fmt.Sprint("door-", i)
		r.read(k, 0, 1)
	}
	b := r.builder.Take(epoch + second)
	b.Decide = true
	r.apply(b)
	if pending := r.machine.Pending(); pending > maxDecisions*(1+maxDecided) || pending < maxDecisions {
		t.Errorf("decisions weigh %d", pending)
	}
	c := r.take()
	if len(c.Decisions) != maxDecisions || slices.ContainsFunc(c.Decisions, func(d *derivedv1.Decision) bool { return len(d.Rules) != maxDecided || !d.More }) {
		t.Errorf("%d decisions", len(c.Decisions))
	}
}

// rulesOf returns a file with that many rules that watch every series.
func rulesOf(n int) string {
	text := "auto: off\nrules:\n"
	for i := range n {
		text += fmt.Sprintf("  - {name: warm-%d, detector: limit, above: 30}\n", i)
	}
	return text
}
