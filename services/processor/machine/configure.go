package machine

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
	"headwater/services/rule"
)

// configuration is the configuration in force, as people declared it.
type configuration struct {
	revision uint64
	content  []byte
	// parsed is nil while there is no content.
	parsed *config.Config
	// rules are the rules that are evaluated: all except drafts.
	rules []*activeRule
	// derived are the derived series, by their numbers in parsed.
	derived []*activeDerived
	// derivedNames are their metrics.
	derivedNames map[string]bool
	// judgesNonNumeric is set if one of them judges readings that are not numbers.
	judgesNonNumeric bool
}

// anyTexts reports whether one of the rules judges readings that are not numbers.
func anyTexts(rules []*activeRule) bool {
	return slices.ContainsFunc(rules, func(r *activeRule) bool {
		spec, _ := rule.SpecOf(r.rule.Detector)
		return spec.Texts
	})
}

// tags returns the tags of the device.
func (c *configuration) tags(d deviceKey) map[string]string {
	if c.parsed == nil {
		return nil
	}
	return c.parsed.Tags(d.site, d.name)
}

// activeRule is a rule in force.
type activeRule struct {
	rule rule.Rule
	// version is the revision of the configuration in which the rule last changed.
	version  uint64
	severity derivedv1.Severity
	// detectors are the rule's detectors by the time zone of the sites that they are
	// for. There is at least one, for UTC.
	detectors map[string]detect.Detector
	// index is its index among the rules that are evaluated.
	index int
	// downsampled is set if its detector gets means of fast series instead of readings.
	downsampled bool
	// expression replaces the detector if the rule is about devices and not about
	// series; else it is nil.
	expression *detect.Expression
	// failing is the number of devices for which the expression can't be evaluated.
	failing uint32
}

// detector returns the detector for sites in a time zone, which must be known.
func (r *activeRule) detector(zone string) detect.Detector {
	d := r.detectors[zone]
	if d != nil {
		return d
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		location = time.UTC // it was known when the configuration was read
	}
	d, err = detect.New(r.rule, location)
	if err != nil {
		d = r.detectors[config.DefaultTimeZone] // the parameters were valid for UTC, and a place does not change them
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

// watch appends the rules that watch a series to out, in their order. The built-in rule
// does not watch series that another rule of its kind watches.
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

// Configure puts the configuration, a text for config.Parse, in force.
//
// A rule keeps its state for the series that it still watches. If its parameters have
// changed, it judges the last reading by them at once. It closes open episodes that it
// would not have opened. The episodes of a rule that was removed are closed too.
func (m *Machine) Configure(revision uint64, content []byte) error {
	if m.config.content != nil && bytes.Equal(content, m.config.content) {
		m.configChanged = m.configChanged || m.config.revision != revision
		m.config.revision = revision
		return nil
	}
	parsed, rules, derived, err := parse(content)
	if err != nil {
		return err
	}
	var active []*activeGroup
	if m.groups != nil {
		if active, err = activateGroups(parsed); err != nil {
			return err
		}
	}
	m.install(revision, content, parsed, rules, derived)
	if m.groups != nil {
		m.replaceGroups(active)
	}
	return nil
}

// install puts rules and windows in force, which are those of the content.
func (m *Machine) install(revision uint64, content []byte, parsed *config.Config, rules []*activeRule, derived []*activeDerived) {
	old := make(map[string]*activeRule, len(m.config.rules))
	for _, r := range m.config.rules {
		old[r.rule.Name] = r
	}
	// kept maps each previous rule to the new rule of the same name.
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
	m.config = configuration{
		revision: revision, content: bytes.Clone(content), parsed: parsed, rules: rules, judgesNonNumeric: anyTexts(rules),
		derived: derived, derivedNames: namesOf(derived),
	}
	m.derivedStored = m.derivedStored || len(derived) > 0
	m.specs = make(map[string]*window.Spec)
	m.configChanged = true
	for i := range m.chunks {
		for _, d := range m.chunks[i].devices {
			before := d.spec
			d.spec = m.specOf(d.site)
			tags := m.config.tags(d.deviceKey)
			moved := was.zone(d.site) != m.config.zone(d.site)
			m.replaceDerived(d)
			m.declareUnits(d)
			for _, s := range d.series {
				if s.window.Change(before, d.spec, m.progress(d)) {
					m.markStale(s)
				}
				m.replaceRules(s, tags, kept, moved)
			}
			m.replaceExpressions(d, tags, kept)
			m.plan(d)
			d.chunk.changed = true
		}
	}
}

// specOf returns the windows of a site.
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

// newSpec returns the windows of a configuration, which may be nil, in a time zone, which
// must be known.
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

// windowKinds maps the kinds that people declare to those of package window.
var windowKinds = map[config.WindowKind]window.Kind{
	config.Tumbling: window.Tumbling, config.Hopping: window.Hopping, config.Sliding: window.Sliding, config.Session: window.Session,
}

// replaceRules gives the series the rules in force. If its site has moved to another time
// zone, its detectors continue there with their state.
func (m *Machine) replaceRules(s *series, tags map[string]string, kept map[*activeRule]*activeRule, moved bool) {
	if s.apart {
		return
	}
	watching := m.config.watch(s.device.deviceKey, s.metric, tags, nil)
	known := make(map[*activeRule]slot, len(s.slots))
	for _, sl := range s.slots {
		// A rule that still exists may no longer watch the series: a tag was removed, or
		// another rule took the place of the built-in one.
		if r := kept[sl.rule]; r != nil && slices.Contains(watching, r) {
			known[r] = sl
			continue
		}
		m.stop(s, sl, m.config.stopReason(sl.rule.rule), detect.RuleChanged)
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

// adopt gives a rule with new parameters the state of the old one, and has it judge the
// last reading. It sets learned as stop does.
func (m *Machine) adopt(s *series, from slot, to *activeRule) detect.State {
	at := max(s.last, m.clock-s.lag)
	m.learned = max(m.clock, at)
	if since, gap := m.silentSince(s); gap {
		from.state.Listen(since)
	}
	d := to.detector(m.config.zone(s.device.site))
	var state detect.State
	state, m.verdicts = d.Adopt(from.state, s.silentUntil(to, at), *s.unit, m.verdicts[:0])
	if state == nil {
		m.stop(s, from, "the rule has another detector now", detect.RuleChanged)
		return d.Start()
	}
	m.endVerdicts(detect.RuleChanged)
	m.emitVerdicts(s, to)
	return state
}

// stopReason returns why a previous rule does not watch a series any more.
func (c *configuration) stopReason(r rule.Rule) string {
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

// judgesAlike reports whether both rules find the same episodes in a series that both
// watch. Their severities may differ.
func judgesAlike(a, b rule.Rule) bool {
	a.Severity, a.Match = b.Severity, b.Match
	return a.SameDetection(b)
}

// parse parses a configuration, and makes the detectors of its rules and what derives its
// series.
func parse(content []byte) (*config.Config, []*activeRule, []*activeDerived, error) {
	parsed, err := config.Parse("configuration", content)
	if err != nil {
		return nil, nil, nil, err
	}
	rules, err := activate(parsed.Rules)
	if err != nil {
		return nil, nil, nil, err
	}
	derived, err := activateDerived(parsed)
	return parsed, rules, derived, err
}

// activate makes the detectors of the rules that are evaluated.
func activate(declared []rule.Rule) ([]*activeRule, error) {
	var rules []*activeRule
	for _, r := range declared {
		if r.State == rule.Draft {
			continue
		}
		spec, _ := rule.SpecOf(r.Detector)
		active := &activeRule{rule: r, severity: severities[r.Severity], index: len(rules), downsampled: spec.Means}
		var err error
		if spec.OfDevice {
			active.expression, err = detect.NewExpression(r.Expression, r.Resolve, r.Metric, r.For, r.Silence)
		} else {
			active.detectors = make(map[string]detect.Detector)
			active.detectors[config.DefaultTimeZone], err = detect.New(r, time.UTC)
		}
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		rules = append(rules, active)
	}
	return rules, nil
}

// severities maps the severities that people declare to those of anomalies.
var severities = map[rule.Severity]derivedv1.Severity{
	rule.Info:     derivedv1.Severity_SEVERITY_INFO,
	rule.Warning:  derivedv1.Severity_SEVERITY_WARNING,
	rule.Critical: derivedv1.Severity_SEVERITY_CRITICAL,
}
