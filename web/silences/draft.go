package silences

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/web/view"
)

// Bounds of how long a silence may last that was asked for with a duration.
const (
	shortest = time.Minute
	longest  = 366 * 24 * time.Hour
)

// untilResolved is the length of a silence that ends with the alerts that fire now.
const untilResolved = "resolved"

// wallForm is the form of a moment without a time zone, as browsers send it.
const wallForm = "2006-01-02T15:04"

// days are the days of the week, in the order in which people choose from them.
var days = [...][2]string{{"mon", "Mon"}, {"tue", "Tue"}, {"wed", "Wed"}, {"thu", "Thu"}, {"fri", "Fri"}, {"sat", "Sat"}, {"sun", "Sun"}}

// read reads a silence as a form or a request to the API has it. The source judges what
// it says. A moment without a time zone is in that of the site.
func (p *Pages) read(v url.Values) (view.Silence, error) {
	text := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	now := p.shell.Now()
	s := view.Silence{
		Rule: text("rule"), Site: text("site"), Device: text("device"), Metric: text("metric"), Severity: view.Severity(text("severity")),
		From: now, Comment: text("comment"),
	}
	place := p.source.Place(s.Site)
	var err error
	s.Labels, err = labels(v["label"])
	if err != nil {
		return s, err
	}
	if from := text("from"); from != "" {
		s.From, err = moment(from, place)
		if err != nil {
			return s, errors.New("from " + err.Error())
		}
	}
	if chosen := strings.Join(v["days"], ","); chosen != "" || text("start") != "" || text("end") != "" {
		s.Weekly = &view.Weekly{Days: chosen, Start: text("start"), End: text("end")}
	}
	length, until := text("for"), text("until")
	switch {
	case length != "" && until != "":
		return s, errors.New("for and until both say when it ends: give one")
	case length == untilResolved:
		if s.Weekly != nil {
			return s, errors.New("a silence that comes back every week cannot end when alerts are resolved")
		}
		s.UntilResolved = true
	case length != "":
		d, err := figure.ParseDuration(length)
		if err != nil || d < shortest || d > longest {
			return s, errors.New("for must be a time from 1m to 8784h, like 8h, or resolved")
		}
		s.Until = s.From.Add(d)
	case until != "":
		s.Until, err = moment(until, place)
		if err != nil {
			return s, errors.New("until " + err.Error())
		}
		if !s.Until.After(now) {
			return s, errors.New("until is in the past")
		}
	case s.Weekly == nil:
		return s, errors.New("for or until must say when it ends, like 8h")
	}
	return s, nil
}

// moment reads a time, which is at a place if it names no time zone.
func moment(text string, place *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(wallForm, text, place); err == nil {
		return t, nil
	}
	return time.Time{}, errors.New("must be a time like 2026-11-28T22:00, or of RFC 3339")
}

// labels reads labels: each is name=pattern, several in one text are separated by commas.
func labels(texts []string) ([]view.RuleLabel, error) {
	var out []view.RuleLabel
	for _, text := range texts {
		for part := range strings.SplitSeq(text, ",") {
			if strings.TrimSpace(part) == "" {
				continue
			}
			name, value, found := strings.Cut(part, "=")
			l := view.RuleLabel{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)}
			if !found || l.Name == "" || l.Value == "" {
				return nil, errors.New("labels must be like team=cold*")
			}
			for _, o := range out {
				if o.Name == l.Name {
					return nil, errors.New("label " + l.Name + " is given twice")
				}
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// form returns the fields of the form for a silence.
func (p *Pages) form(s view.Silence) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	place := p.source.Place(s.Site)
	for name, value := range map[string]string{
		"rule": s.Rule, "site": s.Site, "device": s.Device, "metric": s.Metric, "severity": string(s.Severity), "comment": s.Comment,
	} {
		set(name, value)
	}
	var pairs []string
	for _, l := range s.Labels {
		pairs = append(pairs, l.Name+"="+l.Value)
	}
	set("label", strings.Join(pairs, ", "))
	set("from", s.From.In(place).Format(wallForm))
	if s.UntilResolved {
		set("for", untilResolved)
	} else if !s.Until.IsZero() {
		set("until", s.Until.In(place).Format(wallForm))
	}
	if s.Weekly != nil {
		v["days"] = strings.Split(s.Weekly.Days, ",")
		if s.Weekly.Days == "daily" {
			v["days"] = nil
			for _, d := range days {
				v["days"] = append(v["days"], d[0])
			}
		}
		set("start", s.Weekly.Start)
		set("end", s.Weekly.End)
	}
	return v
}
