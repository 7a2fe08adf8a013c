package whatif

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/internal/influx"
	"headwater/services/processor/machine"
	"headwater/services/rule"
	"headwater/streams"
)

const (
	// maxWorkers is how many lanes are replayed at a time, and handedOver how many
	// messages a worker gets at once.
	maxWorkers = 2
	handedOver = 256
	// readAhead is how many messages are requested at once.
	readAhead = 4096
	// lateBy is how long after the end of the period a reading of the period may have
	// arrived and still count.
	lateBy = 15 * time.Minute
	// maxDuration bounds a replay.
	maxDuration = 10 * time.Minute
	// requestTimeout bounds each request to JetStream.
	requestTimeout = 10 * time.Second
)

// errSlow is returned by a replay that took too long.
var errSlow = fmt.Errorf("it was ended after %s: try a shorter period, or a rule that matches fewer devices", figure.Duration(maxDuration))

// job replays one rule over stored readings. It reads TELEMETRY with consumers of its
// own and writes nothing.
type job struct {
	js jetstream.JetStream
	// past, if not nil, holds the readings that have left the stream.
	past    *influx.Client
	lanes   int
	limits  machine.Limits
	config  *config.Config
	rule    rule.Rule
	request streams.ReplayRequest

	// What follows is the progress. Other goroutines read it.
	messages, total, readings atomic.Uint64
	// judging is set once readings of the period itself have come.
	judging atomic.Bool
}

// run returns what the rule would have raised.
func (j *job) run(ctx context.Context) (*streams.ReplayResult, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, maxDuration, errSlow)
	defer cancel()
	trials, err := j.trials()
	if err != nil {
		return nil, err
	}
	archived, why := j.readArchive(ctx, trials)
	since, err := j.readStream(ctx, trials)
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
	learned := learnedFrom(since, archived, j.request.From)
	if why != nil && j.request.From.Add(-j.request.Warm).Before(since) {
		learned += "; InfluxDB could not be read: " + why.Error()
	}
	if !archived.IsZero() {
		since = archived
	}
	result := summarise(all, j.request.From, j.request.To, since)
	result.Rule, result.Warmed = j.rule.Name, learned
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// trials returns a trial for each lane in which the rule may watch something; the
// others are nil.
func (j *job) trials() ([]*trial, error) {
	trials := make([]*trial, j.lanes)
	site, device, one := j.rule.OneDevice()
	for n := range trials {
		if one && n != streams.Lane(site, device, j.lanes) {
			continue
		}
		t, err := newTrial(n, j.limits, j.config, j.rule, j.request.From.UnixNano(), j.request.To.UnixNano())
		if err != nil {
			return nil, err
		}
		trials[n] = t
	}
	return trials, nil
}

// learnedFrom describes what the detectors had learned from when the period began.
// Since is the time of the first reading of the stream, archived that of the first
// reading of InfluxDB; both are zero if there was none.
func learnedFrom(since, archived, from time.Time) string {
	text := func(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
	before := func(t time.Time) string { return figure.Duration(from.Sub(t)) + " before the period" }
	switch {
	case !archived.IsZero() && archived.Before(from):
		return fmt.Sprintf("Learned from the readings since %s, %s, in InfluxDB", text(archived), before(archived))
	case since.IsZero() && archived.IsZero():
		return "No earlier data to learn from"
	case !archived.IsZero():
		return "No earlier data to learn from: the oldest readings in InfluxDB are of " + text(archived)
	case !since.Before(from):
		return "No earlier data to learn from: the oldest stored readings are of " + text(since)
	}
	return fmt.Sprintf("Learned from the readings stored since %s, %s", text(since), before(since))
}

// readArchive feeds the trials what InfluxDB holds of the time before the stream
// begins. It returns the time of the first reading, zero if there was none. After an
// error the detectors have learned from less; the error is the reason.
func (j *job) readArchive(ctx context.Context, trials []*trial) (since time.Time, err error) {
	from, to := j.request.From.Add(-j.request.Warm), j.request.To
	request, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := j.js.Stream(request, streams.StreamTelemetry)
	if err != nil {
		return since, fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	if state := stream.CachedInfo().State; state.Msgs > 0 && state.FirstTime.Before(to) {
		to = state.FirstTime
	}
	if !from.Before(to) {
		return since, nil
	}
	if j.past == nil {
		return since, errNoArchive
	}
	a := newArchive(j.past, j.rule, trials, &j.readings)
	err = a.feed(ctx, from, to)
	return a.earliest, err
}

// errNoArchive is the reason why InfluxDB was not queried.
var errNoArchive = errors.New("the processor does not have its address")

// readStream feeds the trials what the stream holds of their lanes. It returns when
// the first message was stored.
func (j *job) readStream(ctx context.Context, trials []*trial) (since time.Time, err error) {
	filter := streams.TelemetryAll
	if site, device, one := j.rule.OneDevice(); one {
		filter = streams.TelemetryFilter(streams.Lane(site, device, j.lanes))
	}
	in, err := j.open(ctx, filter)
	if err != nil || in.total == 0 {
		return time.Time{}, err
	}
	j.total.Store(in.total)
	group, ctx := errgroup.WithContext(ctx)
	workers := make([]chan []stored, min(maxWorkers, runtime.GOMAXPROCS(0)))
	for i := range workers {
		workers[i] = make(chan []stored, 2)
		group.Go(func() error {
			j.work(trials, workers[i])
			return nil
		})
	}
	group.Go(func() error {
		defer func() {
			for _, w := range workers {
				close(w)
			}
		}()
		since, err = j.handOut(ctx, in, workers)
		return err
	})
	return since, group.Wait()
}

// stored is a message of a lane.
type stored struct {
	lane int
	data []byte
}

// work applies messages to the trials of their lanes until the channel is closed.
func (j *job) work(trials []*trial, messages <-chan []stored) {
	for some := range messages {
		readings := uint64(0)
		for _, m := range some {
			t := trials[m.lane]
			before := t.readings
			t.apply(m.data)
			readings += t.readings - before
		}
		j.readings.Add(readings)
		j.messages.Add(uint64(len(some)))
	}
}

// input is a part of TELEMETRY.
type input struct {
	consumer jetstream.Consumer
	// total is how many messages it had when it was opened.
	total uint64
}

// open opens the stream where the detectors begin to learn. The input ends with the
// period, and with what arrived late.
func (j *job) open(ctx context.Context, filter string) (input, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	after := func(at time.Time) (input, error) {
		consumer, err := j.js.OrderedConsumer(ctx, streams.StreamTelemetry, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
			InactiveThreshold: 30 * time.Second,
		})
		if err != nil {
			return input{}, fmt.Errorf("read %s: %w", streams.StreamTelemetry, err)
		}
		return input{consumer: consumer, total: consumer.CachedInfo().NumPending}, nil
	}
	in, err := after(j.request.From.Add(-j.request.Warm))
	if err != nil {
		return input{}, err
	}
	end := j.request.To.Add(lateBy)
	if end.Before(time.Now()) {
		rest, err := after(end)
		if err != nil {
			return input{}, err
		}
		in.total -= min(in.total, rest.total)
	}
	return in, nil
}

// handOut gives the messages to the workers. All messages of a lane go to the same
// worker, in order. It returns when the first message was stored.
func (j *job) handOut(ctx context.Context, in input, workers []chan []stored) (since time.Time, err error) {
	messages, err := in.consumer.Messages(jetstream.PullMaxMessages(readAhead),
		jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return since, fmt.Errorf("read %s: %w", streams.StreamTelemetry, err)
	}
	defer messages.Stop()
	pending := make([][]stored, len(workers))
	give := func(w int) error {
		select {
		case workers[w] <- pending[w]:
			pending[w] = nil
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
		if !j.judging.Load() && !meta.Timestamp.Before(j.request.From) {
			j.judging.Store(true)
		}
		if lane, _, err := streams.ParseTelemetry(msg.Subject()); err == nil && lane < j.lanes {
			w := lane % len(workers)
			pending[w] = append(pending[w], stored{lane, msg.Data()})
			if len(pending[w]) == handedOver {
				if err := give(w); err != nil {
					return since, err
				}
			}
		}
		// Messages that were purged in the meantime never arrive, so the count alone
		// does not say that this is the last one.
		if n < in.total && meta.NumPending > 0 {
			continue
		}
		for w := range pending {
			if err := give(w); err != nil {
				return since, err
			}
		}
		return since, nil
	}
}
