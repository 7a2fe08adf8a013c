package rule

import (
	"fmt"
	"time"

	"headwater/services/rule/expression"
)

const (
	// MaxGroups is the greatest number of entries.
	MaxGroups = 200
	// DefaultEvery is how often a group has a value.
	DefaultEvery = time.Minute
	// minEvery bounds how many values late readings can revise.
	minEvery = 10 * time.Second
)

// Group declares a series that is made from the latest values of several devices of a site.
// It is a series of a device of its own, which has the name of the group. It is a plain
// value like a Rule.
type Group struct {
	// Name is the device that has the series, and Metric the series.
	Name, Metric string
	// Match selects the devices of a site; its metric is empty. Each site that it matches has
	// its own group.
	Match Match
	// Unit is that of the new series; empty if it has none.
	Unit string
	// Expression is a text for expression.CompileGroup.
	Expression string
	// Every is the distance of the values, which lie on multiples of it since the epoch.
	Every time.Duration
	// MaxAge is for how long, in event time, a reading is valid without another one.
	MaxAge time.Duration
}

// groupFields declares every field of a group, in the order in which they are written.
var groupFields = []FieldOf[Group]{
	{Field{
		Name: "name", Kind: KindText, Max: MaxName, Pattern: "^[A-Za-z0-9_-]{1,64}$", check: checkMetric,
		Doc: "the name of the group, under which its series are like those of a device; no device of the site should have it",
	}, func(g *Group) any { return &g.Name }},
	{Field{
		Name: "metric", Kind: KindText, Max: MaxName, Pattern: "^[A-Za-z0-9_-]{1,64}$", check: checkMetric,
		Doc: "the name of the new series: A-Z, a-z, 0-9, `-`, `_`",
	}, func(g *Group) any { return &g.Metric }},
	{Field{
		Name: "match.site", Kind: KindGlob, Max: MaxGlob, Default: "*",
		Doc: "of which sites, each of which has its own group: `*` is any run of characters, `?` one, `[a-c]` a class",
	}, func(g *Group) any { return &g.Match.Site }},
	{Field{
		Name: "match.device", Kind: KindGlob, Max: MaxGlob, Default: "*",
		Doc: "which devices belong to it, likewise",
	}, func(g *Group) any { return &g.Match.Device }},
	{Field{
		Name: "match.tags", Kind: KindWords, Max: MaxTags,
		Doc: "what a device must be tagged with to belong to it: all of it, word for word",
	}, func(g *Group) any { return &g.Match.Tags }},
	{Field{
		Name: "unit", Kind: KindText, Max: MaxUnit, check: checkUnit,
		Doc: "the unit of the new series",
	}, func(g *Group) any { return &g.Unit }},
	{Field{
		Name: "expression", Kind: KindParagraph, Max: expression.MaxText, check: checkGroup,
		Doc: "a number made of the latest values of the devices, like `mean(\"temperature\")`",
	}, func(g *Group) any { return &g.Expression }},
	{Field{
		Name: "every", Kind: KindSpan, Default: DefaultEvery, Bounds: between(minEvery, time.Hour),
		Doc: "the time from one value to the next",
	}, func(g *Group) any { return &g.Every }},
	{Field{
		Name: "max_age", Kind: KindSpan, Default: DefaultMaxAge, Bounds: between(time.Second, MaxSpan),
		Doc: "for how long a reading of a device is valid without another one",
	}, func(g *Group) any { return &g.MaxAge }},
}

// GroupFields returns the declarations of the fields of a group, in the order in which they
// are written. They must not be changed.
func GroupFields() []FieldOf[Group] { return groupFields }

// WithDefaults returns the declaration with the defaults filled in.
func (g Group) WithDefaults() Group { return withDefaults(groupFields, g) }

// Equal reports whether both say the same.
func (g Group) Equal(o Group) bool { return equal(groupFields, g, o) }

// Problems returns what is wrong with the declaration, whose defaults are filled in.
func (g Group) Problems() []*FieldError {
	c := checked(groupFields, g)
	for _, missing := range []struct{ field, value, what string }{
		{"name", g.Name, "the name of the group"},
		{"metric", g.Metric, "the name of the new series"},
		{"expression", g.Expression, "like mean(\"temperature\")"},
	} {
		if missing.value == "" {
			c.add(missing.field, fmt.Sprintf("is missing: %s", missing.what))
		}
	}
	return c.found
}

// checkGroup says what is wrong with an expression of a group, or returns "".
func checkGroup(text string) string {
	if _, err := expression.CompileGroup(text); err != nil {
		return err.Error()
	}
	return ""
}
