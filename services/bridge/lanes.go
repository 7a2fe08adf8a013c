package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/pack"
	"headwater/streams"
)

// errMoved is returned by a commit when another bridge has written to a lane.
// Nothing of the step's message for that lane is stored; the lanes have to be
// loaded again.
var errMoved = errors.New("another bridge wrote to the lane")

// lanes is what TELEMETRY holds of this account's input, lane by lane. It is
// for one goroutine.
type lanes struct {
	svc         *Service
	incarnation time.Time
	lane        []laneState
	// highest is the highest origin of all lanes: no message above it has been
	// stored anywhere.
	highest uint64
	// buried is the highest sequence whose dead letters have been stored.
	buried uint64
	// clock is what the lanes' clocks were set to last.
	clock int64
}

type laneState struct {
	// last is the sequence of the lane's last message, which the next one must
	// follow; 0 for none.
	last uint64
	// origin is the highest sequence of the input that the lane covers.
	origin uint64
	// account is how many readings and rejected messages were put into the lane.
	account uint64
}

func newLanes(svc *Service, n int) *lanes {
	return &lanes{svc: svc, lane: make([]laneState, n)}
}

// load reads where each lane stands with the input of the incarnation. What an
// earlier load or commit of the same incarnation found remains true of the
// origins even if the lane's last message has been purged since.
func (l *lanes) load(ctx context.Context, incarnation time.Time) error {
	before := l.incarnation
	if !before.Equal(incarnation) {
		*l = lanes{svc: l.svc, incarnation: incarnation, lane: make([]laneState, len(l.lane)), clock: l.clock}
	}
	stream, err := streams.LookUp(ctx, l.svc.deps.JS, streams.StreamTelemetry)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	for i := range l.lane {
		origin, err := l.lane[i].load(ctx, stream, i)
		if err != nil {
			return fmt.Errorf("load lane %d: %w", i, err)
		}
		if origin == nil {
			continue
		}
		if made := time.Unix(0, origin.GetIncarnation()); !made.Equal(incarnation) {
			before = made
			continue
		}
		l.lane[i].origin = max(l.lane[i].origin, origin.GetSequence())
		l.highest = max(l.highest, l.lane[i].origin)
	}
	if !before.IsZero() && !before.Equal(incarnation) && l.highest == 0 {
		l.alarm(before, incarnation)
	}
	return nil
}

func (l *lanes) alarm(before, now time.Time) {
	l.svc.metrics.incarnations.Inc()
	l.svc.deps.Log.Error("the stream of the devices was made anew: what it held and was not stored yet is gone; reading begins at its start",
		"stream", streams.StreamMQTT, "before", before.UTC(), "now", now.UTC())
}

// load reads the last message of the lane and returns its origin, nil if there
// is none.
func (s *laneState) load(ctx context.Context, stream jetstream.Stream, lane int) (*telemetryv1.Origin, error) {
	last, err := stream.GetLastMsgForSubject(ctx, streams.TelemetrySubject(lane, streams.SourceMQTT))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		s.last = 0
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read its last message: %w", err)
	}
	batch, err := streams.DecodeTelemetry(last.Data)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", last.Sequence, err)
	}
	s.last, s.account = last.Sequence, batch.GetBefore()+batch.Account()
	return batch.GetOrigin(), nil
}

// stored says whether the lane of the device covers the input sequence.
func (l *lanes) stored(site, device string, sequence uint64) bool {
	return sequence <= l.lane[streams.Lane(site, device, len(l.lane))].origin
}

// round is what one step stores: all that came up to the input sequence.
type round struct {
	batches  []pack.Batch
	dead     []streams.DeadLetter
	sequence uint64
	// clock, if it is not 0, is up to when everything is stored with this
	// round, in nanoseconds since the Unix epoch.
	clock int64
}

// maxBurials bounds the dead letters on their way at a time.
const maxBurials = 32

// commit stores a round and returns when everything in it is stored. After an
// error some of it may be, or may come to be; the lanes have to be loaded
// again, and the round made anew from the input.
func (l *lanes) commit(ctx context.Context, r round) error {
	// Dead letters go first: once a lane covers the round, it is not made anew.
	// That they were rejected is part of the lanes' messages.
	if err := l.bury(ctx, r.dead); err != nil {
		return err
	}
	l.buried = max(l.buried, r.sequence)
	batches := r.batches
	if r.clock > l.clock {
		batches = l.withClock(r)
	}
	if len(batches) == 0 {
		return nil
	}
	began := time.Now()
	futures := make([]jetstream.PubAckFuture, 0, len(batches))
	var failure error
	for _, b := range batches {
		b.Batch.Origin = &telemetryv1.Origin{Incarnation: l.incarnation.UnixNano(), Sequence: l.origin(b.Lane, r)}
		b.Batch.Before = new(l.lane[b.Lane].account)
		future, err := l.publish(b)
		if err != nil {
			failure = fmt.Errorf("publish to lane %d: %w", b.Lane, err)
			break
		}
		futures = append(futures, future)
	}
	// Each one is waited for, so that nothing is on its way when the lanes are
	// loaded again.
	for i, future := range futures {
		ack, err := await(ctx, future)
		if err != nil {
			failure = errors.Join(failure, fmt.Errorf("store in lane %d: %w", batches[i].Lane, err))
			continue
		}
		b := batches[i]
		l.lane[b.Lane] = laneState{last: ack.Sequence, origin: l.origin(b.Lane, r), account: b.Batch.GetBefore() + b.Batch.Account()}
		l.highest = max(l.highest, r.sequence)
	}
	if failure != nil {
		return failure
	}
	l.svc.metrics.roundSeconds.Observe(time.Since(began).Seconds())
	for _, b := range r.batches {
		l.svc.metrics.readings.WithLabelValues(qosKept).Add(float64(len(b.Batch.GetSeries())))
		l.svc.registry.See(b.Batch)
	}
	if r.clock > l.clock {
		l.clock = r.clock
		l.svc.metrics.clock.Set(float64(r.clock) / float64(time.Second))
	}
	return nil
}

// origin is what the lane covers with the round. While messages are read
// again, that may be more than the round itself.
func (l *lanes) origin(lane int, r round) uint64 {
	return max(l.lane[lane].origin, r.sequence)
}

// withClock returns a batch for every lane, each with the clock.
func (l *lanes) withClock(r round) []pack.Batch {
	all := make([]pack.Batch, 0, len(l.lane))
	all = append(all, r.batches...)
	has := make([]bool, len(l.lane))
	for _, b := range r.batches {
		has[b.Lane] = true
	}
	for lane := range l.lane {
		if !has[lane] {
			all = append(all, pack.Batch{Lane: lane, Batch: &telemetryv1.Batch{Arrival: r.clock}})
		}
	}
	for _, b := range all {
		b.Batch.Clock = &telemetryv1.Clock{CaughtUp: r.clock}
	}
	return all
}

func (l *lanes) publish(b pack.Batch) (jetstream.PubAckFuture, error) {
	m, err := streams.TelemetryMsg(b.Lane, streams.SourceMQTT, b.Batch)
	if err != nil {
		return nil, err
	}
	return l.svc.deps.JS.PublishMsgAsync(m, jetstream.WithExpectLastSequencePerSubject(l.lane[b.Lane].last))
}

// await returns what became of a message.
func await(ctx context.Context, future jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-future.Ok():
		return ack, nil
	case err := <-future.Err():
		return nil, refusal(err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refusal puts the server's answer in words.
func refusal(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return fmt.Errorf("%w: %w", errMoved, err)
	case errorCodeStoreFailed:
		return fmt.Errorf("stream %s takes no more, the messages wait in %s: %w", streams.StreamTelemetry, streams.StreamMQTT, err)
	}
	return err
}

// errorCodeStoreFailed is nats-server's answer when a stream is full, or its
// disk.
const errorCodeStoreFailed jetstream.ErrorCode = 10077

func (l *lanes) bury(ctx context.Context, dead []streams.DeadLetter) error {
	if len(dead) == 0 {
		return nil
	}
	var burials errgroup.Group
	burials.SetLimit(maxBurials)
	for _, d := range dead {
		burials.Go(func() error { return l.svc.dead.Publish(ctx, d) })
	}
	if err := burials.Wait(); err != nil {
		return err
	}
	for _, d := range dead {
		l.svc.metrics.deadLetters.WithLabelValues(d.Reason).Inc()
	}
	return nil
}
