package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/rule"
)

// tables are the parts of documents that are generated, by their names.
var tables = map[string]func() string{
	"fields": commonFields, "detectors": detectors, "detector fields": ownFields,
	"derived":  func() string { return fieldsOf(rule.DerivedFields()) },
	"groups":   func() string { return fieldsOf(rule.GroupFields()) },
	"counters": func() string { return fieldsOf(rule.CounterFields()) },
	"tariff":   func() string { return fieldsOf(rule.TariffFields()) },
}

const (
	begin = "<!-- generated: "
	end   = "<!-- end -->\n"
)

// withTables returns the text of a document with its tables written.
func withTables(text string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, begin)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, rest, _ := strings.Cut(after, " -->\n")
		_, rest, ended := strings.Cut(rest, end)
		table, known := tables[name]
		if !ended || !known {
			return "", fmt.Errorf("the table %q has no end, or there is none of that name", name)
		}
		b.WriteString(begin + name + " -->\n" + table() + end)
		text = rest
	}
}

// commonFields are the fields that every rule has.
func commonFields() string {
	var b strings.Builder
	b.WriteString("| field | default | |\n|---|---|---|\n")
	for _, f := range rule.Fields() {
		if !f.Own() || f.Kind == rule.KindGlob {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, byDefault(f), described(f))
		}
	}
	return b.String()
}

// detectors are all detectors with their fields.
func detectors() string {
	var b strings.Builder
	b.WriteString("| detector | finds | fields |\n|---|---|---|\n")
	for _, s := range rule.Specs() {
		var fields []string
		for _, u := range s.Takes {
			fields = append(fields, "`"+u.Field+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, s.Finds, strings.Join(fields, ", "))
	}
	return b.String()
}

// ownFields are the fields that only some detectors take.
func ownFields() string {
	var b strings.Builder
	b.WriteString("| field | of | default | |\n|---|---|---|---|\n")
	for _, f := range rule.Fields() {
		if !f.Own() || f.Kind == rule.KindGlob {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, of(f), byDefault(f), described(f))
	}
	return b.String()
}

// fieldsOf are the fields of a table.
func fieldsOf[T any](table []rule.FieldOf[T]) string {
	var b strings.Builder
	b.WriteString("| field | default | |\n|---|---|---|\n")
	for _, f := range table {
		normal := f.Empty
		if f.Default != nil {
			normal = "`" + config.Text(f.Default) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, normal, f.Doc+boundWords(f.Field))
	}
	return b.String()
}

// of names the detectors that take a field.
func of(f rule.Field) string {
	all, learners := f.Detectors(), rule.Learners()
	missing := slices.DeleteFunc(slices.Clone(learners), func(d rule.Detector) bool { return slices.Contains(all, d) })
	var names []string
	if len(missing) > 1 {
		learners = nil
	}
	for _, d := range all {
		if !slices.Contains(learners, d) {
			names = append(names, "`"+string(d)+"`")
		}
	}
	if learners != nil {
		names = append(names, "those that learn")
		if len(missing) == 1 {
			names = append(names, "but not `"+string(missing[0])+"`")
		}
	}
	return strings.Join(names, ", ")
}

// byDefault is what holds when nothing is given.
func byDefault(f rule.Field) string {
	if f.Default != nil {
		return "`" + config.Text(f.Default) + "`"
	}
	var all []string
	for _, d := range f.Detectors() {
		if own := f.Of(d); own.Default != nil {
			all = append(all, "`"+config.Text(own.Default)+"` with `"+string(d)+"`")
		}
	}
	return cmp.Or(strings.Join(all, ", "), f.Empty)
}

// described is what a field means and may be.
func described(f rule.Field) string {
	text := f.Doc
	if len(f.Choices) > 0 && f.Name != "detector" {
		text = "`" + strings.Join(f.Choices, "`, `") + "`; " + text
	}
	text += boundWords(f)
	for _, d := range f.Detectors() {
		if own := boundWords(f.Of(d)); f.Own() && own != boundWords(f) {
			text += own + " with `" + string(d) + "`"
		}
	}
	return text
}

// boundWords says which numbers and times a field takes.
func boundWords(f rule.Field) string {
	switch {
	case f.Bounds == rule.Bounds{}:
		return ""
	case f.Kind == rule.KindSpan:
		return "; " + figure.FormatDuration(time.Duration(f.Bounds.Least)) + " to " + figure.FormatDuration(time.Duration(f.Bounds.Most))
	case math.IsInf(f.Bounds.Most, 1) && !f.ZeroMeans():
		return "; above 0"
	}
	return "; " + f.Bounds.String()
}
