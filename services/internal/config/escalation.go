package config

import (
	"slices"
	"time"

	"headwater/services/rule"
)

const (
	// MaxSteps is the greatest number of steps of the escalation.
	MaxSteps = 20
	// MinEscalation is the shortest time before a step.
	MinEscalation = time.Minute
)

// Escalation is one step: which channels are notified of an alert that nobody has
// acknowledged.
type Escalation struct {
	// Severity is the least that the alert must have.
	Severity rule.Severity
	// After is how long the alert has been known.
	After time.Duration
	// Notify lists channels and rotas.
	Notify []string
}

func (e Escalation) equal(o Escalation) bool {
	return e.Severity == o.Severity && e.After == o.After && slices.Equal(e.Notify, o.Notify)
}

func (o *object) escalation(targets []string) []Escalation {
	items, _ := o.list(escalationSection, MaxSteps)
	var all []Escalation
	for _, item := range items {
		so := o.r.object(item, "severity", "after", "notify")
		if so == nil {
			continue
		}
		severity := string(rule.Critical)
		so.string("severity", &severity)
		s := Escalation{Severity: rule.Severity(severity)}
		if !slices.Contains(rule.Severities(), s.Severity) && !so.failed["severity"] {
			so.fail("severity", "%q is not a severity: one of info, warning, critical", clip(severity))
		}
		so.required("after")
		so.bounded("after", &s.After, MinEscalation, rule.MaxSpan)
		so.required("notify")
		s.Notify = so.notify("notify", rule.MaxNotify, targets, o.r.channelsKnown)
		all = append(all, s)
	}
	return all
}
