package bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/batch"
	"headwater/services/internal/ordered"
	"headwater/streams"
)

// lanes is what TELEMETRY holds of this account's messages, lane by lane. One
// goroutine only.
type lanes struct {
	svc  *Service
	lane []laneState
	// clock is the highest known value of a lane's clock.
	clock int64
}

type laneState struct {
	// last is the sequence of the lane's last message, which the next one must
	// follow; 0 for none.
	last uint64
	// total is the number of readings and rejected messages in the lane so far.
	total uint64
	// drained is the origin of the lane's last message; nil if it has none.
	drained *telemetryv1.Origin
}

func newLanes(svc *Service, n int) *lanes { return &lanes{svc: svc, lane: make([]laneState, n)} }

// load reads the end of each lane. It calls answered with each reply subject in the last
// message of a lane, and in every message that was stored since a time.
func (l *lanes) load(ctx context.Context, since time.Time, answered func(reply string)) error {
	stream, err := streams.LookUp(ctx, l.svc.deps.JS, streams.StreamTelemetry)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	var end uint64
	for i := range l.lane {
		last, err := stream.GetLastMsgForSubject(ctx, streams.TelemetrySubject(i, streams.SourceMQTT))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			l.lane[i] = laneState{}
			continue
		}
		if err != nil {
			return fmt.Errorf("load lane %d: read its last message: %w", i, err)
		}
		batch, err := l.read(last.Sequence, last.Data, answered)
		if err != nil {
			return fmt.Errorf("load lane %d: %w", i, err)
		}
		l.lane[i] = laneState{last.Sequence, batch.GetTotalBefore() + batch.Total(), batch.GetOrigin()}
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

// read takes the clock and the reply subjects from a message of a lane.
func (l *lanes) read(sequence uint64, data []byte, answered func(reply string)) (*telemetryv1.Batch, error) {
	batch, err := streams.DecodeTelemetry(data)
	if err == nil {
		err = streams.DecodeReplies(batch.GetAnswers(), answered)
	}
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", sequence, err)
	}
	l.clock = max(l.clock, batch.GetClock().GetCaughtUp())
	return batch, nil
}

// readUpTo reads the messages of all lanes from a time up to the sequence of one of
// them.
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
	in := ordered.Messages{MessagesContext: messages}
	for {
		msg, meta, _, err := in.Take(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if _, err := l.read(meta.Sequence.Stream, msg.Data(), answered); err != nil {
			return err
		}
		if meta.Sequence.Stream >= end {
			return nil
		}
	}
}

// commit stores batches, each behind the last message of its lane, and returns for each
// whether it is stored. After an error the others may be stored, now or later: the lanes
// have to be loaded again. A clock that is not 0 goes into all lanes.
func (l *lanes) commit(ctx context.Context, batches []batch.ForLane, clock int64) ([]bool, error) {
	if clock > l.clock {
		batches = l.withClock(batches, clock)
	}
	began := time.Now()
	acks, errs := l.svc.storeAll(ctx, len(batches), func(i int) (*nats.Msg, error) {
		b := batches[i]
		b.Batch.TotalBefore = new(l.lane[b.Lane].total)
		return telemetryMsg(b, streams.SourceMQTT, jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(l.lane[b.Lane].last, 10))
	})
	stored := make([]bool, len(batches))
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		b := batches[i]
		stored[i] = true
		l.lane[b.Lane] = laneState{last: ack.Sequence, total: b.Batch.GetTotalBefore() + b.Batch.Total()}
		l.count(b.Batch)
	}
	if err := first(errs); err != nil {
		return stored, err
	}
	l.svc.metrics.roundSeconds.Observe(time.Since(began).Seconds())
	if clock > l.clock {
		l.clock = clock
		l.svc.metrics.clock.Set(float64(clock) / float64(time.Second))
	}
	return stored, nil
}

// count counts a batch that is stored, and shows it to the registry.
func (l *lanes) count(b *telemetryv1.Batch) {
	l.svc.metrics.readings.WithLabelValues(qosKept).Add(float64(len(b.GetSeries())))
	l.svc.registry.See(b)
}

// withClock returns one batch for every lane, each with the clock: the given ones, then
// empty ones for the other lanes.
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
