package processor

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
	"headwater/streams"
)

const (
	// replayQueue has one of several processors take a request.
	replayQueue = "replay"
	// replaysKept bounds the replays whose result is kept.
	replaysKept = 4
	// replayPending bounds the questions that wait.
	replayPending = 64
	// replayLook is how often a replay that nobody waits for is looked for.
	replayLook = time.Second
)

var (
	// errReplayLeft ends a replay that nobody has asked for.
	errReplayLeft = errors.New("nobody waited for it any more")
	// errReplayCancelled ends a replay that somebody did not want any more.
	errReplayCancelled = errors.New("it was cancelled")
	// errReplayStopped ends a replay of a processor that is stopped.
	errReplayStopped = errors.New("the processor that ran it was stopped; begin it again")
)

// replays tries rules when it is asked to, one at a time, beside the lanes.
type replays struct {
	js     jetstream.JetStream
	past   *influx.Client
	log    *slog.Logger
	lanes  int
	limits Limits
	ended  *prometheus.CounterVec

	asked chan *nats.Msg
	// current is nil when there is none; done gets how it ended.
	current *replayJob
	done    chan streams.ReplayStatus
	// jobs are the current one and those that ended last, oldest first.
	jobs []*replayJob
}

// replayJob is a replay and who waits for it.
type replayJob struct {
	id     string
	subs   *nats.Subscription
	replay *replay
	// work is what the replay does.
	work   func(context.Context) (*streams.ReplayResult, error)
	cancel context.CancelCauseFunc
	began  time.Time
	// wanted is when somebody last asked about it.
	wanted time.Time
	// ended is zero while it runs; then last is what there is to tell.
	ended time.Time
	last  streams.ReplayStatus
}

func newReplays(s *Service, lanes int) *replays {
	return &replays{
		js: s.js, past: s.past, log: s.log, lanes: lanes, limits: s.limits, ended: s.replays,
		asked: make(chan *nats.Msg, replayPending), done: make(chan streams.ReplayStatus, 1),
	}
}

func newReplayMetrics(reg prometheus.Registerer) *prometheus.CounterVec {
	return promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_processor_replays_total", Help: "Replays of rules over stored readings, by how they ended.",
	}, []string{"state"})
}

// run answers until ctx ends and the replay in work, if any, has ended.
func (r *replays) run(ctx context.Context) error {
	requests := make(chan *nats.Msg, replayPending)
	sub, err := r.js.Conn().ChanQueueSubscribe(streams.ReplayStart, replayQueue, requests)
	if err != nil {
		return fmt.Errorf("subscribe to requests to replay: %w", err)
	}
	look := time.NewTicker(replayLook)
	defer look.Stop()
	for {
		select {
		case m := <-requests:
			r.begin(ctx, m)
		case m := <-r.asked:
			r.tell(m)
		case status := <-r.done:
			r.finish(status)
		case now := <-look.C:
			r.look(now)
		case <-ctx.Done():
			// An error means that the connection is gone, and the subscription with it.
			_ = sub.Unsubscribe()
			if r.current != nil {
				r.finish(<-r.done)
			}
			for _, job := range r.jobs {
				_ = job.subs.Unsubscribe()
			}
			return nil
		}
	}
}

// begin answers a request, and runs the replay if that is possible.
func (r *replays) begin(ctx context.Context, m *nats.Msg) {
	request, err := streams.DecodeReplayRequest(m.Data)
	status := streams.ReplayStatus{ID: request.ID, State: streams.ReplayWarming}
	var job *replayJob
	switch {
	case err != nil:
	case r.current != nil:
		status.State = streams.ReplayBusy
		status.Error = "another replay is under way; try again when it has ended"
	case slices.ContainsFunc(r.jobs, func(j *replayJob) bool { return j.id == request.ID }):
		err = fmt.Errorf("%w: its id is that of another", streams.ErrReplay)
	default:
		job, err = r.prepare(ctx, request)
	}
	if err != nil {
		status.State, status.Error = streams.ReplayFailed, err.Error()
		for _, p := range config.Problems(err) {
			status.Problems = append(status.Problems, streams.ReplayProblem{Line: p.Line, Field: p.Field, Text: p.Text})
		}
	}
	if job != nil {
		r.launch(ctx, job)
	}
	r.respond(m, status)
}

// prepare reads the rule and the configuration in force.
func (r *replays) prepare(ctx context.Context, request streams.ReplayRequest) (*replayJob, error) {
	ctx, cancel := context.WithTimeout(ctx, replayLookWithin)
	defer cancel()
	store, err := configstore.Open(ctx, r.js)
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
	tried, err := config.ParseRule("rule", []byte(request.Rule), inForce.Channels)
	if err != nil {
		return nil, err
	}
	job := &replayJob{id: request.ID, began: time.Now(), wanted: time.Now()}
	job.replay = &replay{js: r.js, past: r.past, lanes: r.lanes, limits: r.limits, config: inForce, rule: tried, request: request}
	job.work = job.replay.run
	job.subs, err = r.js.Conn().ChanSubscribe(streams.ReplaySubject(request.ID), r.asked)
	if err != nil {
		return nil, fmt.Errorf("subscribe to questions about a replay: %w", err)
	}
	return job, nil
}

// launch begins a replay.
func (r *replays) launch(ctx context.Context, job *replayJob) {
	ctx, job.cancel = context.WithCancelCause(ctx)
	r.current = job
	r.jobs = append(r.jobs, job)
	r.log.Info("replay began", "rule", job.replay.rule.Name, "from", job.replay.request.From, "to", job.replay.request.To)
	go func() { r.done <- job.run(ctx) }()
}

// run returns how the replay ended.
func (j *replayJob) run(ctx context.Context) streams.ReplayStatus {
	result, err := j.work(ctx)
	status := j.replay.status(j)
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			err = errReplayStopped
		}
		status.State, status.Error = streams.ReplayFailed, err.Error()
		return status
	}
	status.State, status.Done, status.Result = streams.ReplayDone, 1, result
	return status
}

// status tells how far the replay has come.
func (r *replay) status(j *replayJob) streams.ReplayStatus {
	s := streams.ReplayStatus{
		ID: j.id, State: streams.ReplayWarming, Rule: r.request.Rule, From: r.request.From, To: r.request.To,
		Readings: r.readings.Load(), Seconds: time.Since(j.began).Seconds(),
	}
	if r.judging.Load() {
		s.State = streams.ReplayRunning
	}
	if total := r.total.Load(); total > 0 {
		s.Done = min(1, float64(r.messages.Load())/float64(total))
	}
	return s
}

// finish keeps what came of the current replay, and forgets the oldest.
func (r *replays) finish(status streams.ReplayStatus) {
	job := r.current
	job.cancel(nil)
	r.current, job.last, job.ended = nil, status, time.Now()
	r.ended.WithLabelValues(string(job.last.State)).Inc()
	r.log.Info("replay ended", "rule", job.replay.rule.Name, "state", job.last.State, "readings", job.last.Readings,
		"took", job.ended.Sub(job.began).Round(time.Millisecond), "err", job.last.Error)
	if len(r.jobs) > replaysKept {
		r.forget(r.jobs[0])
	}
}

func (r *replays) forget(job *replayJob) {
	// An error means that the connection is gone, and the subscription with it.
	_ = job.subs.Unsubscribe()
	r.jobs = slices.DeleteFunc(r.jobs, func(j *replayJob) bool { return j == job })
}

// look ends the replay that nobody waits for, and forgets old results.
func (r *replays) look(now time.Time) {
	if job := r.current; job != nil && now.Sub(job.wanted) > streams.ReplayPatience {
		job.cancel(errReplayLeft)
	}
	if len(r.jobs) > 0 && !r.jobs[0].ended.IsZero() && now.Sub(r.jobs[0].ended) > streams.ReplayKept {
		r.forget(r.jobs[0])
	}
}

// tell answers a question about a replay.
func (r *replays) tell(m *nats.Msg) {
	for _, job := range r.jobs {
		if streams.ReplaySubject(job.id) != m.Subject {
			continue
		}
		job.wanted = time.Now()
		if string(m.Data) == streams.ReplayCancel && job == r.current {
			job.cancel(errReplayCancelled)
		}
		status := job.last
		if job.ended.IsZero() {
			status = job.replay.status(job)
		}
		r.respond(m, status)
	}
}

func (r *replays) respond(m *nats.Msg, status streams.ReplayStatus) {
	body, err := status.Encode()
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		r.log.Warn("a question about a replay was not answered", "subject", m.Subject, "err", err)
	}
}
