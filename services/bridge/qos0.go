package bridge

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/batch"
	"headwater/streams"
)

// lossyGather is how long readings with QoS 0 wait for others at least: nobody waits
// for an answer, and each lane may cost a sync of the disk.
const lossyGather = 20 * time.Millisecond

// lossy stores what devices send with QoS 0, at best effort. The subscription
// sees every message of the account; those with QoS 1 and 2 are the carrier's.
type lossy struct {
	svc   *Service
	wire  wire
	queue *queue
	step  *step
	// storing is when the first message of the step arrived that is being stored, or 0.
	storing atomic.Int64
}

// unstored returns when the first message arrived that is not stored yet, or now.
func (l *lossy) unstored() int64 {
	// What waits moves into the step, so the order of the looks matters.
	oldest := l.queue.oldest()
	if first := l.storing.Load(); first != 0 {
		return min(first, oldest)
	}
	return oldest
}

func (l *lossy) hear(m *nats.Msg) {
	if m.Header.Get(qosHeader) != "0" {
		return
	}
	if refuse := l.svc.deps.Refuse; refuse != nil && refuse() != nil {
		l.svc.metrics.dropped.WithLabelValues(dropRefused).Inc()
	} else if !l.queue.add(&message{subject: m.Subject, data: m.Data}) {
		l.svc.metrics.dropped.WithLabelValues(dropOverflow).Inc()
	}
}

// run stores what comes until ctx ends and what waits then is stored.
func (l *lossy) run(ctx context.Context, lanes int) error {
	l.step = l.svc.newStep(lanes)
	ear, err := l.wire.listen(">", l.hear)
	if err != nil {
		return err
	}
	missed := 0
	for more := true; more; {
		more = pause(ctx, lossyGather)
		if !more {
			ear.stop()
		}
		for l.round(ctx) {
		}
		// Some of it may have had QoS 1, which the carrier does not miss.
		all := max(ear.dropped(), missed)
		l.svc.metrics.dropped.WithLabelValues(dropConnection).Add(float64(all - missed))
		missed = all
	}
	return nil
}

// round stores what waits, as far as it fits a step, and says whether anything did.
func (l *lossy) round(ctx context.Context) bool {
	defer l.storing.Store(0)
	l.storing.Store(l.queue.oldest())
	for !l.step.full() {
		m := l.queue.next()
		if m == nil {
			break
		}
		l.step.add(m.subject, m.data, m.arrival)
	}
	if l.step.messages == 0 {
		return false
	}
	l.store(ctx)
	return true
}

// store publishes what was gathered and waits. What cannot be stored is lost.
func (l *lossy) store(ctx context.Context) {
	messages := l.step.messages
	batches, dead := l.step.take()
	l.svc.metrics.messages.WithLabelValues(qosLossy).Add(float64(messages))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	futures := make([]jetstream.PubAckFuture, len(batches))
	var failure error
	for i, b := range batches {
		m, err := streams.TelemetryMsg(b.Lane, streams.SourceMQTT0, b.Batch)
		if err == nil {
			futures[i], err = l.svc.deps.JS.PublishMsgAsync(m)
		}
		if err != nil {
			failure = err
		}
	}
	for i, future := range futures {
		if err := l.confirm(ctx, batches[i], future); err != nil {
			failure = err
		}
	}
	for _, d := range dead {
		if err := l.svc.dead.Publish(ctx, d); err != nil {
			l.svc.metrics.dropped.WithLabelValues(dropStore).Inc()
			failure = err
			continue
		}
		l.svc.metrics.deadLetters.WithLabelValues(d.Reason).Inc()
	}
	if failure != nil {
		l.svc.deps.Log.Warn("messages with QoS 0 are lost", "stream", streams.StreamTelemetry, "err", failure)
	}
}

// confirm waits for one batch and counts its readings as stored or lost.
func (l *lossy) confirm(ctx context.Context, b batch.ForLane, future jetstream.PubAckFuture) error {
	readings := float64(len(b.Batch.GetSeries()))
	if future == nil {
		l.svc.metrics.dropped.WithLabelValues(dropStore).Add(readings)
		return nil
	}
	if _, err := await(ctx, future); err != nil {
		l.svc.metrics.dropped.WithLabelValues(dropStore).Add(readings)
		return fmt.Errorf("store in lane %d: %w", b.Lane, err)
	}
	l.svc.metrics.readings.WithLabelValues(qosLossy).Add(readings)
	l.svc.registry.See(b.Batch)
	return nil
}
