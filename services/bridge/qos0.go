package bridge

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/internal/process"
	"headwater/streams"
)

// lossyGather is how long readings with QoS 0 wait for others at least. No device waits
// for them, and each lane may cost a sync of the disk.
const lossyGather = 20 * time.Millisecond

// lossy stores what devices send with QoS 0, at best effort. Its subscription sees every
// message of the account; the carrier stores those with QoS 1 and 2.
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
	// Messages move from the queue into the step, so the queue is read first.
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
	if l.svc.deps.Refuse() != nil {
		l.svc.metrics.dropped.WithLabelValues(dropRefused).Inc()
	} else if l.svc.tooFast(m.Subject) {
		l.svc.metrics.dropped.WithLabelValues(dropRate).Inc()
	} else if !l.queue.add(&message{subject: m.Subject, data: m.Data}) {
		l.svc.metrics.dropped.WithLabelValues(dropOverflow).Inc()
	}
}

// run stores what it hears until ctx ends and everything heard by then is stored.
func (l *lossy) run(ctx context.Context, lanes int) error {
	l.step = l.svc.newStep(lanes)
	ear, err := l.wire.listen(">", l.hear)
	if err != nil {
		return err
	}
	missed := 0
	for more := true; more; {
		more = process.Sleep(ctx, lossyGather)
		if !more {
			ear.stop()
		}
		for l.round(ctx) {
		}
		// Some of these may have QoS 1; the carrier hears them.
		all := max(ear.dropped(), missed)
		l.svc.metrics.dropped.WithLabelValues(dropConnection).Add(float64(all - missed))
		missed = all
	}
	return nil
}

// round stores what waits, as far as it fits into a step. It returns false when nothing
// waits.
func (l *lossy) round(ctx context.Context) bool {
	defer l.storing.Store(0)
	l.storing.Store(l.queue.oldest())
	for !l.step.full() {
		m := l.queue.next()
		if m == nil {
			break
		}
		l.step.add(m.subject, m.data, m.arrival)
		l.svc.charge(m, l.step)
	}
	if l.step.messages == 0 {
		return false
	}
	l.store(ctx)
	return true
}

// store stores the readings that were gathered, and the dead letters. What cannot be
// stored is lost.
func (l *lossy) store(ctx context.Context) {
	l.svc.metrics.messages.WithLabelValues(qosLossy).Add(float64(l.step.messages))
	batches, dead := l.step.take()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	acks, errs := l.svc.storeAll(ctx, len(batches), func(i int) (*nats.Msg, error) {
		return streams.TelemetryMsg(batches[i].Lane, streams.SourceMQTT0, batches[i].Batch)
	})
	for i, b := range batches {
		readings := float64(len(b.Batch.GetSeries()))
		if acks[i] == nil {
			l.svc.metrics.dropped.WithLabelValues(dropStore).Add(readings)
			continue
		}
		l.svc.metrics.readings.WithLabelValues(qosLossy).Add(readings)
		l.svc.registry.See(b.Batch)
	}
	for _, d := range dead {
		err := l.svc.bury(ctx, []streams.DeadLetter{d})
		if err != nil {
			l.svc.metrics.dropped.WithLabelValues(dropStore).Inc()
		}
		errs = append(errs, err)
	}
	if err := first(errs); err != nil {
		l.svc.deps.Log.Warn("messages with QoS 0 are lost", "stream", streams.StreamTelemetry, "err", err)
	}
}
