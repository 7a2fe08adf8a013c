// Package rulebook tells rules to people and takes them from people: in a
// sentence, as the fields of a form, as YAML, and by the series that they match.
// It is pure: nothing is read or written.
package rulebook

import (
	"maps"
	"slices"
	"strings"

	"headwater/proto/figure"
	"headwater/services/rule"
	"headwater/web/ui"
)

// Sentence says in plain words what a rule does. The unit is that of the
// numbers of the rule, empty when its series have none or several.
func Sentence(r rule.Rule, unit string) string {
	if r.Detector == rule.Expression {
		return "Alerts when " + clip(strings.Join(strings.Fields(r.Expression), " ")) + " at " + devices(r.Match) + lasting(r) + "."
	}
	return "Alerts when " + orAny(r.Match.Metric, "any metric") + " of " + devices(r.Match) + " " + predicate(r, unit) + "."
}

// maxExpression bounds the part of an expression that stands in a sentence, in
// characters.
const maxExpression = 160

func clip(s string) string {
	if all := []rune(s); len(all) > maxExpression {
		return string(all[:maxExpression]) + "…"
	}
	return s
}

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

// predicate says what the series must do.
func predicate(r rule.Rule, unit string) string {
	amount := func(v float64) string {
		if unit == "" {
			return figure.Exact(v)
		}
		return figure.Exact(v) + "\u00a0" + unit
	}
	var parts []string
	switch r.Detector {
	case rule.Limit:
		if r.Above != nil {
			parts = append(parts, "above "+amount(*r.Above))
		}
		if r.Below != nil {
			parts = append(parts, "below "+amount(*r.Below))
		}
		return "is " + strings.Join(parts, " or ") + lasting(r)
	case rule.Rate:
		if r.Rise > 0 {
			parts = append(parts, "rises by "+amount(r.Rise))
		}
		if r.Fall > 0 {
			parts = append(parts, "falls by "+amount(r.Fall))
		}
		return strings.Join(parts, " or ") + " within " + ui.FormatDuration(r.Within) + lasting(r)
	case rule.Unreadable:
		return "gives more than " + figure.Exact(r.Share) + "\u00a0% that is not a number within " + ui.FormatDuration(r.Within)
	case rule.Surge:
		verb := map[rule.Direction]string{rule.Up: "rises", rule.Down: "falls"}[r.Direction]
		if verb == "" {
			verb = "changes"
		}
		return verb + " faster than usual" + lasting(r)
	}
	words := map[rule.Detector]string{
		rule.Auto:    "is unusual",
		rule.Range:   "leaves the range of all that was seen before",
		rule.Season:  "is unusual for the time of the day and the week",
		rule.Shift:   "moves to another level",
		rule.Stuck:   "gives the same value again and again",
		rule.Silence: "stops to report",
		rule.Drift:   "drifts away from the week before",
	}[r.Detector]
	if words == "" {
		words = "does what the detector " + string(r.Detector) + " looks for"
	}
	return words + lasting(r)
}

// lasting says for how long.
func lasting(r rule.Rule) string {
	if r.For == 0 {
		return ""
	}
	return " for " + ui.FormatDuration(r.For)
}
