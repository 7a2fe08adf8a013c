package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

const (
	// redriveQueue has one of several bridges answer a request.
	redriveQueue = "redrive"
	// redriveTimeout bounds one request. Whoever asks waits a little longer.
	redriveTimeout = 20 * time.Second
	// redriveAtOnce bounds the letters that are read or removed at a time.
	redriveAtOnce = 32
	// redriveHeld bounds the letters of a request that are in memory at a time.
	redriveHeld = 4 * redriveAtOnce
	// redrivePending bounds the requests that wait.
	redrivePending = 64
)

// redriver processes the bridge's dead letters again when it is asked to. It
// needs no lane of its own: a repeat of a reading has the same time and so
// overwrites itself. It is for one goroutine.
type redriver struct {
	svc  *Service
	step *step
	// afterStore, if not nil, is called when results are stored and the letters
	// are still there.
	afterStore func()
}

func newRedriver(svc *Service, lanes int) *redriver {
	return &redriver{svc: svc, step: svc.newStep(lanes)}
}

// run answers requests until ctx ends and the one in work is answered.
func (r *redriver) run(ctx context.Context) error {
	requests := make(chan *nats.Msg, redrivePending)
	sub, err := r.svc.deps.JS.Conn().ChanQueueSubscribe(streams.RedriveSubject(service), redriveQueue, requests)
	if err != nil {
		return fmt.Errorf("subscribe to requests to redrive: %w", err)
	}
	for {
		select {
		case m := <-requests:
			r.answer(ctx, m)
		case <-ctx.Done():
			// An error means that the connection is gone, and the subscription with it.
			_ = sub.Unsubscribe()
			return nil
		}
	}
}

// answer does what a request asks for. When the answer gets lost, whoever asked
// finds out by looking at the letters.
func (r *redriver) answer(ctx context.Context, m *nats.Msg) {
	// What was begun is finished even if the bridge is told to stop meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redriveTimeout)
	defer cancel()
	var answer streams.RedriveAnswer
	request, err := streams.DecodeRedriveRequest(m.Data)
	if err == nil {
		answer.Results, err = r.redrive(ctx, request.Sequences)
	}
	if err != nil {
		r.svc.deps.Log.Warn("dead letters were not redriven", "err", err)
		answer = streams.RedriveAnswer{Error: err.Error()}
	}
	body, err := answer.Encode()
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		r.svc.deps.Log.Warn("a redrive was not answered", "subject", m.Subject, "err", err)
	}
}

// redriving is a letter on its way.
type redriving struct {
	letter streams.DeadLetter
	result *streams.Redriven
	// batch holds the readings that the letter became, if any.
	batch *telemetryv1.Batch
	// stored gets the answer to what the letter became; nil when it is kept.
	stored jetstream.PubAckFuture
}

// redrive processes letters again, in their order. Each is removed when what it
// became is stored, so that a crash in between repeats it: its readings have
// the times that they would have had, and a repeat soon after is not even
// stored, as it has the id of the first.
func (r *redriver) redrive(ctx context.Context, sequences []uint64) ([]streams.Redriven, error) {
	stream, err := r.svc.deps.JS.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", streams.StreamDeadLetters, err)
	}
	results := make([]streams.Redriven, 0, len(sequences))
	for part := range slices.Chunk(sequences, redriveHeld) {
		results = append(results, r.part(ctx, stream, part)...)
	}
	for i := range results {
		r.svc.metrics.redriven.WithLabelValues(string(results[i].Outcome)).Inc()
	}
	return results, nil
}

// part redrives some of the letters of a request.
func (r *redriver) part(ctx context.Context, stream jetstream.Stream, sequences []uint64) []streams.Redriven {
	results := make([]streams.Redriven, len(sequences))
	work := make([]redriving, len(sequences))
	for i, seq := range sequences {
		results[i] = streams.Redriven{Sequence: seq}
		work[i].result = &results[i]
	}
	each(work, func(w *redriving) { w.letter = read(ctx, stream, w.result) })
	made := stream.CachedInfo().Created
	for i := range work {
		if work[i].result.Outcome == "" {
			r.process(&work[i], fmt.Sprintf("redrive/%d/%d", made.UnixNano(), work[i].result.Sequence))
		}
	}
	for i := range work {
		if w := &work[i]; w.stored != nil {
			if _, err := await(ctx, w.stored); err != nil {
				fail(w.result, fmt.Errorf("store: %w", err))
			} else if w.batch != nil {
				r.svc.registry.See(w.batch)
			}
		}
	}
	if r.afterStore != nil {
		r.afterStore()
	}
	each(work, func(w *redriving) { remove(ctx, stream, w.result) })
	return results
}

// each calls f for all, several at a time.
func each(work []redriving, f func(*redriving)) {
	var group errgroup.Group
	group.SetLimit(redriveAtOnce)
	for i := range work {
		group.Go(func() error { f(&work[i]); return nil })
	}
	_ = group.Wait() // what went wrong is told with each letter
}

// read reads a letter, or says with the result why it cannot be redriven.
func read(ctx context.Context, stream jetstream.Stream, result *streams.Redriven) (letter streams.DeadLetter) {
	m, err := stream.GetMsg(ctx, result.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		result.Outcome, result.Detail = streams.OutcomeGone, "there is no such letter any more"
		return letter
	}
	if err != nil {
		fail(result, fmt.Errorf("read: %w", err))
		return letter
	}
	letter, err = streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case letter.Service != service:
		why = "it is a letter of " + letter.Service
	case letter.OriginCut:
		why = "its topic is too long or too odd to have been kept as it was"
	default:
		return letter
	}
	result.Outcome, result.Detail = streams.OutcomeKept, why
	return letter
}

// process decodes a letter and publishes what it became.
func (r *redriver) process(w *redriving, id string) {
	r.step.redo(w.letter.Origin, w.letter.Payload, w.letter.Arrived.UnixNano())
	// One letter is of one device, so it becomes one batch or one letter.
	batches, dead := r.step.take()
	var m *nats.Msg
	var err error
	switch {
	case len(dead) > 0:
		w.result.Outcome, w.result.Reason, w.result.Detail = streams.OutcomeRefused, dead[0].Reason, dead[0].Detail
		m = dead[0].Msg()
	case len(batches) > 0:
		w.result.Outcome, w.result.Readings = streams.OutcomeRedriven, len(batches[0].Batch.GetSeries())
		w.batch = batches[0].Batch
		m, err = streams.TelemetryMsg(batches[0].Lane, streams.SourceRedrive, batches[0].Batch)
	default: // no decoder does that; if one did, the letter would not be lost
		w.result.Outcome, w.result.Detail = streams.OutcomeKept, "it holds no reading"
		return
	}
	if err == nil {
		// The quota of dead letters does not hold here: it would drop the letter,
		// which has been stored before.
		w.stored, err = r.svc.deps.JS.PublishMsgAsync(m, jetstream.WithMsgID(id+"/"+strconv.Itoa(len(dead))))
	}
	if err != nil {
		fail(w.result, fmt.Errorf("publish: %w", err))
	}
}

// remove removes a letter if what it became is stored.
func remove(ctx context.Context, stream jetstream.Stream, result *streams.Redriven) {
	if result.Outcome != streams.OutcomeRedriven && result.Outcome != streams.OutcomeRefused {
		return
	}
	err := stream.DeleteMsg(ctx, result.Sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		// Somebody else may have removed it meanwhile.
		if _, missing := stream.GetMsg(ctx, result.Sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
			return
		}
	}
	if err != nil {
		fail(result, fmt.Errorf("what it became is stored, but the letter was not removed: %w", err))
	}
}

func fail(result *streams.Redriven, err error) {
	result.Outcome, result.Reason, result.Detail = streams.OutcomeFailed, "", err.Error()
}
