package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/web/oncall"
)

type oncallLsCmd struct {
	JSON bool `name:"json" help:"Write JSON, with quiet hours and escalation."`
}

// Run lists who is on call, and the overrides.
func (c *oncallLsCmd) Run(s *session) error {
	var state oncall.State
	if err := s.client.people(s.ctx, http.MethodGet, []string{"oncall"}, nil, &state); err != nil {
		return err
	}
	if c.JSON {
		return s.json(state)
	}
	if len(state.Rotas) == 0 {
		_, err := fmt.Fprintln(s.out, "There is no rota.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROTA\tWHO\tFROM\tUNTIL\tWHY\tNOTIFIED THROUGH")
	for _, r := range state.Rotas {
		for i, shift := range r.Shifts {
			from := shift.From.Format(time.RFC3339)
			if i == 0 {
				from = "now"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", safe(r.Name), safe(shift.Name), from, shift.Until.Format(time.RFC3339), safe(shift.Reason), safe(strings.Join(shift.Notify, ", ")))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range state.Rotas {
		for _, o := range r.Overrides {
			fmt.Fprintf(s.out, "override %s: %s in %s, %s to %s, by %s %s\n", safe(o.ID), safe(o.Who), safe(o.Rota), o.From.Format(time.RFC3339), o.Until.Format(time.RFC3339), safe(o.Author), safe(o.Comment))
		}
	}
	return nil
}

type oncallAddCmd struct {
	Rota    string `arg:"" help:"The rota."`
	Who     string `arg:"" help:"A person of the rota, or a channel."`
	From    string `help:"When it begins, like 2026-11-28T22:00 in the time zone of the rota, or in RFC 3339; now without it." placeholder:"TIME"`
	Until   string `help:"When it ends, likewise; with the shift that it begins in without it." placeholder:"TIME"`
	Comment string `help:"Why, in one line."`
}

// Run has somebody stand in.
func (c *oncallAddCmd) Run(s *session) error {
	query := url.Values{"by": {userName()}}
	for name, value := range map[string]string{"rota": c.Rota, "who": c.Who, "from": c.From, "until": c.Until, "comment": c.Comment} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var o oncall.Override
	if err := s.client.people(s.ctx, http.MethodPost, []string{"oncall", "overrides"}, query, &o); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s stands in from %s until %s (id %s)\n", safe(o.Who), o.From.Format(time.RFC3339), o.Until.Format(time.RFC3339), safe(o.ID))
	return err
}

type oncallRmCmd struct {
	IDs []string `arg:"" name:"id" help:"Ids, as ls shows them."`
}

// Run ends overrides before their time.
func (c *oncallRmCmd) Run(s *session) error {
	var all error
	for _, id := range c.IDs {
		if err := s.client.people(s.ctx, http.MethodDelete, []string{"oncall", "overrides", url.PathEscape(id)}, nil, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", safe(id), err))
			continue
		}
		fmt.Fprintf(s.out, "%s is ended\n", safe(id))
	}
	return all
}
