package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"headwater/proto/figure"
	"headwater/web/deadletters"
)

// filter selects dead letters by what they are.
type filter struct {
	Service string `help:"Only of this service."`
	Reason  string `help:"Only with this reason."`
}

func (f filter) query() url.Values {
	v := url.Values{}
	if f.Service != "" {
		v.Set("service", f.Service)
	}
	if f.Reason != "" {
		v.Set("reason", f.Reason)
	}
	return v
}

// target selects letters: by sequence, by a filter, or all.
type target struct {
	Sequences []uint64 `arg:"" optional:"" name:"sequence" help:"Sequences of the letters, as ls shows them."`
	filter    `embed:""`
	All       bool `help:"All dead letters."`
}

func (t target) check() error {
	filtered := t.filter != filter{}
	switch {
	case len(t.Sequences) == 0 && !filtered && !t.All:
		return usage("say which letters: sequences, --service, --reason or --all")
	case len(t.Sequences) > 0 && (filtered || t.All), filtered && t.All:
		return usage("say either sequences, or --service and --reason, or --all")
	}
	if slices.Contains(t.Sequences, 0) {
		return usage("a sequence is a number from 1")
	}
	return nil
}

// seen counts the letters of a filter. It also returns the sequence up to which it
// counted.
func (s *session) seen(f filter) (n, last uint64, err error) {
	page, err := s.client.list(s.ctx, f, 0, 1)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range page.Counts {
		if (f.Service == "" || f.Service == c.Service) && (f.Reason == "" || f.Reason == c.Reason) {
			n += c.Count
		}
	}
	return n, page.Last, nil
}

type lsCmd struct {
	filter `embed:""`
	Before uint64 `help:"Only below this sequence, to continue with older ones."`
	Size   int    `help:"How many, at most 100." default:"25"`
	JSON   bool   `name:"json" help:"Write JSON."`
}

// Run lists one page of letters.
func (c *lsCmd) Run(s *session) error {
	page, err := s.client.list(s.ctx, c.filter, c.Before, c.Size)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(page)
	}
	if len(page.Items) == 0 {
		_, err := fmt.Fprintln(s.out, "No dead letters.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SEQUENCE\tARRIVED\tSERVICE\tREASON\tFROM\tBYTES\tWHY")
	for _, l := range page.Items {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Sequence, l.Arrived.UTC().Format(time.DateTime), l.Service, l.Reason,
			figure.Clip(safe(l.From), 48), l.Size, figure.Clip(safe(l.Detail), 100))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if page.Next > 0 {
		fmt.Fprintf(s.err, "%d in all; older ones: --before %d\n", page.Total, page.Next)
	}
	return nil
}

type showCmd struct {
	Sequence uint64 `arg:"" help:"Sequence of the letter, as ls shows it."`
	JSON     bool   `name:"json" xor:"form" help:"Write JSON, the original bytes as base64."`
	Raw      bool   `xor:"form" help:"Write the original bytes alone, as they came."`
}

// Run shows one letter.
func (c *showCmd) Run(s *session) error {
	l, err := s.client.get(s.ctx, c.Sequence)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return s.json(l)
	case c.Raw:
		_, err := s.out.Write(l.Payload)
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	row("Sequence", strconv.FormatUint(l.Sequence, 10))
	row("Arrived", l.Arrived.UTC().Format(time.RFC3339Nano))
	row("From", safe(l.From))
	if l.Device != "" {
		row("Device", safe(l.Site+"/"+l.Device))
	}
	row("Service", l.Service)
	row("Reason", l.Reason)
	row("Why", safe(l.Detail))
	if l.NotRedrivable != "" {
		row("Redrive", "not possible: "+safe(l.NotRedrivable))
	}
	row("Original", strconv.Itoa(l.Size)+" bytes")
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "\n%s\n", original(l.Payload))
	return err
}

// original returns a payload in a readable form: as text, or else as a dump of its bytes.
func original(payload []byte) string {
	if text := string(payload); utf8.Valid(payload) && safe(text) == text {
		return text
	}
	return hex.Dump(payload)
}

type redriveCmd struct {
	target `embed:""`
	JSON   bool `name:"json" help:"Write JSON."`
}

// Run redrives every letter that is there at the start.
func (c *redriveCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	total := deadletters.Redrive{Letters: []deadletters.Redriven{}}
	err := c.redrive(s, &total)
	if c.JSON {
		return errors.Join(s.json(total), partly(total, err))
	}
	for _, l := range total.Letters {
		if l.Outcome != deadletters.OutcomeRedriven {
			fmt.Fprintf(s.out, "%d %s: %s\n", l.Sequence, l.Outcome, safe(l.Detail))
		}
	}
	fmt.Fprintf(s.out, "%d redriven (%s), %d refused again, %d cannot be redriven, %d failed, %d gone\n",
		total.Redriven, figure.Plural(total.Readings, "reading", "readings"), total.Refused, total.Kept, total.Failed, total.Gone)
	return partly(total, err)
}

// partly returns err, or errPartly if not everything was redriven.
func partly(r deadletters.Redrive, err error) error {
	if err == nil && r.Refused+r.Kept+r.Failed > 0 {
		return errPartly
	}
	return err
}

func (c *redriveCmd) redrive(s *session, total *deadletters.Redrive) error {
	take := func(r deadletters.Redrive, err error) error {
		for _, l := range r.Letters {
			total.Add(l)
		}
		return err
	}
	for _, seq := range c.Sequences {
		if err := take(s.client.redriveOne(s.ctx, seq)); err != nil {
			return err
		}
	}
	if len(c.Sequences) > 0 {
		return nil
	}
	n, last, err := s.seen(c.filter)
	if err != nil || n == 0 {
		return err
	}
	for from := uint64(1); from > 0; {
		r, err := s.client.redriveMany(s.ctx, c.filter, from, last)
		if err := take(r, err); err != nil {
			return err
		}
		from = r.Next
	}
	return nil
}

type purgeCmd struct {
	target `embed:""`
	Yes    bool `short:"y" help:"Do not ask for confirmation."`
	JSON   bool `name:"json" help:"Write JSON."`
}

// Run deletes letters after a confirmation.
func (c *purgeCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	n, last := uint64(len(c.Sequences)), uint64(0)
	if n == 0 {
		var err error
		n, last, err = s.seen(c.filter)
		if err != nil {
			return err
		}
	}
	if n > 0 && !c.Yes {
		if err := s.confirm(fmt.Sprintf("Delete %d dead letters with their original bytes permanently?", n)); err != nil {
			return err
		}
	}
	var total purged
	var err error
	switch {
	case len(c.Sequences) > 0:
		for _, seq := range c.Sequences {
			p, failed := s.client.purgeOne(s.ctx, seq)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("%d: %w", seq, failed))
			}
			total.Purged += p.Purged
		}
	case n > 0:
		total, err = s.client.purgeMany(s.ctx, c.filter, last)
	}
	if c.JSON {
		return errors.Join(s.json(total), err)
	}
	fmt.Fprintf(s.out, "%d purged\n", total.Purged)
	return err
}
