// Package rulebook shows rules to people and takes them from people: in a
// sentence, as the fields of a form, as YAML, and by the series that they match.
// It is pure: it reads and writes nothing.
package rulebook

import (
	"maps"
	"slices"
	"strings"

	"headwater/proto/figure"
	"headwater/services/rule"
)

// Sentence says in plain words what a rule does. The unit is that of the
// numbers of the rule, empty when its series have none or several.
func Sentence(r rule.Rule, unit string) string {
	words := rule.Words{Span: figure.Duration, Amount: func(v float64) string {
		if unit == "" {
			return figure.Exact(v)
		}
		return figure.Exact(v) + "\u00a0" + unit
	}}
	spec, known := rule.SpecOf(r.Detector)
	does := "does what the detector " + string(r.Detector) + " looks for"
	if known {
		does = spec.Does(r, words)
	}
	if spec.OfDevice {
		return "Alerts when " + figure.Clip(does, maxExpression) + " at " + devices(r.Match) + lasting(r) + "."
	}
	return "Alerts when " + orAny(r.Match.Metric, "any metric") + " of " + devices(r.Match) + " " + does + lasting(r) + "."
}

// maxExpression bounds the part of an expression that stands in a sentence, in
// bytes.
const maxExpression = 160

// devices names the devices of a match.
func devices(m rule.Match) string {
	var b strings.Builder
	b.WriteString(orAny(m.Device, "any device"))
	if m.Site != "" && m.Site != "*" {
		b.WriteString(" at " + m.Site)
	}
	for i, key := range slices.Sorted(maps.Keys(m.Tags)) {
		if i == 0 {
			b.WriteString(" tagged ")
		} else {
			b.WriteString(" and ")
		}
		b.WriteString(key + ": " + m.Tags[key])
	}
	return b.String()
}

func orAny(glob, all string) string {
	if glob == "" || glob == "*" {
		return all
	}
	return glob
}

// lasting says for how long.
func lasting(r rule.Rule) string {
	if r.For == 0 {
		return ""
	}
	return " for " + figure.Duration(r.For)
}
