// Package judge collects from a running Headwater what became of a load, and lets the
// oracle find what is wrong.
package judge

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
	"headwater/services/rule"
	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
	"headwater/streams"
	"headwater/web/ledger"
)

// Judge knows the sources of the facts. Its methods return the violations, and an error
// if they could not find out. Only one goroutine may call them.
type Judge struct {
	Book *oracle.Book
	Load *load.Load
	// Influx holds the history, JS the streams; Dashboard is the address of its pages.
	Influx    *influx.Client
	JS        jetstream.JetStream
	Dashboard string
	// Begin is the start of the load.
	Begin time.Time

	// Verdict and Windows are the latest results of Readings and Summaries.
	Verdict oracle.Verdict
	Windows int
}

// policy is the retention policy with the summaries of load.Rules.
const policy = "10s"

// Points returns the stored readings of a series.
func (j *Judge) Points(ctx context.Context, s oracle.Series) ([]oracle.Point, error) {
	rows, err := j.query(ctx, "raw", `SELECT "value" FROM $metric WHERE "site"=$site AND "device"=$device`, s)
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
func (j *Judge) summaries(ctx context.Context, s oracle.Series) ([]oracle.Summary, error) {
	rows, err := j.query(ctx, policy, `SELECT * FROM $metric WHERE "site"=$site AND "device"=$device`, s)
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

func (j *Judge) query(ctx context.Context, policy, q string, s oracle.Series) (influx.Series, error) {
	series, err := j.Influx.Query(ctx, j.Influx.Database(), policy, q, influx.Params{
		"metric": influx.Ident(s.Metric), "site": load.Site, "device": s.Device,
	})
	if err != nil || len(series) == 0 {
		return influx.Series{}, err
	}
	if len(series) > 1 {
		return influx.Series{}, fmt.Errorf("%d series where one is asked for", len(series))
	}
	return series[0], nil
}

// Strangers lists series in the history that were never issued.
func (j *Judge) Strangers(ctx context.Context) ([]string, error) {
	series, err := j.Influx.Query(ctx, j.Influx.Database(), "raw", `SELECT count("value") FROM /.*/ GROUP BY "site", "device"`, nil)
	if err != nil {
		return nil, err
	}
	known := j.Book.Series()
	var wrong []string
	for _, s := range series {
		if s.Tags["site"] != load.Site || !slices.Contains(known, oracle.Series{Device: s.Tags["device"], Metric: s.Name}) {
			wrong = append(wrong, fmt.Sprintf("unknown series %s %v", s.Name, s.Tags))
		}
	}
	return wrong, nil
}

// Sending lists what was never accepted.
func (j *Judge) Sending() (wrong []string) {
	if issued, acked := j.Book.Totals(); acked < issued {
		wrong = append(wrong, fmt.Sprintf("%d of %d readings were not acknowledged", issued-acked, issued))
	}
	for _, answer := range j.Load.Refusals() {
		wrong = append(wrong, "refused for good: "+answer)
	}
	return wrong
}

// A Check is one method of Judge by its name.
type Check struct {
	Name  string
	Check func(context.Context) ([]string, error)
}

// Checks are all checks that need nothing but a load.
func (j *Judge) Checks() []Check {
	return []Check{
		{"readings", j.Readings},
		{"unknown series", j.Strangers},
		{"summaries", j.Summaries},
		{"alerts", j.Alerts},
		{"dead letters", j.DeadLetters},
		{"ledger", j.Ledger},
	}
}

// All runs the checks. It repeats each until it finds nothing wrong or ctx ends, reports
// each to say, and returns the last results.
func All(ctx context.Context, checks []Check, say func(format string, args ...any)) (wrong []string) {
	ended := time.Now()
	for _, c := range checks {
		said, took := insist(ctx, ended, c.Check)
		verdict := "as they should be"
		if len(said) > 0 {
			verdict = fmt.Sprintf("WRONG (%d)", len(said))
		}
		say("%-15s %s, %.1f s after all was sent", c.Name, verdict, took.Seconds())
		wrong = append(wrong, said...)
	}
	return wrong
}

// insist repeats a check until it finds nothing wrong or ctx ends.
func insist(ctx context.Context, ended time.Time, check func(context.Context) ([]string, error)) ([]string, time.Duration) {
	var last []string
	for attempt := 0; ; attempt++ {
		// A check that has started is finished, even after ctx has ended.
		wrong, err := check(context.WithoutCancel(ctx))
		if err != nil {
			wrong = []string{"the check failed: " + err.Error()}
		}
		if len(wrong) == 0 || ctx.Err() != nil {
			return wrong, time.Since(ended)
		}
		last = wrong
		if !process.Sleep(ctx, time.Second) {
			return last, time.Since(ended)
		}
	}
}

// Readings compares what is stored with what was acknowledged.
func (j *Judge) Readings(ctx context.Context) ([]string, error) {
	var all oracle.Verdict
	for _, s := range j.Book.Series() {
		points, err := j.Points(ctx, s)
		if err != nil {
			return nil, err
		}
		all.Add(j.Book.Judge(s, points))
	}
	j.Verdict = all
	if all.Wrong() == 0 {
		return nil, nil
	}
	return append([]string{fmt.Sprintf("readings: %d lost, %d unknown, %d altered, %d twice", all.Lost, all.Unknown, all.Altered, all.Twice)},
		all.Examples...), nil
}

// Summaries compares the stored summaries of windows with those of the stored readings.
func (j *Judge) Summaries(ctx context.Context) ([]string, error) {
	var wrong []string
	windows := 0
	for _, s := range j.Book.Series() {
		points, err := j.Points(ctx, s)
		if err != nil {
			return nil, err
		}
		got, err := j.summaries(ctx, s)
		if err != nil {
			return nil, err
		}
		windows += len(got)
		for _, w := range oracle.JudgeSummaries(oracle.Summaries(points, load.Width), got) {
			wrong = append(wrong, s.Device+" "+s.Metric+": "+w)
		}
	}
	j.Windows = windows
	return wrong, nil
}

// read hands each message of a stream, as it is now, to take.
func (j *Judge) read(ctx context.Context, stream, filter string, take func(jetstream.Msg) error) error {
	return Each(ctx, j.JS, stream, filter, take)
}

// Each hands each message of a stream, as it is now, to take.
func Each(ctx context.Context, js jetstream.JetStream, stream, filter string, take func(jetstream.Msg) error) error {
	s, err := js.Stream(ctx, stream)
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

// readTimeout bounds how long reading one stream may take.
const readTimeout = 30 * time.Second

// Alerts compares the alerts with the episodes of the scripted devices. It leaves out
// those of the built-in rule, because what that rule learns can't be predicted. The
// simulation of the processors checks that it finds the same whatever fails.
func (j *Judge) Alerts(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	type start struct {
		rule, device string
		at           int64
	}
	ends := make(map[start]int64)
	err := j.read(ctx, streams.StreamAlerting, streams.AlertingAll, func(m jetstream.Msg) error {
		commit, err := streams.DecodeAlerting(m.Data())
		if err != nil {
			return err
		}
		for _, a := range commit.GetAlerts() {
			if a.GetRule() == rule.UnusualName || a.GetRule() == rule.HealthName {
				continue
			}
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
	return oracle.JudgeEpisodes(j.Load.Episodes(), got), nil
}

// DeadLetters requires a dead letter for each malformed message, and no others.
func (j *Judge) DeadLetters(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	planted := j.Load.Planted()
	found := make(map[string]bool)
	var wrong []string
	err := j.read(ctx, streams.StreamDeadLetters, streams.DeadLettersAll, func(m jetstream.Msg) error {
		d, err := streams.ParseDeadLetterMsg(m.Subject(), m.Headers(), m.Data())
		if err != nil {
			return err
		}
		if !planted[string(d.Payload)] {
			wrong = append(wrong, fmt.Sprintf("dead letter of %s, %s: %s (%q)", d.Service, d.Reason, d.Detail, d.Origin))
		}
		found[string(d.Payload)] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	for payload := range planted {
		if !found[payload] {
			wrong = append(wrong, fmt.Sprintf("no dead letter of %q", payload))
		}
	}
	return wrong, nil
}

// Ledger checks the ledger of the whole run. It must be closed and agree with what was
// sent.
func (j *Judge) Ledger(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ledger, err := j.ledger(ctx)
	if err != nil {
		return nil, err
	}
	letters, err := j.JS.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", streams.StreamDeadLetters, err)
	}
	_, acked := j.Book.Totals()
	stored := j.Verdict.Stored
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
	// A reading that was sent again is stored, and counts, as often as it arrived.
	demand(t.Stored >= uint64(max(acked, stored)), fmt.Sprintf("%d readings were acknowledged, %d are stored", acked, stored))
	return wrong, nil
}

func (j *Judge) ledger(ctx context.Context) (ledger.Ledger, error) {
	var ledger ledger.Ledger
	from := j.Begin.UTC().Format(time.RFC3339)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+j.Dashboard+"/api/v1/ledger?from="+from, nil)
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
