package config

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"headwater/services/rule"
)

// derivedOf is a derived series with its place in the order of evaluation: what it is made
// from has a lower rank.
type derivedOf struct {
	index, rank int
}

// DerivedOf returns the numbers of the entries in Derived that are in force for a device, so
// that each comes after those that it is made from. Of entries with the same metric the
// later one counts. There are at most rule.MaxDerivedOfDevice; more reports whether further
// ones are left out.
func (c *Config) DerivedOf(site, device string, tags map[string]string) (numbers []int, more bool) {
	byMetric := make(map[string]int)
	for _, d := range c.derivedOrder {
		declared := &c.Derived[d.index]
		if !declared.Match.MatchesDevice(site, device, tags) {
			continue
		}
		if at, twice := byMetric[declared.Metric]; twice {
			numbers[at] = max(numbers[at], d.index)
			continue
		}
		byMetric[declared.Metric] = len(numbers)
		numbers = append(numbers, d.index)
	}
	if len(numbers) > rule.MaxDerivedOfDevice {
		return numbers[:rule.MaxDerivedOfDevice], true
	}
	return numbers, false
}

// derived reads the derived series.
func (o *object) derived(c *Config) {
	items, _ := o.list("derived", rule.MaxDerived)
	everywhere := 0
	for _, item := range items {
		do := o.r.object(item, derivedTop...)
		if do == nil {
			continue
		}
		var d rule.Derived
		before := len(o.r.found)
		read(do, rule.DerivedFields(), &d)
		d = d.WithDefaults()
		for _, p := range d.Problems() {
			if !do.failed[p.Field] && (len(o.r.found) == before || !missing(p)) {
				do.fail(p.Field, "%s", p.Problem)
			}
		}
		for i, other := range c.Derived {
			if other.Metric == d.Metric && other.Match.Site == d.Match.Site && other.Match.Device == d.Match.Device && len(other.Match.Tags)+len(d.Match.Tags) == 0 {
				do.fail("metric", "%q is derived for the same devices in line %d already", clip(d.Metric), items[i].line)
			}
		}
		if d.Match.Site == "*" && d.Match.Device == "*" && len(d.Match.Tags) == 0 {
			everywhere++
			if everywhere == rule.MaxDerivedOfDevice+1 {
				do.fail("match", "a device has at most %d derived series, and more are declared for all devices", rule.MaxDerivedOfDevice)
			}
		}
		c.derive(d, do)
	}
}

// derive adds a derived series that an entry declares.
func (c *Config) derive(d rule.Derived, entry *object) {
	c.Derived = append(c.Derived, d)
	c.derivedBy = append(c.derivedBy, entry)
}

// counters reads the meters. Their consumption and costs are derived series.
func (o *object) counters(c *Config) {
	items, _ := o.list("counters", rule.MaxCounters)
	for _, item := range items {
		co := o.r.object(item, append(slices.Clone(counterTop), "tariff")...)
		if co == nil {
			continue
		}
		var m rule.Counter
		read(co, rule.CounterFields(), &m)
		m.Tariff = co.tariff()
		m = m.WithDefaults()
		for _, p := range m.Problems() {
			if !co.failed[p.Field] && !(p.Field == "currency" && co.failed["price"]) {
				co.fail(p.Field, "%s", p.Problem)
			}
		}
		for _, d := range m.Series() {
			c.derive(d, co)
		}
		c.Counters = append(c.Counters, m)
	}
}

// tariff reads the prices of a meter.
func (o *object) tariff() []rule.Tariff {
	items, _ := o.list("tariff", rule.MaxTariff)
	var all []rule.Tariff
	for _, item := range items {
		to := o.r.object(item, topOf(rule.TariffFields())...)
		if to == nil {
			o.failed["price"] = true
			continue
		}
		var t rule.Tariff
		read(to, rule.TariffFields(), &t)
		if _, given := to.fields["price"]; !given {
			to.fail("price", "is missing: what a unit costs then")
		}
		all = append(all, t)
		for _, p := range rule.WithTariffDefaults(t).Problems() {
			if !to.failed[p.Field] {
				to.fail(p.Field, "%s", p.Problem)
			}
		}
	}
	return all
}

// groups reads the series of several devices.
func (o *object) groups(c *Config) {
	items, _ := o.list("groups", rule.MaxGroups)
	for _, item := range items {
		to := o.r.object(item, groupTop...)
		if to == nil {
			continue
		}
		var g rule.Group
		read(to, rule.GroupFields(), &g)
		g = g.WithDefaults()
		for _, p := range g.Problems() {
			if !to.failed[p.Field] {
				to.fail(p.Field, "%s", p.Problem)
			}
		}
		for _, other := range c.Groups {
			if other.Name == g.Name && other.Metric == g.Metric && g.Name != "" {
				to.fail("metric", "the group %q has %q already", clip(g.Name), clip(g.Metric))
			}
		}
		c.Groups = append(c.Groups, g)
	}
}

// missing reports whether a problem is that a field is missing. It is not reported beside
// others of the same entry, which may be the reason.
func missing(p *rule.FieldError) bool { return strings.HasPrefix(p.Problem, "is missing") }

// derivedTop, counterTop and groupTop are the fields of a derived series, of a meter and of a
// group.
var derivedTop, counterTop, groupTop = topOf(rule.DerivedFields()), topOf(rule.CounterFields()), topOf(rule.GroupFields())

// topOf returns the fields of a table without what lies in a mapping.
func topOf[T any](table []rule.FieldOf[T]) []string {
	var top []string
	for _, f := range table {
		outer, _, _ := strings.Cut(f.Name, ".")
		if !slices.Contains(top, outer) {
			top = append(top, outer)
		}
	}
	return top
}

// read reads the fields of a table.
func read[T any](o *object, table []rule.FieldOf[T], into *T) {
	var match []string
	for _, f := range table {
		if _, inner, nested := strings.Cut(f.Name, "."); nested {
			match = append(match, inner)
		}
	}
	o.unfold("match", match)
	for _, f := range table {
		switch p := f.In(into).(type) {
		case *string:
			o.string(f.Name, p)
			*p = strings.TrimSpace(*p)
		case *float64:
			if n := o.number(f.Name); n != nil {
				*p = *n
				o.notZero(f.Field, *p == 0, "must be above 0")
			}
		case *time.Duration:
			o.duration(f.Name, p)
			o.notZero(f.Field, *p == 0, "must be longer than 0s")
		case *map[string]string:
			*p = o.words(f.Name)
		}
	}
}

// order puts derived series behind what they are made from. One that is made from itself, by
// whatever way, is a problem.
func (c *Config) order() {
	inputs, entries := make(map[string][]string), make(map[string][]*object)
	for i, d := range c.Derived {
		entries[d.Metric] = append(entries[d.Metric], c.derivedBy[i])
	}
	c.derivedBy = nil
	for _, d := range c.Derived {
		for _, metric := range d.Inputs() {
			if entries[metric] != nil && metric != d.Metric {
				inputs[d.Metric] = append(inputs[d.Metric], metric)
			}
		}
	}
	ranks := make(map[string]int)
	var path []string
	var rank func(metric string) int
	rank = func(metric string) int {
		if known, ok := ranks[metric]; ok {
			return known
		}
		if at := slices.Index(path, metric); at >= 0 {
			first := entries[metric][0]
			if !first.failed["metric"] {
				first.fail("metric", "%q is made from itself: %s", clip(metric), strings.Join(append(slices.Clone(path[at:]), metric), " from "))
			}
			return 0
		}
		path = append(path, metric)
		r := 0
		for _, in := range inputs[metric] {
			r = max(r, rank(in)+1)
		}
		path = path[:len(path)-1]
		ranks[metric] = r
		return r
	}
	for i, d := range c.Derived {
		c.derivedOrder = append(c.derivedOrder, derivedOf{index: i, rank: rank(d.Metric)})
	}
	slices.SortStableFunc(c.derivedOrder, func(a, b derivedOf) int { return cmp.Compare(a.rank, b.rank) })
}
