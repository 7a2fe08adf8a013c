package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/web/replay"
)

const (
	// replayAsk is the pause between queries for the progress of a replay.
	replayAsk = 300 * time.Millisecond
	// replayPatience is how long the dashboard or the processor may be without an answer.
	replayPatience = 10 * time.Second
	// replayEnd is how long cancelling a replay may take.
	replayEnd = 2 * time.Second
)

type replayCmd struct {
	File string `short:"f" required:"" help:"The rule in YAML, by itself; - reads it from the input." placeholder:"FILE"`
	From string `help:"Beginning of the period: a time of RFC 3339, or how long ago, such as 6h or 2d." default:"1d" placeholder:"TIME"`
	To   string `help:"End of the period, likewise; now unless given." placeholder:"TIME"`
	Warm string `help:"How long before the period the detectors begin to learn." default:"7d" placeholder:"TIME"`
	List int    `help:"How many devices and alerts to list." default:"20" placeholder:"N"`
	JSON bool   `name:"json" help:"Write JSON."`
}

// Run replays the rule and prints what it would have raised.
func (c *replayCmd) Run(s *session) error {
	_, text, err := s.read(c.File, streams.MaxReplayRule)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"rule": string(text), "from": ago(c.From), "to": ago(c.To), "warm": c.Warm})
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	var begun replay.Replay
	if err := s.client.send(s.ctx, http.MethodPost, s.client.base.JoinPath("api", "v1", "replays"), body, &begun); err != nil {
		return err
	}
	run, err := s.await(begun)
	if err != nil {
		return err
	}
	if run.State != streams.ReplayDone || run.Result == nil {
		return fmt.Errorf("the replay failed: %s", safe(run.Error))
	}
	if c.JSON {
		return s.json(run)
	}
	return c.tell(s, run)
}

// ago reads a duration, with or without a sign, as a time in the past.
func ago(text string) string {
	if d, err := figure.ParseDuration(text); err == nil && d >= 0 {
		return "-" + text
	}
	return text
}

// await polls the replay until it is over, and shows its progress. When ctx ends, it
// cancels the replay.
func (s *session) await(run replay.Replay) (replay.Replay, error) {
	at := s.client.base.JoinPath("api", "v1", "replays", run.ID)
	answered := time.Now()
	for !run.State.Over() {
		if s.interactive {
			fmt.Fprintf(s.err, "\r%-8s %3.0f %%  %d readings in %.0f s ", run.State, 100*run.Done, run.Readings, run.Seconds)
		}
		if !process.Sleep(s.ctx, replayAsk) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), replayEnd)
			defer cancel()
			return run, errors.Join(errors.New("cancelled"), s.client.send(ctx, http.MethodDelete, at, nil, nil))
		}
		var next replay.Replay
		err := s.client.send(s.ctx, http.MethodGet, at, nil, &next)
		switch {
		case err == nil:
			run, answered = next, time.Now()
		case s.ctx.Err() == nil && time.Since(answered) > replayPatience:
			return run, err
		}
	}
	if s.interactive {
		fmt.Fprintf(s.err, "\r%s\r", strings.Repeat(" ", 60))
	}
	return run, nil
}

func (c *replayCmd) tell(s *session, run replay.Replay) error {
	r := run.Result
	same, others := run.Reals()
	fmt.Fprintf(s.out, "Rule %s, from %s to %s\n", safe(r.Rule), r.From.UTC().Format(time.DateTime), r.To.UTC().Format(time.DateTime))
	fmt.Fprintf(s.out, "%s in %.1f s (%.0f a second), watched: %d\n",
		figure.Plural(r.Readings, "reading", "readings"), r.Seconds, float64(r.Readings)/max(r.Seconds, 1e-9), r.Matched)
	fmt.Fprintf(s.out, "%s\n", safe(r.Warmed))
	if r.Problem != "" {
		fmt.Fprintf(s.out, "It could not be evaluated for %s\n", safe(r.Problem))
	}
	more := ""
	if run.MoreReal {
		more = " or more"
	}
	fmt.Fprintf(s.out, "Alerts it would have raised: %d (begun in the period: %d); really raised%s: %d by this rule, %d by others\n",
		r.Total, r.Began, more, same, others)
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	if rows := run.Rows(); len(rows) > 0 {
		fmt.Fprintln(w, "\nDEVICE\tWOULD\tA WEEK\tREALLY\tBY OTHERS")
		listed := rows[:min(len(rows), c.List)]
		for _, row := range listed {
			fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\n", safe(row.Site+"/"+row.Device), row.Would, r.Week(row.PerWeek), row.Same, row.Others)
		}
		andMore(w, len(rows)-len(listed))
	}
	if listed := min(len(r.Alerts), c.List); listed > 0 {
		fmt.Fprintln(w, "\nSTART\tLASTED\tSERIES\tSEVERITY\tWHY")
		for _, a := range r.Alerts[:listed] {
			lasted := "ongoing"
			if !a.End.IsZero() {
				lasted = figure.Duration(a.End.Sub(a.Start))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.Start.UTC().Format(time.DateTime), lasted,
				safe(a.Site+"/"+a.Device+" "+a.Metric), a.Severity, figure.Clip(safe(a.Sentence), 100))
		}
		andMore(w, r.Total-listed)
	}
	return w.Flush()
}

func andMore(w io.Writer, n int) {
	if n > 0 {
		fmt.Fprintf(w, "and %d more\n", n)
	}
}
