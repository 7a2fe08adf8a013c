package rule

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"headwater/proto/figure"
)

// Bounds that Validate holds a rule to.
const (
	// MaxName is the greatest length of a name in bytes.
	MaxName = 64
	// MaxDescription is the greatest length of a description in bytes.
	MaxDescription = 500
	// MaxGlob is the greatest length of a glob in bytes.
	MaxGlob = 128
	// MaxNotify is the greatest number of channels that a rule may list.
	MaxNotify = 100
	// MaxWithin is the longest span in which a change or share is measured: a
	// detector may keep the readings of that span.
	MaxWithin = 24 * time.Hour
	// MaxSpan is the longest For, Settle, Silence and Remind: readings older than that
	// are refused at the door.
	MaxSpan = 7 * 24 * time.Hour
	// MinRemind is the shortest Remind.
	MinRemind = time.Minute
	// MaxTags is the greatest number of tags and of labels.
	MaxTags = 20
	// MaxTag is the greatest length of the value of a tag or label in bytes.
	MaxTag = 200
	// MaxRunbook is the greatest length of a runbook's URL in bytes.
	MaxRunbook = 500
	// MaxFalseAlarms is the greatest number of false alarms a week.
	MaxFalseAlarms = 1000
)

// FieldError is one problem with one field of a rule.
type FieldError struct {
	// Field is the name of the field as people write it, for example
	// "match.site" or "within".
	Field string
	// Problem says what is wrong with it, for people.
	Problem string
}

// Error returns field and problem.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Validate returns every problem of the rule, joined, each a *FieldError, or
// nil. It expects a rule whose defaults are filled in. The caller checks whether
// the channels in Notify exist.
func (r Rule) Validate() error {
	var errs []error
	for _, p := range r.Problems() {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// Problems returns what Validate joins: first what is wrong with single fields, in
// their order, then what is wrong between them.
func (r Rule) Problems() []*FieldError {
	var c check
	spec, known := SpecOf(r.Detector)
	for _, f := range fields {
		c.field(f.Of(r.Detector), r, known)
		for _, n := range spec.Needs {
			if n.Fields[0] == f.Name && !slices.ContainsFunc(n.Fields, func(name string) bool { return byName(name).given(&r) }) {
				c.add(f.Name, "is missing: "+n.Else)
			}
		}
	}
	if spec.check != nil {
		spec.check(&c, r)
	}
	return c.found
}

// byName returns the field of a name of the table.
func byName(name string) Field {
	return fields[slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })]
}

// check collects problems.
type check struct{ found []*FieldError }

func (c *check) add(field, problem string) {
	c.found = append(c.found, &FieldError{Field: field, Problem: problem})
}

// field adds what is wrong with one field of a rule, whose detector is known or
// not.
func (c *check) field(f Field, r Rule, known bool) {
	if !f.TakenBy(r.Detector) {
		// A field of another detector would have no effect, silently.
		if known && !f.IsDefault(r) {
			c.add(f.Name, cmp.Or(f.foreign, fmt.Sprintf("belongs to %s, not %s", f.takers(), r.Detector)))
		}
		return
	}
	if !f.given(&r) {
		c.missing(f)
		return
	}
	switch p := f.at(&r).(type) {
	case *string:
		c.text(f, *p)
	case *float64:
		c.number(f, *p)
	case **float64:
		c.number(f, **p)
	case *time.Duration:
		if !f.Bounds.contain(float64(*p)) {
			c.add(f.Name, OutOfRange(*p, time.Duration(f.Bounds.Least), time.Duration(f.Bounds.Most)))
		}
	case *map[string]string:
		c.tags(f.Name, *p)
	case *[]string:
		c.notify(*p)
	}
}

// missing adds that a field is missing that every rule needs. What a detector
// needs is in its Spec.
func (c *check) missing(f Field) {
	switch {
	case f.Name == "name":
		c.add(f.Name, "is missing")
	case f.Kind == KindChoice && f.Default == nil:
		c.add(f.Name, "is missing: one of "+strings.Join(f.Choices, ", "))
	case f.Default != nil && f.Kind == KindChoice:
		c.text(f, "")
	case f.Kind == KindSpan && f.Default != nil && !f.ZeroMeans():
		c.add(f.Name, OutOfRange(0, time.Duration(f.Bounds.Least), time.Duration(f.Bounds.Most)))
	case f.Kind == KindNumber && f.Default != nil && !f.ZeroMeans():
		c.number(f, 0)
	}
}

// OutOfRange says that a time is not between two others.
func OutOfRange(d, least, most time.Duration) string {
	return fmt.Sprintf("%s is out of range: %s to %s", figure.FormatDuration(d), figure.FormatDuration(least), figure.FormatDuration(most))
}

func (c *check) text(f Field, s string) {
	switch {
	case f.Kind == KindName && !ValidName(s):
		c.add(f.Name, notAName(s))
	case f.Kind == KindGlob && CheckGlob(s) != "":
		c.add(f.Name, CheckGlob(s))
	case f.Kind == KindChoice && !slices.Contains(f.Choices, s):
		c.add(f.Name, fmt.Sprintf("%q is not a %s: one of %s", clip(s), f.Name, strings.Join(f.Choices, ", ")))
	case f.Max > 0 && len(s) > f.Max:
		c.add(f.Name, fmt.Sprintf("is %d bytes long, at most %d", len(s), f.Max))
	case f.check != nil && f.check(s) != "":
		c.add(f.Name, f.check(s))
	}
}

func (c *check) number(f Field, v float64) {
	finite := !math.IsNaN(v) && !math.IsInf(v, 0)
	bounded := f.Bounds != Bounds{} && !math.IsInf(f.Bounds.Most, 1)
	switch {
	case bounded && !f.Bounds.contain(v):
		c.add(f.Name, fmt.Sprintf("%v is out of range: %v %s", v, f.Bounds, f.Unit))
	case !finite:
		c.add(f.Name, "is not a finite number")
	case f.Bounds != Bounds{} && !f.Bounds.contain(v):
		c.add(f.Name, fmt.Sprintf("%v is negative", v))
	}
}

func notAName(s string) string {
	return fmt.Sprintf("%q is not a name: 1 to %d characters of a-z, 0-9, _ and -", clip(s), MaxName)
}

// CheckGlob says what is wrong with a glob, or returns "".
func CheckGlob(g string) string {
	if len(g) > MaxGlob {
		return fmt.Sprintf("is %d bytes long, at most %d", len(g), MaxGlob)
	}
	if _, err := path.Match(g, ""); err != nil {
		return fmt.Sprintf("%q is not a pattern: * is any run of characters, ? one, [a-c] a class", g)
	}
	return ""
}

// TagProblems says what is wrong with tags or labels; the field is their own.
func TagProblems(field string, tags map[string]string) []*FieldError {
	var c check
	c.tags(field, tags)
	return c.found
}

func (c *check) tags(field string, tags map[string]string) {
	if len(tags) > MaxTags {
		c.add(field, fmt.Sprintf("lists %d, at most %d", len(tags), MaxTags))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch value := tags[key]; {
		case !ValidName(key):
			c.add(field, notAName(key))
		case value == "":
			c.add(field, key+" is empty")
		case len(value) > MaxTag:
			c.add(field, fmt.Sprintf("%s is %d bytes long, at most %d", key, len(value), MaxTag))
		case strings.ContainsFunc(value, unicode.IsControl):
			c.add(field, key+" holds control characters")
		}
	}
}

func (c *check) notify(channels []string) {
	if len(channels) > MaxNotify {
		c.add("notify", fmt.Sprintf("lists %d channels, at most %d", len(channels), MaxNotify))
		return
	}
	for i, ch := range channels {
		if slices.Contains(channels[:i], ch) {
			c.add(fmt.Sprintf("notify[%d]", i), fmt.Sprintf("%q is listed twice", clip(ch)))
		}
	}
}

// ValidName reports whether s is a name of a rule: 1 to MaxName characters of
// [a-z0-9_-].
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxName && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// clip keeps a message readable when a name is very long.
func clip(s string) string { return figure.Clip(s, MaxName) }
