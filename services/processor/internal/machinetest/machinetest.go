// Package machinetest has what the tests of the processor's packages share.
package machinetest

import (
	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/rule"
)

// Fatal is what both testing.TB and *rapid.T have.
type Fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Rule parses a rule, and returns it with a configuration that has no rules.
func Rule(tb Fatal, text string) (*config.Config, rule.Rule) {
	tb.Helper()
	c, err := config.Parse("rules", []byte("rules: []\n"))
	if err != nil {
		tb.Fatalf("parse: %v", err)
	}
	r, err := config.ParseRule("rule", []byte(text), nil)
	if err != nil {
		tb.Fatalf("parse: %v", err)
	}
	return c, r
}

// Reading is a reading of a derived series.
type Reading struct {
	Series telemetryv1.Series
	Time   int64
	Value  float64
}

// Derived returns the readings of derived series in a commit, in their order.
func Derived(c *derivedv1.Commit) []Reading {
	if c.Readings == nil {
		return nil
	}
	dictionary := c.Readings.Dictionary()
	var out []Reading
	for r := range c.Readings.Readings() {
		out = append(out, Reading{Series: dictionary[r.Series], Time: r.Time, Value: r.Value})
	}
	return out
}

// Add adds the outputs of a commit, and its counts, to those before.
func Add(all, c *derivedv1.Commit) {
	all.Summaries = append(all.Summaries, c.Summaries...)
	all.Anomalies = append(all.Anomalies, c.Anomalies...)
	all.Mends = append(all.Mends, c.Mends...)
	if all.Counts == nil {
		all.Counts = &derivedv1.Counts{}
	}
	all.Counts.Readings += c.GetCounts().GetReadings()
	all.Counts.Duplicates += c.GetCounts().GetDuplicates()
	all.Counts.Conflicts += c.GetCounts().GetConflicts()
	all.Counts.TooLate += c.GetCounts().GetTooLate()
	all.Counts.NotNumeric += c.GetCounts().GetNotNumeric()
}
