package rulebook

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/web/rules"
)

// Fields returns a rule as the fields of the form have it. What has its default
// is left empty where the form shows the default in its place.
func Fields(r rule.Rule) map[string]string {
	f := map[string]string{
		"name": r.Name, "description": r.Description, "state": string(r.State), "detector": string(r.Detector),
		"match.site": unless(r.Match.Site, "*"), "match.device": unless(r.Match.Device, "*"), "match.metric": unless(r.Match.Metric, "*"),
		"match.tags": lines(r.Match.Tags),
		"above":      pointed(r.Above), "below": pointed(r.Below), "hysteresis": number(r.Hysteresis, 0),
		"rise": number(r.Rise, 0), "fall": number(r.Fall, 0), "false_alarms": number(r.FalseAlarms, rule.DefaultFalseAlarms), "share": number(r.Share, rule.DefaultShare),
		"for": span(r.For, 0), "within": span(r.Within, usualWithin(r.Detector)), "settle": span(r.Settle, rule.DefaultSettle), "silence": span(r.Silence, rule.DefaultSilence), "remind": span(r.Remind, 0),
		"direction": string(r.Direction), "severity": string(r.Severity), "labels": lines(r.Labels), "runbook": r.Runbook,
		"expression": r.Expression, "resolve": r.Resolve, "metric": r.Metric,
	}
	switch {
	case r.Notify == nil:
	case len(r.Notify) == 0:
		f["notify"] = rules.NotifyNobody
	default:
		f["notify"], f["channels"] = rules.NotifySome, strings.Join(r.Notify, "\n")
	}
	return f
}

// usualWithin is what the field within means when it is empty; 0: it must be
// given.
func usualWithin(d rule.Detector) time.Duration {
	if d == rule.Unreadable {
		return rule.DefaultShareWithin
	}
	return 0
}

func unless(value, usual string) string {
	if value == usual {
		return ""
	}
	return value
}

func pointed(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

func number(v, usual float64) string {
	if v == usual {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func span(d, usual time.Duration) string {
	if d == 0 || d == usual {
		return ""
	}
	return config.Span(d)
}

// lines returns a mapping with one entry a line.
func lines(words map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(words)) {
		all = append(all, key+": "+words[key])
	}
	return strings.Join(all, "\n")
}

// Text returns the fields of the form as YAML, also when they make no rule: then
// reading the text tells what is wrong. Fields that the detector does not take
// are left out, for the form does not show them.
func Text(fields map[string]string) string {
	var b strings.Builder
	var match []string
	for _, f := range rules.Fields {
		value := fields[f.Name]
		if usual := usually[f.Name]; value == "" && f.Name != "notify" || value == usual && usual != "" || !f.Takes(fields["detector"]) {
			continue
		}
		text := written(f, value, fields)
		if within, ok := strings.CutPrefix(f.Name, "match."); ok {
			match = append(match, within+": "+text)
			continue
		}
		if f.Name == "detector" && len(match) > 0 {
			b.WriteString("match: {" + strings.Join(match, ", ") + "}\n")
		}
		if text != "" {
			b.WriteString(f.Name + ": " + text + "\n")
		}
	}
	return b.String()
}

// usually are the values that need not be written.
var usually = map[string]string{
	"state": string(rule.Enabled), "severity": string(rule.DefaultSeverity), "direction": string(rule.DefaultDirection),
	"match.site": "*", "match.device": "*", "match.metric": "*",
}

// written returns the value of a field as YAML; empty leaves the field out.
func written(f rules.Field, value string, fields map[string]string) string {
	switch {
	case f.Name == "notify" && value == rules.NotifyNobody:
		return "[]"
	case f.Name == "notify" && value == rules.NotifySome:
		var all []string
		for c := range strings.SplitSeq(fields["channels"], "\n") {
			if c != "" {
				all = append(all, scalar(c))
			}
		}
		return "[" + strings.Join(all, ", ") + "]"
	case f.Name == "notify":
		return ""
	case f.Map:
		var all []string
		for line := range strings.SplitSeq(value, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				key, word, _ := strings.Cut(line, ":")
				all = append(all, scalar(strings.TrimSpace(key))+": "+scalar(strings.TrimSpace(word)))
			}
		}
		return "{" + strings.Join(all, ", ") + "}"
	case f.Number && numeric.MatchString(value):
		return value
	}
	return scalar(value)
}

var (
	numeric = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	// bare is what YAML cannot take for anything but text.
	bare     = regexp.MustCompile(`^([a-z][a-z_-]*|([0-9]+(ms|s|m|h|d))+)$`)
	reserved = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"}
)

// scalar writes a text as YAML; quoted where something else could be meant. What
// Go escapes, YAML escapes alike.
func scalar(s string) string {
	if bare.MatchString(s) && !slices.Contains(reserved, s) {
		return s
	}
	return strconv.Quote(s)
}
