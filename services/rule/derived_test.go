package rule_test

import (
	"strings"
	"testing"
	"time"

	"headwater/services/rule"
)

// TestProblemsOfDerivedSeries shows what is said of each mistake.
func TestProblemsOfDerivedSeries(t *testing.T) {
	for want, d := range map[string]rule.Derived{
		"":                                 {Metric: "spread", Expression: "inside - outside", Match: rule.Match{Tags: map[string]string{"kind": "door"}}},
		"metric: is missing: the name":     {Expression: "a - b"},
		`metric: "a b" is not a metric`:    {Metric: "a b", Expression: "x"},
		`metric: "a" is made from itself`:  {Metric: "a", Expression: "a + 1"},
		"expression: is missing: like":     {Metric: "a"},
		"expression: is a condition":       {Metric: "a", Expression: "b > 1"},
		"expression: there are only":       {Metric: "a", Expression: `avg("b", "5m")`},
		"sum: is given together with":      {Metric: "a", Difference: "b", Sum: "b", Over: time.Minute},
		"over: is missing: the span of":    {Metric: "a", Integral: "b"},
		"over: does not go with":           {Metric: "a", Expression: "b", Over: time.Minute},
		"over: 2h is out of range: 1s":     {Metric: "a", Sum: "b", Over: 2 * time.Hour},
		"max_age: 8d is out of range: 1s":  {Metric: "a", Difference: "b", MaxAge: 8 * 24 * time.Hour},
		"unit: holds control characters":   {Metric: "a", Difference: "b", Unit: "k\tW"},
		`match.device: "[" is not a`:       {Metric: "a", Difference: "b", Match: rule.Match{Device: "["}},
		"match.tags: kind is empty":        {Metric: "a", Difference: "b", Match: rule.Match{Tags: map[string]string{"kind": ""}}},
		`difference: "b c" is not a metri`: {Metric: "a", Difference: "b c"},
	} {
		problems := d.WithDefaults().Problems()
		switch {
		case want == "" && len(problems) > 0, want != "" && len(problems) != 1:
			t.Errorf("%+v: %v, want %q", d, problems, want)
		case want != "" && !strings.HasPrefix(problems[0].Error(), want):
			t.Errorf("%+v: %v, want %q", d, problems[0], want)
		}
	}
}
