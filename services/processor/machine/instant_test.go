package machine

import (
	"slices"
	"testing"

	derivedv1 "headwater/proto/derived/v1"
)

// TestRulesAgreeWithTheHistory has a second value for the latest event time: the rules
// judge it, whether the event time has come or not, and the commit gives the same value to
// the history.
func TestRulesAgreeWithTheHistory(t *testing.T) {
	t.Parallel()
	const rules = `
auto: off
rules:
  - {name: limit, match: {metric: temperature}, detector: limit, above: 30, severity: warning}
  - {name: sum, expression: temperature > 30, severity: warning}
`
	for name, test := range map[string]struct {
		arrives int64
		values  []float64
		open    bool
	}{
		"the second is abnormal":                {10, []float64{20, 42}, true},
		"the first was":                         {10, []float64{42, 20}, false},
		"the third is":                          {10, []float64{20, 21, 42}, true},
		"the second is abnormal, ahead of time": {-100, []float64{20, 42}, true},
		"the first was, ahead of time":          {-100, []float64{42, 20}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rules)
			var commits []*derivedv1.Commit
			for _, v := range test.values {
				r.read(thermometer, 0, v)
				r.send(test.arrives * second)
				commits = append(commits, r.take())
				r.reload()
			}
			r.tick(20 * second)
			commits = append(commits, r.take())
			open := map[string]bool{}
			var stands []float64
			for _, c := range commits {
				for _, a := range c.GetAnomalies() {
					open[a.GetRule()] = a.GetPhase() != derivedv1.Phase_PHASE_CLOSE
				}
				for _, x := range c.GetCorrections() {
					stands = append(stands, x.GetValue())
				}
			}
			if open["limit"] != test.open || open["sum"] != test.open {
				t.Errorf("open: %v, want %v", open, test.open)
			}
			if !slices.Equal(stands, test.values[1:]) {
				t.Errorf("the history gets %v, want %v", stands, test.values[1:])
			}
		})
	}
}
