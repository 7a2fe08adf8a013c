package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"headwater/proto/cost"
	"headwater/proto/figure"
)

type costCmd struct {
	Devices     int      `help:"Number of devices." default:"20" placeholder:"N"`
	Every       []string `help:"Time from one reading of a device to the next, such as 30s; several are compared (5m,1m,30s,1s)." placeholder:"TIME"`
	Payload     int      `help:"Size of the message with a reading, in bytes." default:"100" placeholder:"BYTES"`
	Alerts      int      `help:"Alerts a month." default:"30" placeholder:"N"`
	Keep        int      `help:"For how many months readings are kept." default:"1" placeholder:"MONTHS"`
	Free        string   `help:"Free tiers that count: first-year, always (those that do not end) or none." default:"first-year" placeholder:"WHICH"`
	Prices      string   `help:"File with other prices; --print-prices prints the one that is built in." type:"existingfile" placeholder:"FILE"`
	PrintPrices bool     `help:"Print the prices with their date and sources, and exit."`
	JSON        bool     `name:"json" help:"Write JSON, with each line of each bill."`
}

// Help returns what --help says of the command beside its flags.
func (*costCmd) Help() string {
	return "Everything to the cloud means a message broker, a call of a function and a write to a table for each reading. Edge first means " +
		"that the site decides and keeps everything, and only alerts and a nightly compact backup go up."
}

// Run prints what a managed cloud costs.
func (c *costCmd) Run(s *session) error {
	if c.PrintPrices {
		_, err := s.out.Write(cost.BuiltIn())
		return err
	}
	prices := cost.Default()
	if c.Prices != "" {
		var err error
		if prices, err = readPrices(c.Prices); err != nil {
			return err
		}
	}
	intervals := cost.Intervals()
	if len(c.Every) > 0 {
		intervals = nil
	}
	for _, text := range c.Every {
		d, err := figure.ParseDuration(text)
		if err != nil {
			return usage(fmt.Sprintf("--every: %q is not a time such as 30s or 5m", figure.Clip(safe(text), 40)))
		}
		intervals = append(intervals, d)
	}
	use := cost.Use{Devices: c.Devices, Payload: c.Payload, Alerts: c.Alerts, Keep: c.Keep}
	compared, err := prices.Compare(use, cost.Free(c.Free), intervals)
	if err != nil {
		return usage(err.Error())
	}
	if c.JSON {
		return s.json(compared)
	}
	return printCost(s.out, compared)
}

// readPrices reads a file of prices.
func readPrices(name string) (cost.Prices, error) {
	f, err := os.Open(name)
	if err != nil {
		return cost.Prices{}, usage(err.Error())
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, cost.MaxFile+1))
	if err != nil {
		return cost.Prices{}, fmt.Errorf("%s: %w", name, err)
	}
	p, err := cost.Parse(text)
	if err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// parts are the rows of a bill.
var parts = []struct {
	part  cost.Part
	title string
}{
	{cost.Broker, "message broker"},
	{cost.Function, "function for each message"},
	{cost.Table, "table"},
	{cost.Notification, "notification"},
	{cost.Backup, "nightly backup"},
}

// titleWidth is that of the first column.
const titleWidth = 28

// printCost prints a table with one column for each interval, and what it rests on.
func printCost(out io.Writer, c cost.Comparison) error {
	p := c.Prices
	fmt.Fprintf(out, "A month of %s: %s a reading, %s, kept for %s.\nPrices: %s %s, %s, %s.\n\n",
		figure.Plural(c.Use.Devices, "device", "devices"), figure.Plural(c.Use.Payload, "byte", "bytes"), figure.Plural(c.Use.Alerts, "alert", "alerts"),
		figure.Plural(c.Use.Keep, "month", "months"), safe(p.Provider), safe(p.Region), p.Date, freeWords[c.Free])
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(title string, cell func(cost.Plan) string) {
		fmt.Fprintf(w, "%-*s\t", titleWidth, title)
		for _, plan := range c.Plans {
			fmt.Fprint(w, cell(plan), "\t")
		}
		fmt.Fprintln(w)
	}
	row("a reading every", func(p cost.Plan) string { return p.Every })
	row("readings", func(p cost.Plan) string { return figure.Count(uint64(p.Readings)) })
	bill := func(title string, of func(cost.Plan) cost.Bill) {
		row(title, func(plan cost.Plan) string { return safe(p.Money(of(plan).Total)) })
		for _, part := range parts {
			if of(c.Plans[0]).Of(part.part) == 0 && part.part == cost.Backup {
				continue
			}
			row("  "+part.title, func(plan cost.Plan) string { return safe(p.Money(of(plan).Of(part.part))) })
		}
	}
	bill("EVERYTHING TO THE CLOUD", func(p cost.Plan) cost.Bill { return p.Cloud })
	bill("EDGE FIRST", func(p cost.Plan) cost.Bill { return p.Edge })
	row("SAVED A MONTH", func(plan cost.Plan) string { return safe(p.Money(plan.Saved)) })
	if c.Free == cost.FirstYear {
		row("after the first year: cloud", func(plan cost.Plan) string { return safe(p.Money(plan.CloudLater)) })
		row("  edge first", func(plan cost.Plan) string { return safe(p.Money(plan.EdgeLater)) })
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	fmt.Fprintf(out, "\nIt rests on (units of a month with a reading every %s):\n", c.Plans[len(c.Plans)-1].Every)
	last := c.Plans[len(c.Plans)-1]
	printRests(out, "everything to the cloud", last.Cloud)
	printRests(out, "edge first", last.Edge)
	fmt.Fprintln(out, "  The computer of the site and its electricity are in neither.")
	if p.Note != "" {
		fmt.Fprintf(out, "  %s\n", safe(p.Note))
	}
	return nil
}

// freeWords say which free tiers count.
var freeWords = map[cost.Free]string{
	cost.FirstYear: "with the free tiers of the first year",
	cost.Always:    "with the free tiers that do not end",
	cost.None:      "without free tiers",
}

func printRests(out io.Writer, title string, b cost.Bill) {
	fmt.Fprintf(out, "  %s\n", title)
	for _, l := range b.Lines {
		fmt.Fprintf(out, "    %s, %s: %s × %s (%s)\n", l.Part, safe(l.Name), figure.Number(l.Units), safe(l.Unit), l.Rests)
	}
}
