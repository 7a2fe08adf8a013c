package processor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"headwater/services/internal/config"
	"headwater/services/internal/influx"
	"headwater/services/rule"
	"headwater/streams"
)

const (
	// replayWorkers is how many lanes are replayed at a time, and replayRun how many
	// messages a worker is handed at once.
	replayWorkers = 2
	replayRun     = 256
	// replayReadAhead is how many messages are asked for at once.
	replayReadAhead = 4096
	// replayLate is how long after the end of the period a reading of the period may
	// have come to count.
	replayLate = 15 * time.Minute
	// replayWithin bounds a replay.
	replayWithin = 10 * time.Minute
	// replayLookWithin bounds each question about the stream.
	replayLookWithin = 10 * time.Second
)

// errReplaySlow is returned by a replay that took too long.
var errReplaySlow = fmt.Errorf("it was ended after %v: try a shorter period, or a rule that matches fewer devices", replayWithin)

// replay is one rule that is tried over stored readings. It reads TELEMETRY by
// consumers of its own and writes nothing, nowhere.
type replay struct {
	js jetstream.JetStream
	// past, if not nil, holds the readings that have left the stream.
	past    *influx.Client
	lanes   int
	limits  Limits
	config  *config.Config
	rule    rule.Rule
	request streams.ReplayRequest

	// What follows tells others how far it has come.
	messages, total, readings atomic.Uint64
	// judging says that readings of the period have come.
	judging atomic.Bool
}

// run returns what the rule would have raised.
func (r *replay) run(ctx context.Context) (*streams.ReplayResult, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, replayWithin, errReplaySlow)
	defer cancel()
	trials, err := r.trials()
	if err != nil {
		return nil, err
	}
	remembered, why := r.remember(ctx, trials)
	since, err := r.read(ctx, trials)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	all := make([]*trial, 0, len(trials))
	for _, t := range trials {
		if t != nil {
			t.finish()
			all = append(all, t)
		}
	}
	learned := warmed(since, remembered, r.request.From)
	if why != nil && r.request.From.Add(-r.request.Warm).Before(since) {
		learned += "; InfluxDB was of no help: " + why.Error()
	}
	if !remembered.IsZero() {
		since = remembered
	}
	result := summarise(all, r.request.From, r.request.To, since)
	result.Rule, result.Warmed = r.rule.Name, learned
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// trials returns one for each lane that the rule may watch something in; the
// others are nil.
func (r *replay) trials() ([]*trial, error) {
	trials := make([]*trial, r.lanes)
	site, device, one := r.rule.OneDevice()
	for n := range trials {
		if one && n != streams.Lane(site, device, r.lanes) {
			continue
		}
		t, err := newTrial(n, r.limits, r.config, r.rule, r.request.From.UnixNano(), r.request.To.UnixNano())
		if err != nil {
			return nil, err
		}
		trials[n] = t
	}
	return trials, nil
}

// warmed says what the detectors had learned from when the period began: readings
// of the stream since a time, and of InfluxDB since a time before it.
func warmed(since, remembered, from time.Time) string {
	text := func(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
	before := func(t time.Time) string { return fmt.Sprintf("%v before the period", from.Sub(t).Round(time.Second)) }
	switch {
	case !remembered.IsZero() && remembered.Before(from):
		return fmt.Sprintf("Learned from the readings since %s, %s, in InfluxDB", text(remembered), before(remembered))
	case since.IsZero() && remembered.IsZero():
		return "No earlier data to learn from"
	case !remembered.IsZero():
		return "No earlier data to learn from: the oldest readings in InfluxDB are of " + text(remembered)
	case !since.Before(from):
		return "No earlier data to learn from: the oldest stored readings are of " + text(since)
	}
	return fmt.Sprintf("Learned from the readings stored since %s, %s", text(since), before(since))
}

// remember has the trials learn from what InfluxDB holds of the time that the
// stream does not reach back to. It returns the time of the first reading, zero
// when there was none. Without InfluxDB less is learned; the error says why.
func (r *replay) remember(ctx context.Context, trials []*trial) (since time.Time, err error) {
	from, to := r.request.From.Add(-r.request.Warm), r.request.To
	look, cancel := context.WithTimeout(ctx, replayLookWithin)
	defer cancel()
	stream, err := r.js.Stream(look, streams.StreamTelemetry)
	if err != nil {
		return since, fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	if state := stream.CachedInfo().State; state.Msgs > 0 && state.FirstTime.Before(to) {
		to = state.FirstTime
	}
	if !from.Before(to) {
		return since, nil
	}
	if r.past == nil {
		return since, errNoPast
	}
	a := newArchive(r.past, r.rule, trials, &r.readings)
	err = a.feed(ctx, from, to)
	return a.earliest, err
}

// errNoPast says why nothing was asked of InfluxDB.
var errNoPast = errors.New("the processor was not told where it is")

// read has the trials take what the stream holds of their lanes. It returns when
// the first message was stored.
func (r *replay) read(ctx context.Context, trials []*trial) (since time.Time, err error) {
	filter := streams.TelemetryAll
	if site, device, one := r.rule.OneDevice(); one {
		filter = streams.TelemetryFilter(streams.Lane(site, device, r.lanes))
	}
	in, err := r.open(ctx, filter)
	if err != nil || in.total == 0 {
		return time.Time{}, err
	}
	r.total.Store(in.total)
	group, ctx := errgroup.WithContext(ctx)
	workers := make([]chan []stored, min(replayWorkers, runtime.GOMAXPROCS(0)))
	for i := range workers {
		workers[i] = make(chan []stored, 2)
		group.Go(func() error {
			r.judge(trials, workers[i])
			return nil
		})
	}
	group.Go(func() error {
		defer func() {
			for _, w := range workers {
				close(w)
			}
		}()
		since, err = r.handOut(ctx, in, workers)
		return err
	})
	return since, group.Wait()
}

// stored is a message of a lane.
type stored struct {
	lane int
	data []byte
}

// judge has the trials take messages until there are no more.
func (r *replay) judge(trials []*trial, messages <-chan []stored) {
	for run := range messages {
		readings := uint64(0)
		for _, m := range run {
			t := trials[m.lane]
			before := t.readings
			t.apply(m.data)
			readings += t.readings - before
		}
		r.readings.Add(readings)
		r.messages.Add(uint64(len(run)))
	}
}

// input is a part of TELEMETRY.
type input struct {
	consumer jetstream.Consumer
	// total is how many messages it had when it was opened.
	total uint64
}

// open finds what was stored from where the detectors begin to learn until the
// end of the period, and what came late.
func (r *replay) open(ctx context.Context, filter string) (input, error) {
	ctx, cancel := context.WithTimeout(ctx, replayLookWithin)
	defer cancel()
	after := func(at time.Time) (input, error) {
		consumer, err := r.js.OrderedConsumer(ctx, streams.StreamTelemetry, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
			InactiveThreshold: 30 * time.Second,
		})
		if err != nil {
			return input{}, fmt.Errorf("read %s: %w", streams.StreamTelemetry, err)
		}
		return input{consumer: consumer, total: consumer.CachedInfo().NumPending}, nil
	}
	in, err := after(r.request.From.Add(-r.request.Warm))
	if end := r.request.To.Add(replayLate); err == nil && end.Before(time.Now()) {
		var rest input
		if rest, err = after(end); err == nil {
			in.total -= min(in.total, rest.total)
		}
	}
	return in, err
}

// handOut gives the messages to the workers, those of one lane always to the
// same one and in order. It returns when the first was stored.
func (r *replay) handOut(ctx context.Context, in input, workers []chan []stored) (since time.Time, err error) {
	messages, err := in.consumer.Messages(jetstream.PullMaxMessages(replayReadAhead),
		jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return since, fmt.Errorf("read %s: %w", streams.StreamTelemetry, err)
	}
	defer messages.Stop()
	runs := make([][]stored, len(workers))
	give := func(w int) error {
		select {
		case workers[w] <- runs[w]:
			runs[w] = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for n := uint64(1); ; n++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return since, fmt.Errorf("read %s: %w", streams.StreamTelemetry, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return since, fmt.Errorf("read %s: %w", streams.StreamTelemetry, err)
		}
		if n == 1 {
			since = meta.Timestamp.UTC()
		}
		if !r.judging.Load() && !meta.Timestamp.Before(r.request.From) {
			r.judging.Store(true)
		}
		if lane, _, err := streams.ParseTelemetry(msg.Subject()); err == nil && lane < r.lanes {
			w := lane % len(workers)
			if runs[w] = append(runs[w], stored{lane, msg.Data()}); len(runs[w]) == replayRun {
				if err := give(w); err != nil {
					return since, err
				}
			}
		}
		// What was purged meanwhile does not come any more.
		if n < in.total && meta.NumPending > 0 {
			continue
		}
		for w := range runs {
			if err := give(w); err != nil {
				return since, err
			}
		}
		return since, nil
	}
}
