// Package whatif replays a rule over stored readings and returns the alerts that it
// would have raised. Nothing is written and nobody is notified.
//
//	queue.go    Queue answers requests of the dashboard and runs one job at a time
//	job.go      job reads TELEMETRY, spread over workers by lane
//	archive.go  archive reads what has left the stream from InfluxDB
//	trial.go    trial runs the rule on one lane and collects its alerts
package whatif

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/influx"
	"headwater/services/processor/machine"
	"headwater/streams"
)

const (
	// queueGroup makes NATS deliver a request to one of several processors.
	queueGroup = "replay"
	// maxKept bounds the replays whose result is kept.
	maxKept = 4
	// maxPending bounds the questions that wait.
	maxPending = 64
	// checkEvery is how often the queue looks for replays that nobody waits for.
	checkEvery = time.Second
)

var (
	// errAbandoned ends a replay that nobody has asked about for a while.
	errAbandoned = errors.New("nobody waited for it any more")
	// errCancelled ends a replay that a person has cancelled.
	errCancelled = errors.New("it was cancelled")
	// errStopped ends a replay of a processor that stops.
	errStopped = errors.New("the processor that ran it was stopped; begin it again")
)

// Deps are what replays work with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS jetstream.JetStream
	// Past holds the readings that have left the stream; nil if there is none.
	Past    *influx.Client
	Limits  machine.Limits
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Queue runs replays on request, one at a time, beside the lanes. While one runs it
// refuses others.
type Queue struct {
	deps  Deps
	lanes int
	ended *prometheus.CounterVec

	// questions are about replays that this queue has accepted.
	questions chan *nats.Msg
	// current is nil while none runs; done gets its last status.
	current *entry
	done    chan streams.ReplayStatus
	// entries are the current one and those that ended last, oldest first.
	entries []*entry
}

// entry is a replay in the queue.
type entry struct {
	id   string
	subs *nats.Subscription
	job  *job
	// work is job.run.
	work   func(context.Context) (*streams.ReplayResult, error)
	cancel context.CancelCauseFunc
	began  time.Time
	// wanted is when somebody last asked about it.
	wanted time.Time
	// ended is zero while it runs. After that, last is the answer to questions.
	ended time.Time
	last  streams.ReplayStatus
}

// New returns a queue and registers its metrics. It does no I/O.
func New(deps Deps) *Queue {
	return &Queue{
		deps: deps,
		ended: promauto.With(deps.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_processor_replays_total", Help: "Replays of rules over stored readings, by how they ended.",
		}, []string{"state"}),
		questions: make(chan *nats.Msg, maxPending), done: make(chan streams.ReplayStatus, 1),
	}
}

// Run answers requests until ctx ends, and then until the current replay has stopped.
// TELEMETRY has that number of lanes.
func (q *Queue) Run(ctx context.Context, lanes int) error {
	q.lanes = lanes
	requests := make(chan *nats.Msg, maxPending)
	sub, err := q.deps.JS.Conn().ChanQueueSubscribe(streams.ReplayStart, queueGroup, requests)
	if err != nil {
		return fmt.Errorf("subscribe to requests to replay: %w", err)
	}
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case m := <-requests:
			q.begin(ctx, m)
		case m := <-q.questions:
			q.answer(m)
		case status := <-q.done:
			q.finish(status)
		case now := <-check.C:
			q.check(now)
		case <-ctx.Done():
			// An error means that the connection is gone, and the subscription with it.
			_ = sub.Unsubscribe()
			if q.current != nil {
				q.finish(<-q.done)
			}
			for _, e := range q.entries {
				_ = e.subs.Unsubscribe()
			}
			return nil
		}
	}
}

// begin answers a request, and starts the replay if the request is valid and no other
// replay runs.
func (q *Queue) begin(ctx context.Context, m *nats.Msg) {
	request, err := streams.DecodeReplayRequest(m.Data)
	status := streams.ReplayStatus{ID: request.ID, State: streams.ReplayWarming}
	var e *entry
	switch {
	case err != nil:
	case q.current != nil:
		status.State = streams.ReplayBusy
		status.Error = "another replay is under way; try again when it has ended"
	case slices.ContainsFunc(q.entries, func(e *entry) bool { return e.id == request.ID }):
		err = fmt.Errorf("%w: another replay has this id", streams.ErrReplay)
	default:
		e, err = q.prepare(ctx, request)
	}
	if err != nil {
		status.State, status.Error = streams.ReplayFailed, err.Error()
		for _, p := range config.Problems(err) {
			status.Problems = append(status.Problems, streams.ReplayProblem{Line: p.Line, Field: p.Field, Text: p.Text})
		}
	}
	if e != nil {
		q.launch(ctx, e)
	}
	q.respond(m, status)
}

// prepare reads the rule and the configuration in force, and subscribes to questions
// about the replay.
func (q *Queue) prepare(ctx context.Context, request streams.ReplayRequest) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	store, err := configstore.Open(ctx, q.deps.JS)
	if err != nil {
		return nil, err
	}
	version, err := store.Current(ctx)
	if err != nil {
		return nil, err
	}
	inForce, err := version.Config()
	if err != nil {
		return nil, errors.New("the configuration in force cannot be used")
	}
	tried, err := config.ParseRule("rule", []byte(request.Rule), inForce.Targets())
	if err != nil {
		return nil, err
	}
	e := &entry{id: request.ID, began: time.Now(), wanted: time.Now()}
	e.job = &job{
		js: q.deps.JS, past: q.deps.Past, lanes: q.lanes, limits: q.deps.Limits, config: inForce, rule: tried, request: request,
	}
	e.work = e.job.run
	e.subs, err = q.deps.JS.Conn().ChanSubscribe(streams.ReplaySubject(request.ID), q.questions)
	if err != nil {
		return nil, fmt.Errorf("subscribe to questions about a replay: %w", err)
	}
	return e, nil
}

// launch starts a replay.
func (q *Queue) launch(ctx context.Context, e *entry) {
	ctx, e.cancel = context.WithCancelCause(ctx)
	q.current = e
	q.entries = append(q.entries, e)
	q.deps.Log.Info("replay began", "rule", e.job.rule.Name, "from", e.job.request.From, "to", e.job.request.To)
	go func() { q.done <- e.run(ctx) }()
}

// run runs the replay and returns its last status.
func (e *entry) run(ctx context.Context) streams.ReplayStatus {
	result, err := e.work(ctx)
	status := e.status()
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			err = errStopped
		}
		status.State, status.Error = streams.ReplayFailed, err.Error()
		return status
	}
	status.State, status.Done, status.Result = streams.ReplayDone, 1, result
	return status
}

// status returns the progress of a replay that runs.
func (e *entry) status() streams.ReplayStatus {
	j := e.job
	s := streams.ReplayStatus{
		ID: e.id, State: streams.ReplayWarming, Rule: j.request.Rule, From: j.request.From, To: j.request.To,
		Readings: j.readings.Load(), Seconds: time.Since(e.began).Seconds(),
	}
	if j.judging.Load() {
		s.State = streams.ReplayRunning
	}
	if total := j.total.Load(); total > 0 {
		s.Done = min(1, float64(j.messages.Load())/float64(total))
	}
	return s
}

// finish keeps the last status of the current replay, and forgets the oldest one.
func (q *Queue) finish(status streams.ReplayStatus) {
	e := q.current
	e.cancel(nil)
	q.current, e.last, e.ended = nil, status, time.Now()
	q.ended.WithLabelValues(string(status.State)).Inc()
	q.deps.Log.Info("replay ended", "rule", e.job.rule.Name, "state", status.State, "readings", status.Readings,
		"took", e.ended.Sub(e.began).Round(time.Millisecond), "err", status.Error)
	if len(q.entries) > maxKept {
		q.forget(q.entries[0])
	}
}

// forget drops a replay and its result.
func (q *Queue) forget(e *entry) {
	// An error means that the connection is gone, and the subscription with it.
	_ = e.subs.Unsubscribe()
	q.entries = slices.DeleteFunc(q.entries, func(other *entry) bool { return other == e })
}

// check ends the current replay if nobody waits for it, and forgets old results.
func (q *Queue) check(now time.Time) {
	if e := q.current; e != nil && now.Sub(e.wanted) > streams.ReplayPatience {
		e.cancel(errAbandoned)
	}
	if len(q.entries) > 0 && !q.entries[0].ended.IsZero() && now.Sub(q.entries[0].ended) > streams.ReplayKept {
		q.forget(q.entries[0])
	}
}

// answer answers a question about a replay, and cancels the replay if that is what the
// message asks for.
func (q *Queue) answer(m *nats.Msg) {
	for _, e := range q.entries {
		if streams.ReplaySubject(e.id) != m.Subject {
			continue
		}
		e.wanted = time.Now()
		if string(m.Data) == streams.ReplayCancel && e == q.current {
			e.cancel(errCancelled)
		}
		status := e.last
		if e.ended.IsZero() {
			status = e.status()
		}
		q.respond(m, status)
	}
}

func (q *Queue) respond(m *nats.Msg, status streams.ReplayStatus) {
	body, err := status.Encode()
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		q.deps.Log.Warn("a question about a replay was not answered", "subject", m.Subject, "err", err)
	}
}
