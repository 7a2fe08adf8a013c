package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

const (
	// redriveQueue is the group in which bridges share the requests.
	redriveQueue = "redrive"
	// redriveTimeout bounds one request. The client waits a little longer.
	redriveTimeout = 20 * time.Second
	// redriveAtOnce bounds the letters that are read or removed at a time.
	redriveAtOnce = 32
	// redriveHeld bounds the letters of a request that are in memory at a time.
	redriveHeld = 4 * redriveAtOnce
	// redrivePending bounds the requests that wait.
	redrivePending = 64
)

// redriver processes the bridge's dead letters again on request. It needs no lease: a
// repeated reading has the same time and overwrites itself. One goroutine only.
type redriver struct {
	svc  *Service
	step *step
	// afterStore, if not nil, is called when the results are stored and the letters are
	// not removed yet.
	afterStore func()
}

func newRedriver(svc *Service, lanes int) *redriver {
	r := &redriver{svc: svc, step: svc.newStep(lanes)}
	r.step.decoder.Know(svc.births, false)
	return r
}

// run answers requests until ctx ends and the current one is answered.
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
			// An error means that the connection is closed, and the subscription with it.
			_ = sub.Unsubscribe()
			return nil
		}
	}
}

// answer handles a request. When the answer is lost, the client can look at the letters.
func (r *redriver) answer(ctx context.Context, m *nats.Msg) {
	// A request that has started is finished even if the bridge is stopped meanwhile.
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

// redriving is a letter that is being redriven.
type redriving struct {
	letter streams.DeadLetter
	result *streams.Redriven
	// batches hold the readings that the letter became, if any.
	batches []*telemetryv1.Batch
	// became is what is stored in place of the letter; nothing when it is kept. The
	// batches come first.
	became []*nats.Msg
}

// part is one of the messages that a letter became.
type part struct {
	of *redriving
	at int
}

// redrive processes letters again, in their order. Each is removed after what it became
// is stored, so that a crash in between repeats it. Its readings have the times that they
// had, and TELEMETRY does not store a repeat within two minutes, because it has the id of
// the first one.
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
	forEach(work, func(w *redriving) { w.read(ctx, stream) })
	made := stream.CachedInfo().Created
	for i := range work {
		if work[i].result.Outcome == "" {
			r.process(&work[i], fmt.Sprintf("redrive/%d/%d", made.UnixNano(), work[i].result.Sequence))
		}
	}
	var all []part
	for i := range work {
		for j := range work[i].became {
			all = append(all, part{&work[i], j})
		}
	}
	acks, errs := r.svc.storeAll(ctx, len(all), func(i int) (*nats.Msg, error) { return all[i].of.became[all[i].at], nil })
	for i, p := range all {
		switch {
		case errs[i] != nil:
			p.of.fail(errs[i])
		case acks[i] != nil && p.at < len(p.of.batches):
			r.svc.registry.See(p.of.batches[p.at])
		}
	}
	if r.afterStore != nil {
		r.afterStore()
	}
	forEach(work, func(w *redriving) { w.remove(ctx, stream) })
	return results
}

// forEach calls f for all, several at a time.
func forEach(work []redriving, f func(*redriving)) {
	var group errgroup.Group
	group.SetLimit(redriveAtOnce)
	for i := range work {
		group.Go(func() error { f(&work[i]); return nil })
	}
	_ = group.Wait() // each result has its own error
}

// read reads the letter, or sets why it cannot be redriven.
func (w *redriving) read(ctx context.Context, stream jetstream.Stream) {
	m, err := stream.GetMsg(ctx, w.result.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		w.result.Outcome, w.result.Detail = streams.OutcomeGone, "the letter does not exist any more"
		return
	}
	if err != nil {
		w.fail(fmt.Errorf("read: %w", err))
		return
	}
	w.letter, err = streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
	switch {
	case err != nil:
		w.keep(err.Error())
	case w.letter.Service != service:
		w.keep("it is a letter of " + w.letter.Service)
	case w.letter.OriginCut:
		w.keep("its topic was too long or too unusual to be kept unchanged")
	}
}

// process decodes the letter into the message that is stored in its place.
func (r *redriver) process(w *redriving, id string) {
	r.step.redo(w.letter.Origin, w.letter.Payload, w.letter.Arrived.UnixNano(), w.letter.Taken)
	batches, dead := r.step.take()
	readings := 0
	for i, b := range batches {
		m, err := telemetryMsg(b, streams.SourceRedrive, nats.MsgIdHdr, fmt.Sprintf("%s/%d/%d", id, len(batches)-1, i))
		if err != nil {
			w.fail(err)
			return
		}
		readings += len(b.Batch.GetSeries())
		w.batches, w.became = append(w.batches, b.Batch), append(w.became, m)
	}
	switch {
	case len(dead) > 0:
		w.result.Outcome, w.result.Reason, w.result.Detail = streams.OutcomeRefused, dead[0].Reason, dead[0].Detail
		// The quota of dead letters would drop the letter, so it does not apply here.
		m := dead[0].Msg()
		m.Header.Set(nats.MsgIdHdr, id+"/letter")
		w.became = append(w.became, m)
	case len(batches) > 0:
		w.result.Outcome, w.result.Readings = streams.OutcomeRedriven, readings
	default: // for instance a message that only describes its device
		w.keep("it has no reading")
	}
}

// remove removes the letter if what it became is stored.
func (w *redriving) remove(ctx context.Context, stream jetstream.Stream) {
	if w.result.Outcome != streams.OutcomeRedriven && w.result.Outcome != streams.OutcomeRefused {
		return
	}
	err := stream.DeleteMsg(ctx, w.result.Sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		// Another process may have removed it meanwhile.
		if _, missing := stream.GetMsg(ctx, w.result.Sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
			return
		}
	}
	if err != nil {
		w.fail(fmt.Errorf("what it became is stored, but the letter was not removed: %w", err))
	}
}

func (w *redriving) keep(why string) {
	w.result.Outcome, w.result.Detail = streams.OutcomeKept, why
}

func (w *redriving) fail(err error) {
	w.result.Outcome, w.result.Reason, w.result.Detail = streams.OutcomeFailed, "", err.Error()
}
