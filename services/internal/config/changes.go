package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"headwater/services/decode/mapping"
	"headwater/services/internal/oncall"
	"headwater/services/rule"
)

// Changes are what one configuration has that another had not, by name.
type Changes struct {
	Rules, Channels Delta
	// Other names the sections beside rules and channels that differ.
	Other []string
}

// Delta are names in the order of the configuration.
type Delta struct{ Added, Changed, Removed []string }

// Compare returns what became of before, which may be nil for none.
func Compare(before, after *Config) Changes {
	if before == nil {
		before = &Config{Lateness: after.Lateness, TimeZone: after.TimeZone, Windows: after.Windows, Grouping: after.Grouping}
	}
	out := Changes{
		Rules:    delta(before.Rules, after.Rules, func(r rule.Rule) string { return r.Name }, rule.Rule.Equal),
		Channels: delta(before.Channels, after.Channels, func(c Channel) string { return c.Name }, func(a, b Channel) bool { return a == b }),
	}
	other := func(name string, same bool) {
		if !same {
			out.Other = append(out.Other, name)
		}
	}
	other("devices", SameDevices(before, after))
	other("series", slices.EqualFunc(before.Series, after.Series, func(a, b Series) bool {
		return a.Match.Site == b.Match.Site && a.Match.Device == b.Match.Device && a.Match.Metric == b.Match.Metric && a.Unit == b.Unit &&
			(a.Literal == nil) == (b.Literal == nil) && (a.Literal == nil || *a.Literal == *b.Literal)
	}))
	other("derived", slices.EqualFunc(declared(before), declared(after), rule.Derived.Equal))
	other("counters", slices.EqualFunc(before.Counters, after.Counters, rule.Counter.Equal))
	other("groups", slices.EqualFunc(before.Groups, after.Groups, rule.Group.Equal))
	other("mappings", slices.EqualFunc(before.Mappings, after.Mappings, func(a, b *mapping.Mapping) bool { return a.Declared == b.Declared }))
	other(escalationSection, slices.EqualFunc(before.Escalation, after.Escalation, Escalation.equal))
	other(rotasSection, slices.EqualFunc(before.Rotas, after.Rotas, oncall.Rota.Equal))
	other(quietSection, slices.EqualFunc(before.QuietHours, after.QuietHours, oncall.Quiet.Equal))
	other(reportSection, before.Report == after.Report)
	other("grouping", before.Grouping.equal(after.Grouping) && maps.EqualFunc(before.channelGroupings, after.channelGroupings, Grouping.equal))
	other("windows", slices.Equal(before.Windows, after.Windows))
	other("lateness", before.Lateness == after.Lateness)
	other("time_zone", before.TimeZone == after.TimeZone)
	other("sites", maps.Equal(before.siteZones, after.siteZones))
	return out
}

// declared returns the derived series that have an entry of their own.
func declared(c *Config) []rule.Derived {
	return slices.DeleteFunc(slices.Clone(c.Derived), func(d rule.Derived) bool { return d.Counter != nil })
}

// SameDevices reports whether two configurations say the same about devices.
func SameDevices(a, b *Config) bool {
	return slices.EqualFunc(a.Devices, b.Devices, func(a, b Devices) bool {
		return a.Match.Site == b.Match.Site && a.Match.Device == b.Match.Device && a.Equal(b.About)
	})
}

func delta[T any](before, after []T, name func(T) string, same func(a, b T) bool) Delta {
	was := make(map[string]T, len(before))
	for _, x := range before {
		was[name(x)] = x
	}
	var d Delta
	for _, x := range after {
		old, known := was[name(x)]
		switch {
		case !known:
			d.Added = append(d.Added, name(x))
		case !same(old, x):
			d.Changed = append(d.Changed, name(x))
		}
		delete(was, name(x))
	}
	for _, x := range before {
		if _, gone := was[name(x)]; gone {
			d.Removed = append(d.Removed, name(x))
		}
	}
	return d
}

// maxNamed bounds the names that are listed for people.
const maxNamed = 5

// Added says what is new, like "2 rules (cold, warm), channel phone"; empty when
// nothing is.
func (c Changes) Added() string { return listed(c.Rules.Added, c.Channels.Added, nil) }

// Changed says what is different; empty when nothing is.
func (c Changes) Changed() string { return listed(c.Rules.Changed, c.Channels.Changed, c.Other) }

// Removed says what is gone; empty when nothing is.
func (c Changes) Removed() string { return listed(c.Rules.Removed, c.Channels.Removed, nil) }

// String says all of it in one line, or "nothing changed".
func (c Changes) String() string {
	var parts []string
	for _, p := range []struct{ verb, what string }{{"added", c.Added()}, {"changed", c.Changed()}, {"removed", c.Removed()}} {
		if p.what != "" {
			parts = append(parts, p.verb+" "+p.what)
		}
	}
	if parts == nil {
		return "nothing changed"
	}
	return strings.Join(parts, "; ")
}

func listed(rules, channels, other []string) string {
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"rule", rules}, {"channel", channels}} {
		switch n := len(p.names); {
		case n == 1:
			parts = append(parts, p.what+" "+p.names[0])
		case n > maxNamed:
			parts = append(parts, fmt.Sprintf("%d %ss (%s and %d more)", n, p.what, strings.Join(p.names[:maxNamed], ", "), n-maxNamed))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss (%s)", n, p.what, strings.Join(p.names, ", ")))
		}
	}
	return strings.Join(append(parts, other...), ", ")
}
