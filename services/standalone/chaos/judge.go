//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/standalone/internal/oracle"
	"headwater/services/standalone/internal/stack"
	"headwater/streams"
	"headwater/web/view"
)

// width is that of the windows of the rules.
const width = 10 * time.Second

// store is a client of the InfluxDB of the stack.
func (r *run) store() (*influx.Client, error) {
	cfg := process.Defaults[influx.Config]()
	cfg.URL = "http://" + r.stack.InfluxAddress
	return influx.New(cfg)
}

// points returns what is stored of a series.
func (r *run) points(ctx context.Context, s oracle.Series) ([]oracle.Point, error) {
	rows, err := r.query(ctx, "raw", `SELECT "value" FROM $metric WHERE "site"=$site AND "device"=$device`, s)
	if err != nil || len(rows.Times) == 0 {
		return nil, err
	}
	values := rows.Floats("value")
	out := make([]oracle.Point, len(values))
	for i := range values {
		out[i] = oracle.Point{Time: rows.Times[i], Value: values[i]}
	}
	return out, nil
}

// summaries returns the stored summaries of a series.
func (r *run) summaries(ctx context.Context, s oracle.Series) ([]oracle.Summary, error) {
	rows, err := r.query(ctx, "10s", `SELECT * FROM $metric WHERE "site"=$site AND "device"=$device`, s)
	if err != nil {
		return nil, err
	}
	out := make([]oracle.Summary, len(rows.Times))
	column := func(name string, set func(*oracle.Summary, float64)) {
		for i, v := range rows.Floats(name) {
			set(&out[i], v)
		}
	}
	for i, t := range rows.Times {
		out[i].Start = t
	}
	column("count", func(s *oracle.Summary, v float64) { s.Count = int(v) })
	column("min", func(s *oracle.Summary, v float64) { s.Min = v })
	column("max", func(s *oracle.Summary, v float64) { s.Max = v })
	column("mean", func(s *oracle.Summary, v float64) { s.Mean = v })
	column("first", func(s *oracle.Summary, v float64) { s.First = v })
	column("last", func(s *oracle.Summary, v float64) { s.Last = v })
	column("deviation", func(s *oracle.Summary, v float64) { s.Deviation = v })
	return out, nil
}

func (r *run) query(ctx context.Context, policy, q string, s oracle.Series) (influx.Series, error) {
	client, err := r.store()
	if err != nil {
		return influx.Series{}, err
	}
	defer client.Close()
	series, err := client.Query(ctx, client.Database(), policy, q, influx.Params{
		"metric": influx.Ident(s.Metric), "site": site, "device": s.Device,
	})
	if err != nil || len(series) == 0 {
		return influx.Series{}, err
	}
	if len(series) > 1 {
		return influx.Series{}, fmt.Errorf("%d series where one is asked for", len(series))
	}
	return series[0], nil
}

// strangers lists series in the history that nobody issued.
func (r *run) strangers(ctx context.Context) ([]string, error) {
	client, err := r.store()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	series, err := client.Query(ctx, client.Database(), "raw", `SELECT count("value") FROM /.*/ GROUP BY "site", "device"`, nil)
	if err != nil {
		return nil, err
	}
	known := r.book.Series()
	var wrong []string
	for _, s := range series {
		if s.Tags["site"] != site || !slices.Contains(known, oracle.Series{Device: s.Tags["device"], Metric: s.Name}) {
			wrong = append(wrong, fmt.Sprintf("unknown series %s %v", s.Name, s.Tags))
		}
	}
	return wrong, nil
}

// judge asks the oracle again and again until it has nothing to say, for as
// long as the backlog may take; what it says last counts.
func (r *run) judge(ctx context.Context, ended time.Time) []string {
	checks := []struct {
		name  string
		check func(context.Context) ([]string, error)
	}{
		{"readings", r.judgeReadings},
		{"unknown series", r.strangers},
		{"summaries", r.judgeSummaries},
		{"alerts", r.judgeAlerts},
		{"messages", r.judgeCalls},
		{"dead letters", r.judgeDeadLetters},
		{"ledger", r.judgeLedger},
	}
	ctx, cancel := context.WithDeadline(ctx, ended.Add(drainTimeout))
	defer cancel()
	wrong := r.judgeSending()
	for _, c := range checks {
		said, took := r.insist(ctx, ended, c.check)
		verdict := "as they should be"
		if len(said) > 0 {
			verdict = fmt.Sprintf("WRONG (%d)", len(said))
		}
		r.say("%-15s %s, %.1f s after the end of the load", c.name, verdict, took.Seconds())
		wrong = append(wrong, said...)
	}
	return wrong
}

// judgeSending tells of what never got through.
func (r *run) judgeSending() (wrong []string) {
	if issued, acked := r.book.Totals(); acked < issued {
		wrong = append(wrong, fmt.Sprintf("%d of %d readings were not acknowledged in %s", issued-acked, issued, drainTimeout))
	}
	r.load.mu.Lock()
	defer r.load.mu.Unlock()
	for _, answer := range r.load.refusals {
		wrong = append(wrong, "refused for good: "+answer)
	}
	return wrong
}

// insist repeats a check until it has nothing to say or ctx ends.
func (r *run) insist(ctx context.Context, ended time.Time, check func(context.Context) ([]string, error)) ([]string, time.Duration) {
	var last []string
	for attempt := 0; ; attempt++ {
		// A check that begins is finished, however late it is.
		wrong, err := check(context.WithoutCancel(ctx))
		if err != nil {
			wrong = []string{"the check failed: " + err.Error()}
		}
		if len(wrong) == 0 || ctx.Err() != nil {
			return wrong, time.Since(ended)
		}
		last = wrong
		sleep(ctx, time.Second)
		if ctx.Err() != nil {
			return last, time.Since(ended)
		}
	}
}

func (r *run) judgeReadings(ctx context.Context) ([]string, error) {
	var all oracle.Verdict
	for _, s := range r.book.Series() {
		points, err := r.points(ctx, s)
		if err != nil {
			return nil, err
		}
		all.Add(r.book.Judge(s, points))
	}
	r.mu.Lock()
	r.verdict = all
	r.mu.Unlock()
	if all.Wrong() == 0 {
		return nil, nil
	}
	return append([]string{fmt.Sprintf("readings: %d lost, %d unknown, %d altered, %d twice", all.Lost, all.Unknown, all.Altered, all.Twice)},
		all.Examples...), nil
}

func (r *run) judgeSummaries(ctx context.Context) ([]string, error) {
	var wrong []string
	windows := 0
	for _, s := range r.book.Series() {
		points, err := r.points(ctx, s)
		if err != nil {
			return nil, err
		}
		got, err := r.summaries(ctx, s)
		if err != nil {
			return nil, err
		}
		windows += len(got)
		for _, w := range oracle.JudgeSummaries(oracle.Summaries(points, width), got) {
			wrong = append(wrong, s.Device+" "+s.Metric+": "+w)
		}
	}
	r.mu.Lock()
	r.windows = windows
	r.mu.Unlock()
	return wrong, nil
}

// episodes are those that the scripts of the devices are to cause.
func (r *run) episodes() (out []oracle.Episode) {
	for i := range len(scripts) * scripted {
		s := scriptedSeries(i)
		out = append(out, oracle.Episodes(scripts[i/scripted].rule, s.Device, r.book.Issued(s))...)
	}
	return out
}

// read hands each message of a stream, as it is now, to take.
func (r *run) read(ctx context.Context, stream, filter string, take func(jetstream.Msg) error) error {
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	if info.NumPending == 0 {
		return nil
	}
	it, err := c.Messages()
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	defer it.Stop()
	for range info.NumPending {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
		if err := take(m); err != nil {
			return err
		}
	}
	return nil
}

// readTimeout bounds how long one stream may take to be read.
const readTimeout = 30 * time.Second

func (r *run) judgeAlerts(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	type start struct {
		rule, device string
		at           int64
	}
	ends := make(map[start]int64)
	err := r.read(ctx, streams.StreamAlerting, streams.AlertingAll, func(m jetstream.Msg) error {
		commit, err := streams.DecodeAlerting(m.Data())
		if err != nil {
			return err
		}
		for _, a := range commit.GetAlerts() {
			ends[start{a.GetRule(), a.GetSeries().GetDevice(), a.GetStarted()}] = a.GetEnded()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var got []oracle.Episode
	for s, end := range ends {
		got = append(got, oracle.Episode{Rule: s.rule, Device: s.device, Start: s.at, End: end})
	}
	return oracle.JudgeEpisodes(r.episodes(), got), nil
}

func (r *run) judgeCalls(context.Context) ([]string, error) {
	// Only what takes the sender away between sending and recording may repeat.
	repeats := r.counted(stack.Notifier, kill, pause) + r.counted(stack.NATS, kill, pause)
	r.mu.Lock()
	defer r.mu.Unlock()
	wrong, again := oracle.JudgeCalls(r.episodes(), r.calls, repeats)
	r.again = again
	return wrong, nil
}

func (r *run) judgeDeadLetters(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.load.mu.Lock()
	defer r.load.mu.Unlock()
	found := make(map[string]bool)
	var wrong []string
	err := r.read(ctx, streams.StreamDeadLetters, streams.DeadLettersAll, func(m jetstream.Msg) error {
		d, err := streams.ParseDeadLetterMsg(m.Subject(), m.Headers(), m.Data())
		if err != nil {
			return err
		}
		if !r.load.planted[string(d.Payload)] {
			wrong = append(wrong, fmt.Sprintf("dead letter of %s, %s: %s (%q)", d.Service, d.Reason, d.Detail, d.Origin))
		}
		found[string(d.Payload)] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	for payload := range r.load.planted {
		if !found[payload] {
			wrong = append(wrong, fmt.Sprintf("no dead letter of %q", payload))
		}
	}
	return wrong, nil
}

// judgeLedger asks for the account of the whole run, which must be closed and
// fit what was sent.
func (r *run) judgeLedger(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ledger, err := r.ledger(ctx)
	if err != nil {
		return nil, err
	}
	letters, err := r.js.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", streams.StreamDeadLetters, err)
	}
	_, acked := r.book.Totals()
	r.mu.Lock()
	stored := r.verdict.Stored
	r.mu.Unlock()
	t := ledger.Totals
	var wrong []string
	demand := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("ledger: %s: %+v, on the way %+v", what, t, ledger.OnTheWay))
		}
	}
	demand(t.Exact, "it is not closed")
	demand(t.Missing == 0 && t.InFlight == 0, "something is missing or in flight")
	demand(t.Refused == 0, "InfluxDB refused readings")
	demand(t.Rejected == letters.CachedInfo().State.Msgs, fmt.Sprintf("there are %d dead letters", letters.CachedInfo().State.Msgs))
	// A reading that was sent again is stored, and counts, as often as it came.
	demand(t.Stored >= uint64(max(acked, stored)), fmt.Sprintf("%d readings were acknowledged, %d are stored", acked, stored))
	return wrong, nil
}

func (r *run) ledger(ctx context.Context) (view.Ledger, error) {
	var ledger view.Ledger
	from := r.begin.UTC().Format(time.RFC3339)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.stack.DashboardAddress+"/api/v1/ledger?from="+from, nil)
	if err != nil {
		return ledger, err
	}
	resp, err := (&http.Client{Timeout: readTimeout}).Do(req)
	if err != nil {
		return ledger, fmt.Errorf("ledger: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return ledger, fmt.Errorf("ledger: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return ledger, fmt.Errorf("ledger: %s: %s", resp.Status, body)
	}
	return ledger, json.Unmarshal(body, &ledger)
}
