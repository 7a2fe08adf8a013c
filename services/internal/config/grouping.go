package config

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/rule"
)

// Bounds of a grouping.
const (
	// MaxGroupWait is the longest wait of the first alert of a group.
	MaxGroupWait = 5 * time.Minute
	// MaxGroupInterval is the longest interval between two messages of a group.
	MaxGroupInterval = 24 * time.Hour
	// MaxGroupBy is the greatest number of parts that a group is named by.
	MaxGroupBy = 8
)

// The parts of an alert that groups may be named by. Beside them there are label:NAME, of
// the rule, and tag:NAME, of the device; gateway is the tag of that name.
const (
	BySite     = "site"
	ByGateway  = "gateway"
	ByDevice   = "device"
	ByMetric   = "metric"
	ByRule     = "rule"
	BySeverity = "severity"
	ByLabel    = "label:"
	ByTag      = "tag:"
)

// GroupParts lists the parts without a name of their own.
func GroupParts() []string {
	return []string{BySite, ByGateway, ByDevice, ByMetric, ByRule, BySeverity}
}

// Grouping says which alerts go to a channel in one message.
type Grouping struct {
	// By are the parts that the alerts of a group have in common.
	By []string
	// Wait is how long the first alert of a group waits for others; Interval is the least
	// time between two messages of a group of one kind.
	Wait, Interval time.Duration
	// Repeat is the time after which channels are notified again of alerts whose rule
	// says nothing about that; 0: never. It is the same for all channels.
	Repeat time.Duration
}

// DefaultGrouping is the grouping in force without another one. Each device has a group of
// its own, so that nobody waits to hear of a second door because a first one is open; a
// storm is still a few messages, because a channel gets few messages about single groups.
func DefaultGrouping() Grouping {
	return Grouping{By: []string{BySite, ByDevice, ByRule}, Interval: time.Minute}
}

func (g Grouping) equal(o Grouping) bool {
	return slices.Equal(g.By, o.By) && g.Wait == o.Wait && g.Interval == o.Interval && g.Repeat == o.Repeat
}

// GroupingOf returns the grouping of a channel.
func (c *Config) GroupingOf(channel string) Grouping {
	if g, ok := c.channelGroupings[channel]; ok {
		return g
	}
	return c.Grouping
}

// grouping reads the grouping, and those of single channels.
func (o *object) grouping(c *Config) {
	v, given := o.fields["grouping"]
	if !given {
		return
	}
	if _, null := v.node.(*ast.NullNode); null {
		return
	}
	g := o.r.object(v, "by", "wait", "interval", "repeat", "channels")
	if g == nil {
		return
	}
	g.groupingFields(&c.Grouping)
	g.bounded("repeat", &c.Grouping.Repeat, 0, rule.MaxSpan)
	if repeat := c.Grouping.Repeat; repeat > 0 && repeat < rule.MinRemind && !g.failed["repeat"] {
		g.fail("repeat", "%s", rule.OutOfRange(repeat, rule.MinRemind, rule.MaxSpan))
	}
	channels, given := g.fields["channels"]
	if !given {
		return
	}
	of := o.r.object(channels, names(c.Channels)...)
	if of == nil {
		return
	}
	c.channelGroupings = make(map[string]Grouping)
	for name, v := range of.fields {
		one := c.Grouping
		if fields := o.r.object(v, "by", "wait", "interval"); fields != nil {
			fields.groupingFields(&one)
		}
		c.channelGroupings[name] = one
	}
}

func (o *object) groupingFields(into *Grouping) {
	o.bounded("wait", &into.Wait, 0, MaxGroupWait)
	o.bounded("interval", &into.Interval, 0, MaxGroupInterval)
	items, given := o.list("by", MaxGroupBy)
	if !given {
		return
	}
	into.By = []string{}
	for _, item := range items {
		n, ok := item.node.(*ast.StringNode)
		switch {
		case !ok:
			o.r.problem(item.line, item.path, "must be a part of an alert like site, not %s", kind(item.node))
		case !validPart(n.Value):
			o.r.problem(item.line, item.path, "%q is not a part of an alert: one of %s, label:NAME, tag:NAME", clip(n.Value), strings.Join(GroupParts(), ", "))
		case slices.Contains(into.By, n.Value):
			o.r.problem(item.line, item.path, "%q is listed twice", clip(n.Value))
		default:
			into.By = append(into.By, n.Value)
		}
	}
}

func validPart(part string) bool {
	for _, kind := range []string{ByLabel, ByTag} {
		if name, ok := strings.CutPrefix(part, kind); ok {
			return rule.ValidName(name)
		}
	}
	return slices.Contains(GroupParts(), part)
}
