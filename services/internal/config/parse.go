package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/rule"
)

// Parse reads a configuration as it is in force: what people wrote in a file,
// and behind it what Headwater keeps (see Parts). The name stands for the file in
// messages. The error joins every problem that was found, each a *Problem; the
// text is then good for nothing, and no part of it is returned.
func Parse(name string, text []byte) (*Config, error) {
	r := &reader{file: name}
	if !r.fits(text) {
		return nil, r.problems()
	}
	t := split(text)
	c := r.config(t)
	if c != nil && t.kept != nil {
		r.line, r.origin = t.keptLine, rule.FromPage
		r.kept(c, t.kept)
	}
	if err := r.problems(); err != nil {
		return nil, err
	}
	if _, declared := c.Rule(rule.UnusualName); r.auto && !declared {
		c.Rules = append(c.Rules, rule.Unusual())
	}
	return c, nil
}

// ParseRule reads the text of one rule, as the page and the API have it, with
// the channels that it may name.
func ParseRule(name string, text []byte, channels []Channel) (rule.Rule, error) {
	r := &reader{file: name, origin: rule.FromPage}
	var u rule.Rule
	if r.fits(text) {
		if root := r.root(text); root != nil {
			if o := r.object(value{node: root, line: line(root)}, ruleFields()...); o != nil {
				u = o.rule(names(channels), true)
			}
		}
	}
	if err := r.problems(); err != nil {
		return rule.Rule{}, err
	}
	return u, nil
}

// problems joins what was found, or returns nil.
func (r *reader) problems() error {
	slices.SortStableFunc(r.found, func(a, b *Problem) int { return cmp.Compare(a.Line, b.Line) })
	var errs []error
	for i, p := range r.found {
		if i == maxProblems {
			errs = append(errs, fmt.Errorf("%s: and %d problems more", r.file, len(r.found)-i))
			break
		}
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// sectionNames are the fields of a file.
var sectionNames = []string{"rules", "auto", "devices", "channels", "windows", "lateness", "time_zone", "sites"}

func (r *reader) config(t texts) *Config {
	none := object{r: r, fields: map[string]value{}, failed: map[string]bool{}}
	file, base := new(none), new(none)
	// What was taken out of a text may have been all that it held.
	if t.kept == nil || !blank(t.file) {
		if file = r.top(t.file); file == nil {
			return nil
		}
	}
	if !blank(t.base) {
		r.line = t.baseLine
		if base = r.top(t.base); base == nil {
			return nil
		}
	}
	// section returns where a section is read: in the file if it has the section,
	// else among those that are kept.
	section := func(name string) *object {
		if _, has := base.fields[name]; has && file.fields[name].node == nil {
			r.line, r.origin = t.baseLine, rule.Kept
			return base
		}
		r.line, r.origin = 0, rule.FromFile
		return file
	}
	r.lines = map[string]int{}
	c := &Config{Lateness: DefaultLateness, TimeZone: DefaultTimeZone}
	channels := section("channels")
	c.Channels = channels.channels()
	r.channelsKnown = !channels.failed["channels"]
	c.Devices = section("devices").devices()
	c.Rules = section("rules").rules(c.Channels)
	r.auto = true
	section("auto").toggle("auto", &r.auto)
	section("lateness").bounded("lateness", &c.Lateness, 0, MaxLateness)
	c.Windows = section("windows").windows(c.Lateness)
	section("time_zone").zone("time_zone", &c.TimeZone)
	section("sites").zones(c)
	return c
}

// top reads the top mapping of a text with sections.
func (r *reader) top(text []byte) *object {
	root := r.root(text)
	if root == nil {
		return nil
	}
	return r.object(value{node: root, line: line(root)}, sectionNames...)
}

// kept reads the part that Headwater keeps.
func (r *reader) kept(c *Config, text []byte) {
	root := r.root(text)
	if root == nil {
		return
	}
	top := r.object(value{node: root, line: line(root)}, "author", "file", "rules")
	if top == nil {
		return
	}
	more := top.rules(c.Channels)
	if len(c.Rules)+len(more) > MaxRules {
		top.fail("rules", "are %d with those of the file, at most %d", len(c.Rules)+len(more), MaxRules)
	}
	c.Rules = append(c.Rules, more...)
}

func names(channels []Channel) []string {
	all := make([]string, len(channels))
	for i, c := range channels {
		all[i] = c.Name
	}
	return all
}

// ruleFields are the fields of a rule.
func ruleFields() []string {
	return []string{
		"name", "description", "match", "state", "detector", "expression", "resolve", "metric", "above", "below", "hysteresis", "for", "rise", "fall",
		"within", "settle", "false_alarms", "direction", "share", "silence", "severity", "notify", "remind", "labels", "runbook",
	}
}

func (o *object) rules(channels []Channel) []rule.Rule {
	known := names(channels)
	items, _ := o.list("rules", MaxRules)
	all := make([]rule.Rule, 0, len(items))
	for _, item := range items {
		ro := o.r.object(item, ruleFields()...)
		if ro == nil {
			continue
		}
		u := ro.rule(known, o.r.channelsKnown)
		first, twice := o.r.lines[u.Name]
		switch {
		case u.Name == "":
		case twice && o.r.origin == rule.FromPage && first < o.r.line:
			ro.fail("name", "%q is the name of a rule made on the page and of one in the file, in line %d: rename or remove one of them", clip(u.Name), first)
		case twice:
			ro.fail("name", "%q is the name of the rule in line %d already", clip(u.Name), first)
		default:
			o.r.lines[u.Name] = o.r.line + item.line
		}
		all = append(all, u)
	}
	return all
}

func (o *object) devices() []Devices {
	items, _ := o.list("devices", MaxDevices)
	all := make([]Devices, 0, len(items))
	for _, item := range items {
		do := o.r.object(item, "match", "tags")
		if do == nil {
			continue
		}
		d := Devices{Tags: do.words("tags")}
		if m, ok := do.fields["match"]; ok {
			if mo := o.r.object(m, "site", "device"); mo != nil {
				mo.string("site", &d.Match.Site)
				mo.string("device", &d.Match.Device)
				mo.glob("site", d.Match.Site)
				mo.glob("device", d.Match.Device)
			}
		} else {
			do.fail("match", "is missing: which devices, like {site: hall, device: \"door-*\"}")
		}
		if len(d.Tags) == 0 && !do.failed["tags"] {
			do.fail("tags", "is missing: like {kind: door}")
		}
		for _, p := range rule.TagProblems("tags", d.Tags) {
			do.fail(p.Field, "%s", p.Problem)
		}
		all = append(all, d)
	}
	return all
}

func (o *object) glob(field, g string) {
	if problem := rule.CheckGlob(g); problem != "" && !o.failed[field] {
		o.fail(field, "%s", problem)
	}
}

func (o *object) rule(channels []string, channelsKnown bool) rule.Rule {
	u := rule.Rule{Origin: o.r.origin}
	var detector, severity, direction, state string
	o.string("name", &u.Name)
	o.string("description", &u.Description)
	if m, ok := o.fields["match"]; ok {
		if mo := o.r.object(m, "site", "device", "metric", "tags"); mo != nil {
			mo.string("site", &u.Match.Site)
			mo.string("device", &u.Match.Device)
			mo.string("metric", &u.Match.Metric)
			u.Match.Tags = mo.words("tags")
			for field, v := range mo.fields {
				o.fields["match."+field] = v
			}
			for field := range mo.failed {
				o.failed["match."+field] = true
			}
		}
	}
	o.string("detector", &detector)
	o.string("severity", &severity)
	o.string("direction", &direction)
	o.string("state", &state)
	o.string("runbook", &u.Runbook)
	o.string("expression", &u.Expression)
	o.string("resolve", &u.Resolve)
	o.string("metric", &u.Metric)
	u.Labels = o.words("labels")
	u.Detector, u.Severity, u.Direction = rule.Detector(detector), rule.Severity(severity), rule.Direction(direction)
	u.State = rule.State(state)
	u.Above, u.Below = o.number("above"), o.number("below")
	u.Hysteresis = o.orZero("hysteresis")
	u.Rise, u.Fall = o.positive("rise"), o.positive("fall")
	u.FalseAlarms, u.Share = o.positive("false_alarms"), o.positive("share")
	o.duration("for", &u.For)
	o.span("within", &u.Within)
	o.span("settle", &u.Settle)
	o.span("silence", &u.Silence)
	o.span("remind", &u.Remind)
	o.notify(&u, channels, channelsKnown)
	u = u.WithDefaults()
	o.validate(u)
	return u
}

func (o *object) orZero(field string) float64 {
	if f := o.number(field); f != nil {
		return *f
	}
	return 0
}

// positive reads a number that means nothing when it is 0.
func (o *object) positive(field string) float64 {
	f := o.number(field)
	if f == nil {
		return 0
	}
	if *f == 0 {
		o.fail(field, "must be above 0")
	}
	return *f
}

// validate adds what the rule itself finds wrong, unless reading the field has
// failed already.
func (o *object) validate(u rule.Rule) {
	// What is told as the absence of the first may be a slip in the second.
	twins := map[string]string{"above": "below", "rise": "fall"}
	for _, p := range u.Problems() {
		if _, given := o.fields[p.Field]; o.failed[p.Field] || !given && o.failed[twins[p.Field]] {
			continue
		}
		o.fail(p.Field, "%s", p.Problem)
	}
}

func (o *object) notify(u *rule.Rule, channels []string, channelsKnown bool) {
	items, given := o.list("notify", rule.MaxNotify)
	if !given {
		return
	}
	u.Notify = []string{}
	for _, item := range items {
		n, ok := item.node.(*ast.StringNode)
		switch {
		case !ok:
			o.r.problem(item.line, item.path, "must be the name of a channel, not %s", kind(item.node))
		case slices.Contains(u.Notify, n.Value):
			o.r.problem(item.line, item.path, "%q is listed twice", clip(n.Value))
		case channelsKnown && !slices.Contains(channels, n.Value):
			o.r.problem(item.line, item.path, "%q is not a channel%s", clip(n.Value), suggestion(nearest(n.Value, channels), channels))
		default:
			u.Notify = append(u.Notify, n.Value)
		}
	}
}

func (o *object) channels() []Channel {
	items, _ := o.list("channels", MaxChannels)
	lines := map[string]int{}
	all := make([]Channel, 0, len(items))
	for _, item := range items {
		co := o.r.object(item, "name", "type", "url", "url_file", "resolved")
		if co == nil {
			o.failed["channels"] = true
			continue
		}
		c := co.channel()
		if first, twice := lines[c.Name]; twice && c.Name != "" {
			co.fail("name", "%q is the name of the channel in line %d already", clip(c.Name), first)
		} else {
			lines[c.Name] = item.line
		}
		all = append(all, c)
	}
	return all
}

func (o *object) channel() Channel {
	c := Channel{Resolved: true}
	var kindName, address string
	o.string("name", &c.Name)
	o.string("type", &kindName)
	o.string("url", &address)
	o.string("url_file", &c.URLFile)
	o.bool("resolved", &c.Resolved)
	c.Type, c.URL = ChannelType(kindName), Secret(strings.TrimSpace(address))
	switch {
	case o.failed["name"]:
	case c.Name == "":
		o.fail("name", "is missing")
	case !ValidChannelName(c.Name):
		o.fail("name", "%q is not a name: 1 to %d characters of a-z, 0-9 and -", clip(c.Name), rule.MaxName)
	}
	switch {
	case o.failed["type"]:
	case kindName == "":
		o.fail("type", "is missing: one of webhook, ntfy, shoutrrr")
	case !slices.Contains(ChannelTypes(), c.Type):
		o.fail("type", "%q is not a type of channel: one of webhook, ntfy, shoutrrr", clip(kindName))
	}
	switch {
	case o.failed["url"] || o.failed["url_file"] || o.failed["type"]:
	case c.URL == "" && c.URLFile == "":
		o.fail("url", "is missing; url_file names a file that holds it instead")
	case c.URL != "" && c.URLFile != "":
		o.fail("url_file", "is given together with url: one of them")
	case c.URL != "":
		if err := CheckURL(c.Type, c.URL); err != nil {
			o.fail("url", "%v", err)
		}
	}
	return c
}

// ValidChannelName reports whether s is a name of a channel: 1 to 64
// characters of [a-z0-9-]. It stands in subjects and names of consumers.
func ValidChannelName(s string) bool {
	return rule.ValidName(s) && !strings.Contains(s, "_")
}

// CheckURL says what is wrong with the URL of a channel, without quoting it,
// or returns nil. A URL that was read from a file is checked with it, too.
func CheckURL(t ChannelType, secret Secret) error {
	text := secret.Reveal()
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("holds spaces or control characters")
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("is not a URL")
	}
	scheme := strings.ToLower(u.Scheme)
	if t == Shoutrrr {
		service, _, _ := strings.Cut(scheme, "+")
		if !slices.Contains(ShoutrrrSchemes(), service) {
			return fmt.Errorf("its scheme is none that shoutrrr knows; known are %s", strings.Join(ShoutrrrSchemes(), ", "))
		}
		return nil
	}
	switch {
	case scheme != "http" && scheme != "https":
		return errors.New("must begin with https:// or http://")
	case u.Hostname() == "":
		return errors.New("names no host")
	case t == Ntfy && strings.Trim(u.Path, "/") == "":
		return errors.New("names no topic, like https://ntfy.sh/my-topic")
	default:
		return nil
	}
}

// ShoutrrrSchemes lists the schemes of service URLs that a shoutrrr channel
// takes, as of shoutrrr 0.13. It leaves out "logger", which tells nobody.
func ShoutrrrSchemes() []string {
	return []string{
		"bark", "discord", "generic", "googlechat", "gotify", "hangouts", "ifttt", "join", "lark", "matrix",
		"mattermost", "notifiarr", "ntfy", "opsgenie", "pagerduty", "pushbullet", "pushover", "rocketchat", "signal",
		"slack", "smtp", "teams", "telegram", "wecom", "zulip",
	}
}
