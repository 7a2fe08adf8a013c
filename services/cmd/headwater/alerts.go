package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/web/view"
)

type alertsLsCmd struct {
	Resolved int    `help:"How many resolved alerts, at most 1000." default:"0"`
	State    string `help:"Only in this state: firing, acknowledged, muted, flapping or resolved."`
	Site     string `help:"Only of this site."`
	Rule     string `help:"Only of this rule."`
	Assignee string `help:"Only assigned to this person."`
	JSON     bool   `name:"json" help:"Write JSON."`
}

// Run lists alerts.
func (c *alertsLsCmd) Run(s *session) error {
	if c.Resolved < 0 || c.Resolved > 1000 {
		return usage("--resolved must be from 0 to 1000")
	}
	at := s.client.base.JoinPath("api", "v1", "alerts")
	query := url.Values{"resolved": {strconv.Itoa(max(1, c.Resolved))}}
	for name, value := range map[string]string{"state": c.State, "site": c.Site, "rule": c.Rule, "assignee": c.Assignee} {
		if value != "" {
			query.Set(name, value)
		}
	}
	at.RawQuery = query.Encode()
	var all view.Alerts
	if err := s.client.send(s.ctx, http.MethodGet, at, nil, &all); err != nil {
		return err
	}
	all.Resolved = all.Resolved[:min(c.Resolved, len(all.Resolved))]
	if c.JSON {
		return s.json(all)
	}
	if len(all.Active)+len(all.Resolved) == 0 {
		_, err := fmt.Fprintln(s.out, "No alerts.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tSEVERITY\tRULE\tWHERE\tSTARTED\tWHO\tWHAT")
	for _, a := range append(all.Active, all.Resolved...) {
		state := a.State
		if a.Mute != nil {
			state += ", muted"
		}
		if !a.Flapping.IsZero() {
			state += ", flapping"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s/%s %s\t%s\t%s\t%s\n", a.Episode, state, a.Severity, a.Rule, a.Site, a.Device, a.Metric,
			a.Started.UTC().Format(time.DateTime), figure.Clip(safe(alertPeople(a)), 40), figure.Clip(safe(a.Sentence), 100))
	}
	return w.Flush()
}

// alertPeople names who takes care of an alert, else who has acknowledged or resolved it.
func alertPeople(a view.Alert) string {
	switch {
	case a.Assignee != "":
		return a.Assignee
	case a.Resolved != nil:
		return a.Resolved.Author
	case a.Acknowledged != nil:
		return a.Acknowledged.Author
	}
	return ""
}

// alertIDs name episodes.
type alertIDs struct {
	IDs []string `arg:"" name:"id" help:"Ids of alerts, as ls shows them."`
	By  string   `help:"Who you are, while no log-in is required." default:"${user}"`
}

// handle does something about an episode.
func (s *session) handle(method, id string, action view.AlertAction, text, by string) (view.Alert, error) {
	at := s.client.base.JoinPath("api", "v1", "alerts", id, string(action))
	query := url.Values{"by": {by}}
	if text != "" {
		query.Set("text", text)
	}
	at.RawQuery = query.Encode()
	var a view.Alert
	err := s.client.send(s.ctx, method, at, nil, &a)
	return a, err
}

// each does something about each of the alerts, up to the first failure.
func (ids alertIDs) each(s *session, method string, action view.AlertAction, text, done string) error {
	for _, id := range ids.IDs {
		a, err := s.handle(method, id, action, text, ids.By)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		fmt.Fprintf(s.out, "%s: %s on %s/%s is %s\n", id, a.Rule, a.Site, a.Device, done)
	}
	return nil
}

type alertsAckCmd struct {
	alertIDs `embed:""`
	Comment  string `help:"What to write with it."`
	Undo     bool   `help:"Take it back."`
}

// Run acknowledges alerts, or takes that back.
func (c *alertsAckCmd) Run(s *session) error {
	if c.Undo {
		return c.each(s, http.MethodDelete, view.AlertAcknowledge, "", "no longer acknowledged")
	}
	return c.each(s, http.MethodPost, view.AlertAcknowledge, c.Comment, "acknowledged")
}

type alertsResolveCmd struct {
	alertIDs `embed:""`
	Comment  string `help:"What to write with it."`
}

// Run resolves alerts.
func (c *alertsResolveCmd) Run(s *session) error {
	return c.each(s, http.MethodPost, view.AlertResolve, c.Comment, "resolved")
}

type alertsCommentCmd struct {
	ID   string   `arg:"" help:"Id of the alert, as ls shows it."`
	Text []string `arg:"" help:"The comment, at most 500 bytes."`
	By   string   `help:"Who you are, while no log-in is required." default:"${user}"`
}

// Run comments on an alert.
func (c *alertsCommentCmd) Run(s *session) error {
	a, err := s.handle(http.MethodPost, c.ID, view.AlertComment, strings.Join(c.Text, " "), c.By)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s: %s\n", c.ID, figure.Plural(len(a.Comments), "comment", "comments"))
	return err
}

type alertsAssignCmd struct {
	ID string `arg:"" help:"Id of the alert, as ls shows it."`
	To string `arg:"" optional:"" help:"Who takes care of it; nobody if absent."`
	By string `help:"Who you are, while no log-in is required." default:"${user}"`
}

// Run assigns an alert.
func (c *alertsAssignCmd) Run(s *session) error {
	if _, err := s.handle(http.MethodPost, c.ID, view.AlertAssign, c.To, c.By); err != nil {
		return err
	}
	if c.To == "" {
		_, err := fmt.Fprintf(s.out, "%s: assigned to nobody\n", c.ID)
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s: assigned to %s\n", c.ID, safe(c.To))
	return err
}
