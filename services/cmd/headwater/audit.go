package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/web/audit"
)

type auditLsCmd struct {
	Who    string `help:"Only of this user, token or part of Headwater, exactly."`
	Action string `help:"Only this action, such as rule.save."`
	Text   string `help:"Only entries that contain this text."`
	Before uint64 `help:"Only below this sequence, to continue with older ones."`
	Size   int    `help:"How many, at most 500." default:"50"`
	JSON   bool   `name:"json" help:"Write JSON."`
}

// Run lists one page of entries.
func (c *auditLsCmd) Run(s *session) error {
	query := url.Values{"size": {strconv.Itoa(c.Size)}}
	for name, value := range map[string]string{"who": c.Who, "action": c.Action, "q": c.Text} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if c.Before > 0 {
		query.Set("before", strconv.FormatUint(c.Before, 10))
	}
	at := s.client.base.JoinPath("api", "v1", "audit")
	at.RawQuery = query.Encode()
	var page audit.Entries
	if err := s.client.send(s.ctx, http.MethodGet, at, nil, &page); err != nil {
		return err
	}
	if c.JSON {
		return s.json(page)
	}
	if len(page.Items) == 0 {
		fmt.Fprintln(s.out, "No entries.")
	} else {
		w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SEQUENCE\tAT\tWHO\tFROM\tACTION\tOBJECT\tRESULT\tDETAIL")
		for _, e := range page.Items {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Sequence, e.At.UTC().Format(time.DateTime), figure.Clip(safe(e.Who), 40), safe(e.From),
				safe(e.Action), figure.Clip(safe(e.Object), 60), safe(e.Result), figure.Clip(safe(e.Detail), 100))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if page.Next > 0 {
		fmt.Fprintf(s.err, "older ones: --before %d\n", page.Next)
	}
	return nil
}
