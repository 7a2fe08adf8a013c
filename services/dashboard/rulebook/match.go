package rulebook

import (
	"strings"

	"headwater/proto/figure"
	"headwater/services/rule"
	"headwater/services/rule/expression"
	"headwater/web/view"
)

// Device is a device with its metrics.
type Device struct {
	Site, Device string
	Metrics      []Metric
}

// Metric is a metric with its unit, the kind of its values (a number while it is not
// known) and its latest value.
type Metric struct {
	Name, Unit string
	Kind       view.Kind
	Value      view.Value
}

// Tagged are devices with their tags.
type Tagged struct {
	devices []Device
	tags    []map[string]string
}

// Tag returns the devices with their tags, of which nil means none.
func Tag(tags func(site, device string) map[string]string, devices []Device) Tagged {
	t := Tagged{devices: devices, tags: make([]map[string]string, len(devices))}
	if tags != nil {
		for i, d := range devices {
			t.tags[i] = tags(d.Site, d.Device)
		}
	}
	return t
}

// Matched is what a rule matches.
type Matched struct {
	// Series counts the series.
	Series int
	// Unit is that of all of them; empty when they have none or several.
	Unit string
	// texts and flags count the series that match and that the rule cannot judge
	// because they send no numbers; sample is the latest text of the first.
	texts, flags int
	sample       string
}

// maxSample bounds the text of a series that is quoted, in bytes.
const maxSample = 80

// Unjudged says in words which series the rule matches and cannot judge; empty
// when there are none.
func (m Matched) Unjudged() string {
	var parts []string
	say := func(n int, what string) {
		if n > 0 {
			parts = append(parts, figure.Plural(n, "series matches but sends ", "series match but send ")+what)
		}
	}
	text := "text"
	if m.sample != "" {
		text += ": \"" + figure.Clip(m.sample, maxSample) + "\""
	}
	say(m.texts, text)
	say(m.flags, "true or false")
	return strings.Join(parts, "; ")
}

// Match calls each, which may be nil, for every series that the rule judges, in
// the order of the devices, and returns what they are.
func (t Tagged) Match(r rule.Rule, each func(Device, Metric)) Matched {
	var out Matched
	metrics := make(map[string]bool) // which names the rule matches
	several := false
	spec, _ := rule.SpecOf(r.Detector)
	// The alerts of an expression show at one metric of the device.
	if r.Detector == rule.Expression {
		r.Match.Metric = r.Metric
		if p, err := expression.Compile(r.Expression); err == nil && r.Metric == "" {
			r.Match.Metric = p.Metrics()[0]
		}
	}
	anywhere := rule.Rule{Match: rule.Match{Metric: r.Match.Metric}}
	for i, d := range t.devices {
		if !r.Match.MatchesDevice(d.Site, d.Device, t.tags[i]) {
			continue
		}
		for _, m := range d.Metrics {
			matches, known := metrics[m.Name]
			if !known {
				matches = anywhere.Matches(d.Site, d.Device, m.Name, nil)
				metrics[m.Name] = matches
			}
			if !matches {
				continue
			}
			if !spec.Texts {
				switch m.Kind {
				case view.KindText:
					out.texts++
					if out.sample == "" {
						out.sample = m.Value.Text
					}
					continue
				case view.KindFlag:
					out.flags++
					continue
				}
			}
			several = several || out.Series > 0 && m.Unit != out.Unit
			out.Series++
			if !several {
				out.Unit = m.Unit
			}
			if each != nil {
				each(d, m)
			}
		}
	}
	if several {
		out.Unit = ""
	}
	return out
}
