package processor

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
	"headwater/services/rule"
)

// configuration is what people declared, as it is in force.
type configuration struct {
	revision uint64
	content  []byte
	// parsed is nil as long as there is no content.
	parsed *config.Config
	// rules are those that are evaluated: all but drafts.
	rules []*activeRule
	// misreads says that one of them counts what is no number.
	misreads bool
}

// counted reports whether one of the rules counts what is no number.
func counted(rules []*activeRule) bool {
	return slices.ContainsFunc(rules, func(r *activeRule) bool { return r.rule.Detector == rule.Unreadable })
}

// tags returns what the device is tagged with.
func (c *configuration) tags(d deviceKey) map[string]string {
	if c.parsed == nil {
		return nil
	}
	return c.parsed.Tags(d.site, d.name)
}

// activeRule is a rule in force.
type activeRule struct {
	rule rule.Rule
	// version is the revision of the configuration in which the rule came to be
	// as it is.
	version  uint64
	severity derivedv1.Severity
	// detectors are those that the rule declares, by the time zone of the sites
	// that they are for. It has one at least, that of UTC.
	detectors map[string]detect.Detector
	// index is its place among the rules that are evaluated.
	index int
	// thinned says that its detector gets the readings of fast series as means.
	thinned bool
	// expression is what the rule has instead of a detector when it is about
	// devices and not about series.
	expression *detect.Expression
	// failing is for how many devices its expression can't be evaluated.
	failing uint32
}

// detector returns the detector for sites in a time zone that is known.
func (r *activeRule) detector(zone string) detect.Detector {
	d := r.detectors[zone]
	if d != nil {
		return d
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		location = time.UTC // it was known when the configuration was read
	}
	if d, err = newDetector(r.rule, location); err != nil {
		d = r.detectors[config.DefaultTimeZone] // a place changes nothing about parameters
	}
	r.detectors[zone] = d
	return d
}

// zone returns the name of the time zone of a site.
func (c *configuration) zone(site string) string {
	if c.parsed == nil {
		return config.DefaultTimeZone
	}
	return c.parsed.Zone(site)
}

// watch appends to out the rules that watch a series, in their order. The
// built-in rule leaves series alone that another one of its kind watches.
func (c *configuration) watch(d deviceKey, metric string, tags map[string]string, out []*activeRule) []*activeRule {
	unusual := false
	for _, r := range c.rules {
		if r.expression != nil || r.rule.Origin == rule.BuiltIn && unusual || !r.rule.Matches(d.site, d.name, metric, tags) {
			continue
		}
		unusual = unusual || r.rule.Detector == rule.Auto
		out = append(out, r)
	}
	return out
}

// Configure puts the configuration, a text for config.Parse, in force. A rule
// keeps what it knows of the series that it still watches; if it judges otherwise
// now, it does so at once, by the last reading. Open episodes of a rule that is
// gone, or that would not have opened them, are closed.
func (m *Machine) Configure(revision uint64, content []byte) error {
	if m.config.content != nil && bytes.Equal(content, m.config.content) {
		m.configChanged = m.configChanged || m.config.revision != revision
		m.config.revision = revision
		return nil
	}
	parsed, rules, err := parse(content)
	if err != nil {
		return err
	}
	m.install(revision, content, parsed, rules)
	return nil
}

// install puts rules and windows in force, which are what the content says.
func (m *Machine) install(revision uint64, content []byte, parsed *config.Config, rules []*activeRule) {
	old := make(map[string]*activeRule, len(m.config.rules))
	for _, r := range m.config.rules {
		old[r.rule.Name] = r
	}
	// kept holds, for each rule from before, its successor of the same name.
	kept := make(map[*activeRule]*activeRule)
	for _, r := range rules {
		r.version = revision
		if o := old[r.rule.Name]; o != nil {
			kept[o] = r
			if o.rule.Equal(r.rule) {
				r.version = o.version
			}
		}
	}
	was := m.config
	m.config = configuration{revision: revision, content: bytes.Clone(content), parsed: parsed, rules: rules, misreads: counted(rules)}
	m.specs = make(map[string]*window.Spec)
	m.configChanged = true
	for i := range m.chunks {
		for _, d := range m.chunks[i].devices {
			before := d.spec
			d.spec = m.specOf(d.site)
			tags := m.config.tags(d.deviceKey)
			moved := was.zone(d.site) != m.config.zone(d.site)
			for _, s := range d.series {
				if s.window.Change(before, d.spec, m.progress(d)) {
					m.lack(s)
				}
				m.exchange(s, tags, kept, moved)
			}
			m.exchangeExpressions(d, tags, kept)
			m.plan(d)
			d.chunk.changed = true
		}
	}
}

// specOf returns the windows of a site, as the configuration has them.
func (m *Machine) specOf(site string) *window.Spec {
	zone := ""
	if m.config.parsed != nil {
		zone = m.config.parsed.Zone(site)
	}
	spec := m.specs[zone]
	if spec == nil {
		spec = newSpec(m.config.parsed, zone, m.limits.Readings)
		m.specs[zone] = spec
	}
	return spec
}

// newSpec returns the windows of a configuration, nil for none, in a time zone
// that is known.
func newSpec(c *config.Config, zone string, readings int) *window.Spec {
	spec := &window.Spec{MaxReadings: readings}
	if c == nil {
		return spec
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		location = time.UTC // it was known when the configuration was read
	}
	spec.Calendar = window.NewCalendar(location)
	for _, w := range c.Windows {
		spec.Windows = append(spec.Windows, window.Window{
			Name: w.Name, Kind: windowKinds[w.Kind], Width: w.Width, Every: w.Every, Gap: w.Gap, Delay: w.Delay, Lateness: w.Lateness,
		})
	}
	return spec
}

// windowKinds maps what people declare to what is computed.
var windowKinds = map[config.WindowKind]window.Kind{
	config.Tumbling: window.Tumbling, config.Hopping: window.Hopping, config.Sliding: window.Sliding, config.Session: window.Session,
}

// exchange gives the series the rules in force. If its site moved to another time
// zone, its detectors go on there with what they know.
func (m *Machine) exchange(s *series, tags map[string]string, kept map[*activeRule]*activeRule, moved bool) {
	watching := m.config.watch(s.device.deviceKey, s.metric, tags, nil)
	known := make(map[*activeRule]slot, len(s.slots))
	for _, sl := range s.slots {
		// A rule that is there still may have lost the series with a tag, or to another.
		if r := kept[sl.rule]; r != nil && slices.Contains(watching, r) {
			known[r] = sl
			continue
		}
		m.stop(s, sl, m.config.whyNot(sl.rule.rule))
	}
	s.slots = nil
	zone := m.config.zone(s.device.site)
	for _, r := range watching {
		state := known[r].state
		switch {
		case state == nil:
			state = r.detector(zone).Start()
		case !judgesAlike(known[r].rule.rule, r.rule):
			state = m.adopt(s, known[r], r)
		case moved:
			state = r.detector(zone).Read(codec.NewReader(state.Append(nil)))
		}
		s.slots = append(s.slots, slot{rule: r, state: state})
	}
}

// adopt has a rule that judges otherwise now go on from what it knows of a
// series, and judge what it heard last. When that is learned is told as for stop.
func (m *Machine) adopt(s *series, from slot, to *activeRule) detect.State {
	at := max(s.last, m.clock-s.lag)
	m.learned = max(m.clock, at)
	if since, told := m.silent(s); told {
		from.state.Listen(since)
	}
	d := to.detector(m.config.zone(s.device.site))
	var state detect.State
	if state, m.verdicts = d.Adopt(from.state, s.heard(to, at), *s.unit, m.verdicts[:0]); state == nil {
		m.stop(s, from, "the rule has another detector now")
		return d.Start()
	}
	m.tellVerdicts(s, to)
	return state
}

// whyNot says why a rule from before does not watch a series any more.
func (c *configuration) whyNot(r rule.Rule) string {
	i := slices.IndexFunc(c.parsed.Rules, func(now rule.Rule) bool { return now.Name == r.Name })
	switch {
	case i < 0:
		return "the rule was removed"
	case c.parsed.Rules[i].State == rule.Draft:
		return "the rule was made a draft"
	case (c.parsed.Rules[i].Detector == rule.Expression) != (r.Detector == rule.Expression):
		return "the rule has another detector now"
	default:
		return "the rule does not watch this series any more"
	}
}

// judgesAlike reports whether both rules find the same episodes in a series that
// both watch, whatever they are called to people.
func judgesAlike(a, b rule.Rule) bool {
	a.Severity, a.Match = b.Severity, b.Match
	return a.SameDetection(b)
}

// parse reads a configuration and makes the detectors of its rules.
func parse(content []byte) (*config.Config, []*activeRule, error) {
	parsed, err := config.Parse("configuration", content)
	if err != nil {
		return nil, nil, err
	}
	rules, err := activate(parsed.Rules)
	return parsed, rules, err
}

// activate makes the detectors of the rules that are evaluated.
func activate(declared []rule.Rule) ([]*activeRule, error) {
	var rules []*activeRule
	for _, r := range declared {
		if r.State == rule.Draft {
			continue
		}
		active := &activeRule{
			rule: r, severity: severities[r.Severity], index: len(rules),
			thinned: r.Detector.Learns() && r.Detector != rule.Silence,
		}
		var err error
		if r.Detector == rule.Expression {
			active.expression, err = detect.NewExpression(r.Expression, r.Resolve, r.Metric, r.For, r.Silence)
		} else {
			active.detectors = make(map[string]detect.Detector)
			active.detectors[config.DefaultTimeZone], err = newDetector(r, time.UTC)
		}
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		rules = append(rules, active)
	}
	return rules, nil
}

// severities maps what people declare to what is told.
var severities = map[rule.Severity]derivedv1.Severity{
	rule.Info:     derivedv1.Severity_SEVERITY_INFO,
	rule.Warning:  derivedv1.Severity_SEVERITY_WARNING,
	rule.Critical: derivedv1.Severity_SEVERITY_CRITICAL,
}

// newDetector returns the detector that the rule declares, for sites of a place.
func newDetector(r rule.Rule, place *time.Location) (detect.Detector, error) {
	var d detect.Detector
	switch r.Detector {
	case rule.Limit:
		l := &detect.Limit{Above: math.Inf(1), Below: math.Inf(-1), Hysteresis: r.Hysteresis, For: r.For, Silence: r.Silence}
		if r.Above != nil {
			l.Above = *r.Above
		}
		if r.Below != nil {
			l.Below = *r.Below
		}
		d = l
	case rule.Rate:
		d = &detect.Rate{Rise: r.Rise, Fall: r.Fall, Within: r.Within, Settle: r.Settle, Silence: r.Silence}
	case rule.Unreadable:
		d = &detect.Unreadable{Share: r.Share, Within: r.Within, Silence: r.Silence}
	default:
		if d = newLearner(r, place); d == nil {
			return nil, fmt.Errorf("unknown detector %q", r.Detector)
		}
	}
	return d, d.Validate()
}

// newLearner returns the detector of a rule that learns what is usual, or nil.
func newLearner(r rule.Rule, place *time.Location) detect.Detector {
	alarms := detect.Alarms{FalseAlarms: r.FalseAlarms, For: r.For, Silence: r.Silence}
	switch r.Detector {
	case rule.Auto:
		return &detect.Auto{Alarms: alarms, Location: place}
	case rule.Surge:
		return &detect.Surge{Alarms: alarms, Direction: directions[r.Direction]}
	case rule.Range:
		return &detect.Range{Alarms: alarms}
	case rule.Season:
		return &detect.Season{Alarms: alarms, Location: place}
	case rule.Shift:
		return &detect.Shift{Alarms: alarms}
	case rule.Stuck:
		return &detect.Stuck{Alarms: alarms}
	case rule.Silence:
		return &detect.Silence{FalseAlarms: r.FalseAlarms}
	case rule.Drift:
		return &detect.Drift{Alarms: alarms, Location: place}
	default:
		return nil
	}
}

// directions maps what people declare to what the detector takes.
var directions = map[rule.Direction]detect.Direction{rule.Both: detect.Both, rule.Up: detect.Up, rule.Down: detect.Down}
