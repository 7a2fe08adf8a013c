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
	"headwater/proto/figure"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/services/notifier/channel"
	"headwater/streams"
)

const (
	// progressEvery is how often the sender claims the message that it processes;
	// it must be well below the AckWait of the consumer.
	progressEvery = 10 * time.Second
	// maxRetryAfter bounds the pause that a channel may ask for.
	maxRetryAfter = time.Hour
	// finishTime is how long an attempt may continue once the sender is to stop.
	finishTime = 5 * time.Second
	// reportAfter is how long a message is tried before a problem is reported.
	reportAfter = time.Minute
	// settleTime is how long a sender runs until it gives up messages that are older than
	// they may be: when everything starts, the network may not be there yet.
	settleTime = 10 * time.Minute
	// storeTimeout bounds one request to JetStream.
	storeTimeout = 5 * time.Second
)

// sender delivers the messages of one channel, in order. One goroutine only.
type sender struct {
	name    string
	target  target
	timeout time.Duration
	giveUp  time.Duration
	// address is the dashboard's, for links; it may be empty.
	address string
	// linkKey signs the links of actions; nil if messages have none.
	linkKey []byte
	names   *names
	// pictures draws the charts of messages.
	pictures *pictures

	js          jetstream.JetStream
	deadLetters *deadletter.Publisher
	log         *slog.Logger
	metrics     *metrics
	report      *problems.Reporter
	reach       *reach
	// began is when the sender began to run.
	began time.Time

	// alerting identifies ALERTING. next is the first commit that a consumer
	// created now would deliver.
	alerting streams.Place
	next     uint64
	// done is the last message whose outcome is recorded, refused the episodes whose
	// beginning the channel had not taken then.
	done    key
	refused []*alertingv1.Refusal
}

// metadataIncarnation is the key in the metadata of a consumer whose value is the
// incarnation of the ALERTING that the consumer was created for.
const metadataIncarnation = "headwater-incarnation"

// ensureConsumer creates the durable consumer of a channel, to start at the commit
// from. A consumer that exists continues where it is.
//
// From is a sequence of the given ALERTING; in another stream a consumer that starts
// there would skip messages. But a create request can arrive after the stream was
// recreated. So the consumer's metadata names the stream that it was created for:
//
//  1. Check that ALERTING is the given one.
//  2. A consumer of an older stream is replaced, after another check that our own
//     stream was not the one recreated. One without metadata is accepted.
//  3. The new consumer must carry our metadata: another worker may have been first.
//  4. Check again that ALERTING is the given one.
func ensureConsumer(ctx context.Context, js jetstream.JetStream, alerting streams.Place, channel string, from uint64) error {
	name := streams.SenderConsumer(channel)
	if err := alerting.Check(ctx, js, streams.StreamAlerting); err != nil {
		return err
	}
	existing, err := js.Consumer(ctx, streams.StreamAlerting, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("look up consumer %s: %w", name, err)
	}
	if err == nil {
		if createdFor(existing, alerting) {
			return nil
		}
		if err := alerting.Check(ctx, js, streams.StreamAlerting); err != nil {
			return err
		}
		if err := js.DeleteConsumer(ctx, streams.StreamAlerting, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("delete consumer %s of an older stream: %w", name, err)
		}
	}
	stream, err := js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	// The end of the stream may be gone, and new commits get its sequences.
	from = min(from, stream.CachedInfo().State.LastSeq+1)
	cfg := streams.SenderConfig(channel)
	cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	cfg.Metadata = map[string]string{metadataIncarnation: strconv.FormatInt(alerting.Incarnation, 10)}
	created, err := js.CreateConsumer(ctx, streams.StreamAlerting, cfg)
	if err != nil {
		return fmt.Errorf("create consumer %s: %w", name, err)
	}
	if !createdFor(created, alerting) {
		return fmt.Errorf("create consumer %s: another worker created it for another stream", name)
	}
	return alerting.Check(ctx, js, streams.StreamAlerting)
}

// createdFor reports whether a consumer was created for the given ALERTING, or does
// not say.
func createdFor(c jetstream.Consumer, alerting streams.Place) bool {
	incarnation, found := c.CachedInfo().Config.Metadata[metadataIncarnation]
	return !found || incarnation == strconv.FormatInt(alerting.Incarnation, 10)
}

// run sends until ctx ends; the end of hard cuts off an attempt in flight. See
// [process.HardStop].
func (s *sender) run(ctx, hard context.Context) {
	defer s.target.close()
	s.began = time.Now()
	pause := newBackoff(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		err := s.work(ctx, hard, pause.Reset)
		if ctx.Err() != nil {
			return
		}
		wait := pause.NextBackOff()
		s.log.Warn("sender restarts", "err", err, "wait", wait)
		process.Sleep(ctx, wait)
	}
}

// work reads and sends until ctx ends or the connection fails.
func (s *sender) work(ctx, hard context.Context, progress func()) error {
	// The consumer may have been deleted.
	if err := ensureConsumer(ctx, s.js, s.alerting, s.name, s.next); err != nil {
		return err
	}
	consumer, err := s.js.Consumer(ctx, streams.StreamAlerting, streams.SenderConsumer(s.name))
	if err != nil {
		return fmt.Errorf("open consumer %s: %w", streams.SenderConsumer(s.name), err)
	}
	if consumer.CachedInfo().NumAckPending > 0 {
		// A sender was killed while it held a message. Later messages would wait for
		// that one until its AckWait has passed.
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
		delivery, err = s.take(ctx, hard, msg, delivery)
		if err != nil {
			giveBack(messages, msg)
			return err
		}
	}
}

// take handles one message. Previous is the number of the delivery before it,
// 0 for the first; it returns that of this one.
func (s *sender) take(ctx, hard context.Context, msg jetstream.Msg, previous uint64) (delivery uint64, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return previous, fmt.Errorf("message without metadata: %w", err)
	}
	delivery = meta.Sequence.Consumer
	if previous == 0 || delivery <= previous {
		// Deliveries count from 1 again after the consumer was reset, or when it belongs
		// to a recreated stream, whose messages are not the ones that are done.
		if err := s.alerting.Check(ctx, s.js, streams.StreamAlerting); err != nil {
			return delivery, err
		}
		if err := s.loadDone(ctx); err != nil {
			return delivery, err
		}
	}
	return delivery, s.handle(ctx, hard, msg, meta)
}

// giveBack returns the messages that were delivered and not processed, so that the
// next sender need not wait for their AckWait. The subscription is drained first, or
// the server would deliver them here again.
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

// loadDone finds out which message was recorded last. Only the record in the stream
// counts, not what this sender remembers: if the stream lost its end, new messages
// have the sequences of the lost ones.
func (s *sender) loadDone(ctx context.Context) error {
	stream, err := s.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	last, err := stream.GetLastMsgForSubject(ctx, streams.DeliverySubject(s.name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		s.done, s.refused = key{}, nil
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
	// A record that was in flight while ALERTING was recreated is about a message of
	// the old stream. A key without an incarnation counts for this ALERTING if the
	// record lies behind the message.
	if done.incarnation != s.alerting.Incarnation && (done.incarnation != 0 || done.sequence >= last.Sequence) {
		s.done, s.refused = key{}, nil
		return nil
	}
	s.done, s.refused = done, d.GetRefused()
	s.reach.restore(s.name, done.sequence, s.refused)
	return nil
}

// handle sends the messages of one commit that are for this channel, and acks the
// commit when the outcome of each is recorded.
func (s *sender) handle(ctx, hard context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if meta.NumDelivered > 1 {
		// Another sender may have sent it.
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
		k := key{s.alerting.Incarnation, meta.Timestamp.UnixNano(), meta.Sequence.Stream, i}
		if m.GetChannel() != s.name || len(m.GetAlerts()) == 0 || !k.after(s.done) {
			continue
		}
		if err := s.deliver(ctx, hard, outbound{key: k, message: m, commit: commit, committed: meta.Timestamp}); err != nil {
			return err
		}
	}
	if err := msg.Ack(); err != nil {
		return fmt.Errorf("acknowledge commit %d: %w", meta.Sequence.Stream, err)
	}
	s.next = meta.Sequence.Stream + 1
	return nil
}

// claim tells the server every progressEvery that the message is in progress, until
// stop is called.
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
					s.log.Debug("cannot claim a message", "err", err)
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

// outbound is a message on its way out.
type outbound struct {
	key     key
	message *alertingv1.Message
	// commit is what the message is part of, and committed when it was stored.
	commit    *alertingv1.Commit
	committed time.Time
}

// deliver tries until the channel has taken or refused the message, and records the
// outcome. A message about the end of what the channel never took is skipped. An error
// means that the message is not delivered yet, or that its outcome could not be recorded.
func (s *sender) deliver(ctx, hard context.Context, o outbound) error {
	d := &alertingv1.Delivery{Key: o.key.String(), Channel: s.name, Title: o.message.GetTitle(), Outcome: alertingv1.Outcome_OUTCOME_SENT}
	for _, a := range o.message.GetAlerts() {
		d.AlertIds = append(d.AlertIds, a.GetId())
	}
	heard := withoutUnheard(o.message, s.refused)
	var unreached map[string]string
	if heard == nil {
		d.Outcome, d.Error = alertingv1.Outcome_OUTCOME_SKIPPED, "the channel did not take the message about the beginning"
		s.metrics.dropped.WithLabelValues("beginning_refused").Inc()
		s.reach.drop(o.message) // it is over
	} else {
		var err error
		o.message = heard
		unreached, err = s.insist(ctx, hard, o, d)
		if err != nil {
			return err
		}
	}
	d.Refused = refusals(s.refused, o.message, d.GetOutcome(), unreached)
	d.Time = time.Now().UnixNano()
	return s.record(hard, o, d)
}

// insist tries until the channel has taken or refused the message, and fills in the
// outcome. It returns the titles of the critical alerts that no channel has taken, by
// episode.
func (s *sender) insist(ctx, hard context.Context, o outbound, d *alertingv1.Delivery) (unreached map[string]string, err error) {
	pause := newBackoff(500*time.Millisecond, 5*time.Minute)
	first := time.Now()
	for {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("deliver %s: %w", d.Key, ctx.Err())
		}
		d.Attempts++
		m := outgoing(o.key, o.message, time.Since(o.committed), s.address)
		s.names.call(hard, &m)
		m.Chart = s.pictures.of(o)
		m.Actions = actions(s.linkKey, s.name, o.message, time.Now())
		err := s.attempt(hard, m)
		if err == nil {
			s.report.Clear(failing(s.name))
			s.reach.drop(o.message)
			s.metrics.attempts.WithLabelValues(s.name, "sent").Inc()
			s.metrics.latency.WithLabelValues(s.name).Observe(time.Since(o.committed).Seconds())
			return nil, nil
		}
		failure, final := judge(err, time.Since(o.committed), time.Since(s.began), s.giveUp)
		if final {
			s.metrics.attempts.WithLabelValues(s.name, "refused").Inc()
			d.Outcome, d.Error = alertingv1.Outcome_OUTCOME_FAILED, failure.Reason
			return s.reach.failed(s.name, o), nil
		}
		s.metrics.attempts.WithLabelValues(s.name, "failed").Inc()
		if time.Since(first) >= reportAfter {
			s.reach.failed(s.name, o)
			s.report.Set(failing(s.name), problems.Problem{
				Part: "Channel " + s.name, Since: first,
				Text: fmt.Sprintf("Its notifications cannot be delivered: %s. Each is tried for %s, later ones wait. Check the address of the channel and whether it can be reached from here.", failure.Reason, figure.Duration(s.giveUp)),
			})
		}
		wait := max(pause.NextBackOff(), min(failure.RetryAfter, maxRetryAfter))
		s.log.Warn("message not delivered; trying again", "key", d.Key, "attempts", d.Attempts, "err", failure.Reason, "wait", wait.Round(time.Millisecond))
		process.Sleep(ctx, wait)
	}
}

// failing returns the id of the problem that a channel takes nothing.
func failing(channel string) string { return "failing:" + channel }

// attempt makes one attempt. It may take finishTime longer than the sender runs.
func (s *sender) attempt(hard context.Context, m channel.Message) error {
	limited, cancel := context.WithTimeout(hard, s.timeout)
	defer cancel()
	return s.target.send(limited, m)
}

// judge reports whether the failure is the last one. Waited is the time since the message
// was committed, also by an earlier process: behind a channel that is dead the messages that
// wait must not take giveUp one after the other. Running is how long the sender has run.
func judge(err error, waited, running, giveUp time.Duration) (failure *channel.Error, final bool) {
	failure, ok := errors.AsType[*channel.Error](err)
	if !ok {
		failure = &channel.Error{Reason: "could not be sent"}
	}
	if failure.Permanent {
		return failure, true
	}
	if waited >= giveUp && running >= min(giveUp, settleTime) {
		return &channel.Error{Reason: fmt.Sprintf("given up after %s: %s", figure.Duration(waited), failure.Reason)}, true
	}
	return failure, false
}

// record stores the outcome, and before it the dead letter of a message that was
// refused. The channel has the message by then, so record is retried for as long as
// hard lasts: without it the message would be sent again.
func (s *sender) record(hard context.Context, o outbound, d *alertingv1.Delivery) error {
	pause := newBackoff(100*time.Millisecond, 5*time.Second)
	for {
		err := s.store(hard, o.message, d, o.committed)
		if err == nil {
			s.done, s.refused = o.key, d.GetRefused()
			return nil
		}
		s.log.Error("cannot record the outcome of a message; trying again", "key", d.Key, "err", err)
		if !process.Sleep(hard, pause.NextBackOff()) {
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
		s.log.Error("message refused permanently; stored as a dead letter", "key", d.GetKey(), "attempts", d.GetAttempts(), "err", d.GetError())
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
