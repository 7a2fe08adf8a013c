package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/problems"
	"headwater/services/notifier/channel"
	"headwater/streams"
)

const (
	// progressEvery is how often a message that is being worked on is claimed
	// anew; it must be well below the wait of the consumer.
	progressEvery = 10 * time.Second
	// maxRetryAfter bounds how long a channel may ask to be left alone.
	maxRetryAfter = time.Hour
	// finishTime is how long an attempt may go on once the sender is to stop.
	finishTime = 5 * time.Second
	// reportAfter is how long a message is tried before people hear of it.
	reportAfter = time.Minute
	// storeTimeout bounds one request to JetStream.
	storeTimeout = 5 * time.Second
)

// sender works off the messages of one channel, in order. One goroutine only.
type sender struct {
	name    string
	target  target
	timeout time.Duration
	giveUp  time.Duration
	// address is that of the dashboard, for links; it may be empty.
	address string

	js          jetstream.JetStream
	deadLetters *deadletter.Publisher
	log         *slog.Logger
	metrics     *metrics
	report      *problems.Reporter

	// incarnation is that of ALERTING, next the first commit that a consumer made
	// now would begin with.
	incarnation time.Time
	next        uint64
	// done is the last message whose outcome is recorded.
	done key
}

// metadataIncarnation is the key in the metadata of a consumer under which it says
// for which ALERTING it was made.
const metadataIncarnation = "headwater-incarnation"

// ensureConsumer makes the durable consumer of a channel, unless it is there;
// then it goes on where it is. From is a sequence of ALERTING of the incarnation:
// in another it would pass over messages. So a consumer says for which one it was
// made, for a request may arrive when the stream has been made anew, and one of
// another is replaced. One that doesn't say is taken for right.
func ensureConsumer(ctx context.Context, js jetstream.JetStream, incarnation time.Time, channel string, from uint64) error {
	name := streams.SenderConsumer(channel)
	if err := same(ctx, js, incarnation); err != nil {
		return err
	}
	there, err := js.Consumer(ctx, streams.StreamAlerting, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("look up consumer %s: %w", name, err)
	}
	if err == nil {
		if madeFor(there, incarnation) {
			return nil
		}
		// It is not this one that was made anew meanwhile?
		if err := same(ctx, js, incarnation); err != nil {
			return err
		}
		if err := js.DeleteConsumer(ctx, streams.StreamAlerting, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("delete consumer %s, made for another stream: %w", name, err)
		}
	}
	stream, err := js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	// Its end may be gone, and what is new have its sequences.
	from = min(from, stream.CachedInfo().State.LastSeq+1)
	cfg := streams.SenderConfig(channel)
	cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	cfg.Metadata = map[string]string{metadataIncarnation: strconv.FormatInt(incarnation.UnixNano(), 10)}
	made, err := js.CreateConsumer(ctx, streams.StreamAlerting, cfg)
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", name, err)
	}
	if !madeFor(made, incarnation) {
		return fmt.Errorf("make consumer %s: somebody made it for another stream", name)
	}
	return same(ctx, js, incarnation)
}

// madeFor reports whether a consumer was made for ALERTING of the incarnation, as
// far as it says.
func madeFor(c jetstream.Consumer, incarnation time.Time) bool {
	of, says := c.CachedInfo().Config.Metadata[metadataIncarnation]
	return !says || of == strconv.FormatInt(incarnation.UnixNano(), 10)
}

// run sends until ctx ends. Hard ends later than ctx, or with it, and cuts off
// an attempt in the middle.
func (s *sender) run(ctx, hard context.Context) {
	defer s.target.close()
	pause := newBackoff(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		err := s.work(ctx, hard, pause.Reset)
		if ctx.Err() != nil {
			return
		}
		wait := pause.NextBackOff()
		s.log.Warn("sender starts anew", "err", err, "wait", wait)
		sleep(ctx, wait)
	}
}

// work reads and sends until ctx ends or the connection fails.
func (s *sender) work(ctx, hard context.Context, progress func()) error {
	// Somebody may have deleted it.
	if err := ensureConsumer(ctx, s.js, s.incarnation, s.name, s.next); err != nil {
		return err
	}
	consumer, err := s.js.Consumer(ctx, streams.StreamAlerting, streams.SenderConsumer(s.name))
	if err != nil {
		return fmt.Errorf("open consumer %s: %w", streams.SenderConsumer(s.name), err)
	}
	if consumer.CachedInfo().NumAckPending > 0 {
		// A sender was killed with a message in hand, which all that came after it
		// would wait for until its time has run out.
		if _, err := s.js.ResetConsumer(ctx, streams.StreamAlerting, streams.SenderConsumer(s.name)); err != nil {
			return fmt.Errorf("reset consumer %s: %w", streams.SenderConsumer(s.name), err)
		}
	}
	if err := s.loadDone(ctx); err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(8), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return fmt.Errorf("read consumer %s: %w", streams.SenderConsumer(s.name), err)
	}
	for delivery := uint64(0); ; progress() {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			giveBack(messages, nil)
			return fmt.Errorf("read consumer %s: %w", streams.SenderConsumer(s.name), err)
		}
		meta, err := msg.Metadata()
		if err == nil && (delivery == 0 || meta.Sequence.Consumer <= delivery) {
			// Deliveries count from one again when a consumer was set back, or is another
			// of a stream that was made anew, whose messages are not those that are done.
			if err = same(ctx, s.js, s.incarnation); err == nil {
				err = s.loadDone(ctx)
			}
		}
		if err == nil {
			delivery = meta.Sequence.Consumer
			err = s.handle(ctx, hard, msg, meta)
		}
		if err != nil {
			giveBack(messages, msg)
			return err
		}
	}
}

// giveBack returns what was handed out and not worked off, so that the next
// sender need not wait until its time runs out. The subscription goes first,
// or the server would hand it out here again.
func giveBack(messages jetstream.MessagesContext, inHand jetstream.Msg) {
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(storeTimeout))
		if err != nil {
			break
		}
		_ = msg.Nak()
	}
	if inHand != nil {
		_ = inHand.Nak()
	}
}

// loadDone finds out which message was recorded last. Only what the stream says
// counts: if it lost its end, what comes gets the keys of what is gone.
func (s *sender) loadDone(ctx context.Context) error {
	stream, err := s.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	last, err := stream.GetLastMsgForSubject(ctx, streams.DeliverySubject(s.name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		s.done = key{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the last delivery: %w", err)
	}
	d, err := streams.DecodeDelivery(last.Data)
	if err != nil {
		return err
	}
	done, err := parseKey(d.GetKey())
	if err != nil {
		return err
	}
	// A record that was on its way while ALERTING was made anew is of a message of
	// the one before. A key that doesn't say is taken for one of this ALERTING, if
	// the record lies behind the message.
	if done.incarnation != s.incarnation.UnixNano() && (done.incarnation != 0 || done.sequence >= last.Sequence) {
		s.done = key{}
		return nil
	}
	s.done = done
	return nil
}

// handle sends all messages of one commit that are for this channel, and acks
// it when the outcome of each is recorded.
func (s *sender) handle(ctx, hard context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if meta.NumDelivered > 1 {
		// Another sender may have been at it.
		if err := s.loadDone(ctx); err != nil {
			return err
		}
	}
	commit, err := streams.DecodeAlerting(msg.Data())
	if err != nil {
		return s.malformed(ctx, msg, meta, err)
	}
	stop := s.claim(msg)
	defer stop()
	for i, m := range commit.GetMessages() {
		k := key{s.incarnation.UnixNano(), meta.Sequence.Stream, i}
		if m.GetChannel() != s.name || len(m.GetAlerts()) == 0 || !k.after(s.done) {
			continue
		}
		if err := s.deliver(ctx, hard, k, m, meta.Timestamp); err != nil {
			return err
		}
	}
	if err := msg.Ack(); err != nil {
		return fmt.Errorf("acknowledge commit %d: %w", meta.Sequence.Stream, err)
	}
	s.next = meta.Sequence.Stream + 1
	return nil
}

// claim tells the server now and then that the message is being worked on,
// until stop is called.
func (s *sender) claim(msg jetstream.Msg) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				if err := msg.InProgress(); err != nil {
					s.log.Debug("claim a message anew", "err", err)
				}
			}
		}
	}()
	return func() { close(quit); <-ended }
}

func (s *sender) malformed(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata, reason error) error {
	err := s.deadLetters.Publish(ctx, streams.DeadLetter{
		Service: streams.ServiceNotifier, Reason: streams.ReasonMalformed, Detail: reason.Error(),
		Origin: msg.Subject(), Arrived: meta.Timestamp, Payload: msg.Data(),
	})
	if err != nil {
		return err
	}
	return msg.Ack()
}

// deliver tries until the channel has taken or refused the message, and records
// that. An error means that the message is still to be delivered, or that its
// delivery could not be recorded.
func (s *sender) deliver(ctx, hard context.Context, k key, m *alertingv1.Message, committed time.Time) error {
	pause := newBackoff(500*time.Millisecond, 5*time.Minute)
	first := time.Now()
	d := &alertingv1.Delivery{Key: k.String(), Channel: s.name, Title: m.GetTitle(), Outcome: alertingv1.Outcome_OUTCOME_SENT}
	for _, a := range m.GetAlerts() {
		d.AlertIds = append(d.AlertIds, a.GetId())
	}
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("deliver %s: %w", d.Key, ctx.Err())
		}
		d.Attempts++
		err := s.attempt(hard, outgoing(k, m, time.Since(committed), s.address))
		if err == nil {
			s.report.Clear(failing(s.name))
			s.metrics.attempts.WithLabelValues(s.name, "sent").Inc()
			s.metrics.latency.WithLabelValues(s.name).Observe(time.Since(committed).Seconds())
			break
		}
		failure, final := judge(err, first, s.giveUp)
		if final {
			s.metrics.attempts.WithLabelValues(s.name, "refused").Inc()
			d.Outcome, d.Error = alertingv1.Outcome_OUTCOME_FAILED, failure.Reason
			break
		}
		s.metrics.attempts.WithLabelValues(s.name, "failed").Inc()
		if time.Since(first) >= reportAfter {
			s.report.Set(failing(s.name), problems.Problem{
				Part: "Channel " + s.name, Since: first,
				Text: fmt.Sprintf("Its notifications cannot be delivered: %s. Each is tried for %s, later ones wait. Check the address of the channel and whether it can be reached from here.", failure.Reason, s.giveUp),
			})
		}
		wait := max(pause.NextBackOff(), min(failure.RetryAfter, maxRetryAfter))
		s.log.Warn("message not delivered yet", "key", d.Key, "attempts", d.Attempts, "err", failure.Reason, "wait", wait.Round(time.Millisecond))
		sleep(ctx, wait)
	}
	d.Time = time.Now().UnixNano()
	return s.record(hard, k, m, d, committed)
}

// failing is the id of the problem that a channel takes nothing.
func failing(channel string) string { return "failing:" + channel }

// attempt is one attempt. When the sender is to stop, it still gets a moment.
func (s *sender) attempt(hard context.Context, m channel.Message) error {
	limited, cancel := context.WithTimeout(hard, s.timeout)
	defer cancel()
	return s.target.send(limited, m)
}

// judge says whether the failure is the last one.
func judge(err error, first time.Time, giveUp time.Duration) (failure *channel.Error, final bool) {
	failure, ok := errors.AsType[*channel.Error](err)
	if !ok {
		failure = &channel.Error{Reason: "could not be sent"}
	}
	if failure.Permanent {
		return failure, true
	}
	if waited := time.Since(first); waited >= giveUp {
		return &channel.Error{Reason: fmt.Sprintf("given up after %s: %s", waited.Round(time.Second), failure.Reason)}, true
	}
	return failure, false
}

// record stores the outcome, and before it the dead letter of a message that
// was refused. The channel has been told by then, so this is tried for as long
// as the process lives: a repeat would be the worse.
func (s *sender) record(hard context.Context, k key, m *alertingv1.Message, d *alertingv1.Delivery, committed time.Time) error {
	pause := newBackoff(100*time.Millisecond, 5*time.Second)
	for {
		err := s.store(hard, m, d, committed)
		if err == nil {
			s.done = k
			return nil
		}
		s.log.Error("outcome of a message not recorded yet", "key", d.Key, "err", err)
		if !sleep(hard, pause.NextBackOff()) {
			return fmt.Errorf("record the outcome of %s; it may be sent twice: %w", d.Key, err)
		}
	}
}

func (s *sender) store(hard context.Context, m *alertingv1.Message, d *alertingv1.Delivery, committed time.Time) error {
	ctx, cancel := context.WithTimeout(hard, storeTimeout)
	defer cancel()
	if d.GetOutcome() == alertingv1.Outcome_OUTCOME_FAILED {
		body, err := protojson.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode message: %w", err)
		}
		series := m.GetAlerts()[0].GetSeries()
		if err := s.deadLetters.Publish(ctx, streams.DeadLetter{
			Service: streams.ServiceNotifier, Reason: streams.ReasonUndeliverable,
			Detail: fmt.Sprintf("channel %s: %s", s.name, d.GetError()), Origin: streams.AlertingSubject(lane0),
			Site: series.GetSite(), Device: series.GetDevice(), Arrived: committed, Payload: body,
		}); err != nil {
			return err
		}
		s.log.Error("message refused for good; it is a dead letter", "key", d.GetKey(), "attempts", d.GetAttempts(), "err", d.GetError())
	}
	msg, err := streams.DeliveryMsg(d)
	if err != nil {
		return err
	}
	if _, err := s.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("record delivery: %w", err)
	}
	return nil
}

func newBackoff(first, most time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier, b.RandomizationFactor = first, most, 2, 0.3
	return b
}

// sleep waits, and reports whether it was not cut short by the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
