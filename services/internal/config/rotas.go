package config

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/internal/calendar"
	"headwater/services/internal/oncall"
	"headwater/services/rule"
)

// Sections of a file that say who is on call. They can be edited on the page, together with
// reportSection.
const (
	rotasSection      = "rotas"
	escalationSection = "escalation"
	quietSection      = "quiet_hours"
)

// OnCallSections lists the sections that say who is on call and who gets the morning report.
func OnCallSections() []string {
	return []string{rotasSection, escalationSection, quietSection, reportSection}
}

// firstTurn is the first day of rotas that do not name one.
var firstTurn = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Targets returns the names that rules and escalation may notify: channels, then rotas.
func (c *Config) Targets() []string {
	all := names(c.Channels)
	for _, r := range c.Rotas {
		all = append(all, r.Name)
	}
	return all
}

// Plans returns who is on call in a rota, with what stands in for it.
func (c *Config) Plans(r oncall.Rota, overrides []oncall.Override) oncall.Plans {
	return oncall.Plans{Rota: r, Overrides: overrides, IsChannel: func(name string) bool {
		return slices.ContainsFunc(c.Channels, func(ch Channel) bool { return ch.Name == name })
	}}
}

func (o *object) rotas(c *Config) []oncall.Rota {
	items, _ := o.list(rotasSection, oncall.MaxRotas)
	var all []oncall.Rota
	for _, item := range items {
		ro := o.r.object(item, "name", "handover", "time_zone", "first", "people")
		if ro == nil {
			continue
		}
		r, zone := oncall.Rota{First: firstTurn}, c.TimeZone
		ro.required("name")
		ro.string("name", &r.Name)
		switch {
		case ro.failed["name"]:
		case !ValidChannelName(r.Name):
			ro.fail("name", "%q is not a name: 1 to %d characters of a-z, 0-9 and -", clip(r.Name), rule.MaxName)
		case slices.Contains(names(c.Channels), r.Name):
			ro.fail("name", "%q is the name of a channel already", clip(r.Name))
		case slices.ContainsFunc(all, func(other oncall.Rota) bool { return other.Name == r.Name }):
			ro.fail("name", "%q is the name of another rota already", clip(r.Name))
		}
		ro.handover(&r)
		ro.zone(&zone)
		r.Place = location(zone)
		ro.day("first", &r.First)
		ro.required("people")
		r.Members = ro.people(c)
		if len(r.Members) == 0 && !ro.failed["people"] {
			ro.fail("people", "lists nobody")
		}
		all = append(all, r)
	}
	return all
}

// location returns a time zone that is known to be one.
func location(name string) *time.Location {
	place, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC // cannot be: it was read with it
	}
	return place
}

// handover reads days and a time of day, like "mon 09:00".
func (o *object) handover(r *oncall.Rota) {
	const like = "must be days and a time of day, like mon 09:00 or daily 08:00"
	text := ""
	o.required("handover")
	o.string("handover", &text)
	if o.failed["handover"] {
		return
	}
	days, clock, _ := strings.Cut(strings.TrimSpace(text), " ")
	var err, err2 error
	r.Days, err = calendar.ParseDays(days)
	r.At, err2 = calendar.ParseClock(strings.TrimSpace(clock))
	if err != nil || err2 != nil || r.At == endOfDay {
		o.fail("handover", like)
	}
}

// endOfDay is the time of day that no handover has: it is 00:00 of the next.
const endOfDay = 24 * 60

// day reads a day such as 2026-11-30.
func (o *object) day(field string, into *time.Time) {
	text := ""
	o.string(field, &text)
	if _, given := o.fields[field]; !given || o.failed[field] {
		return
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil || day.Year() < 2000 || day.Year() > 2100 {
		o.fail(field, "%q is not a day like 2026-11-30, from 2000 to 2100", clip(text))
		return
	}
	*into = day
}

// people reads the members of a rota. A text is a channel, and the person has its name.
func (o *object) people(c *Config) []oncall.Member {
	items, _ := o.list("people", oncall.MaxMembers)
	known := names(c.Channels)
	var all []oncall.Member
	for _, item := range items {
		var m oncall.Member
		if text, ok := item.node.(*ast.StringNode); ok {
			m = oncall.Member{Name: text.Value, Notify: []string{text.Value}}
			if o.r.channelsKnown && !slices.Contains(known, m.Name) {
				o.r.problem(item.line, item.path, "%q is not a channel%s", clip(m.Name), suggestion(nearest(m.Name, known), known))
			}
		} else {
			po := o.r.object(item, "name", "notify")
			if po == nil {
				o.failed["people"] = true
				continue
			}
			po.required("name")
			po.string("name", &m.Name)
			if !oncall.ValidName(m.Name) && !po.failed["name"] {
				po.fail("name", "%q is not a name of 1 to %d bytes that can be printed", clip(m.Name), oncall.MaxName)
			}
			po.required("notify")
			m.Notify = po.notify("notify", rule.MaxNotify, known, o.r.channelsKnown)
			if len(m.Notify) == 0 && !po.failed["notify"] {
				po.fail("notify", "names no channel")
			}
		}
		if slices.ContainsFunc(all, func(other oncall.Member) bool { return other.Name == m.Name }) {
			o.r.problem(item.line, item.path, "%q is listed twice", clip(m.Name))
		}
		all = append(all, m)
	}
	return all
}

func (o *object) quietHours(c *Config) []oncall.Quiet {
	items, _ := o.list(quietSection, oncall.MaxQuiet)
	known := names(c.Channels)
	var all []oncall.Quiet
	for _, item := range items {
		qo := o.r.object(item, "severity", "days", "from", "until", "time_zone", "channels", "instead")
		if qo == nil {
			continue
		}
		q := oncall.Quiet{Weekly: calendar.Weekly{Days: calendar.EveryDay}}
		severity := string(rule.Warning)
		qo.string("severity", &severity)
		q.Severity = rule.Severity(severity)
		if q.Severity != rule.Info && q.Severity != rule.Warning && !qo.failed["severity"] {
			qo.fail("severity", "%q is neither info nor warning: what is critical never waits", clip(severity))
		}
		days := ""
		qo.string("days", &days)
		if days != "" {
			var err error
			q.Weekly.Days, err = calendar.ParseDays(days)
			if err != nil {
				qo.fail("days", "%v", err)
			}
		}
		qo.clock("from", &q.Weekly.Start)
		qo.clock("until", &q.Weekly.End)
		if err := q.Weekly.Validate(); err != nil && !qo.failed["from"] && !qo.failed["until"] && !qo.failed["days"] {
			qo.fail("from", "%v", err)
		}
		zone := ""
		qo.zone(&zone)
		if zone != "" {
			q.Place = location(zone)
		}
		q.Channels = qo.notify("channels", MaxChannels, known, o.r.channelsKnown)
		q.Instead = qo.notify("instead", rule.MaxNotify, known, o.r.channelsKnown)
		all = append(all, q)
	}
	return all
}

// clock reads a time of day that must be given.
func (o *object) clock(field string, into *calendar.Clock) {
	text := ""
	o.required(field)
	o.string(field, &text)
	if o.failed[field] {
		return
	}
	var err error
	*into, err = calendar.ParseClock(text)
	if err != nil {
		o.fail(field, "%v", err)
	}
}

// OnCallText returns the sections that say who is on call, as people wrote them, and
// whether the file in charge has one of them, so that they are changed there.
func (p Parts) OnCallText() (text string, inFile bool) {
	var b strings.Builder
	mentioned := namesOf(sections(p.File))
	for _, s := range sections(p.File) {
		if slices.Contains(OnCallSections(), s.name) {
			b.WriteString(s.text)
			inFile = p.FileName != ""
		}
	}
	for _, s := range sections(p.Base) {
		if slices.Contains(OnCallSections(), s.name) && !slices.Contains(mentioned, s.name) {
			b.WriteString(s.text)
		}
	}
	return b.String(), inFile
}

// WithOnCall returns the parts with another text of those sections. The file in charge, if
// any, must have none of them. What else the text has is a problem of the error.
func (p Parts) WithOnCall(text string) (Parts, error) {
	r := &reader{name: "on call", file: "on call", channelsKnown: false}
	if r.fits([]byte(text)) && !blank([]byte(text)) {
		if root := r.root([]byte(text)); root != nil {
			r.object(value{node: root, line: line(root)}, OnCallSections()...)
		}
	}
	if err := r.problems(); err != nil {
		return p, err
	}
	without := func(text []byte) []byte {
		var b strings.Builder
		all := sections(text)
		if !slices.ContainsFunc(all, func(s section) bool { return slices.Contains(OnCallSections(), s.name) }) {
			return text
		}
		for _, s := range all {
			if !slices.Contains(OnCallSections(), s.name) {
				b.WriteString(s.text)
			}
		}
		return []byte(b.String())
	}
	if p.FileName == "" {
		p.File = without(p.File)
	}
	p.Base = without(p.Base)
	if blank([]byte(text)) {
		return p, nil
	}
	// It comes first, so that lines in problems are those of the text.
	p.Base = append([]byte(strings.TrimRight(text, "\n")+"\n"), p.Base...)
	return p, nil
}
