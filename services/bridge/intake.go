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
	// listen calls hear with each message on a subject, one after the other, until the
	// ear is stopped. When it returns, nats-server has the subscription.
	listen(subject string, hear func(*nats.Msg)) (ear, error)
	// answer sends an answer. flush returns when nats-server has every earlier one.
	answer(reply string, body []byte) error
	flush(ctx context.Context) error
}

// ear is a subscription.
type ear interface {
	stop()
	// dropped returns how many messages it missed because too many came.
	dropped() int
}

// natsEar is an ear of nats.go.
type natsEar struct{ *nats.Subscription }

// stop ignores the error: the connection is closed, and the subscription with it.
func (e natsEar) stop() { _ = e.Unsubscribe() }

func (e natsEar) dropped() int {
	n, err := e.Dropped()
	if err != nil {
		return 0
	}
	return n
}

// natsWire is a wire of nats.go.
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
	// After an error there is nothing to wait for: nats.go subscribes again when it is
	// connected.
	_ = w.FlushTimeout(requestTimeout)
	return natsEar{sub}, nil
}

func (w natsWire) answer(reply string, body []byte) error { return w.Publish(reply, body) }

func (w natsWire) flush(ctx context.Context) error { return w.FlushWithContext(ctx) }

// Headers that nats-server sets.
const (
	qosHeader = streams.MQTTPublishedHeader
	// onceHeader has the same value when a message with QoS 2 is released again.
	onceHeader = nats.MsgIdHdr
)

// hear takes a message that a device published with QoS 1 or 2. A bridge that stands by
// does not answer those that it cannot keep.
func (s *Service) hear(m *nats.Msg) {
	if m.Reply == "" || streams.IsCommand(m.Subject) {
		return // nats-server does not wait, or its own stream answers
	}
	in := &message{subject: m.Subject, data: m.Data, reply: m.Reply, once: m.Header.Get(onceHeader)}
	switch {
	case len(m.Data) > streams.MaxDevicePayload:
		s.refuse(in, refusedTooLarge, fmt.Sprintf("a payload of %d bytes; at most %d are taken", len(m.Data), streams.MaxDevicePayload))
	case s.carrying.Load() && s.tooFast(m.Subject):
		s.refuse(in, refusedRate, "this device sends too much")
	case !s.kept.add(in):
		s.refuse(in, refusedOverflow, "too many messages wait to be stored")
	}
}

// tooFast reports whether a message must be refused because its device sends too much. It is
// not if a front holds up the device.
func (s *Service) tooFast(subject string) bool {
	return !s.fronted.Load() && s.pace.someLate() && s.pace.wait(topicOf(subject), leastWait, time.Now()) > 0
}

// refuse makes nats-server close the connection of the device, which then sends again.
// Only the bridge that carries does this.
func (s *Service) refuse(m *message, reason, why string) {
	if !s.carrying.Load() {
		return
	}
	s.metrics.refused.WithLabelValues(reason).Inc()
	// When this fails, nats-server closes the connection later.
	_ = s.wire.answer(m.reply, streams.MQTTRefused(why))
}

// hearOthers starts or stops dropping the messages that other bridges have answered.
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
	s.others, err = s.wire.listen(streams.MQTTAnswers, func(m *nats.Msg) {
		if !streams.IsStoredTogether(m.Subject) {
			s.kept.answered(m.Subject)
		} else if err := streams.DecodeReplies(m.Data, s.kept.answered); err != nil {
			s.deps.Log.Warn("an answer of another bridge is not readable", "err", err)
		}
	})
	if err != nil {
		// It finds in TELEMETRY what is answered, when it takes over.
		s.deps.Log.Warn("the answers of other bridges are not heard", "err", err)
	}
}

// hopeless is how long a message waits to be stored before it is refused. Nats-server
// waits a little longer.
const hopeless = streams.AnswerTimeout - 3*time.Second

// giveUp refuses every message that has waited for that long.
func (s *Service) giveUp(why error, waited time.Duration) {
	for _, m := range s.kept.olderThan(time.Now().Add(-waited)) {
		s.refuse(m, refusedTooLate, why.Error())
	}
}
