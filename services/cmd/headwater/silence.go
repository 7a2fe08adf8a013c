package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/web/silences"
	"headwater/web/view"
)

// silenceParts say which alerts are meant.
type silenceParts struct {
	Rule     string   `help:"Alerts of this rule; a pattern, like those below."`
	Site     string   `help:"Alerts of this site."`
	Device   string   `help:"Alerts of this device, like door-*."`
	Metric   string   `help:"Alerts of this metric."`
	Severity string   `help:"Alerts of this severity: info, warning or critical." enum:",info,warning,critical" default:""`
	Label    []string `help:"Alerts with this label, like team=cold*; may be repeated." placeholder:"NAME=PATTERN" sep:"none"`
}

type silenceAddCmd struct {
	silenceParts `embed:""`
	For          string `help:"How long, like 8h, or resolved: until the alerts that fire now are resolved." placeholder:"TIME"`
	From         string `help:"When it begins, like 2026-11-28T22:00 in the time zone of the site, or in RFC 3339." placeholder:"TIME"`
	Until        string `help:"When it ends, instead of --for." placeholder:"TIME"`
	Days         string `help:"Only on these days of the week, like sat,sun, or daily, from --start to --end in the time zone of each site."`
	Start        string `help:"Time of day at which it begins, like 22:00." placeholder:"HH:MM"`
	End          string `help:"Time of day at which it ends; the next day if that is before --start." placeholder:"HH:MM"`
	Comment      string `help:"Why, in one line."`
	Preview      bool   `help:"Only show which alerts it would mute now."`
}

// query returns the silence as the API takes it.
func (c *silenceAddCmd) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"rule": c.Rule, "site": c.Site, "device": c.Device, "metric": c.Metric, "severity": c.Severity, "for": c.For, "from": c.From, "until": c.Until,
		"days": c.Days, "start": c.Start, "end": c.End, "comment": c.Comment, "by": userName(),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	query["label"] = c.Label
	return query
}

// Run adds a silence, or shows what it would mute.
func (c *silenceAddCmd) Run(s *session) error {
	if c.Preview {
		var p silences.Preview
		if err := s.client.people(s.ctx, http.MethodGet, []string{"silences", "preview"}, c.query(), &p); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "It would mute %s now; %d of %d that fire match.\n", count(p.Held, "alert"), p.Matching, p.Firing)
		for _, a := range p.Alerts {
			fmt.Fprintf(s.out, "  %s: %s of %s at %s\n", safe(a.Rule), safe(a.Metric), safe(a.Device), safe(a.Site))
		}
		return nil
	}
	var made view.Silence
	if err := s.client.people(s.ctx, http.MethodPost, []string{"silences"}, c.query(), &made); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is muted, %s (id %s)\n", safe(made.What()), silenceWhen(made), safe(made.ID))
	return err
}

type silenceLsCmd struct {
	Expired bool `help:"Also those that have ended in the last 7 days."`
	JSON    bool `name:"json" help:"Write JSON."`
}

// Run lists the silences.
func (c *silenceLsCmd) Run(s *session) error {
	query := url.Values{}
	if c.Expired {
		query.Set("expired", "1")
	}
	var all struct {
		Silences []view.Silence `json:"silences"`
	}
	if err := s.client.people(s.ctx, http.MethodGet, []string{"silences"}, query, &all); err != nil {
		return err
	}
	if c.JSON {
		return s.json(all.Silences)
	}
	if len(all.Silences) == 0 {
		_, err := fmt.Fprintln(s.out, "Nothing is silenced.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tWHAT\tWHEN\tMUTES NOW\tBY\tWHY")
	for _, one := range all.Silences {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", safe(one.ID), one.State, safe(one.What()), silenceWhen(one), one.Held, figure.Clip(safe(one.Author), 40), figure.Clip(safe(one.Comment), 80))
	}
	return w.Flush()
}

// silenceWhen says when a silence mutes.
func silenceWhen(s view.Silence) string {
	var parts []string
	if s.Weekly != nil {
		parts = append(parts, s.Weekly.String())
	}
	if s.State == view.SilenceComing {
		parts = append(parts, "from "+s.From.UTC().Format(time.RFC3339))
	}
	switch {
	case s.UntilResolved:
		parts = append(parts, "until resolved")
	case s.Until.IsZero():
		parts = append(parts, "every week")
	default:
		parts = append(parts, "until "+s.Until.UTC().Format(time.RFC3339))
	}
	return safe(strings.Join(parts, ", "))
}

type silenceRmCmd struct {
	IDs []string `arg:"" name:"id" help:"Ids, as ls shows them."`
}

// Run ends silences before their time.
func (c *silenceRmCmd) Run(s *session) error {
	var all error
	for _, id := range c.IDs {
		if err := s.client.people(s.ctx, http.MethodDelete, []string{"silences", url.PathEscape(id)}, nil, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", safe(id), err))
			continue
		}
		fmt.Fprintf(s.out, "%s is ended\n", safe(id))
	}
	return all
}
