// Package pattern takes lines of text apart as people declare it: by a delimiter, as named
// fields, or by a regular expression. It is pure.
package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Names with a meaning. Every other name in a pattern is a metric.
const (
	site, device, metric, value, unit, when = "site", "device", "metric", "value", "unit", "ts"
	// skipped is a part that nobody wants.
	skipped = "_"
)

// maxParts bounds the parts of a pattern, and the fields of a line.
const maxParts = 64

// Line is what a line says. What it does not say is empty.
type Line struct {
	Site, Device, Unit, Time string
	Values                   []Value
}

// Value is one metric with its value, as it was written.
type Value struct{ Metric, Text string }

// Patterns are tried in order; the first that fits a line counts.
type Patterns []pattern

type pattern struct {
	text string
	// split returns the names and the texts of the parts, or false if the line does not
	// fit.
	split func(line string) (names, texts []string, ok bool)
}

// ErrUnknown is returned for a line that no pattern fits.
var ErrUnknown = errors.New("the line fits none of the patterns")

// Parse reads patterns:
//
//	csv:site,device,temperature    parts divided by the character before the first name
//	csv;device;temperature
//	fields                         name=value pairs divided by spaces or commas
//	regexp:^\$..MTW,(?P<water>[-.0-9]+),C
//
// The names site, device, metric, value, unit and ts say what a part is; _ is left out;
// every other name is that of a metric.
func Parse(texts ...string) (Patterns, error) {
	var out Patterns
	var problems []error
	for _, text := range texts {
		p, err := parse(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("pattern %q: %w", text, err))
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(problems...)
}

func parse(text string) (pattern, error) {
	p := pattern{text: text}
	switch {
	case text == "fields":
		p.split = fields
		return p, nil
	case strings.HasPrefix(text, "regexp:"):
		r, err := regexp.Compile(strings.TrimPrefix(text, "regexp:"))
		if err != nil {
			return p, err
		}
		names := r.SubexpNames()
		for i, name := range names {
			if name == "" {
				names[i] = skipped
			}
		}
		p.split = func(line string) ([]string, []string, bool) {
			found := r.FindStringSubmatch(line)
			return names, found, found != nil
		}
		return p, complete(names)
	case strings.HasPrefix(text, "csv") && len(text) > len("csv,a"):
		delimiter := text[3:4]
		if delimiter == ":" {
			delimiter = ","
		}
		names := strings.Split(text[4:], delimiter)
		p.split = func(line string) ([]string, []string, bool) {
			texts := strings.Split(line, delimiter)
			return names, texts, len(texts) == len(names)
		}
		return p, complete(names)
	}
	return p, errors.New(`it is none of csv:…, fields and regexp:…`)
}

// complete reports whether the names make a reading.
func complete(names []string) error {
	has := make(map[string]bool)
	metrics := 0
	for _, n := range names {
		switch n {
		case skipped:
			continue
		case site, device, metric, value, unit, when:
		default:
			metrics++
		}
		if has[n] || n == "" {
			return fmt.Errorf("the name %q is missing or occurs twice", n)
		}
		has[n] = true
	}
	switch {
	case len(names) > maxParts:
		return fmt.Errorf("it has more than %d parts", maxParts)
	case has[metric] != has[value]:
		return errors.New("metric and value belong together")
	case !has[value] && metrics == 0:
		return errors.New("it has no metric")
	}
	return nil
}

// fields takes name=value pairs apart.
func fields(line string) (names, texts []string, ok bool) {
	for _, part := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == ';' }) {
		name, text, found := strings.Cut(part, "=")
		if !found || name == "" || len(names) == maxParts {
			return nil, nil, false
		}
		names, texts = append(names, name), append(texts, text)
	}
	return names, texts, len(names) > 0
}

// Read takes a line apart. Line ends and spaces around it and its parts do not matter; a
// part without a text has no reading.
func (p Patterns) Read(line string) (Line, error) {
	line = strings.TrimSpace(line)
	for _, one := range p {
		names, texts, ok := one.split(line)
		if !ok {
			continue
		}
		return assemble(names, texts)
	}
	return Line{}, ErrUnknown
}

func assemble(names, texts []string) (Line, error) {
	var out Line
	var named Value
	for i, name := range names {
		text := strings.TrimSpace(texts[i])
		switch name {
		case skipped:
		case site:
			out.Site = text
		case device:
			out.Device = text
		case unit:
			out.Unit = text
		case when:
			out.Time = text
		case metric:
			named.Metric = text
		case value:
			named.Text = text
		default:
			if text != "" {
				out.Values = append(out.Values, Value{name, text})
			}
		}
	}
	if named.Text != "" {
		out.Values = append(out.Values, named)
	}
	if len(out.Values) == 0 {
		return out, errors.New("the line has no value")
	}
	return out, nil
}
