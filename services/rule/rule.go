// Package rule holds what people declare: which series are watched, what
// counts as abnormal, and who is told. It is pure: it knows no files, no
// clocks and no network, so that the processor, the notifier and the dashboard
// read a rule alike.
package rule

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Detector names the way in which a rule judges readings.
type Detector string

const (
	// Limit judges each value against a fixed upper and lower bound.
	Limit Detector = "limit"
	// Rate judges how much the value rises or falls within a time.
	Rate Detector = "rate"
	// Auto finds unusual values in any series, with nothing to set.
	Auto Detector = "auto"
	// Surge finds changes that are faster than usual.
	Surge Detector = "surge"
	// Range finds values that were never seen before.
	Range Detector = "range"
	// Season finds values that are unusual for the time of the day or week.
	Season Detector = "season"
	// Shift finds a level that has moved.
	Shift Detector = "shift"
	// Stuck finds sensors that give the same value again and again.
	Stuck Detector = "stuck"
	// Silence finds series that have stopped to report.
	Silence Detector = "silence"
	// Drift finds days whose mean leaves that of the week before.
	Drift Detector = "drift"
	// Unreadable finds series of which too much is no number.
	Unreadable Detector = "unreadable"
	// Expression judges several metrics of one device by a condition.
	Expression Detector = "expression"
)

// Detectors lists every detector, in the order in which they are documented.
func Detectors() []Detector {
	return []Detector{Limit, Rate, Auto, Surge, Range, Season, Shift, Stuck, Silence, Drift, Unreadable, Expression}
}

// Learns reports whether the detector learns what is usual, and so takes
// FalseAlarms.
func (d Detector) Learns() bool {
	return d != Limit && d != Rate && d != Unreadable && d != Expression && slices.Contains(Detectors(), d)
}

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
	// Info is worth knowing; nobody has to act.
	Info Severity = "info"
	// Warning wants somebody to look in working hours.
	Warning Severity = "warning"
	// Critical wants somebody to act now.
	Critical Severity = "critical"
)

// Severities lists every severity, least first.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// State says what becomes of what a rule finds.
type State string

const (
	// Enabled rules raise alerts and tell people.
	Enabled State = "enabled"
	// Muted rules raise alerts, which show on the dashboard, and tell nobody.
	Muted State = "muted"
	// Draft rules are not evaluated: they are there to be tried on the past.
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
	// Kept is a rule of a file that was in force before, or one that Headwater came
	// with, which stays in force because the file does not mention rules.
	Kept Origin = "kept"
	// FromPage is a rule made on the page or by the API.
	FromPage Origin = "page"
	// BuiltIn is the rule that is there without anybody declaring it.
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

func (m Match) equal(o Match) bool {
	return m.Site == o.Site && m.Device == o.Device && m.Metric == o.Metric && maps.Equal(m.Tags, o.Tags)
}

// Rule is one declaration. The zero value of an optional field means "not
// given"; WithDefaults fills those in that have a default.
//
// A Rule is a plain value. Its slices, maps and pointers are never changed after
// Parse, so copies may be read by several goroutines.
type Rule struct {
	// Name is unique among the rules: 1 to 64 characters of [a-z0-9_-].
	Name string
	// Description is a sentence for people; at most MaxDescription bytes.
	Description string
	// Match selects the series.
	Match Match
	// State says what becomes of what the rule finds.
	State State
	// Origin says where the rule was declared. It is no part of what it says.
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

	// Share is how much of the readings within Within need not be numbers, in per
	// cent: above 0 and below 100. Unreadable only.
	Share float64

	// Silence ends an episode whose series has had no reading for that long,
	// in event time and by the lane's clock.
	Silence time.Duration
	// Severity says how much it matters.
	Severity Severity
	// Notify lists the channels that are told. Nil means all channels; empty
	// but not nil means none: the alert only shows on the dashboard.
	Notify []string
	// Remind is after which time the channels that were told of an alert are told
	// again while it lasts; 0: never. By the clock of the notifier.
	Remind time.Duration
	// Labels go with every alert of the rule to where it is sent.
	Labels map[string]string
	// Runbook is an http or https URL at which people read what to do, or empty.
	Runbook string
}

// UnusualName is the name of the built-in rule. A rule that is declared with that
// name takes its place.
const UnusualName = "unusual"

// Unusual returns the built-in rule: it has every numeric series watched for what
// is unusual, and tells nobody. It watches no series that another rule with
// detector auto watches.
func Unusual() Rule {
	return Rule{
		Name: UnusualName, Description: "It is not as usual.", Origin: BuiltIn,
		Detector: Auto, Severity: Info, Notify: []string{},
	}.WithDefaults()
}

// Defaults of the fields that have one.
const (
	DefaultSettle   = time.Hour
	DefaultSilence  = time.Hour
	DefaultSeverity = Warning
	// DefaultFalseAlarms is one in ten weeks.
	DefaultFalseAlarms = 0.1
	DefaultDirection   = Both
	// DefaultShare and DefaultShareWithin are those of Unreadable.
	DefaultShare       = 10
	DefaultShareWithin = time.Hour
)

// WithDefaults returns the rule with every optional field filled in that has
// a default. Settle is filled in for Rate only, Direction for Surge, FalseAlarms for
// those that learn, Share and Within for Unreadable.
func (r Rule) WithDefaults() Rule {
	if r.Match.Site == "" {
		r.Match.Site = "*"
	}
	if r.Match.Device == "" {
		r.Match.Device = "*"
	}
	if r.Match.Metric == "" {
		r.Match.Metric = "*"
	}
	if r.Detector == "" && r.Expression != "" {
		r.Detector = Expression
	}
	if r.Detector == Rate && r.Settle == 0 {
		r.Settle = DefaultSettle
	}
	if r.Detector.Learns() && r.FalseAlarms == 0 {
		r.FalseAlarms = DefaultFalseAlarms
	}
	if r.Detector == Surge && r.Direction == "" {
		r.Direction = DefaultDirection
	}
	if r.Detector == Unreadable {
		if r.Share == 0 {
			r.Share = DefaultShare
		}
		if r.Within == 0 {
			r.Within = DefaultShareWithin
		}
	}
	if r.Silence == 0 {
		r.Silence = DefaultSilence
	}
	if r.Severity == "" {
		r.Severity = DefaultSeverity
	}
	if r.State == "" {
		r.State = Enabled
	}
	return r
}

// Matches reports whether the rule watches the series of a device with these
// tags. A malformed glob, which Validate refuses, matches nothing. A rule with an
// expression watches the device and not each of its series.
func (r Rule) Matches(site, device, metric string, tags map[string]string) bool {
	return glob(r.Match.Metric, metric) && r.Match.MatchesDevice(site, device, tags)
}

// MatchesDevice is Matches for all but the metric.
func (m Match) MatchesDevice(site, device string, tags map[string]string) bool {
	if !glob(m.Device, device) || !glob(m.Site, site) {
		return false
	}
	for key, want := range m.Tags {
		if got, tagged := tags[key]; !tagged || got != want {
			return false
		}
	}
	return true
}

// OneDevice returns the device if the rule can watch no other.
func (r Rule) OneDevice() (site, device string, ok bool) {
	const special = `*?[\`
	m := r.Match
	ok = m.Site != "" && m.Device != "" && !strings.ContainsAny(m.Site, special) && !strings.ContainsAny(m.Device, special)
	return m.Site, m.Device, ok
}

func glob(pattern, token string) bool {
	if pattern == "" || pattern == "*" {
		return true
	}
	ok, err := path.Match(pattern, token)
	return ok && err == nil
}

// Equal reports whether both rules say the same in every field, wherever they
// were declared.
func (r Rule) Equal(o Rule) bool {
	return r.SameDetection(o) && r.Description == o.Description && r.State == o.State &&
		(r.Notify == nil) == (o.Notify == nil) && slices.Equal(r.Notify, o.Notify) &&
		r.Remind == o.Remind && maps.Equal(r.Labels, o.Labels) && r.Runbook == o.Runbook
}

// SameDetection reports whether both rules find the same episodes with the
// same severity: they differ at most in what is said about them and to whom.
// A detector may keep its state over such a change.
func (r Rule) SameDetection(o Rule) bool {
	return r.Name == o.Name && r.Match.equal(o.Match) && r.Detector == o.Detector &&
		same(r.Above, o.Above) && same(r.Below, o.Below) && r.Hysteresis == o.Hysteresis && r.For == o.For &&
		r.Rise == o.Rise && r.Fall == o.Fall && r.Within == o.Within && r.Settle == o.Settle &&
		r.FalseAlarms == o.FalseAlarms && r.Direction == o.Direction && r.Share == o.Share &&
		r.Expression == o.Expression && r.Resolve == o.Resolve && r.Metric == o.Metric &&
		r.Silence == o.Silence && r.Severity == o.Severity
}

func same(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Audience returns the channels that the rule has told: nil means all, empty
// but not nil means none, as for every rule that is not enabled.
func (r Rule) Audience() []string {
	if r.State != "" && r.State != Enabled {
		return []string{}
	}
	return r.Notify
}

// Notifies reports whether the rule has the channel told.
func (r Rule) Notifies(channel string) bool {
	audience := r.Audience()
	return audience == nil || slices.Contains(audience, channel)
}
