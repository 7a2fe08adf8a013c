package rule

import (
	"math"
	"slices"

	"headwater/services/internal/calendar"
)

const (
	// MaxCounters is the greatest number of entries.
	MaxCounters = 500
	// MaxTariff is how many prices a counter may have beside the usual one.
	MaxTariff = 20
	// UsedSuffix makes the name of the series of what a meter has consumed.
	UsedSuffix = "_used"
	// CostSuffix makes the name of the series of what that cost.
	CostSuffix = "_cost"
	// maxCounterMetric leaves room for them.
	maxCounterMetric = MaxName - len(UsedSuffix)
)

// Counter declares that a metric is that of a meter which counts up. Its consumption and its
// costs are derived series. It is a plain value like a Rule.
type Counter struct {
	// Metric is the metric of the meter.
	Metric string
	// Match selects the devices; its metric is empty.
	Match Match
	// Unit is that of the consumption.
	Unit string
	// Rollover is the value at which the meter is at 0 again; 0: never.
	Rollover float64
	// MaxRate is the most that can be consumed in an hour; 0: unknown.
	MaxRate float64
	// Price is what a unit costs when no Tariff is in force; 0 without a Tariff: nothing is
	// known of costs.
	Price float64
	// Currency is that of the prices.
	Currency string
	// Tariff are other prices at times of the week. The first that is in force counts.
	Tariff []Tariff
}

// Tariff is a price at some times of the week, at the place of the meter.
type Tariff struct {
	Price float64
	// Days are the days on which it begins, and From and To times of day, as texts for
	// package calendar.
	Days, From, To string
}

// Weekly returns the times of the tariff, which has no problems.
func (t Tariff) Weekly() calendar.Weekly {
	days, _ := calendar.ParseDays(t.Days)
	from, _ := calendar.ParseClock(t.From)
	to, _ := calendar.ParseClock(t.To)
	return calendar.Weekly{Days: days, Start: from, End: to}
}

// counterFields declares every field of a counter but its tariff.
var counterFields = []FieldOf[Counter]{
	{Field{
		Name: "metric", Kind: KindText, Max: maxCounterMetric, Pattern: "^[A-Za-z0-9_-]{1,59}$", check: checkMetric,
		Doc: "the metric of the meter; its consumption is the series of that name with `_used`, its cost that with `_cost`",
	}, func(c *Counter) any { return &c.Metric }},
	{Field{
		Name: "match.site", Kind: KindGlob, Max: MaxGlob, Default: "*",
		Doc: "of which sites: `*` is any run of characters, `?` one, `[a-c]` a class",
	}, func(c *Counter) any { return &c.Match.Site }},
	{Field{
		Name: "match.device", Kind: KindGlob, Max: MaxGlob, Default: "*",
		Doc: "of which devices, likewise",
	}, func(c *Counter) any { return &c.Match.Device }},
	{Field{
		Name: "match.tags", Kind: KindWords, Max: MaxTags,
		Doc: "what the device must be tagged with: all of it, word for word",
	}, func(c *Counter) any { return &c.Match.Tags }},
	{Field{
		Name: "unit", Kind: KindText, Max: MaxUnit, check: checkUnit,
		Doc: "the unit of the consumption, like kWh",
	}, func(c *Counter) any { return &c.Unit }},
	{Field{
		Name: "rollover", Kind: KindNumber, Bounds: between(0, math.Inf(1)), Empty: "it never rolls over",
		Doc: "the value at which the meter is at 0 again, like 65536, 4294967296 or 1000000",
	}, func(c *Counter) any { return &c.Rollover }},
	{Field{
		Name: "max_rate", Kind: KindNumber, Bounds: between(0, math.Inf(1)), Empty: "unknown",
		Doc: "the most that can be consumed in an hour: a greater step is a meter that was replaced, and no consumption",
	}, func(c *Counter) any { return &c.MaxRate }},
	{Field{
		Name: "price", Kind: KindNumber, Bounds: between(0, math.Inf(1)), Empty: "no costs",
		Doc: "what a unit costs",
	}, func(c *Counter) any { return &c.Price }},
	{Field{
		Name: "currency", Kind: KindText, Max: MaxUnit, check: checkUnit,
		Doc: "the currency of the prices, like EUR",
	}, func(c *Counter) any { return &c.Currency }},
}

// CounterFields returns the declarations of the fields of a counter but its tariff, in the
// order in which they are written. They must not be changed.
func CounterFields() []FieldOf[Counter] { return counterFields }

// tariffFields declares every field of a tariff.
var tariffFields = []FieldOf[Tariff]{
	{Field{
		Name: "price", Kind: KindNumber, Default: 0.0, Bounds: between(0, math.Inf(1)),
		Doc: "what a unit costs then",
	}, func(t *Tariff) any { return &t.Price }},
	{Field{
		Name: "days", Kind: KindText, Default: "daily", Pattern: "^(daily|(mon|tue|wed|thu|fri|sat|sun)(, *(mon|tue|wed|thu|fri|sat|sun))*)$", check: checkDays,
		Doc: "the days on which it begins, like `mon,tue`",
	}, func(t *Tariff) any { return &t.Days }},
	{Field{
		Name: "from", Kind: KindText, Default: "00:00", Pattern: "^([01]?[0-9]|2[0-3]):[0-5][0-9]$", check: checkStart,
		Doc: "the time of day at which it begins, where the meter is",
	}, func(t *Tariff) any { return &t.From }},
	{Field{
		Name: "to", Kind: KindText, Default: "24:00", Pattern: "^(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)$", check: checkClock,
		Doc: "the time of day at which it ends; not after `from`: on the next day",
	}, func(t *Tariff) any { return &t.To }},
}

// TariffFields returns the declarations of the fields of a tariff. They must not be changed.
func TariffFields() []FieldOf[Tariff] { return tariffFields }

// WithDefaults returns the declaration with the defaults filled in.
func (c Counter) WithDefaults() Counter {
	c = withDefaults(counterFields, c)
	c.Tariff = slices.Clone(c.Tariff)
	for i := range c.Tariff {
		c.Tariff[i] = WithTariffDefaults(c.Tariff[i])
	}
	return c
}

// WithTariffDefaults returns the tariff with the defaults filled in.
func WithTariffDefaults(t Tariff) Tariff { return withDefaults(tariffFields, t) }

// Equal reports whether both say the same.
func (c Counter) Equal(o Counter) bool {
	return equal(counterFields, c, o) && slices.Equal(c.Tariff, o.Tariff)
}

// Problems returns what is wrong with the declaration apart from its tariff. Its defaults
// are filled in.
func (c Counter) Problems() []*FieldError {
	found := checked(counterFields, c)
	if c.Metric == "" {
		found.add("metric", "is missing: the metric of the meter")
	}
	if c.Currency != "" && !c.Costs() {
		found.add("currency", "needs a price or a tariff")
	}
	return found.found
}

// Problems returns what is wrong with the tariff, whose defaults are filled in.
func (t Tariff) Problems() []*FieldError { return checked(tariffFields, t).found }

// Costs reports whether costs are known.
func (c Counter) Costs() bool { return c.Price != 0 || len(c.Tariff) > 0 }

// Series returns the derived series of the counter: its consumption and, if there are
// prices, its costs.
func (c Counter) Series() []Derived {
	used := Derived{Metric: c.Metric + UsedSuffix, Match: c.Match, Unit: c.Unit, Counter: &c}
	if !c.Costs() {
		return []Derived{used}
	}
	return []Derived{used, {Metric: c.Metric + CostSuffix, Match: c.Match, Unit: c.Currency, Counter: &c, Cost: true}}
}

// checkDays, checkClock and checkStart say what is wrong with days and times of day, or
// return "".
func checkDays(s string) string {
	if _, err := calendar.ParseDays(s); err != nil {
		return err.Error()
	}
	return ""
}

func checkClock(s string) string {
	if _, err := calendar.ParseClock(s); err != nil {
		return err.Error()
	}
	return ""
}

func checkStart(s string) string {
	if c, err := calendar.ParseClock(s); err == nil && c.String() == "24:00" {
		return "must be before 24:00"
	}
	return checkClock(s)
}
