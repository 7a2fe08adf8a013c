package config

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/services/rule"
)

// Format writes a rule as people would: what it says and no default.
func Format(r rule.Rule) string {
	values := make(map[string]string)
	for _, f := range rule.FieldsOf(r.Detector) {
		if f.IsDefault(r) || f.Name == "detector" && r.Expression != "" {
			continue
		}
		switch p := f.At(&r).(type) {
		case *string:
			values[f.Name] = scalar(*p)
		case *map[string]string:
			values[f.Name] = wordsOf(*p)
		case *[]string:
			values[f.Name] = list(*p)
		default:
			values[f.Name] = Text(p)
		}
	}
	return document(values)
}

// Fields returns what a rule says as texts for a form, by the names of the fields: a
// mapping as lines like "kind: door", a list with one entry a line. What has its
// default is left out, but for choices. That a rule notifies no channel at all shows
// in the rule only.
func Fields(r rule.Rule) map[string]string {
	values := make(map[string]string)
	for _, f := range rule.FieldsOf(r.Detector) {
		if f.IsDefault(r) && f.Kind != rule.KindChoice {
			continue
		}
		switch p := f.At(&r).(type) {
		case *map[string]string:
			var lines []string
			for _, key := range slices.Sorted(maps.Keys(*p)) {
				lines = append(lines, key+": "+(*p)[key])
			}
			values[f.Name] = strings.Join(lines, "\n")
		case *[]string:
			values[f.Name] = strings.Join(*p, "\n")
		default:
			values[f.Name] = Text(p)
		}
	}
	return values
}

// Text writes a text, number or time, or what points to one, as people do in a
// rule.
func Text(v any) string {
	switch v := v.(type) {
	case *string:
		return *v
	case string:
		return v
	case float64:
		return decimal(v)
	case *float64:
		return decimal(*v)
	case **float64:
		return decimal(**v)
	case time.Duration:
		return figure.FormatDuration(v)
	case *time.Duration:
		return figure.FormatDuration(*v)
	}
	return ""
}

// FormatFields writes what Fields returns, or what people typed into such a form, as
// YAML, also when it makes no rule: reading it then reports what is wrong. It leaves out
// what the detector does not take, empty fields, and defaults. An empty list counts
// as one of no channels.
func FormatFields(fields map[string]string) string {
	values := make(map[string]string)
	for _, f := range rule.Fields() {
		value, given := fields[f.Name]
		if !f.TakenBy(rule.Detector(fields["detector"])) || value == f.Default {
			continue
		}
		switch {
		case f.Kind == rule.KindChannels && given:
			values[f.Name] = list(nonEmpty(value))
		case value == "":
		case f.Kind == rule.KindWords:
			var entries []string
			for _, line := range nonEmpty(value) {
				key, word, _ := strings.Cut(line, ":")
				entries = append(entries, entry(strings.TrimSpace(key), strings.TrimSpace(word)))
			}
			values[f.Name] = "{" + strings.Join(entries, ", ") + "}"
		case f.Kind == rule.KindNumber && numeric.MatchString(value):
			values[f.Name] = value
		default:
			values[f.Name] = scalar(value)
		}
	}
	return document(values)
}

// nonEmpty returns the lines of a text, without blanks and empty ones.
func nonEmpty(text string) []string {
	var all []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" {
			all = append(all, line)
		}
	}
	return all
}

// document writes the fields of a rule, whose values are YAML, in their order.
func document(values map[string]string) string {
	var b strings.Builder
	var inner []string
	fields := rule.Fields()
	for i, f := range fields {
		value, given := values[f.Name]
		outer, name, nested := strings.Cut(f.Name, ".")
		switch {
		case given && nested:
			inner = append(inner, name+": "+value)
		case given:
			b.WriteString(f.Name + ": " + value + "\n")
		}
		if last := i+1 == len(fields) || !strings.HasPrefix(fields[i+1].Name, outer+"."); last && len(inner) > 0 {
			b.WriteString(outer + ": {" + strings.Join(inner, ", ") + "}\n")
			inner = nil
		}
	}
	return b.String()
}

func wordsOf(words map[string]string) string {
	var entries []string
	for _, key := range slices.Sorted(maps.Keys(words)) {
		entries = append(entries, entry(key, words[key]))
	}
	return "{" + strings.Join(entries, ", ") + "}"
}

func entry(key, value string) string { return scalar(key) + ": " + scalar(value) }

func list(items []string) string {
	all := make([]string, len(items))
	for i, item := range items {
		all[i] = scalar(item)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

var (
	// numeric is what YAML takes for the decimal number that it is.
	numeric = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	// bare is what YAML cannot take for anything but text, unless it is reserved.
	bare     = regexp.MustCompile(`^([a-z][a-z_-]*|([0-9]+(ms|s|m|h|d))+)$`)
	reserved = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"}
)

// scalar writes a text as YAML, in quotes where something else could be meant. Where
// Go escapes, YAML escapes alike.
func scalar(s string) string {
	if bare.MatchString(s) && !slices.Contains(reserved, s) {
		return s
	}
	return strconv.Quote(s)
}

func decimal(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-9 || a >= 1e15) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
