// Package rule holds what people declare: which series are watched, what
// counts as abnormal, and who is notified. It is pure: it knows no files, clocks or
// network, so the processor, the notifier and the dashboard read a rule alike.
//
// A rule is declared once. The tables Fields and Specs say which fields and
// detectors there are, with their defaults, bounds and words. Parsing, validation,
// the JSON Schema, the form of the dashboard, the command line and the documents
// are made from them. To add a field is an entry in fields and a field of Rule; to
// add a detector is an entry in specs.
package rule

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Direction says which changes count.
type Direction string

const (
	// Both counts rises and falls.
	Both Direction = "both"
	// Up counts rises only.
	Up Direction = "up"
	// Down counts falls only.
	Down Direction = "down"
)

// Directions lists every direction.
func Directions() []Direction { return []Direction{Both, Up, Down} }

// Severity says how much an alert matters to people.
type Severity string

const (
	// Info is worth knowing and needs no action.
	Info Severity = "info"
	// Warning needs a look in working hours.
	Warning Severity = "warning"
	// Critical needs action now.
	Critical Severity = "critical"
)

// Severities lists every severity, least first.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// State says what happens with what a rule finds.
type State string

const (
	// Enabled rules raise alerts and notify people.
	Enabled State = "enabled"
	// Muted rules raise alerts, which show on the dashboard, and do not notify.
	Muted State = "muted"
	// Draft rules are not evaluated. They can be tried on the past.
	Draft State = "draft"
)

// States lists every state.
func States() []State { return []State{Enabled, Muted, Draft} }

// Origin says where a rule was declared.
type Origin string

const (
	// FromFile is a rule of the configuration file, or of the default that is in
	// force without one.
	FromFile Origin = "file"
	// Kept is a rule of an earlier file, or one that Headwater came with. It stays in
	// force because the file does not mention rules.
	Kept Origin = "kept"
	// FromPage is a rule made on the page or by the API.
	FromPage Origin = "page"
	// BuiltIn is the rule that is in force without being declared.
	BuiltIn Origin = "built-in"
)

// Match selects series by globs as path.Match reads them: `*` is any run of
// characters, `?` one character, `[a-c]` a class. A glob covers the whole
// token. An empty glob means `*`.
type Match struct {
	Site   string
	Device string
	Metric string
	// Tags are what the device must be tagged with, all of them, word for word.
	Tags map[string]string
}

// Rule is one declaration. The zero value of an optional field means "not
// given"; WithDefaults fills in those that have a default. Which detectors take a
// field, and within which bounds, is declared in Fields and Specs.
//
// A Rule is a plain value. Its slices, maps and pointers are never changed after
// parsing, so several goroutines may read copies.
type Rule struct {
	// Name is unique among the rules: 1 to 64 characters of [a-z0-9_-].
	Name string
	// Description is a sentence for people; at most MaxDescription bytes.
	Description string
	// Match selects the series.
	Match Match
	// State says what happens with what the rule finds.
	State State
	// Origin says where the rule was declared. It is not part of what it says.
	Origin Origin
	// Detector says which of the fields below count.
	Detector Detector

	// Above is the greatest value that is still normal; nil: no upper bound.
	// In the unit of the metric. Limit only.
	Above *float64
	// Below is the least value that is still normal; nil: no lower bound.
	// In the unit of the metric. Limit only.
	Below *float64
	// Hysteresis is by how much a value must come back inside the bound
	// before the episode closes; 0 or more, in the unit of the metric. Limit
	// only.
	Hysteresis float64
	// For is how long, in event time, the value must stay beyond the bound or
	// unusual, or the condition hold, before the episode opens; 0 opens at once.
	// Not for Rate, Silence and Unreadable.
	For time.Duration

	// Expression is true while something is wrong, a text for expression.Compile:
	// a condition over metrics of one device. Expression only.
	Expression string
	// Resolve is true when it is over; empty: when Expression is not true. Expression
	// only.
	Resolve string
	// Metric is the metric under which the alert is raised, one of Expression;
	// empty: the first. Expression only.
	Metric string

	// Rise is the change upwards within Within that is abnormal; above 0, or
	// 0 when rises do not count. In the unit of the metric. Rate only.
	Rise float64
	// Fall is the change downwards within Within that is abnormal, as a
	// positive number; 0 when falls do not count. Rate only.
	Fall float64
	// Within is the span of event time in which Rise and Fall, or Share, are
	// measured. Rate and Unreadable only.
	Within time.Duration
	// Settle ends an episode whose level has not moved on in the abnormal
	// direction for that long: it is the new normal. Event time. Rate only.
	Settle time.Duration

	// FalseAlarms is how many alarms a series may raise a week while nothing is
	// wrong with it: above 0, at most MaxFalseAlarms. Detectors that learn only.
	FalseAlarms float64
	// Direction says which changes count. Surge only.
	Direction Direction

	// Share is how many of the readings within Within need not be numbers, in per
	// cent: above 0 and below 100. Unreadable only.
	Share float64

	// Silence ends an episode whose series has had no reading for that long,
	// in event time and by the lane's clock.
	Silence time.Duration
	// Severity says how much it matters.
	Severity Severity
	// Notify lists the channels that are notified. Nil means all channels; empty
	// but not nil means none: the alert only shows on the dashboard.
	Notify []string
	// Remind is the time after which channels are notified again while an alert
	// lasts; 0: never. By the clock of the notifier.
	Remind time.Duration
	// Labels go with every alert of the rule to where it is sent.
	Labels map[string]string
	// Runbook is an http or https URL at which people read what to do, or empty.
	Runbook string
}

// UnusualName is the name of the built-in rule. A declared rule of that name
// replaces it.
const UnusualName = "unusual"

// Unusual returns the built-in rule: it watches every numeric series for what is
// unusual, and notifies no one. It leaves out series that another rule with
// detector auto watches.
func Unusual() Rule {
	return Rule{
		Name: UnusualName, Description: "It is not as usual.", Origin: BuiltIn,
		Detector: Auto, Severity: Info, Notify: []string{},
	}.WithDefaults()
}

// UnitChangeName is the name under which a change of the unit of a metric is
// reported.
const UnitChangeName = "unit-change"

// UnitChange returns the rule that is in force without a declaration and is not
// part of a configuration: it watches every metric for a change of its unit and
// notifies no one.
func UnitChange() Rule {
	return Rule{
		Name: UnitChangeName, Description: "It comes in another unit.", Origin: BuiltIn, Severity: Info, Notify: []string{},
	}.WithDefaults()
}

// HealthName is the name under which alerts about Headwater itself are raised.
const HealthName = "headwater-health"

// Health returns the rule of alerts about Headwater itself. Like UnitChange it is not part of
// a configuration. It notifies the channels of rules that name none.
func Health() Rule {
	return Rule{Name: HealthName, Description: "Headwater itself needs attention.", Origin: BuiltIn, Severity: Warning}.WithDefaults()
}

// WithDefaults returns the rule with every field filled in that has a default and
// means something to the detector of the rule. A rule with an expression and no
// detector gets that of expressions.
func (r Rule) WithDefaults() Rule {
	if r.Detector == "" && r.Expression != "" {
		r.Detector = Expression
	}
	for _, f := range fields {
		if f.Kind == KindGlob || f.TakenBy(r.Detector) {
			f.Of(r.Detector).fill(&r)
		}
	}
	return r
}

// Matches reports whether the rule watches the series of a device with these
// tags. A malformed glob, which Validate refuses, matches nothing. A rule with an
// expression watches devices, not series.
func (r Rule) Matches(site, device, metric string, tags map[string]string) bool {
	return Glob(r.Match.Metric, metric) && r.Match.MatchesDevice(site, device, tags)
}

// MatchesSeries reports whether the globs select a series, whatever the tags.
func (m Match) MatchesSeries(site, device, metric string) bool {
	return Glob(m.Metric, metric) && Glob(m.Device, device) && Glob(m.Site, site)
}

// MatchesDevice is Matches for all but the metric.
func (m Match) MatchesDevice(site, device string, tags map[string]string) bool {
	if !Glob(m.Device, device) || !Glob(m.Site, site) {
		return false
	}
	for key, want := range m.Tags {
		if got, tagged := tags[key]; !tagged || got != want {
			return false
		}
	}
	return true
}

// OneDevice returns the only device that the rule can watch; ok is false when it
// can watch several.
func (r Rule) OneDevice() (site, device string, ok bool) {
	const special = `*?[\`
	m := r.Match
	ok = m.Site != "" && m.Device != "" && !strings.ContainsAny(m.Site, special) && !strings.ContainsAny(m.Device, special)
	return m.Site, m.Device, ok
}

// Glob reports whether a token matches a glob as Match has them. A malformed glob
// matches nothing.
func Glob(pattern, token string) bool {
	if pattern == "" || pattern == "*" {
		return true
	}
	ok, err := path.Match(pattern, token)
	return ok && err == nil
}

// Equal reports whether both rules say the same in every field, wherever they
// were declared.
func (r Rule) Equal(o Rule) bool {
	return !slices.ContainsFunc(fields, func(f Field) bool { return !f.same(&r, &o) })
}

// SameDetection reports whether both rules find the same episodes with the same
// severity: they differ at most in what is said of them and to whom. A detector
// may keep its state over such a change.
func (r Rule) SameDetection(o Rule) bool {
	return !slices.ContainsFunc(fields, func(f Field) bool { return !f.SaysOnly && !f.same(&r, &o) })
}

// Audience returns the channels that the rule notifies: nil means all, empty but
// not nil means none, as for every rule that is not enabled.
func (r Rule) Audience() []string {
	if r.State != "" && r.State != Enabled {
		return []string{}
	}
	return r.Notify
}

// Notifies reports whether the rule notifies the channel.
func (r Rule) Notifies(channel string) bool {
	audience := r.Audience()
	return audience == nil || slices.Contains(audience, channel)
}
