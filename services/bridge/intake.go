package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/streams"
)

// wire is the bridge's connection to the account of the devices.
type wire interface {
	// listen calls hear with each message on a subject, one after the other, until
	// the ear is stopped. When it returns, nats-server knows of it.
	listen(subject string, hear func(*nats.Msg)) (ear, error)
	// answer sends an answer, and flush returns when nats-server has those before.
	answer(reply string, body []byte) error
	flush(ctx context.Context) error
}

// ear is something that listens.
type ear interface {
	stop()
	// dropped is how many messages it did not hear because too many came.
	dropped() int
}

// natsEar is an ear by nats.go.
type natsEar struct{ *nats.Subscription }

// stop: an error means that the connection has gone for good.
func (e natsEar) stop() { _ = e.Unsubscribe() }

func (e natsEar) dropped() int {
	n, err := e.Dropped()
	if err != nil {
		return 0
	}
	return n
}

// natsWire is a wire by nats.go.
type natsWire struct {
	*nats.Conn

	// pending bounds the bytes that wait for hear.
	pending int
}

func (w natsWire) listen(subject string, hear func(*nats.Msg)) (ear, error) {
	sub, err := w.Subscribe(subject, hear)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(-1, w.pending); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	// Without a connection there is nothing to wait for: nats.go subscribes again by
	// itself.
	_ = w.FlushTimeout(requestTimeout)
	return natsEar{sub}, nil
}

func (w natsWire) answer(reply string, body []byte) error { return w.Publish(reply, body) }

func (w natsWire) flush(ctx context.Context) error { return w.FlushWithContext(ctx) }

// Headers that nats-server sets.
const (
	// qosHeader says how a device published a message.
	qosHeader = "Nmqtt-Pub"
	// onceHeader is the same when a message with QoS 2 is released again.
	onceHeader = nats.MsgIdHdr
)

// hear takes in what a device published with QoS 1 or 2. What a bridge that stands
// by cannot keep, it need not: it answers nothing.
func (s *Service) hear(m *nats.Msg) {
	if m.Reply == "" || streams.IsCommand(m.Subject) {
		// Nobody waits, or nats-server's own stream answers.
		return
	}
	in := &message{subject: m.Subject, data: m.Data, reply: m.Reply, once: m.Header.Get(onceHeader)}
	switch {
	case len(m.Data) > streams.MaxDevicePayload:
		s.refuse(in, refusedTooLarge, fmt.Sprintf("a payload of %d bytes; at most %d are taken", len(m.Data), streams.MaxDevicePayload))
	case !s.kept.add(in):
		s.refuse(in, refusedOverflow, "too much waits to be stored")
	}
}

// refuse has nats-server close the connection of the device, which sends again. A
// bridge that stands by leaves that to the one that carries.
func (s *Service) refuse(m *message, reason, why string) {
	if !s.carrying.Load() {
		return
	}
	s.metrics.refused.WithLabelValues(reason).Inc()
	// Without an answer, nats-server closes it later.
	_ = s.wire.answer(m.reply, streams.MQTTRefused(why))
}

// hearOthers begins or ends to keep up with what other bridges answer.
func (s *Service) hearOthers(on bool) {
	if s.others != nil {
		s.others.stop()
		s.others = nil
	}
	s.kept.watch(on)
	if !on {
		return
	}
	var err error
	if s.others, err = s.wire.listen(streams.MQTTAnswers, func(m *nats.Msg) { s.kept.answered(m.Subject) }); err != nil {
		// What is answered already, it finds in TELEMETRY when it takes over.
		s.deps.Log.Warn("the answers of other bridges are not heard", "err", err)
	}
}

// hopeless is how long a message waits to be stored before it is refused. Nats-server waits a little longer.
const hopeless = streams.AnswerTimeout - 3*time.Second

// giveUp refuses what has waited for as long, or longer.
func (s *Service) giveUp(why error, waited time.Duration) {
	for _, m := range s.kept.olderThan(time.Now().Add(-waited)) {
		s.refuse(m, refusedTooLate, why.Error())
	}
}
