package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/batch"
	"headwater/streams"
)

// errMoved is returned by a commit when a lane does not end where it did: another
// bridge has written to it, or a message of this one came late. Nothing of the
// commit is stored in that lane; the lanes have to be loaded again.
var errMoved = errors.New("the lane does not end where it did")

// lanes is what TELEMETRY holds of this account's messages, lane by lane. It is
// for one goroutine.
type lanes struct {
	svc  *Service
	lane []laneState
	// clock is the highest that a lane's clock was set to, as far as is known.
	clock int64
	// drained is the origin of the lanes' last messages, if they have one.
	drained []*telemetryv1.Origin
}

type laneState struct {
	// last is the sequence of the lane's last message, which the next one must
	// follow; 0 for none.
	last uint64
	// account is how many readings and rejected messages were put into the lane.
	account uint64
}

func newLanes(svc *Service, n int) *lanes {
	return &lanes{svc: svc, lane: make([]laneState, n), drained: make([]*telemetryv1.Origin, n)}
}

// load reads where each lane ends, and calls answered with the reply of each
// message that is in the last message of a lane or in one that was stored since a
// time.
func (l *lanes) load(ctx context.Context, since time.Time, answered func(reply string)) error {
	stream, err := streams.LookUp(ctx, l.svc.deps.JS, streams.StreamTelemetry)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	var end uint64
	for i := range l.lane {
		last, err := stream.GetLastMsgForSubject(ctx, streams.TelemetrySubject(i, streams.SourceMQTT))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			l.lane[i], l.drained[i] = laneState{}, nil
			continue
		}
		if err != nil {
			return fmt.Errorf("load lane %d: read its last message: %w", i, err)
		}
		batch, err := l.read(last.Sequence, last.Data, answered)
		if err != nil {
			return fmt.Errorf("load lane %d: %w", i, err)
		}
		l.lane[i] = laneState{last: last.Sequence, account: batch.GetBefore() + batch.Account()}
		l.drained[i] = batch.GetOrigin()
		if !last.Time.Before(since) {
			end = max(end, last.Sequence)
		}
	}
	if end == 0 {
		return nil
	}
	if err := l.readUpTo(ctx, since, end, answered); err != nil {
		return fmt.Errorf("read the last commits in %s: %w", streams.StreamTelemetry, err)
	}
	return nil
}

// read takes from a message of a lane what the next bridge has to know.
func (l *lanes) read(sequence uint64, data []byte, answered func(reply string)) (*telemetryv1.Batch, error) {
	batch, err := streams.DecodeTelemetry(data)
	if err == nil {
		err = decodeAnswers(batch.GetAnswers(), answered)
	}
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", sequence, err)
	}
	l.clock = max(l.clock, batch.GetClock().GetCaughtUp())
	return batch, nil
}

// readUpTo reads the messages of all lanes that were stored since a time, up to a
// sequence, which is one of theirs.
func (l *lanes) readUpTo(ctx context.Context, since time.Time, end uint64, answered func(reply string)) error {
	consumer, err := l.svc.deps.JS.OrderedConsumer(ctx, streams.StreamTelemetry, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{streams.TelemetryKept}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	serial, next := "", uint64(1)
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Consumer != serial {
			serial, next = meta.Consumer, 1
		}
		if meta.Sequence.Consumer > next {
			return fmt.Errorf("delivery %d came instead of %d", meta.Sequence.Consumer, next)
		}
		next = meta.Sequence.Consumer + 1
		if _, err := l.read(meta.Sequence.Stream, msg.Data(), answered); err != nil {
			return err
		}
		if meta.Sequence.Stream >= end {
			return nil
		}
	}
}

// commit stores batches, each behind the last message of its lane, and returns for
// each whether it is stored. After an error the others may be stored, or may come to
// be: the lanes have to be loaded again. A clock that is not 0 goes into all lanes.
func (l *lanes) commit(ctx context.Context, batches []batch.ForLane, clock int64) ([]bool, error) {
	if clock > l.clock {
		batches = l.withClock(batches, clock)
	}
	stored := make([]bool, len(batches))
	began := time.Now()
	futures := make([]jetstream.PubAckFuture, 0, len(batches))
	var failure error
	for _, b := range batches {
		b.Batch.Before = new(l.lane[b.Lane].account)
		m, err := streams.TelemetryMsg(b.Lane, streams.SourceMQTT, b.Batch)
		var future jetstream.PubAckFuture
		if err == nil {
			future, err = l.svc.deps.JS.PublishMsgAsync(m, jetstream.WithExpectLastSequencePerSubject(l.lane[b.Lane].last))
		}
		if err != nil {
			failure = fmt.Errorf("publish to lane %d: %w", b.Lane, err)
			break
		}
		futures = append(futures, future)
	}
	// Each one is waited for, so that as little as can be is on its way when the
	// lanes are loaded again.
	for i, future := range futures {
		b := batches[i]
		ack, err := await(ctx, future)
		if err != nil {
			failure = errors.Join(failure, fmt.Errorf("store in lane %d: %w", b.Lane, err))
			continue
		}
		stored[i] = true
		l.lane[b.Lane] = laneState{last: ack.Sequence, account: b.Batch.GetBefore() + b.Batch.Account()}
		l.count(b.Batch)
	}
	if failure != nil {
		return stored, failure
	}
	l.svc.metrics.roundSeconds.Observe(time.Since(began).Seconds())
	if clock > l.clock {
		l.clock = clock
		l.svc.metrics.clock.Set(float64(clock) / float64(time.Second))
	}
	return stored, nil
}

// count notes a batch that is stored.
func (l *lanes) count(b *telemetryv1.Batch) {
	l.svc.metrics.readings.WithLabelValues(qosKept).Add(float64(len(b.GetSeries())))
	l.svc.registry.See(b)
}

// withClock returns the batches and more, so that there is one for every lane, each
// with the clock.
func (l *lanes) withClock(batches []batch.ForLane, clock int64) []batch.ForLane {
	all := make([]batch.ForLane, 0, len(l.lane))
	all = append(all, batches...)
	has := make([]bool, len(l.lane))
	for _, b := range batches {
		has[b.Lane] = true
	}
	for lane := range l.lane {
		if !has[lane] {
			all = append(all, batch.ForLane{Lane: lane, Batch: &telemetryv1.Batch{Arrival: clock}})
		}
	}
	for _, b := range all {
		b.Batch.Clock = &telemetryv1.Clock{CaughtUp: clock}
	}
	return all
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
		return fmt.Errorf("stream %s takes no more, the devices wait: %w", streams.StreamTelemetry, err)
	}
	return err
}

// errorCodeStoreFailed is nats-server's answer when a stream is full, or its
// disk.
const errorCodeStoreFailed jetstream.ErrorCode = 10077

// maxBurials bounds the dead letters on their way at a time.
const maxBurials = 32

func (s *Service) bury(ctx context.Context, dead []streams.DeadLetter) error {
	if len(dead) == 0 {
		return nil
	}
	var burials errgroup.Group
	burials.SetLimit(maxBurials)
	for _, d := range dead {
		burials.Go(func() error { return s.dead.Publish(ctx, d) })
	}
	if err := burials.Wait(); err != nil {
		return err
	}
	for _, d := range dead {
		s.metrics.deadLetters.WithLabelValues(d.Reason).Inc()
	}
	return nil
}
