package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/decode/mapping"
	"headwater/services/internal/about"
	"headwater/services/rule"
)

// Parse reads a configuration as it is stored (see Parts). The name stands for the
// file in messages. The error joins every problem that was found, each a *Problem;
// no part of the configuration is returned then.
func Parse(name string, stored []byte) (*Config, error) {
	if whole(stored) {
		return ParseFile(name, stored)
	}
	p, err := Decode(stored)
	if err != nil {
		return nil, err
	}
	return p.Parse(name)
}

// ParseFile reads what people wrote in a file. Name and error are as for Parse.
func ParseFile(name string, text []byte) (*Config, error) {
	r := &reader{name: name, file: name}
	if r.fits(text) && blank(text) {
		// A file that is being rewritten looks like this for a moment.
		r.problem(1, "", "is empty; for no rules at all write `rules: []`")
		return nil, r.problems()
	}
	return Parts{File: text}.Parse(name)
}

// Parse reads all parts. Name and error are as for the function Parse; problems of
// what Headwater keeps have their lines in the rule or in the kept sections, and
// name these in place of the file.
func (p Parts) Parse(name string) (*Config, error) {
	r := &reader{name: name, file: name, places: map[string]place{}}
	size := len(p.File) + len(p.Base)
	for _, u := range slices.Concat(p.Kept, p.Rules, p.Channels) {
		size += len(u.Text)
	}
	if size > MaxBytes {
		r.problem(1, "", "is %d bytes long, at most %d", size, MaxBytes)
		return nil, r.problems()
	}
	if err := p.Tags.problem(); err != nil {
		r.problem(1, "", "tags of the registry %v", err)
		return nil, r.problems()
	}
	c := r.config(name, p)
	if err := r.problems(); err != nil {
		return nil, err
	}
	c.registry = p.Tags
	if _, declared := c.Rule(rule.UnusualName); r.auto && !declared {
		c.Rules = append(c.Rules, rule.Unusual())
	}
	return c, nil
}

// ParseRule reads the text of one rule, as the page and the API have it, with
// the names of channels and rotas that it may notify.
func ParseRule(name string, text []byte, targets []string) (rule.Rule, error) {
	r := &reader{name: name, file: name, origin: rule.FromPage}
	var u rule.Rule
	if o := r.ruleObject(text); o != nil {
		u = o.rule(targets, true)
	}
	if err := r.problems(); err != nil {
		return rule.Rule{}, err
	}
	return u, nil
}

// problems joins what was found, that of the file first, or returns nil.
func (r *reader) problems() error {
	slices.SortStableFunc(r.found, func(a, b *Problem) int {
		if a.File == b.File {
			return cmp.Compare(a.Line, b.Line)
		}
		switch r.name {
		case a.File:
			return -1
		case b.File:
			return 1
		}
		return cmp.Compare(a.File, b.File)
	})
	var errs []error
	for i, p := range r.found {
		if i == maxProblems {
			errs = append(errs, fmt.Errorf("%s: and %d problems more", r.name, len(r.found)-i))
			break
		}
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// sectionNames are the fields of a file.
var sectionNames = []string{rulesSection, "auto", "devices", "series", "derived", "counters", "groups", "mappings", channelsSection, rotasSection, escalationSection, quietSection, "grouping", reportSection, "windows", "lateness", "time_zone", "sites"}

// keptName stands in messages for the file with the sections that are kept.
const keptName = "kept sections"

// config reads all parts. It returns nil when the text of one can't be read at all.
func (r *reader) config(name string, p Parts) *Config {
	r.origin = rule.FromFile
	file := r.top(name, p.File)
	r.origin = rule.Kept
	base := r.top(keptName, p.Base)
	if file == nil || base == nil {
		return nil
	}
	// section returns where a section is read: in the file if it has the section,
	// else among those that are kept.
	section := func(field string) *object {
		if _, has := base.fields[field]; has && file.fields[field].node == nil {
			r.file, r.origin = keptName, rule.Kept
			return base
		}
		r.file, r.origin = name, rule.FromFile
		return file
	}
	c := &Config{Lateness: DefaultLateness, TimeZone: DefaultTimeZone, Grouping: DefaultGrouping()}
	channels := section(channelsSection)
	c.Channels = channels.channels()
	r.channelsKnown = !channels.failed[channelsSection]
	r.channelPieces(c, p.Channels)
	section("time_zone").zone(&c.TimeZone)
	section("grouping").grouping(c)
	rotas := section(rotasSection)
	c.Rotas = rotas.rotas(c)
	r.channelsKnown = r.channelsKnown && !rotas.failed[rotasSection]
	c.Escalation = section(escalationSection).escalation(c.Targets())
	c.QuietHours = section(quietSection).quietHours(c)
	c.Report = section(reportSection).report(c.Channels)
	c.Devices = section("devices").devices()
	c.Series = section("series").series()
	section("derived").derived(c)
	section("counters").counters(c)
	c.order()
	section("groups").groups(c)
	c.Mappings = section("mappings").mappings()
	c.Rules = section(rulesSection).rules(c.Targets())
	if file.fields[rulesSection].node == nil {
		r.pieces(c, p.Kept, rule.Kept)
	}
	r.pieces(c, p.Rules, rule.FromPage)
	r.auto = true
	section("auto").toggle("auto", &r.auto)
	section("lateness").bounded("lateness", &c.Lateness, 0, MaxLateness)
	c.Windows = section("windows").windows(c.Lateness)
	section("sites").zones(c)
	return c
}

// top reads the top mapping of a text with sections; one without any has none. It
// returns nil when the text can't be read.
func (r *reader) top(name string, text []byte) *object {
	r.file = name
	if !r.fits(text) {
		return nil
	}
	if blank(text) {
		return &object{r: r, fields: map[string]value{}, failed: map[string]bool{}}
	}
	root := r.root(text)
	if root == nil {
		return nil
	}
	return r.object(value{node: root, line: line(root)}, sectionNames...)
}

// pieces adds rules that have a text of their own.
func (r *reader) pieces(c *Config, pieces []Piece, origin rule.Origin) {
	r.origin = origin
	for _, p := range pieces {
		r.file = "rule " + clip(p.Name)
		if o := r.ruleObject([]byte(p.Text)); o != nil {
			u := o.rule(c.Targets(), r.channelsKnown)
			r.place(o, u.Name)
			c.Rules = append(c.Rules, u)
		}
	}
	if len(c.Rules) > MaxRules {
		r.problem(1, rulesSection, "are %d with those of the file, at most %d", len(c.Rules), MaxRules)
	}
}

// ruleObject reads the mapping of a text of one rule; nil when it is none.
func (r *reader) ruleObject(text []byte) *object {
	if !r.fits(text) {
		return nil
	}
	root := r.root(text)
	if root == nil {
		return nil
	}
	return r.object(value{node: root, line: line(root)}, ruleFields...)
}

// place remembers where the rule of a name is, which must be the only one.
func (r *reader) place(o *object, name string) {
	first, twice := r.places[name]
	switch {
	case name == "":
	case twice && first.origin != rule.FromFile:
		o.fail("name", "%q is the name of another rule already", clip(name))
	case twice && r.origin == rule.FromPage:
		o.fail("name", "%q is the name of a rule made on the page and of one in the file, in line %d: rename or remove one of them", clip(name), first.line)
	case twice:
		o.fail("name", "%q is the name of the rule in line %d already", clip(name), first.line)
	default:
		r.places[name] = place{origin: r.origin, line: o.line}
	}
}

func names(channels []Channel) []string {
	all := make([]string, len(channels))
	for i, c := range channels {
		all[i] = c.Name
	}
	return all
}

// ruleFields are the fields of a rule, matchFields those of its match.
var ruleFields, matchFields = func() (top, match []string) {
	for _, f := range rule.Fields() {
		outer, inner, nested := strings.Cut(f.Name, ".")
		if nested {
			match = append(match, inner)
		}
		if !slices.Contains(top, outer) {
			top = append(top, outer)
		}
	}
	return top, match
}()

func (o *object) rules(known []string) []rule.Rule {
	items, _ := o.list(rulesSection, MaxRules)
	all := make([]rule.Rule, 0, len(items))
	for _, item := range items {
		ro := o.r.object(item, ruleFields...)
		if ro == nil {
			continue
		}
		u := ro.rule(known, o.r.channelsKnown)
		o.r.place(ro, u.Name)
		all = append(all, u)
	}
	return all
}

// deviceFields and metricFields are the fields of an entry of devices, and of a metric in
// it.
var (
	deviceFields = []string{"match", "name", "room", "location", "notes", "tags", "interval", "metrics"}
	metricFields = []string{"name", "unit", "precision", "low", "high", "interval"}
)

func (o *object) devices() []Devices {
	items, _ := o.list("devices", MaxDevices)
	all := make([]Devices, 0, len(items))
	for _, item := range items {
		do := o.r.object(item, deviceFields...)
		if do == nil {
			continue
		}
		d := Devices{About: about.About{Tags: do.words("tags")}}
		do.match(&d.Match, "which devices, like {site: hall, device: \"door-*\"}", "site", "device")
		do.string("name", &d.Name)
		do.string("room", &d.Room)
		do.string("location", &d.Location)
		do.string("notes", &d.Notes)
		do.duration("interval", &d.Interval)
		d.Metrics = do.metrics()
		if d.Empty() && len(do.failed) == 0 {
			do.fail("tags", "is missing: like {kind: door}; or name, room, location, notes, interval or metrics")
		}
		for _, p := range d.Problems() {
			do.fail(p.Field, "%s", p.Text)
		}
		all = append(all, d)
	}
	return all
}

// metrics reads what is said about metrics, by name.
func (o *object) metrics() map[string]about.Metric {
	v, ok := o.fields["metrics"]
	if !ok {
		return nil
	}
	m, ok := v.node.(ast.MapNode)
	if !ok {
		o.fail("metrics", "must be a mapping of metrics, like {temperature: {precision: 1}}, not %s", kind(v.node))
		return nil
	}
	all := make(map[string]about.Metric)
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		if !ok {
			o.fail("metrics", "the name must be plain text, not %s", kind(it.Key()))
			continue
		}
		if _, twice := all[key.Value]; twice {
			o.fail("metrics", "%q is given twice", clip(key.Value))
		}
		mo := o.r.object(value{node: it.Value(), line: line(key), path: join(v.path, clip(key.Value))}, metricFields...)
		if mo == nil {
			o.failed["metrics"] = true
			continue
		}
		one := about.Metric{Low: mo.number("low"), High: mo.number("high")}
		mo.string("name", &one.Name)
		mo.string("unit", &one.Unit)
		mo.duration("interval", &one.Interval)
		if n := mo.number("precision"); n != nil {
			if *n != math.Trunc(*n) {
				mo.fail("precision", "must be a whole number")
			} else {
				one.Precision = new(int(*n))
			}
		}
		all[key.Value] = one
	}
	return all
}

func (o *object) series() []Series {
	items, _ := o.list("series", MaxSeries)
	all := make([]Series, 0, len(items))
	for _, item := range items {
		so := o.r.object(item, "match", "unit", "literal")
		if so == nil {
			continue
		}
		var s Series
		so.match(&s.Match, "which series, like {site: hall, metric: pressure}", "site", "device", "metric")
		so.string("unit", &s.Unit)
		s.Unit = strings.TrimSpace(s.Unit)
		switch {
		case len(s.Unit) > MaxUnit:
			so.fail("unit", "has %d bytes, at most %d", len(s.Unit), MaxUnit)
		case strings.ContainsFunc(s.Unit, unicode.IsControl):
			so.fail("unit", "holds control characters")
		}
		if _, given := so.fields["literal"]; given {
			s.Literal = new(bool)
			so.bool("literal", s.Literal)
		}
		if s.Unit == "" && s.Literal == nil && !so.failed["unit"] {
			so.fail("unit", "is missing: like hPa; or literal, to keep texts as they are")
		}
		all = append(all, s)
	}
	return all
}

func (o *object) mappings() mapping.Set {
	items, _ := o.list("mappings", MaxMappings)
	var all mapping.Set
	for _, item := range items {
		mo := o.r.object(item, "topic", "each", "site", "device", "metric", "value", "time", "unit")
		if mo == nil {
			continue
		}
		var d mapping.Declared
		for _, f := range []struct {
			name string
			to   *string
		}{
			{"topic", &d.Topic},
			{"each", &d.Each},
			{"site", &d.Site},
			{"device", &d.Device},
			{"metric", &d.Metric},
			{"value", &d.Value},
			{"time", &d.Time},
			{"unit", &d.Unit},
		} {
			mo.string(f.name, f.to)
		}
		m, problems := mapping.Compile(d)
		for _, p := range problems {
			if !mo.failed[p.Field] {
				mo.fail(p.Field, "%s", p.Text)
			}
		}
		if m != nil {
			all = append(all, m)
		}
	}
	return all
}

// match reads the patterns of a mapping; missing says what it is for.
func (o *object) match(into *rule.Match, missing string, fields ...string) {
	v, ok := o.fields["match"]
	if !ok {
		o.fail("match", "is missing: %s", missing)
		return
	}
	inner := o.r.object(v, fields...)
	if inner == nil {
		return
	}
	all := map[string]*string{"site": &into.Site, "device": &into.Device, "metric": &into.Metric}
	for _, field := range fields {
		p := all[field]
		inner.string(field, p)
		if problem := rule.CheckGlob(*p); problem != "" && !inner.failed[field] {
			inner.fail(field, "%s", problem)
		}
	}
}

func (o *object) rule(channels []string, channelsKnown bool) rule.Rule {
	u := rule.Rule{Origin: o.r.origin}
	o.unfold("match", matchFields)
	for _, f := range rule.Fields() {
		switch p := f.At(&u).(type) {
		case *string:
			o.string(f.Name, p)
		case **float64:
			*p = o.number(f.Name)
		case *float64:
			if n := o.number(f.Name); n != nil {
				*p = *n
				o.notZero(f, *p == 0, "must be above 0")
			}
		case *time.Duration:
			o.duration(f.Name, p)
			o.notZero(f, *p == 0, "must be longer than 0s")
		case *map[string]string:
			*p = o.words(f.Name)
		case *[]string:
			*p = o.notify(f.Name, f.Max, channels, channelsKnown)
		}
	}
	u = u.WithDefaults()
	o.validate(u)
	return u
}

// unfold makes the fields of a mapping fields of the object, with a dot between the
// names.
func (o *object) unfold(field string, allowed []string) {
	v, ok := o.fields[field]
	if !ok {
		return
	}
	inner := o.r.object(v, allowed...)
	if inner == nil {
		return
	}
	for name, v := range inner.fields {
		o.fields[join(field, name)] = v
	}
	for name := range inner.failed {
		o.failed[join(field, name)] = true
	}
}

// notZero records a problem when a field was given as 0 for which 0 means that
// nothing is given.
func (o *object) notZero(f rule.Field, zero bool, problem string) {
	if _, given := o.fields[f.Name]; given && zero && !f.ZeroMeans() && !o.failed[f.Name] {
		o.fail(f.Name, "%s", problem)
	}
}

// validate adds what the rule itself finds wrong, unless reading the field has
// failed already.
func (o *object) validate(u rule.Rule) {
	spec, _ := rule.SpecOf(u.Detector)
	for _, p := range u.Problems() {
		_, given := o.fields[p.Field]
		if o.failed[p.Field] || !given && o.twinFailed(spec, p.Field) {
			continue
		}
		o.fail(p.Field, "%s", p.Problem)
	}
}

// twinFailed reports whether a field seems to be missing only because another one
// that would do could not be read.
func (o *object) twinFailed(spec rule.Spec, field string) bool {
	return slices.ContainsFunc(spec.Needs, func(n rule.Need) bool {
		return slices.Contains(n.Fields, field) && slices.ContainsFunc(n.Fields, func(twin string) bool { return o.failed[twin] })
	})
}

// notify reads the list of channels of a rule; nil when there is none.
func (o *object) notify(field string, most int, channels []string, channelsKnown bool) []string {
	items, given := o.list(field, most)
	if !given {
		return nil
	}
	all := []string{}
	for _, item := range items {
		n, ok := item.node.(*ast.StringNode)
		switch {
		case !ok:
			o.r.problem(item.line, item.path, "must be the name of a channel, not %s", kind(item.node))
		case slices.Contains(all, n.Value):
			o.r.problem(item.line, item.path, "%q is listed twice", clip(n.Value))
		case channelsKnown && !slices.Contains(channels, n.Value):
			o.r.problem(item.line, item.path, "%q is not a channel%s", clip(n.Value), suggestion(nearest(n.Value, channels), channels))
		default:
			all = append(all, n.Value)
		}
	}
	return all
}

// channelFields are the fields of a channel.
var channelFields = []string{"name", "type", "url", "url_file", "resolved", "secret", "secret_file", "format"}

func (o *object) channels() []Channel {
	items, _ := o.list(channelsSection, MaxChannels)
	lines := map[string]int{}
	all := make([]Channel, 0, len(items))
	for _, item := range items {
		co := o.r.object(item, channelFields...)
		if co == nil {
			o.failed[channelsSection] = true
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
		o.fail("type", "is missing: one of %s", channelTypes())
	case !slices.Contains(ChannelTypes(), c.Type):
		o.fail("type", "%q is not a type of channel: one of %s", clip(kindName), channelTypes())
	}
	switch {
	case o.failed["url"] || o.failed["url_file"] || o.failed["type"]:
	case c.Type == WebPush:
		for _, field := range []string{"url", "url_file"} {
			if _, given := o.fields[field]; given {
				o.fail(field, "is not for channels of type webpush: phones and browsers are registered on the page Channels")
			}
		}
	case c.URL == "" && c.URLFile == "":
		o.fail("url", "is missing; url_file names a file that holds it instead")
	case c.URL != "" && c.URLFile != "":
		o.fail("url_file", "is given together with url: one of them")
	case c.URL != "":
		if err := CheckURL(c.Type, c.URL); err != nil {
			o.fail("url", "%v", err)
		}
	}
	o.signing(&c)
	return c
}

// signing reads the fields that only webhooks have.
func (o *object) signing(c *Channel) {
	var secret string
	o.string("secret", &secret)
	o.string("secret_file", &c.SecretFile)
	o.string("format", &c.Format)
	c.Secret = Secret(strings.TrimSpace(secret))
	if c.Type != Webhook && !o.failed["type"] {
		for _, field := range []string{"secret", "secret_file", "format"} {
			if _, given := o.fields[field]; given && !o.failed[field] {
				o.fail(field, "is for channels of type webhook only")
			}
		}
		return
	}
	c.Format = cmp.Or(c.Format, FormatHeadwater)
	if !slices.Contains(Formats(), c.Format) && !o.failed["format"] {
		o.fail("format", "%q is not a format: one of %s", clip(c.Format), strings.Join(Formats(), ", "))
	}
	switch {
	case o.failed["secret"] || o.failed["secret_file"] || c.Secret == "":
	case c.SecretFile != "":
		o.fail("secret_file", "is given together with secret: one of them")
	default:
		if err := CheckSecret(c.Secret); err != nil {
			o.fail("secret", "%v", err)
		}
	}
}

// CheckSecret says what is wrong with the secret that a webhook signs with, without quoting
// it, or returns nil.
func CheckSecret(secret Secret) error {
	if n := len(secret); n < LeastSecret || n > MaxSecret {
		return fmt.Errorf("has %d bytes, must have %d to %d", n, LeastSecret, MaxSecret)
	}
	return nil
}

// channelTypes lists the types of channels for people.
func channelTypes() string {
	var all []string
	for _, t := range ChannelTypes() {
		all = append(all, string(t))
	}
	return strings.Join(all, ", ")
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
// takes (shoutrrr 0.13). It leaves out "logger", which notifies no one.
func ShoutrrrSchemes() []string {
	return []string{
		"bark", "discord", "generic", "googlechat", "gotify", "hangouts", "ifttt", "join", "lark", "matrix",
		"mattermost", "notifiarr", "ntfy", "opsgenie", "pagerduty", "pushbullet", "pushover", "rocketchat", "signal",
		"slack", "smtp", "teams", "telegram", "wecom", "zulip",
	}
}
