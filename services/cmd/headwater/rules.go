package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/web/rules"
)

// maxRuleText bounds how much of a rule's file is read. The API accepts no more.
const maxRuleText = 64 << 10

// signed names the author of a change.
type signed struct {
	By string `help:"Your name, for the list of versions." default:"${user}" placeholder:"NAME"`
}

// userName returns the name of the person who runs the command, for the list of
// versions.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// rules requests rules from the API.
func (c *client) rules(ctx context.Context, method string, path []string, query url.Values, body []byte, into any) error {
	at := c.base.JoinPath(append([]string{"api", "v1", "rules"}, path...)...)
	at.RawQuery = query.Encode()
	return c.send(ctx, method, at, body, into)
}

func (s *session) rule(name string) (r rules.Rule, err error) {
	return r, s.client.rules(s.ctx, http.MethodGet, []string{name}, nil, nil, &r)
}

// seenRule returns the query of a change to the rule in its present revision.
func (s *session) seenRule(name, by string) (url.Values, rules.Rule, error) {
	r, err := s.rule(name)
	return url.Values{"revision": {strconv.FormatUint(r.Revision, 10)}, "by": {by}}, r, err
}

type rulesLsCmd struct {
	Text string `arg:"" optional:"" help:"Only rules with this text in their name, words or labels."`
	JSON bool   `name:"json" help:"Write JSON."`
}

// Run lists the rules.
func (c *rulesLsCmd) Run(s *session) error {
	var all rules.List
	if err := s.client.rules(s.ctx, http.MethodGet, nil, url.Values{"q": {c.Text}}, nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return s.json(all)
	}
	if len(all.Items) == 0 {
		_, err := fmt.Fprintf(s.out, "None of %s.\n", count(all.Total, "rule"))
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tSEVERITY\tSERIES\tFIRING\tOF\tCHANGED\tBY\tWHAT")
	for _, r := range all.Items {
		what := r.Sentence
		if r.Problem != "" {
			what = "BROKEN: " + r.Problem
		}
		if r.Unjudged != "" {
			what = "NOT ALL JUDGED: " + r.Unjudged + ". " + what
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", r.Name, r.State, r.Severity, r.Series, r.Firing, r.Origin, when(r.Changed), figure.Clip(safe(r.Author), 24), figure.Clip(safe(what), 100))
	}
	return w.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

type rulesShowCmd struct {
	Name string `arg:"" help:"Name of the rule."`
	JSON bool   `name:"json" xor:"form" help:"Write JSON."`
	YAML bool   `name:"yaml" xor:"form" help:"Write the YAML alone, as apply takes it."`
}

// Run shows one rule.
func (c *rulesShowCmd) Run(s *session) error {
	r, err := s.rule(c.Name)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return s.json(r)
	case c.YAML:
		_, err := io.WriteString(s.out, r.YAML)
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, safe(value))
		}
	}
	row("Rule", r.Name)
	row("What", r.Sentence)
	row("State", string(r.State))
	row("Broken", r.Problem)
	row("Matches", strconv.Itoa(r.Series)+" series, "+strconv.Itoa(r.Firing)+" firing")
	row("Not judged", r.Unjudged)
	row("Changed", when(r.Changed)+" by "+r.Author)
	row("Of a file", r.Where)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	for line := range strings.Lines(r.YAML) {
		fmt.Fprintln(s.out, safe(strings.TrimRight(line, "\r\n")))
	}
	return nil
}

type rulesApplyCmd struct {
	File   string `short:"f" help:"File with one rule in YAML; - reads the standard input." placeholder:"FILE" required:""`
	Check  bool   `help:"Only check the rule, without saving it."`
	signed `embed:""`
}

// Run puts the rule of a file in force.
func (c *rulesApplyCmd) Run(s *session) error {
	name, text, err := s.read(c.File, maxRuleText)
	if err != nil {
		return err
	}
	var all rules.List
	if err := s.client.rules(s.ctx, http.MethodGet, nil, nil, nil, &all); err != nil {
		return err
	}
	targets := make([]string, len(all.Channels))
	for i, ch := range all.Channels {
		targets[i] = ch.Name
	}
	r, err := config.ParseRule(name, text, targets)
	if err != nil {
		for _, p := range config.Problems(err) {
			fmt.Fprintln(s.err, safe(p.Error()))
		}
		return errors.New("the rule was not saved")
	}
	query, was := url.Values{"revision": {"0"}, "by": {c.By}}, rules.Rule{}
	for _, have := range all.Items {
		if have.Name == r.Name {
			was = have
			query.Set("revision", strconv.FormatUint(have.Revision, 10))
		}
	}
	switch {
	case c.Check:
		_, err := fmt.Fprintf(s.out, "%s is OK.\n", r.Name)
		return err
	case was.YAML == string(text):
		_, err := fmt.Fprintf(s.out, "%s is in force already.\n", r.Name)
		return err
	}
	var saved rules.Rule
	if err := s.client.rules(s.ctx, http.MethodPut, []string{r.Name}, query, text, &saved); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is in force (%s), matching %d series. %s\n", saved.Name, saved.State, saved.Series, safe(saved.Sentence))
	if saved.Unjudged != "" {
		fmt.Fprintf(s.out, "Not judged: %s.\n", safe(saved.Unjudged))
	}
	return nil
}

type rulesStateCmd struct {
	Name   string `arg:"" help:"Name of the rule."`
	State  string `arg:"" enum:"enabled,muted,draft" help:"enabled alerts and notifies, muted only alerts, draft does nothing."`
	signed `embed:""`
}

// Run changes the state of a rule.
func (c *rulesStateCmd) Run(s *session) error {
	query, _, err := s.seenRule(c.Name, c.By)
	if err != nil {
		return err
	}
	query.Set("state", c.State)
	var r rules.Rule
	if err := s.client.rules(s.ctx, http.MethodPost, []string{c.Name, "state"}, query, nil, &r); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s is %s\n", r.Name, r.State)
	return err
}

type rulesRmCmd struct {
	Names  []string `arg:"" name:"name" help:"Names of the rules."`
	Yes    bool     `short:"y" help:"Do not ask for confirmation."`
	signed `embed:""`
}

// Run deletes rules after a confirmation.
func (c *rulesRmCmd) Run(s *session) error {
	var errs []error
	for _, name := range c.Names {
		errs = append(errs, c.remove(s, name))
	}
	return errors.Join(errs...)
}

func (c *rulesRmCmd) remove(s *session, name string) error {
	query, r, err := s.seenRule(name, c.By)
	if err != nil {
		return fmt.Errorf("%s: %w", safe(name), err)
	}
	if !c.Yes {
		if err := s.confirm(fmt.Sprintf("Delete %s, of which %s now? Its versions can be restored on the page.", r.Name, figure.Plural(r.Firing, "alert fires", "alerts fire"))); err != nil {
			return err
		}
	}
	if err := s.client.rules(s.ctx, http.MethodDelete, []string{name}, query, nil, nil); err != nil {
		return fmt.Errorf("%s: %w", safe(name), err)
	}
	_, err = fmt.Fprintf(s.out, "%s deleted\n", r.Name)
	return err
}
