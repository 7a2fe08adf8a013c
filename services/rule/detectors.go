package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/services/rule/expression"
)

// Detector names the way in which a rule judges readings.
type Detector string

// The detectors. What each one is, takes and needs stands in its Spec.
const (
	Limit      Detector = "limit"
	Rate       Detector = "rate"
	Auto       Detector = "auto"
	Surge      Detector = "surge"
	Range      Detector = "range"
	Season     Detector = "season"
	Shift      Detector = "shift"
	Stuck      Detector = "stuck"
	Silence    Detector = "silence"
	Drift      Detector = "drift"
	Unreadable Detector = "unreadable"
	Expression Detector = "expression"
)

// Spec declares one detector. Everything that reads, writes, checks or shows rules
// uses it.
type Spec struct {
	Name Detector
	// Title is the name for people.
	Title string
	// Finds says in a sentence what the detector finds.
	Finds string
	// Takes are the fields of the table that mean something to this detector, in
	// addition to those that every rule has.
	Takes []Use
	// Needs are the fields without which a rule is not whole.
	Needs []Need
	// OfDevice reports whether it judges whole devices. The others judge each
	// series by itself.
	OfDevice bool
	// Texts reports whether it judges texts and flags, too, and not numbers alone.
	Texts bool
	// Means reports whether the means of a fast series are good enough for it.
	Means bool
	// Does completes the sentence "Alerts when temperature of door-1 ...". Words
	// writes what stands in the rule for people.
	Does func(r Rule, words Words) string
	// check adds the problems that depend on more than one field.
	check func(c *check, r Rule)
}

// Words writes numbers of the unit of the series, and times, for people.
type Words struct {
	Amount func(float64) string
	Span   func(time.Duration) string
}

// Use is a field that a detector takes. Default and Bounds replace those of the
// field where they are not zero.
type Use struct {
	Field   string
	Default any
	Bounds  Bounds
}

// Need names fields of which one, at least, must be given. Else says what for,
// for people.
type Need struct {
	Fields []string
	Else   string
}

// specs declares every detector, in the order in which people choose from them.
var specs = []Spec{
	{
		Name: Limit, Title: "Limit",
		Finds: "Too high or too low: the value leaves fixed bounds.",
		Takes: uses("above", "below", "hysteresis", "for"),
		Needs: []Need{{[]string{"above", "below"}, "a limit needs above, below or both"}},
		Does:  beyond, check: checkLimit,
	},
	{
		Name: Rate, Title: "Rate",
		Finds: "Too fast: the value rises or falls by a fixed amount within a time.",
		Takes: uses("rise", "fall", "within", "settle"),
		Needs: []Need{
			{[]string{"rise", "fall"}, "a rate needs rise, fall or both, above 0"},
			{[]string{"within"}, "the time in which the change is measured, like 5m"},
		},
		Does: changes,
	},
	{
		Name: Auto, Title: "Auto", Means: true,
		Finds: "Anything unusual, with nothing to set. It learns what is normal for each series.",
		Takes: uses("false_alarms", "for"), Does: just("is unusual"),
	},
	{
		Name: Surge, Title: "Surge", Means: true,
		Finds: "Faster than usual: it learns how fast each series moves.",
		Takes: uses("false_alarms", "for", "direction"), Does: moves,
	},
	{
		Name: Range, Title: "Range", Means: true,
		Finds: "Beyond all that was seen before.",
		Takes: uses("false_alarms", "for"), Does: just("leaves the range of all that was seen before"),
	},
	{
		Name: Season, Title: "Season", Means: true,
		Finds: "Unusual for the time of the day and the day of the week.",
		Takes: uses("false_alarms", "for"), Does: just("is unusual for the time of the day and the week"),
	},
	{
		Name: Shift, Title: "Shift", Means: true,
		Finds: "The level has moved and stays there.",
		Takes: uses("false_alarms", "for"), Does: just("moves to another level"),
	},
	{
		Name: Stuck, Title: "Stuck", Means: true,
		Finds: "The sensor gives the same value again and again.",
		Takes: uses("false_alarms", "for"), Does: just("gives the same value again and again"),
	},
	{
		Name: Silence, Title: "Silence",
		Finds: "The series has stopped reporting.",
		Takes: uses("false_alarms"), Does: just("stops reporting"),
	},
	{
		Name: Drift, Title: "Drift", Means: true,
		Finds: "The mean of the days leaves that of the week before.",
		Takes: uses("false_alarms", "for"), Does: just("drifts away from the week before"),
	},
	{
		Name: Unreadable, Title: "Unreadable", Texts: true,
		Finds: `Too many readings of a series are not numbers, like the "unavailable" of a broken sensor.`,
		Takes: []Use{
			{Field: "share"},
			{Field: "within", Default: time.Hour, Bounds: between(time.Minute, MaxWithin)},
		},
		Does: func(r Rule, w Words) string {
			return "gives more than " + figure.Exact(r.Share) + "\u00a0% that is not a number within " + w.Span(r.Within)
		},
	},
	{
		Name: Expression, Title: "Expression", OfDevice: true,
		Finds: "A condition over several metrics of one device, like temperature > outside + 5.",
		Takes: uses("expression", "resolve", "metric", "for"),
		Needs: []Need{{[]string{"expression"}, "a condition like temperature > outside + 5"}},
		Does:  func(r Rule, _ Words) string { return strings.Join(strings.Fields(r.Expression), " ") },
		check: checkExpression,
	},
}

// Specs returns the declarations of all detectors, in the order in which people
// choose from them. They must not be changed.
func Specs() []Spec { return specs }

// SpecOf returns the declaration of a detector; ok is false when there is none of
// that name.
func SpecOf(d Detector) (s Spec, ok bool) {
	i := slices.IndexFunc(specs, func(s Spec) bool { return s.Name == d })
	if i < 0 {
		return Spec{}, false
	}
	return specs[i], true
}

// Detectors lists every detector, in the order in which people choose from them.
func Detectors() []Detector { return detectorsThat(func(Spec) bool { return true }) }

// OfSeries lists the detectors that judge each series by itself.
func OfSeries() []Detector { return detectorsThat(func(s Spec) bool { return !s.OfDevice }) }

// Learners lists the detectors that learn what is usual.
func Learners() []Detector { return detectorsThat(func(s Spec) bool { return s.Name.Learns() }) }

func detectorsThat(ok func(Spec) bool) []Detector {
	var all []Detector
	for _, s := range specs {
		if ok(s) {
			all = append(all, s.Name)
		}
	}
	return all
}

// Learns reports whether the detector learns what is usual. People give such a
// detector the number of false alarms that they accept.
func (d Detector) Learns() bool { _, takes := d.use("false_alarms"); return takes }

// use returns how the detector takes a field.
func (d Detector) use(field string) (Use, bool) {
	s, _ := SpecOf(d)
	i := slices.IndexFunc(s.Takes, func(u Use) bool { return u.Field == field })
	if i < 0 {
		return Use{}, false
	}
	return s.Takes[i], true
}

func uses(fields ...string) []Use {
	all := make([]Use, len(fields))
	for i, f := range fields {
		all[i].Field = f
	}
	return all
}

// just is the Does of a detector that says the same of every rule.
func just(words string) func(Rule, Words) string {
	return func(Rule, Words) string { return words }
}

func beyond(r Rule, w Words) string {
	var parts []string
	if r.Above != nil {
		parts = append(parts, "above "+w.Amount(*r.Above))
	}
	if r.Below != nil {
		parts = append(parts, "below "+w.Amount(*r.Below))
	}
	return "is " + strings.Join(parts, " or ")
}

func changes(r Rule, w Words) string {
	var parts []string
	if r.Rise > 0 {
		parts = append(parts, "rises by "+w.Amount(r.Rise))
	}
	if r.Fall > 0 {
		parts = append(parts, "falls by "+w.Amount(r.Fall))
	}
	return strings.Join(parts, " or ") + " within " + w.Span(r.Within)
}

func moves(r Rule, _ Words) string {
	switch r.Direction {
	case Up:
		return "rises faster than usual"
	case Down:
		return "falls faster than usual"
	default:
		return "changes faster than usual"
	}
}

func checkLimit(c *check, r Rule) {
	if r.Above == nil || r.Below == nil {
		return
	}
	switch {
	case *r.Below >= *r.Above:
		c.add("below", fmt.Sprintf("%v is not less than above, which is %v", *r.Below, *r.Above))
	case *r.Below+r.Hysteresis > *r.Above-r.Hysteresis:
		c.add("hysteresis", fmt.Sprintf("%v leaves no value at which an episode could close", r.Hysteresis))
	}
}

func checkExpression(c *check, r Rule) {
	p, err := expression.Compile(r.Expression)
	if err == nil && r.Metric != "" && !slices.Contains(p.Metrics(), r.Metric) {
		c.add("metric", fmt.Sprintf("%q is no metric of the expression, which has %s", clip(r.Metric), strings.Join(p.Metrics(), ", ")))
	}
}
