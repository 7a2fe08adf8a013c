package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"headwater/services/rule/expression"
)

// Bounds of derived series.
const (
	// MaxDerived is the greatest number of entries.
	MaxDerived = 500
	// MaxDerivedOfDevice is how many derived series a device has at most. Each of its
	// readings may change all of them.
	MaxDerivedOfDevice = 16
	// MaxOver is the longest span of a sum, integral or difference: the readings of that
	// span stay in memory.
	MaxOver = time.Hour
	// MaxUnit is the greatest length of a unit in bytes.
	MaxUnit = 64
	// DefaultMaxAge is for how long a reading is valid without another one.
	DefaultMaxAge = time.Hour
)

// Derived declares a series of a device that is made from other series of the same
// device. Exactly one of Expression, Difference, Sum and Integral is given. It is a plain
// value like a Rule.
type Derived struct {
	// Metric is the name of the new series: 1 to 64 of A-Z, a-z, 0-9, - and _.
	Metric string
	// Match selects the devices; its metric is empty.
	Match Match
	// Unit is that of the new series; empty if it has none.
	Unit string
	// Expression is a number made of the latest values, a text for
	// expression.CompileNumber.
	Expression string
	// Difference, Sum and Integral name the metric of which the change, the sum or the
	// integral over time, in hours, is taken.
	Difference, Sum, Integral string
	// Over is the span of event time, up to the reading, in which that is taken. Without it
	// a difference is that from the previous reading; the others need it.
	Over time.Duration
	// MaxAge is for how long, in event time, a reading is valid without another one.
	MaxAge time.Duration

	// Counter is the meter whose consumption or, if Cost is set, whose costs the series is;
	// nil for one that is declared itself.
	Counter *Counter
	Cost    bool
}

// FieldOf declares one field of a T.
type FieldOf[T any] struct {
	Field
	at func(*T) any
}

// In returns where a T holds the field, as Field.At does.
func (f FieldOf[T]) In(x *T) any { return f.at(x) }

// derivedFields declares every field of a derived series, in the order in which they are
// written.
var derivedFields = []FieldOf[Derived]{
	{Field{
		Name: "metric", Kind: KindText, Max: MaxName, Pattern: "^[A-Za-z0-9_-]{1,64}$", check: checkMetric,
		Doc: "the name of the new series: A-Z, a-z, 0-9, `-`, `_`",
	}, func(d *Derived) any { return &d.Metric }},
	{Field{
		Name: "match.site", Kind: KindGlob, Max: MaxGlob, Default: "*",
		Doc: "of which sites: `*` is any run of characters, `?` one, `[a-c]` a class",
	}, func(d *Derived) any { return &d.Match.Site }},
	{Field{
		Name: "match.device", Kind: KindGlob, Max: MaxGlob, Default: "*",
		Doc: "of which devices, likewise",
	}, func(d *Derived) any { return &d.Match.Device }},
	{Field{
		Name: "match.tags", Kind: KindWords, Max: MaxTags,
		Doc: "what the device must be tagged with: all of it, word for word",
	}, func(d *Derived) any { return &d.Match.Tags }},
	{Field{
		Name: "unit", Kind: KindText, Max: MaxUnit, check: checkUnit,
		Doc: "the unit of the new series",
	}, func(d *Derived) any { return &d.Unit }},
	{Field{
		Name: "expression", Kind: KindParagraph, Max: expression.MaxText, check: checkNumber,
		Doc: "a number made of the latest values of the device, like `power / (voltage * current)`",
	}, func(d *Derived) any { return &d.Expression }},
	{Field{
		Name: "difference", Kind: KindText, Max: MaxName, Pattern: "^[A-Za-z0-9_-]{1,64}$", check: checkMetric,
		Doc: "the metric whose change is taken: from the previous reading, or over the span of `over`",
	}, func(d *Derived) any { return &d.Difference }},
	{Field{
		Name: "sum", Kind: KindText, Max: MaxName, Pattern: "^[A-Za-z0-9_-]{1,64}$", check: checkMetric,
		Doc: "the metric whose readings within `over` are added up",
	}, func(d *Derived) any { return &d.Sum }},
	{Field{
		Name: "integral", Kind: KindText, Max: MaxName, Pattern: "^[A-Za-z0-9_-]{1,64}$", check: checkMetric,
		Doc: "the metric whose value times hours within `over` is taken, with straight lines between readings: kW become kWh",
	}, func(d *Derived) any { return &d.Integral }},
	{Field{
		Name: "over", Kind: KindSpan, Bounds: between(time.Second, MaxOver), Empty: "from the previous reading",
		Doc: "the span up to the reading; `sum` and `integral` need it",
	}, func(d *Derived) any { return &d.Over }},
	{Field{
		Name: "max_age", Kind: KindSpan, Default: DefaultMaxAge, Bounds: between(time.Second, MaxSpan),
		Doc: "for how long a reading is valid without another one; there is no value, and no integral, across a longer gap",
	}, func(d *Derived) any { return &d.MaxAge }},
}

// DerivedFields returns the declarations of the fields of a derived series, in the order
// in which they are written. They must not be changed.
func DerivedFields() []FieldOf[Derived] { return derivedFields }

// derivedFunctions are the fields of which a derived series has exactly one.
var derivedFunctions = []string{"expression", "difference", "sum", "integral"}

// DerivedFunctions lists the fields of which a derived series has exactly one.
func DerivedFunctions() []string { return slices.Clone(derivedFunctions) }

// WithDefaults returns the declaration with the defaults filled in.
func (d Derived) WithDefaults() Derived { return withDefaults(derivedFields, d) }

// Equal reports whether both say the same.
func (d Derived) Equal(o Derived) bool {
	if d.Counter != nil && o.Counter != nil && !d.Counter.Equal(*o.Counter) {
		return false
	}
	return equal(derivedFields, d, o) && (d.Counter == nil) == (o.Counter == nil) && d.Cost == o.Cost
}

// Problems returns what is wrong with the declaration, whose defaults are filled in.
func (d Derived) Problems() []*FieldError {
	c := checked(derivedFields, d)
	var given []string
	for _, f := range derivedFields {
		if p, text := f.at(&d).(*string); text && *p != "" && slices.Contains(derivedFunctions, f.Name) {
			given = append(given, f.Name)
		}
	}
	switch {
	case d.Metric == "":
		c.add("metric", "is missing: the name of the new series")
	case slices.Contains(d.Inputs(), d.Metric):
		c.add("metric", fmt.Sprintf("%q is made from itself", clip(d.Metric)))
	}
	switch {
	case len(given) == 0:
		c.add("expression", "is missing: like power / (voltage * current); or one of "+strings.Join(derivedFunctions[1:], ", "))
	case len(given) > 1:
		c.add(given[1], "is given together with "+given[0]+": one of them")
	case d.Over == 0 && (d.Sum != "" || d.Integral != ""):
		c.add("over", "is missing: the span of the "+given[0]+", like 10m")
	case d.Over != 0 && d.Expression != "":
		c.add("over", "does not go with an expression, which takes the latest values")
	}
	return c.found
}

// Inputs returns the metrics from which the series is made.
func (d Derived) Inputs() []string {
	if d.Counter != nil {
		return []string{d.Counter.Metric}
	}
	if d.Expression == "" {
		for _, metric := range []string{d.Difference, d.Sum, d.Integral} {
			if metric != "" {
				return []string{metric}
			}
		}
		return nil
	}
	p, err := expression.CompileNumber(d.Expression)
	if err != nil {
		return nil
	}
	return p.Metrics()
}

// withDefaults returns x with the defaults of a table filled in.
func withDefaults[T any](table []FieldOf[T], x T) T {
	for _, f := range table {
		switch p := f.at(&x).(type) {
		case *string:
			if text, has := f.Default.(string); has && *p == "" {
				*p = text
			}
		case *time.Duration:
			if span, has := f.Default.(time.Duration); has && *p == 0 {
				*p = span
			}
		}
	}
	return x
}

// checked collects what is wrong with the fields of x one by one.
func checked[T any](table []FieldOf[T], x T) *check {
	c := new(check)
	for _, f := range table {
		switch p := f.at(&x).(type) {
		case *string:
			if *p != "" {
				c.text(f.Field, *p)
			}
		case *float64:
			if *p != 0 {
				c.number(f.Field, *p)
			}
		case *time.Duration:
			if *p != 0 && !f.Bounds.contain(float64(*p)) {
				c.add(f.Name, OutOfRange(*p, time.Duration(f.Bounds.Least), time.Duration(f.Bounds.Most)))
			}
		case *map[string]string:
			c.tags(f.Name, *p)
		}
	}
	return c
}

// equal reports whether two values agree in every field of a table.
func equal[T any](table []FieldOf[T], a, b T) bool {
	for _, f := range table {
		if !sameValue(f.at(&a), f.at(&b)) {
			return false
		}
	}
	return true
}

// checkMetric says what is wrong with the name of a metric, or returns "".
func checkMetric(s string) string {
	if s == "" || len(s) > MaxName || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return fmt.Sprintf("%q is not a metric: 1 to %d characters of A-Z, a-z, 0-9, - and _", clip(s), MaxName)
	}
	return ""
}

// checkUnit says what is wrong with a unit, or returns "".
func checkUnit(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "holds control characters"
	}
	return ""
}

// checkNumber says what is wrong with an expression of a number, or returns "".
func checkNumber(text string) string {
	if _, err := expression.CompileNumber(text); err != nil {
		return err.Error()
	}
	return ""
}
