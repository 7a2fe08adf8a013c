package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/pack"
	"headwater/streams"
)

const (
	// qosHeader is where nats-server says how a device published a message.
	qosHeader = "Nmqtt-Pub"

	// lossyQueue is how many messages with QoS 0 wait for the next step.
	lossyQueue = 16384
	// Bounds of what waits on the connection before that, QoS 1 and 2 included.
	lossyPending      = 65536
	lossyPendingBytes = 64 << 20
)

// lossy stores what devices send with QoS 0, at best effort. The subscription
// sees every message of the account; those with QoS 1 and 2 are the reader's.
type lossy struct {
	svc  *Service
	step *step
	// missed is how many messages the connection has dropped so far.
	missed int
}

func newLossy(svc *Service, lanes int) *lossy {
	return &lossy{svc: svc, step: newStep(svc.topics, svc.cfg.limits(), lanes)}
}

type lossyInput struct {
	subject string
	data    []byte
	arrival int64
}

// run reads until ctx ends and what waits then is stored.
func (l *lossy) run(ctx context.Context) error {
	queue := make(chan lossyInput, lossyQueue)
	sub, err := l.svc.deps.Devices0.Subscribe(">", func(m *nats.Msg) {
		if m.Header.Get(qosHeader) != "0" {
			return
		}
		if refuse := l.svc.deps.Refuse; refuse != nil && refuse() != nil {
			l.svc.metrics.dropped.WithLabelValues(dropRefused).Inc()
			return
		}
		select {
		case queue <- lossyInput{m.Subject, m.Data, time.Now().UnixNano()}:
		default:
			l.svc.metrics.dropped.WithLabelValues(dropOverflow).Inc()
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to messages with QoS 0: %w", err)
	}
	if err := sub.SetPendingLimits(lossyPending, lossyPendingBytes); err != nil {
		return fmt.Errorf("subscribe to messages with QoS 0: %w", err)
	}
	tick := time.NewTicker(l.svc.cfg.Step)
	defer tick.Stop()
	for {
		select {
		case in := <-queue:
			l.step.add(in.subject, in.data, in.arrival, nil)
			if l.step.full() {
				l.store(ctx)
			}
		case <-tick.C:
			l.store(ctx)
			l.countMissed(sub)
		case <-ctx.Done():
			// An error means that the connection is gone, and the subscription with it.
			_ = sub.Unsubscribe()
			for {
				select {
				case in := <-queue:
					l.step.add(in.subject, in.data, in.arrival, nil)
					continue
				default:
				}
				l.store(ctx)
				return nil
			}
		}
	}
}

// store publishes what was gathered and waits. What cannot be stored is lost.
func (l *lossy) store(ctx context.Context) {
	messages := l.step.messages
	if messages == 0 {
		return
	}
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
func (l *lossy) confirm(ctx context.Context, b pack.Batch, future jetstream.PubAckFuture) error {
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

// countMissed counts what the connection dropped before it could be looked at.
// Some of it may have been the reader's, which does not miss it.
func (l *lossy) countMissed(sub *nats.Subscription) {
	missed, err := sub.Dropped()
	if err != nil || missed <= l.missed {
		return
	}
	l.svc.metrics.dropped.WithLabelValues(dropConnection).Add(float64(missed - l.missed))
	l.missed = missed
}
