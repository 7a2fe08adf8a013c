package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/web/channels"
)

type channelLsCmd struct {
	JSON bool `name:"json" help:"Write JSON, with the latest messages of each and what became of them."`
}

// Run lists the channels.
func (c *channelLsCmd) Run(s *session) error {
	var list channels.List
	if err := s.client.people(s.ctx, http.MethodGet, []string{"channels"}, nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return s.json(list.Channels)
	}
	if len(list.Channels) == 0 {
		_, err := fmt.Fprintln(s.out, "There are no channels: alerts appear on the dashboard only.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHANNEL\tTYPE\tTO\tLATEST MESSAGE\tOUTCOME")
	for _, one := range list.Channels {
		latest, outcome := "none", ""
		if len(one.Deliveries) > 0 {
			d := one.Deliveries[0]
			latest = d.At.UTC().Format(time.RFC3339) + " " + figure.Clip(safe(d.Title), 60)
			outcome = d.Outcome
			if d.Error != "" {
				outcome += ": " + figure.Clip(safe(d.Error), 120)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", safe(one.Name), safe(one.Type), safe(one.To), latest, outcome)
	}
	return w.Flush()
}

type channelTestCmd struct {
	Channels []string `arg:"" name:"channel" help:"Names, as ls shows them."`
}

// Run sends a test through channels and waits for the answers of the other sides.
func (c *channelTestCmd) Run(s *session) error {
	var all error
	for _, name := range c.Channels {
		if err := s.client.people(s.ctx, http.MethodPost, []string{"channels", url.PathEscape(name), "test"}, nil, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s: the other side took the test\n", safe(name))
	}
	return all
}

type channelReportCmd struct{}

// Run sends the morning report as it is now and waits for the answer of the other side.
func (c *channelReportCmd) Run(s *session) error {
	if err := s.client.people(s.ctx, http.MethodPost, []string{"report"}, nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, "The other side took the report.")
	return err
}
