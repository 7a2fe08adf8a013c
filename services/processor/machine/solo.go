package machine

import (
	"slices"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/rule"
)

// Solo is a Machine with one rule, which hands its results over instead of
// committing them. It keeps state only for the series that the rule may watch. It is
// for one goroutine.
type Solo struct {
	machine *Machine
	rule    *activeRule
}

// NewSolo returns a Solo for one lane. Windows, lateness, tags and time zones are
// those of the configuration; the rule is evaluated even if it is a draft. The error
// is that of a rule whose detector can't be made.
func NewSolo(lane int, limits Limits, c *config.Config, r rule.Rule) (*Solo, error) {
	r.State = rule.Enabled
	rules, err := activate([]rule.Rule{r})
	if err != nil {
		return nil, err
	}
	derived, err := activateDerived(c)
	if err != nil {
		return nil, err
	}
	m := New(lane, limits, nil)
	anyTags := r
	anyTags.Match.Tags = nil
	// judged reports whether the rule may judge a metric of a device that it matches.
	judged := func(key deviceKey, metric string) bool {
		return anyTags.Matches(key.site, key.name, metric, nil) &&
			(rules[0].expression == nil || slices.Contains(rules[0].expression.Metrics(), metric))
	}
	m.watches = func(key deviceKey, metric string) bool {
		return (judged(key, metric) || m.feeds(key, metric, func(derived string) bool { return judged(key, derived) })) &&
			(len(r.Match.Tags) == 0 || r.Match.MatchesDevice(key.site, key.name, c.Tags(key.site, key.name)))
	}
	m.install(0, nil, c, rules, derived)
	return &Solo{machine: m, rule: rules[0]}, nil
}

// Steady sets whether Headwater listens however seldom the clock ticks, for input
// whose clock ticks only with its readings.
func (s *Solo) Steady(steady bool) { s.machine.heard.Steady = steady }

// Step takes the next batch of the lane and returns what the rule found in it. The
// results are valid until the next Step.
func (s *Solo) Step(b *telemetryv1.Batch) (anomalies []*derivedv1.Anomaly, statuses []*derivedv1.RuleStatus) {
	s.machine.output.reset()
	s.machine.step(b, b.Dictionary())
	return s.machine.output.anomalies, s.machine.output.rules
}

// Metrics returns the metrics that the rule's expression reads, nil for a rule
// without an expression.
func (s *Solo) Metrics() []string {
	if s.rule.expression == nil {
		return nil
	}
	return s.rule.expression.Metrics()
}

// Inputs returns the metrics from which series are derived that the rule may judge, in one
// or more steps.
func (s *Solo) Inputs() []string {
	var all []string
	found := func(d *activeDerived) bool {
		return slices.Contains(all, d.declared.Metric) || slices.Contains(s.Metrics(), d.declared.Metric) ||
			s.rule.expression == nil && rule.Glob(s.rule.rule.Match.Metric, d.declared.Metric)
	}
	// A step adds at least one metric, until there is nothing to add.
	for before := -1; before < len(all); {
		before = len(all)
		for _, d := range s.machine.config.derived {
			if !found(d) {
				continue
			}
			for _, in := range d.declared.Inputs() {
				if !slices.Contains(all, in) {
					all = append(all, in)
				}
			}
		}
	}
	return all
}

// Watched returns how many series the rule watches, or how many devices if it has an
// expression.
func (s *Solo) Watched() int {
	n := 0
	for _, d := range s.machine.devices {
		n += len(d.expressions)
		for _, series := range d.series {
			n += len(series.slots)
		}
	}
	return n
}
