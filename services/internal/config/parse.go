package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/rule"
)

// Parse reads a configuration. The name stands for the file in messages. The
// error joins every problem that was found, each a *Problem; the text is then
// good for nothing, and no part of it is returned.
func Parse(name string, text []byte) (*Config, error) {
	r := &reader{file: name}
	c := r.config(text)
	if len(r.found) == 0 {
		return c, nil
	}
	slices.SortStableFunc(r.found, func(a, b *Problem) int { return cmp.Compare(a.Line, b.Line) })
	var errs []error
	for i, p := range r.found {
		if i == maxProblems {
			errs = append(errs, fmt.Errorf("%s: and %d problems more", name, len(r.found)-i))
			break
		}
		errs = append(errs, p)
	}
	return nil, errors.Join(errs...)
}

func (r *reader) config(text []byte) *Config {
	root := r.root(text)
	if root == nil {
		return nil
	}
	top := r.object(value{node: root, line: line(root)}, "rules", "channels", "windows", "lateness")
	if top == nil {
		return nil
	}
	c := &Config{Windows: []time.Duration{DefaultWindow}, Lateness: DefaultLateness}
	c.Channels = top.channels()
	c.Rules = top.rules(c.Channels)
	top.windows(&c.Windows)
	top.duration("lateness", &c.Lateness)
	if c.Lateness < 0 || c.Lateness > MaxLateness {
		top.fail("lateness", "%v is out of range: 0s to %v", c.Lateness, MaxLateness)
	}
	return c
}

func (o *object) rules(channels []Channel) []rule.Rule {
	known := make([]string, len(channels))
	for i, c := range channels {
		known[i] = c.Name
	}
	items, _ := o.list("rules", MaxRules)
	lines := map[string]int{}
	all := make([]rule.Rule, 0, len(items))
	for _, item := range items {
		ro := o.r.object(item, "name", "description", "match", "detector", "above", "below", "hysteresis", "for",
			"rise", "fall", "within", "settle", "false_alarms", "direction", "silence", "severity", "notify")
		if ro == nil {
			continue
		}
		u := ro.rule(known, !o.failed["channels"])
		if first, twice := lines[u.Name]; twice && u.Name != "" {
			ro.fail("name", "%q is the name of the rule in line %d already", clip(u.Name), first)
		} else {
			lines[u.Name] = item.line
		}
		all = append(all, u)
	}
	return all
}

func (o *object) rule(channels []string, channelsKnown bool) rule.Rule {
	var u rule.Rule
	var detector, severity, direction string
	o.string("name", &u.Name)
	o.string("description", &u.Description)
	if m, ok := o.fields["match"]; ok {
		if mo := o.r.object(m, "site", "device", "metric"); mo != nil {
			mo.string("site", &u.Match.Site)
			mo.string("device", &u.Match.Device)
			mo.string("metric", &u.Match.Metric)
			for field, v := range mo.fields {
				o.fields["match."+field] = v
			}
		}
	}
	o.string("detector", &detector)
	o.string("severity", &severity)
	o.string("direction", &direction)
	u.Detector, u.Severity, u.Direction = rule.Detector(detector), rule.Severity(severity), rule.Direction(direction)
	u.Above, u.Below = o.number("above"), o.number("below")
	u.Hysteresis = o.orZero("hysteresis")
	u.Rise, u.Fall = o.positive("rise"), o.positive("fall")
	u.FalseAlarms = o.positive("false_alarms")
	o.duration("for", &u.For)
	o.span("within", &u.Within)
	o.span("settle", &u.Settle)
	o.span("silence", &u.Silence)
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

func (o *object) windows(into *[]time.Duration) {
	items, given := o.list("windows", len(Windows()))
	if !given || o.failed["windows"] {
		return
	}
	if len(items) == 0 {
		o.fail("windows", "lists none: 10s, 1m or both")
		return
	}
	var all []time.Duration
	for _, item := range items {
		d, problem := duration(item.node)
		switch {
		case problem != "":
		case !slices.Contains(Windows(), d):
			problem = fmt.Sprintf("%v is not a window: 10s or 1m", d)
		case slices.Contains(all, d):
			problem = fmt.Sprintf("%v is listed twice", d)
		}
		if problem != "" {
			o.r.problem(item.line, item.path, "%s", problem)
			continue
		}
		all = append(all, d)
	}
	slices.Sort(all)
	*into = all
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
