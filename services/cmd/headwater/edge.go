package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/web/edges"
	"headwater/web/ui"
)

// edgePolicy is what an edge is to send.
type edgePolicy struct {
	Readings  []string `help:"Readings that go up besides alerts: all, or site/device/metric with * for any, and =every 10 or =deadband 0.5 behind; repeatable, the first that matches counts." placeholder:"SERIES" sep:"none"`
	Summaries []string `help:"Window summaries that go up at once: all=1m, or site/device/metric with * for any and =1m, =1h or =1d behind; repeatable." placeholder:"SERIES=WINDOW" sep:"none"`
	Budget    int64    `help:"Bytes of readings a day; 0 sets no bound." placeholder:"BYTES"`
	Rate      int64    `help:"Bytes of readings a second; 0 sets no bound." placeholder:"BYTES"`
}

func (p edgePolicy) policy() edges.Policy {
	return edges.Policy{Readings: append([]string{}, p.Readings...), Summaries: p.Summaries, Budget: p.Budget, Rate: p.Rate}
}

type edgeInviteCmd struct {
	Name       string   `arg:"" help:"Name of the edge."`
	Site       []string `help:"Site whose readings it may send, repeatable; all without it." placeholder:"SITE" sep:"none"`
	edgePolicy `embed:""`
	Address    string `help:"URL under which the edge reaches this Headwater; that of --public-url without it." placeholder:"URL"`
	JSON       bool   `name:"json" help:"Write JSON."`
}

// Run invites an edge and shows the line with which it joins.
func (c *edgeInviteCmd) Run(s *session) error {
	d := edges.Draft{Name: c.Name, Sites: c.Site, Address: c.Address}
	if len(c.Readings)+len(c.Summaries) > 0 || c.Budget > 0 || c.Rate > 0 {
		p := c.policy()
		d.Policy = &p
	}
	var out edges.Invited
	if err := s.client.credentials(s.ctx, http.MethodPost, []string{"edges"}, nil, d, &out); err != nil {
		return err
	}
	if c.JSON {
		return s.json(out)
	}
	if s.interactive {
		fmt.Fprint(s.err, ui.QRText(out.Line))
	}
	fmt.Fprintf(s.err, "The edge %s joins with this line, once, until %s: standalone --join 'LINE', or --join @FILE\n", safe(out.Edge.Name), out.Until.UTC().Format(time.RFC3339))
	_, err := fmt.Fprintln(s.out, safe(out.Line))
	return err
}

type edgeLsCmd struct {
	JSON bool `name:"json" help:"Write JSON."`
}

// Run lists the edges.
func (c *edgeLsCmd) Run(s *session) error {
	var all struct {
		Edges []edges.Edge `json:"edges"`
	}
	if err := s.client.credentials(s.ctx, http.MethodGet, []string{"edges"}, nil, nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return s.json(all)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tLAST CONTACT\tVERSION\tWAITING\tSENT\tINSTEAD OF\tREADINGS THAT GO UP")
	for _, e := range all.Edges {
		readings := strings.Join(append(slices.Clone(e.Policy.Readings), e.Policy.Summaries...), ", ")
		if readings == "" {
			readings = "none, alerts only"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", safe(e.Name), e.State, when(e.Seen), safe(e.Version), e.Waiting,
			ui.FormatBytes(e.Sent.Bytes), ui.FormatBytes(e.Whole.Bytes), safe(readings))
	}
	return w.Flush()
}

type edgeSetCmd struct {
	Name       string `arg:"" help:"Name of the edge."`
	edgePolicy `embed:""`
}

// Run changes what an edge is to send.
func (c *edgeSetCmd) Run(s *session) error {
	var out edges.Edge
	if err := s.client.credentials(s.ctx, http.MethodPut, []string{"edges", c.Name, "policy"}, nil, c.policy(), &out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s gets the change with its next report\n", safe(out.Name))
	return err
}

type edgeGapsCmd struct {
	Name string `arg:"" help:"Name of the edge."`
	All  bool   `help:"List complete hours too."`
	JSON bool   `name:"json" help:"Write JSON."`
}

// Run compares what an edge holds with what is here.
func (c *edgeGapsCmd) Run(s *session) error {
	var g edges.Gaps
	if err := s.client.credentials(s.ctx, http.MethodGet, []string{"edges", c.Name, "gaps"}, nil, nil, &g); err != nil {
		return err
	}
	if c.JSON {
		return s.json(g)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOUR\tEDGE\tHERE\tCOMING\tMISSING")
	for _, h := range g.Hours {
		if c.All && h.Edge+h.Here > 0 || h.Coming+h.Missing > 0 {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", h.Start.UTC().Format(time.RFC3339), h.Edge, h.Here, h.Coming, h.Missing)
		}
	}
	fmt.Fprintf(w, "all\t%d\t%d\t%d\t%d\n", g.Totals.Edge, g.Totals.Here, g.Totals.Coming, g.Totals.Missing)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.err, g.Verdict())
	return err
}

type edgeRepairCmd struct {
	Name string `arg:"" help:"Name of the edge."`
}

// Run has an edge send what is missing here.
func (c *edgeRepairCmd) Run(s *session) error {
	var g edges.Gaps
	if err := s.client.credentials(s.ctx, http.MethodPost, []string{"edges", c.Name, "repair"}, nil, nil, &g); err != nil {
		return err
	}
	if g.Totals.Missing == 0 {
		_, err := fmt.Fprintln(s.out, g.Verdict())
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is asked for %d readings with its next report; headwater edge gaps %[1]s shows how far it is\n", safe(c.Name), g.Totals.Missing)
	return err
}

type edgeRevokeCmd struct {
	Names []string `arg:"" name:"name" help:"Names of the edges."`
	Yes   bool     `short:"y" help:"Do not ask for confirmation."`
}

// Run revokes edges after a confirmation.
func (c *edgeRevokeCmd) Run(s *session) error {
	if !c.Yes {
		if err := s.confirm(fmt.Sprintf("Revoke %s? Nothing that an edge sends is taken any more; it works alone then.", safe(strings.Join(c.Names, ", ")))); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range c.Names {
		if err := s.client.credentials(s.ctx, http.MethodPost, []string{"edges", name, "revoke"}, nil, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s is revoked\n", name)
	}
	return errors.Join(errs...)
}
