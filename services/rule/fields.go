package rule

import (
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"headwater/services/rule/expression"
)

// Kind says what a field holds and how people write it.
type Kind uint8

const (
	// KindText is a line of text.
	KindText Kind = iota + 1
	// KindParagraph is a text that may have several lines.
	KindParagraph
	// KindName is a name, as for ValidName.
	KindName
	// KindGlob is a pattern, as for Match.
	KindGlob
	// KindChoice is one of the Choices of the field.
	KindChoice
	// KindNumber is a decimal number.
	KindNumber
	// KindSpan is a time such as 30s, 5m, 1h30m or 2d.
	KindSpan
	// KindWords is a mapping of names to texts.
	KindWords
	// KindChannels is a list of names of channels.
	KindChannels
)

// Field declares one field of a rule.
type Field struct {
	// Name is what people write, with a dot between levels: "match.site".
	Name string
	Kind Kind
	// Unit is that of a number, for people: "per cent". Empty means that of the
	// series.
	Unit string
	// Default holds when nothing is given: a string, float64 or time.Duration as
	// the kind has it. Nil: nothing does. If it is 0, people may write 0; else 0
	// means that nothing is given.
	Default any
	// Bounds of a number or time. A number without bounds need only be finite.
	Bounds Bounds
	// Max bounds a text in bytes and a mapping or list in entries; 0: nothing does.
	Max int
	// Choices are the values to choose from.
	Choices []string
	// Pattern is what a text looks like, as a regular expression for editors; the
	// check says more.
	Pattern string
	// Doc describes the field to those who write YAML.
	Doc string
	// Label and Hint are those of the form. Empty describes the field to those who
	// leave it empty where that is no default: "never".
	Label, Hint, Empty string
	// SaysOnly reports whether the field changes only what is said of an episode and
	// to whom, and not which episodes there are.
	SaysOnly bool

	// at returns where a rule holds the field, as At does.
	at func(*Rule) any
	// check says what is wrong with a text that was given, or returns "".
	check func(string) string
	// foreign is said when a rule has the field whose detector does not take it;
	// empty: which detectors take it.
	foreign string
}

// Defaults that are needed beside the table.
const (
	// DefaultFalseAlarms is one in ten weeks.
	DefaultFalseAlarms = 0.1
	DefaultSilence     = time.Hour
)

// Bounds are those of a number, or of a time in nanoseconds.
type Bounds struct {
	Least, Most float64
	// Open reports whether Least and Most are out of bounds themselves.
	OpenLeast, OpenMost bool
}

// between returns bounds that are within them.
func between[T ~int64 | ~float64](least, most T) Bounds {
	return Bounds{Least: float64(least), Most: float64(most)}
}

func (b Bounds) contain(v float64) bool {
	return (v > b.Least || v == b.Least && !b.OpenLeast) && (v < b.Most || v == b.Most && !b.OpenMost)
}

// String says which numbers are within the bounds: "above 0, at most 1000".
func (b Bounds) String() string {
	least, join, most := "at least", ",", "at most"
	if b.OpenLeast {
		least = "above"
	}
	if b.OpenMost {
		join, most = " and", "below"
	}
	if math.IsInf(b.Most, 1) {
		return fmt.Sprintf("%s %v", least, b.Least)
	}
	return fmt.Sprintf("%s %v%s %s %v", least, b.Least, join, most, b.Most)
}

// fields declares every field, in the order in which rules are written.
var fields = []Field{
	{
		Name: "name", Kind: KindName, Max: MaxName, at: func(r *Rule) any { return &r.Name },
		Doc:   "unique: a-z, 0-9, `-`, `_`",
		Label: "Name", Hint: "a–z, 0–9, - and _; alerts show it.",
	},
	{
		Name: "description", Kind: KindText, Max: MaxDescription, SaysOnly: true, at: func(r *Rule) any { return &r.Description },
		check: func(s string) string {
			if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
				return "holds control characters"
			}
			return ""
		},
		Doc:   "a sentence for the person who gets the alert",
		Label: "Description", Hint: "One sentence for the person who gets the alert.",
	},
	{
		Name: "match.site", Kind: KindGlob, Max: MaxGlob, Default: "*", at: func(r *Rule) any { return &r.Match.Site },
		Doc:   "which sites: `*` is any run of characters, `?` one, `[a-c]` a class",
		Label: "Site", Hint: "* is any run of characters, ? one, [a-c] one of these.",
	},
	{
		Name: "match.device", Kind: KindGlob, Max: MaxGlob, Default: "*", at: func(r *Rule) any { return &r.Match.Device },
		Doc:   "which devices, likewise",
		Label: "Device", Hint: "For example door-*",
	},
	{
		Name: "match.metric", Kind: KindGlob, Max: MaxGlob, Default: "*", at: func(r *Rule) any { return &r.Match.Metric },
		foreign: "does not go with an expression, which names its metrics itself",
		Doc:     "which metrics, likewise; not with `expression`, which names its own",
		Label:   "Metric", Hint: "For example temperature",
	},
	{
		Name: "match.tags", Kind: KindWords, Max: MaxTags, at: func(r *Rule) any { return &r.Match.Tags },
		Doc:   "what the device must be tagged with: all of it, word for word",
		Label: "Tags", Hint: "What the device must be tagged with, one a line, like kind: door",
	},
	{
		Name: "state", Kind: KindChoice, Choices: texts(States()), Default: string(Enabled), SaysOnly: true,
		at:    func(r *Rule) any { return (*string)(&r.State) },
		Doc:   "`muted` raises alerts and does not notify; `draft` is not evaluated, but `headwater replay` tries it",
		Label: "State",
	},
	{
		Name: "detector", Kind: KindChoice, Choices: texts(Detectors()), at: func(r *Rule) any { return (*string)(&r.Detector) },
		Doc:   "how readings are judged; may be left out beside `expression`",
		Label: "Detector",
	},
	{
		Name: "expression", Kind: KindParagraph, Max: expression.MaxText, at: func(r *Rule) any { return &r.Expression }, check: checkCondition,
		Doc:   "the condition, like `temperature > outside + 5`; naming it is enough, `detector` may be left out",
		Label: "Alert while", Hint: `Over the metrics of the device and windows of them, like temperature > outside + 5 and avg("temperature", "10m") > 8. There are avg, min, max, sum, count, last, age, abs, ln, exp, sqrt and pow.`,
	},
	{
		Name: "resolve", Kind: KindParagraph, Max: expression.MaxText, at: func(r *Rule) any { return &r.Resolve }, check: checkCondition,
		Doc:   "the condition for the end; without it, that `expression` is not true",
		Label: "Over when", Hint: "Empty: when the first is not true any more.",
	},
	{
		Name: "metric", Kind: KindText, at: func(r *Rule) any { return &r.Metric },
		Doc:   "under which metric of the expression the alert is raised; without it, the first",
		Label: "Show at", Hint: "The metric at which the alert shows; empty: the first of the condition.",
	},
	{
		Name: "above", Kind: KindNumber, at: func(r *Rule) any { return &r.Above },
		Doc:   "the greatest value that is normal",
		Label: "Above", Hint: "Abnormal beyond it, in the unit of the metric.",
	},
	{
		Name: "below", Kind: KindNumber, at: func(r *Rule) any { return &r.Below },
		Doc:   "the least value that is normal",
		Label: "Below", Hint: "Abnormal under it.",
	},
	{
		Name: "hysteresis", Kind: KindNumber, Default: 0.0, Bounds: between(0, math.Inf(1)), at: func(r *Rule) any { return &r.Hysteresis },
		Doc:   "by how much a value must come back before the alert is over",
		Label: "Hysteresis", Hint: "By how much it must come back before the alert ends.",
	},
	{
		Name: "for", Kind: KindSpan, Default: time.Duration(0), Bounds: between(0, MaxSpan), at: func(r *Rule) any { return &r.For },
		Doc:   "how long it must last before there is an alert",
		Label: "For", Hint: "How long it must last before there is an alert, like 2m.",
	},
	{
		Name: "rise", Kind: KindNumber, Bounds: between(0, math.Inf(1)), at: func(r *Rule) any { return &r.Rise },
		Doc:   "the change upwards that is abnormal",
		Label: "Rise", Hint: "In the unit of the metric.",
	},
	{
		Name: "fall", Kind: KindNumber, Bounds: between(0, math.Inf(1)), at: func(r *Rule) any { return &r.Fall },
		Doc:   "the change downwards that is abnormal, as a positive number",
		Label: "Fall", Hint: "As a positive number.",
	},
	{
		Name: "share", Kind: KindNumber, Unit: "per cent", Default: 10.0, Bounds: Bounds{Most: 100, OpenLeast: true, OpenMost: true},
		at:    func(r *Rule) any { return &r.Share },
		Doc:   "how many per cent of a series of numbers need not be numbers (at least 3 readings of 10); over at half of it",
		Label: "Share", Hint: "How many per cent need not be numbers; above it there is an alert, which ends at half of it.",
	},
	{
		Name: "within", Kind: KindSpan, Bounds: between(time.Second, MaxWithin), at: func(r *Rule) any { return &r.Within },
		Doc:   "the time in which it is measured",
		Label: "Within", Hint: "The time in which it is measured, like 5m.",
	},
	{
		Name: "settle", Kind: KindSpan, Default: time.Hour, Bounds: between(time.Second, MaxSpan), at: func(r *Rule) any { return &r.Settle },
		Doc:   "ends an alert whose level has not moved further for that long",
		Label: "Settle", Hint: "The alert ends when the level has stayed that long.",
	},
	{
		Name: "false_alarms", Kind: KindNumber, Unit: "a week", Default: DefaultFalseAlarms, Bounds: Bounds{Most: MaxFalseAlarms, OpenLeast: true},
		at:    func(r *Rule) any { return &r.FalseAlarms },
		Doc:   "how many a series may raise a week while nothing is wrong",
		Label: "False alarms", Hint: "How many you accept for each series and week; 0.1 is one in ten weeks.",
	},
	{
		Name: "direction", Kind: KindChoice, Choices: texts(Directions()), Default: string(Both),
		at:    func(r *Rule) any { return (*string)(&r.Direction) },
		Doc:   "which changes count",
		Label: "Direction",
	},
	{
		Name: "silence", Kind: KindSpan, Default: DefaultSilence, Bounds: between(time.Second, MaxSpan), at: func(r *Rule) any { return &r.Silence },
		Doc:   "ends an alert whose series has no reading for that long",
		Label: "Ends after silence of", Hint: "The alert ends when the series does not report for that long.",
	},
	{
		Name: "severity", Kind: KindChoice, Choices: texts(Severities()), Default: string(Warning),
		at:    func(r *Rule) any { return (*string)(&r.Severity) },
		Doc:   "how much it matters",
		Label: "Severity",
	},
	{
		Name: "notify", Kind: KindChannels, Max: MaxNotify, SaysOnly: true, Empty: "all channels", at: func(r *Rule) any { return &r.Notify },
		Doc:   "a list of channels; `[]` for none",
		Label: "Notify",
	},
	{
		Name: "remind", Kind: KindSpan, Bounds: between(MinRemind, MaxSpan), SaysOnly: true, Empty: "never", at: func(r *Rule) any { return &r.Remind },
		Doc:   "after how long to notify again while it lasts",
		Label: "Repeat every", Hint: "How often to notify again while the alert is ongoing, like 4h.",
	},
	{
		Name: "labels", Kind: KindWords, Max: MaxTags, SaysOnly: true, at: func(r *Rule) any { return &r.Labels },
		Doc:   "names with texts, which go with every alert",
		Label: "Labels", Hint: "One a line, like team: cold-chain",
	},
	{
		Name: "runbook", Kind: KindText, Max: MaxRunbook, Pattern: "^https?://", SaysOnly: true, at: func(r *Rule) any { return &r.Runbook }, check: checkRunbook,
		Doc:   "http or https address of a page that says what to do",
		Label: "Runbook", Hint: "Address of a page that says what to do, beginning with https://",
	},
}

func texts[S ~string](all []S) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = string(s)
	}
	return out
}

// Fields returns the declarations of all fields, in the order in which rules are
// written. They must not be changed.
func Fields() []Field { return fields }

// FieldsOf returns the fields that mean something to a detector, with what the
// detector changes about them.
func FieldsOf(d Detector) []Field {
	var all []Field
	for _, f := range fields {
		if f.TakenBy(d) {
			all = append(all, f.Of(d))
		}
	}
	return all
}

// Own reports whether only some detectors take the field.
func (f Field) Own() bool {
	return f.Name == matchMetric || slices.ContainsFunc(specs, func(s Spec) bool { _, takes := s.Name.use(f.Name); return takes })
}

// matchMetric means something to the detectors that judge single series.
const matchMetric = "match.metric"

// TakenBy reports whether the field means something to a detector. One that
// does not exist takes what every rule has.
func (f Field) TakenBy(d Detector) bool {
	s, known := SpecOf(d)
	if f.Name == matchMetric {
		return !known || !s.OfDevice
	}
	_, takes := d.use(f.Name)
	return takes || !f.Own()
}

// Detectors lists those that take the field.
func (f Field) Detectors() []Detector {
	return detectorsThat(func(s Spec) bool { return f.TakenBy(s.Name) })
}

// Of returns the field with what the detector changes about it.
func (f Field) Of(d Detector) Field {
	u, _ := d.use(f.Name)
	if u.Default != nil {
		f.Default = u.Default
	}
	if u.Bounds != (Bounds{}) {
		f.Bounds = u.Bounds
	}
	return f
}

// At returns where the rule holds the field: a *string, *float64, **float64 (nil:
// not given), *time.Duration, *map[string]string or *[]string.
func (f Field) At(r *Rule) any { return f.at(r) }

// value returns what the rule holds in the field.
func (f Field) value(r *Rule) reflect.Value { return reflect.ValueOf(f.at(r)).Elem() }

// given reports whether the rule has a value for the field. An empty list is one, an
// empty mapping is none.
func (f Field) given(r *Rule) bool {
	v := f.value(r)
	return !v.IsZero() && (f.Kind != KindWords || v.Len() > 0)
}

// IsDefault reports whether the rule says nothing with the field: it has none, or
// the default.
func (f Field) IsDefault(r Rule) bool {
	return !f.given(&r) || f.Default != nil && f.Default == f.value(&r).Interface()
}

// fill gives the rule the default of the field if it has no value.
func (f Field) fill(r *Rule) {
	if f.Default != nil && !f.given(r) {
		f.value(r).Set(reflect.ValueOf(f.Default))
	}
}

// same reports whether both rules have the same value.
func (f Field) same(a, b *Rule) bool {
	return !f.given(a) && !f.given(b) || sameValue(f.at(a), f.at(b))
}

// sameValue reports whether two places hold the same.
func sameValue(a, b any) bool { return reflect.DeepEqual(a, b) }

// ZeroMeans reports whether people may write 0 for the field. For the others it
// would say that nothing is given.
func (f Field) ZeroMeans() bool {
	return f.Default == 0.0 || f.Default == time.Duration(0)
}

// takers names the detectors that take the field, for people.
func (f Field) takers() string {
	all := f.Detectors()
	if len(all) <= 2 {
		return "detector " + strings.Join(texts(all), " or ")
	}
	var names []string
	for _, d := range all {
		if !d.Learns() {
			names = append(names, string(d))
		}
	}
	if len(names) == 0 {
		return "the detectors that learn"
	}
	return strings.Join(names, ", ") + " and the detectors that learn"
}

// checkCondition says what is wrong with an expression, or returns "".
func checkCondition(text string) string {
	if _, err := expression.Compile(text); err != nil {
		return err.Error()
	}
	return ""
}

// checkRunbook says what is wrong with the address of a runbook, or returns "".
func checkRunbook(text string) string {
	u, err := url.Parse(text)
	bad := strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) })
	if err != nil || bad || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return "is not a URL like https://wiki.example.org/doors, without a password in it"
	}
	return ""
}
