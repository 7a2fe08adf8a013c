package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"headwater/services/internal/batch"
	"headwater/streams"
)

// errMoved is returned when a lane does not end where it did: another bridge has
// written to it, or a message of this one arrived late. The message that was refused is
// not stored; the lanes have to be loaded again.
var errMoved = errors.New("the lane does not end where it did")

// storeAll publishes n messages and waits for the answer to each of them, so that as
// little as possible is under way when it returns. For each it returns the answer, or
// why it is not known to be stored: it may be stored, now or later. A message that is
// nil is left out.
func (s *Service) storeAll(ctx context.Context, n int, message func(i int) (*nats.Msg, error)) ([]*jetstream.PubAck, []error) {
	acks, errs, futures := make([]*jetstream.PubAck, n), make([]error, n), make([]jetstream.PubAckFuture, n)
	for i := range n {
		m, err := message(i)
		if m != nil && err == nil {
			futures[i], err = s.deps.JS.PublishMsgAsync(m)
		}
		errs[i] = err
	}
	for i, future := range futures {
		if future == nil {
			continue
		}
		var err error
		acks[i], err = streams.Stored(ctx, future)
		errs[i] = explain(err)
	}
	return acks, errs
}

// telemetryMsg returns the message of a batch, with a header that tells TELEMETRY when
// not to store it.
func telemetryMsg(b batch.ForLane, source streams.Source, header, value string) (*nats.Msg, error) {
	m, err := streams.TelemetryMsg(b.Lane, source, b.Batch)
	if err == nil {
		m.Header = nats.Header{header: {value}}
	}
	return m, err
}

// explain adds to an answer of nats-server what it means here.
func explain(err error) error {
	switch {
	case streams.IsConflict(err):
		return fmt.Errorf("%w: %w", errMoved, err)
	case streams.IsFull(err):
		return fmt.Errorf("stream %s takes no more, the devices wait: %w", streams.StreamTelemetry, err)
	}
	return err
}

// maxBurials bounds the dead letters that are being stored at a time.
const maxBurials = 32

// bury stores dead letters.
func (s *Service) bury(ctx context.Context, dead []streams.DeadLetter) error {
	var burials errgroup.Group
	burials.SetLimit(maxBurials)
	for _, d := range dead {
		burials.Go(func() error {
			err := s.dead.Publish(ctx, d)
			if err == nil {
				s.metrics.deadLetters.WithLabelValues(d.Reason).Inc()
			}
			return err
		})
	}
	return burials.Wait()
}

// first returns the first error, or nil. The others usually say the same.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
