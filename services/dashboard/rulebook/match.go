package rulebook

import (
	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/services/rule/expression"
)

// Device is a device with its metrics that rules can judge.
type Device struct {
	Site, Device string
	Metrics      []Metric
}

// Metric is a metric with its unit.
type Metric struct{ Name, Unit string }

// Tagged are devices with the tags that a configuration gives them.
type Tagged struct {
	devices []Device
	tags    []map[string]string
}

// Tag returns the devices with their tags. Without a configuration they have
// none.
func Tag(c *config.Config, devices []Device) Tagged {
	t := Tagged{devices: devices, tags: make([]map[string]string, len(devices))}
	if c != nil && len(c.Devices) > 0 {
		for i, d := range devices {
			t.tags[i] = c.Tags(d.Site, d.Device)
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
}

// Match calls each, which may be nil, for every series that the rule matches, in
// the order of the devices, and returns what they are.
func (t Tagged) Match(r rule.Rule, each func(Device, Metric)) Matched {
	var out Matched
	metrics := make(map[string]bool) // which names the rule matches
	several := false
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
