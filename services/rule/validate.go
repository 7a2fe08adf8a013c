package rule

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"headwater/services/rule/expression"
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
// nil. It expects a rule whose defaults are filled in. Whether the channels in
// Notify exist is for the caller to say.
func (r Rule) Validate() error {
	var errs []error
	for _, p := range r.Problems() {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// Problems returns what Validate joins, in the order of the fields.
func (r Rule) Problems() []*FieldError {
	var c check
	c.name("name", r.Name)
	c.description(r.Description)
	c.glob("match.site", r.Match.Site)
	c.glob("match.device", r.Match.Device)
	c.glob("match.metric", r.Match.Metric)
	c.tags("match.tags", r.Match.Tags)
	switch {
	case r.Detector == Limit:
		c.limit(r)
	case r.Detector == Rate:
		c.rate(r)
	case r.Detector == Expression:
		c.expression(r)
	case r.Detector == Unreadable:
		if !(r.Share > 0 && r.Share < 100) {
			c.add("share", fmt.Sprintf("%v is out of range: above 0 and below 100 per cent", r.Share))
		}
		c.span("within", r.Within, time.Minute, MaxWithin)
	case r.Detector.Learns():
		c.learner(r)
	case r.Detector == "":
		c.add("detector", "is missing: one of "+join(Detectors()))
	default:
		c.add("detector", fmt.Sprintf("%q is not a detector: one of %s", clip(string(r.Detector)), join(Detectors())))
	}
	if slices.Contains(Detectors(), r.Detector) {
		c.foreign(r)
	}
	c.span("silence", r.Silence, time.Second, MaxSpan)
	if !slices.Contains(Severities(), r.Severity) {
		c.add("severity", fmt.Sprintf("%q is not a severity: one of info, warning, critical", r.Severity))
	}
	c.notify(r.Notify)
	if r.Remind != 0 {
		c.span("remind", r.Remind, MinRemind, MaxSpan)
	}
	c.tags("labels", r.Labels)
	c.runbook(r.Runbook)
	if !slices.Contains(States(), r.State) {
		c.add("state", fmt.Sprintf("%q is not a state: one of %s", clip(string(r.State)), join(States())))
	}
	return c.found
}

// check collects problems.
type check struct{ found []*FieldError }

func (c *check) add(field, problem string) {
	c.found = append(c.found, &FieldError{Field: field, Problem: problem})
}

func (c *check) name(field, name string) {
	switch {
	case name == "":
		c.add(field, "is missing")
	case !ValidName(name):
		c.add(field, fmt.Sprintf("%q is not a name: 1 to %d characters of a-z, 0-9, _ and -", clip(name), MaxName))
	}
}

func (c *check) description(s string) {
	if len(s) > MaxDescription {
		c.add("description", fmt.Sprintf("is %d bytes long, at most %d", len(s), MaxDescription))
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
		c.add("description", "holds control characters")
	}
}

func (c *check) glob(field, g string) {
	if problem := CheckGlob(g); problem != "" {
		c.add(field, problem)
	}
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
			c.add(field, fmt.Sprintf("%q is not a name: 1 to %d characters of a-z, 0-9, _ and -", clip(key), MaxName))
		case value == "":
			c.add(field, key+" is empty")
		case len(value) > MaxTag:
			c.add(field, fmt.Sprintf("%s is %d bytes long, at most %d", key, len(value), MaxTag))
		case strings.ContainsFunc(value, unicode.IsControl):
			c.add(field, key+" holds control characters")
		}
	}
}

func (c *check) runbook(text string) {
	if text == "" {
		return
	}
	if len(text) > MaxRunbook {
		c.add("runbook", fmt.Sprintf("is %d bytes long, at most %d", len(text), MaxRunbook))
		return
	}
	u, err := url.Parse(text)
	bad := strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) })
	if err != nil || bad || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		c.add("runbook", "is not a URL like https://wiki.example.org/doors, without a password in it")
	}
}

func (c *check) limit(r Rule) {
	if r.Above == nil && r.Below == nil {
		c.add("above", "is missing: a limit needs above, below or both")
	}
	c.finite("above", r.Above)
	c.finite("below", r.Below)
	c.notNegative("hysteresis", r.Hysteresis)
	if r.Above != nil && r.Below != nil {
		switch {
		case *r.Below >= *r.Above:
			c.add("below", fmt.Sprintf("%v is not less than above, which is %v", *r.Below, *r.Above))
		case *r.Below+r.Hysteresis > *r.Above-r.Hysteresis:
			c.add("hysteresis", fmt.Sprintf("%v leaves no value at which an episode could close", r.Hysteresis))
		}
	}
	c.span("for", r.For, 0, MaxSpan)
}

func (c *check) expression(r Rule) {
	if r.Expression == "" {
		c.add("expression", "is missing: a condition like temperature > outside + 5")
		return
	}
	if r.Match.Metric != "" && r.Match.Metric != "*" {
		c.add("match.metric", "does not go with an expression, which names its metrics itself")
	}
	p, err := expression.Compile(r.Expression)
	if err != nil {
		c.add("expression", err.Error())
	}
	if r.Resolve != "" {
		if _, err := expression.Compile(r.Resolve); err != nil {
			c.add("resolve", err.Error())
		}
	}
	if p != nil && r.Metric != "" && !slices.Contains(p.Metrics(), r.Metric) {
		c.add("metric", fmt.Sprintf("%q is no metric of the expression, which has %s", clip(r.Metric), strings.Join(p.Metrics(), ", ")))
	}
	c.span("for", r.For, 0, MaxSpan)
}

func (c *check) rate(r Rule) {
	if r.Rise == 0 && r.Fall == 0 {
		c.add("rise", "is missing: a rate needs rise, fall or both, above 0")
	}
	c.notNegative("rise", r.Rise)
	c.notNegative("fall", r.Fall)
	if r.Within == 0 {
		c.add("within", "is missing: the time in which the change is measured, like 5m")
	} else {
		c.span("within", r.Within, time.Second, MaxWithin)
	}
	c.span("settle", r.Settle, time.Second, MaxSpan)
}

func (c *check) learner(r Rule) {
	if !(r.FalseAlarms > 0) || r.FalseAlarms > MaxFalseAlarms {
		c.add("false_alarms", fmt.Sprintf("%v is out of range: above 0, at most %d a week", r.FalseAlarms, MaxFalseAlarms))
	}
	c.span("for", r.For, 0, MaxSpan)
	if r.Detector == Surge && !slices.Contains(Directions(), r.Direction) {
		c.add("direction", fmt.Sprintf("%q is not a direction: one of %s", clip(string(r.Direction)), join(Directions())))
	}
}

// foreign refuses the fields of another detector, which would be passed over in
// silence.
func (c *check) foreign(r Rule) {
	for _, f := range []struct {
		field string
		set   bool
		takes bool
		of    string
	}{
		{"above", r.Above != nil, r.Detector == Limit, "limit"},
		{"below", r.Below != nil, r.Detector == Limit, "limit"},
		{"hysteresis", r.Hysteresis != 0, r.Detector == Limit, "limit"},
		{"expression", r.Expression != "", r.Detector == Expression, "expression"},
		{"resolve", r.Resolve != "", r.Detector == Expression, "expression"},
		{"metric", r.Metric != "", r.Detector == Expression, "expression"},
		{"rise", r.Rise != 0, r.Detector == Rate, "rate"},
		{"fall", r.Fall != 0, r.Detector == Rate, "rate"},
		{"within", r.Within != 0, r.Detector == Rate || r.Detector == Unreadable, "rate or unreadable"},
		{"settle", r.Settle != 0, r.Detector == Rate, "rate"},
		{"share", r.Share != 0, r.Detector == Unreadable, "unreadable"},
		{"direction", r.Direction != "", r.Detector == Surge, "surge"},
	} {
		if f.set && !f.takes {
			c.add(f.field, fmt.Sprintf("belongs to detector %s, not %s", f.of, r.Detector))
		}
	}
	if r.For != 0 && r.Detector != Limit && r.Detector != Expression && (!r.Detector.Learns() || r.Detector == Silence) {
		c.add("for", fmt.Sprintf("belongs to limit, expression and the detectors that learn, not %s", r.Detector))
	}
	if r.FalseAlarms != 0 && !r.Detector.Learns() {
		c.add("false_alarms", fmt.Sprintf("belongs to the detectors that learn, not %s", r.Detector))
	}
}

// join lists names for people.
func join[S ~string](all []S) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
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

func (c *check) finite(field string, v *float64) {
	if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
		c.add(field, "is not a finite number")
	}
}

func (c *check) notNegative(field string, v float64) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		c.add(field, "is not a finite number")
	case v < 0:
		c.add(field, fmt.Sprintf("%v is negative", v))
	}
}

func (c *check) span(field string, d, least, most time.Duration) {
	if d < least || d > most {
		c.add(field, fmt.Sprintf("%v is out of range: %v to %v", d, least, most))
	}
}

// ValidName reports whether s is a name of a rule: 1 to MaxName characters of
// [a-z0-9_-].
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxName && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// clip keeps a message readable when somebody wrote a novel into a name.
func clip(s string) string {
	if len(s) > MaxName {
		return strings.ToValidUTF8(s[:MaxName], "") + "…"
	}
	return s
}
