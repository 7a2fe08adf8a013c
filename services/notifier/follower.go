package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/problems"
	"headwater/streams"
)

// follower reads the commits of the lane, keeps the projection, and keeps a
// sender for each channel of the configuration in force.
//
// A message must find the durable consumer of its channel made, or it would
// pass it by. The follower makes a consumer so that it starts behind the last
// commit which the follower has seen, and at the very commit in which it sees a
// message for a channel that has none; so no message is lost, whether the lane
// or the follower hears of a new channel first. One goroutine only.
type follower struct {
	cfg         Config
	js          jetstream.JetStream
	log         *slog.Logger
	metrics     *metrics
	report      *problems.Reporter
	deadLetters *deadletter.Publisher
	// open returns what a sender speaks to.
	open       func(config.Channel) target
	projection *projection
	config     jetstream.KeyValue

	// incarnation is when ALERTING was created, as of when the follower was
	// prepared.
	incarnation time.Time
	// floor is the last commit that a follower before this one took care of: a
	// consumer that is made now does not go back beyond it.
	floor    uint64
	revision uint64
	senders  map[string]*running
	// wait waits for the goroutines of the senders.
	wait sync.WaitGroup
}

// running is a sender at work.
type running struct {
	channel config.Channel
	// stop lets it finish its attempt, cut does not.
	stop, cut context.CancelFunc
	done      chan struct{}
}

// finish stops the sender and returns when it has stopped; an attempt in the
// middle gets its time.
func (r *running) finish() {
	r.stop()
	patience := time.AfterFunc(finishTime, r.cut)
	defer patience.Stop()
	<-r.done
}

// prepare brings the follower to where it can say that no message will be lost.
// The lane may start after it.
func (f *follower) prepare(ctx context.Context) error {
	stream, err := f.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	f.incarnation = stream.CachedInfo().Created
	if f.projection, err = openProjection(ctx, f.js, f.incarnation, f.metrics); err != nil {
		return err
	}
	if f.config, err = f.js.KeyValue(ctx, streams.BucketConfig); err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	if f.projection.anew {
		f.log.Error("the stream was made anew: what it held and was not sent yet is gone; all that it holds now is sent", "stream", streams.StreamAlerting)
	}
	if f.projection.unknown {
		f.projection.channels = stream.CachedInfo().State.LastSeq
	}
	if f.projection.unknown || f.projection.anew {
		if err := f.projection.write(ctx); err != nil {
			return err
		}
	}
	if err := f.resume(ctx); err != nil {
		return err
	}
	f.floor = f.projection.channels
	return f.reconfigure(ctx, f.projection.position+1)
}

// errMadeAnew is returned when ALERTING is another stream of the same name.
var errMadeAnew = errors.New("the stream was made anew")

// same returns nil if ALERTING is the stream of the incarnation.
func same(ctx context.Context, js jetstream.JetStream, incarnation time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	if !stream.CachedInfo().Created.Equal(incarnation) {
		return fmt.Errorf("%w: %s", errMadeAnew, streams.StreamAlerting)
	}
	return nil
}

// resume sees to it that nothing new in ALERTING is taken for what is reflected,
// and raises an alarm if its end is gone.
func (f *follower) resume(ctx context.Context) error {
	stream, err := f.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	now, loss, err := f.projection.place().Resume(ctx, stream)
	switch {
	case err != nil:
		return err
	case loss == nil:
		return nil
	case loss.Recreated:
		return fmt.Errorf("%w: %s", errMadeAnew, streams.StreamAlerting)
	}
	f.log.Error("what was lost and not sent yet is not sent; the alerts go on from what is left", "stream", loss.Stream,
		"kept_seq", loss.Kept, "lost_seq", loss.Until, "loss", loss)
	f.metrics.losses.Inc()
	if err := loss.Record(ctx, f.js, streams.ServiceNotifier); err != nil {
		f.log.Error("the dashboard cannot say what is lost", "err", err)
	}
	f.floor = min(f.floor, now.Sequence)
	return f.projection.back(ctx, now)
}

// run follows until ctx ends or ALERTING is another, then stops the senders and
// returns when they have stopped.
func (f *follower) run(ctx context.Context) error {
	defer f.stop()
	pause := newBackoff(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		err := f.follow(ctx, pause.Reset)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errMadeAnew) {
			return err
		}
		wait := pause.NextBackOff()
		f.log.Warn("follower starts anew", "err", err, "wait", wait)
		sleep(ctx, wait)
	}
	return nil
}

func (f *follower) stop() {
	// The next owner reports of its own.
	defer func() {
		for name := range f.senders {
			f.report.Clear(failing(name))
			f.report.Clear(secretless(name))
		}
	}()
	for _, r := range f.senders {
		r.stop()
	}
	patience := time.AfterFunc(finishTime, func() {
		for _, r := range f.senders {
			r.cut()
		}
	})
	f.wait.Wait()
	patience.Stop()
	if f.projection == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := f.projection.save(ctx, true); err != nil {
		f.log.Warn("how far the alerts are written is not recorded; the next start goes over some again", "err", err)
	}
}

// follow works until ctx ends or something fails.
func (f *follower) follow(ctx context.Context, progress func()) error {
	if f.projection.stale {
		if err := f.projection.reload(ctx); err != nil {
			return err
		}
	}
	if err := f.resume(ctx); err != nil {
		return err
	}
	watch, err := f.config.Watch(ctx, streams.ConfigKey)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketConfig, err)
	}
	defer func() { _ = watch.Stop() }()
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{streams.AlertingAll},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.projection.position + 1,
	}
	consumer, err := f.js.OrderedConsumer(ctx, streams.StreamAlerting, cfg)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", streams.StreamAlerting, err)
	}
	commits, failed := make(chan jetstream.Msg, 64), make(chan error, 1)
	reading, err := consumer.Consume(func(msg jetstream.Msg) {
		select {
		case commits <- msg:
		case <-ctx.Done():
		}
	}, jetstream.PullMaxMessages(64), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				return
			}
			select {
			case failed <- err:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", streams.StreamAlerting, err)
	}
	defer f.unread(reading, commits)
	// It may have begun to read another stream.
	if err := same(ctx, f.js, f.incarnation); err != nil {
		return err
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("read stream %s: %w", streams.StreamAlerting, err)
		case entry, open := <-watch.Updates():
			if !open {
				return errors.New("the watch of the configuration ended")
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut {
				continue
			}
			if err := f.configure(ctx, entry, f.projection.position+1); err != nil {
				return err
			}
		case <-tick.C:
			f.checkSecrets()
			if err := same(ctx, f.js, f.incarnation); err != nil {
				return err
			}
			if err := f.projection.place().Check(ctx, f.js, streams.StreamAlerting); err != nil {
				return err
			}
			if err := f.projection.look(ctx); err != nil {
				return err
			}
			if err := f.projection.save(ctx, false); err != nil {
				return err
			}
		case msg := <-commits:
			if err := f.commit(ctx, msg); err != nil {
				return err
			}
			progress()
		}
	}
}

// unread stops the consumption and returns when nothing of it is left, however
// much it still wants to hand over.
func (f *follower) unread(reading jetstream.ConsumeContext, commits <-chan jetstream.Msg) {
	reading.Stop()
	for {
		select {
		case <-commits:
		case <-reading.Closed():
			return
		}
	}
}

// commit takes in one commit of the lane.
func (f *follower) commit(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("message without metadata: %w", err)
	}
	sequence := meta.Sequence.Stream
	if sequence <= f.projection.position {
		return nil
	}
	c, err := streams.DecodeAlerting(msg.Data())
	if err != nil {
		// The senders put it where people see it.
		f.log.Error("commit passed over", "seq", sequence, "err", err)
		f.projection.position, f.projection.positionStored = sequence, meta.Timestamp.UnixNano()
		return nil
	}
	if err := f.ensureSenders(ctx, sequence, c); err != nil {
		return err
	}
	return f.projection.apply(ctx, sequence, meta.Timestamp.UnixNano(), c)
}

// ensureSenders sees to it that the messages of the commit have a sender.
func (f *follower) ensureSenders(ctx context.Context, sequence uint64, c *alertingv1.Commit) error {
	if sequence <= f.floor {
		return nil
	}
	asked := false
	for _, m := range c.GetMessages() {
		if f.senders[m.GetChannel()] != nil {
			continue
		}
		if !asked {
			// The lane may have heard of a new channel before.
			if err := f.reconfigure(ctx, sequence); err != nil {
				return err
			}
			asked = true
		}
		if f.senders[m.GetChannel()] == nil {
			f.metrics.dropped.WithLabelValues("channel_removed").Inc()
			f.log.Warn("a message is for a channel that was removed", "seq", sequence, "channel", m.GetChannel())
		}
	}
	return nil
}

// reconfigure reads the configuration and puts it in force.
func (f *follower) reconfigure(ctx context.Context, from uint64) error {
	entry, err := f.config.Get(ctx, streams.ConfigKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read key %s of bucket %s: %w", streams.ConfigKey, streams.BucketConfig, err)
	}
	return f.configure(ctx, entry, from)
}

// configure starts and stops senders. A new channel is sent what is committed
// from the sequence on.
func (f *follower) configure(ctx context.Context, entry jetstream.KeyValueEntry, from uint64) error {
	if entry.Revision() <= f.revision {
		return nil
	}
	c, err := parse(entry.Revision(), entry.Value())
	if err != nil {
		f.log.Error("the configuration can't be used; the one before stays in force", "revision", entry.Revision(), "err", err)
		f.revision = entry.Revision()
		return nil
	}
	wanted := map[string]bool{}
	for _, ch := range c.Channels {
		wanted[ch.Name] = true
		if err := f.want(ctx, ch, max(from, f.floor+1)); err != nil {
			return err
		}
	}
	if err := f.remove(ctx, wanted); err != nil {
		return err
	}
	f.revision = entry.Revision()
	f.metrics.senders.Set(float64(len(f.senders)))
	f.checkSecrets()
	return nil
}

// checkSecrets reports the channels whose url_file can't be used, before a message
// has to wait for it.
func (f *follower) checkSecrets() {
	for name, r := range f.senders {
		if _, err := (&remote{cfg: r.channel, secrets: f.cfg.Secrets}).address(); err != nil {
			f.report.Set(secretless(name), problems.Problem{
				Part: "Channel " + name,
				Text: fmt.Sprintf("It has no address: %v. Its notifications wait. Put the file there, or name another in url_file; it is read before each message.", err),
			})
		} else {
			f.report.Clear(secretless(name))
		}
	}
}

// secretless is the id of the problem that a channel has no address.
func secretless(channel string) string { return "secret:" + channel }

// want starts the sender of a channel, or starts it anew when it is spoken to
// in another way.
func (f *follower) want(ctx context.Context, ch config.Channel, from uint64) error {
	before := f.senders[ch.Name]
	if before != nil {
		same := before.channel
		same.Resolved = ch.Resolved
		if same == ch {
			before.channel = ch
			return nil
		}
	}
	if err := ensureConsumer(ctx, f.js, f.incarnation, ch.Name, from); err != nil {
		return err
	}
	if before != nil {
		before.finish()
		f.log.Info("channel changed", "channel", ch.Name, "type", ch.Type)
	} else {
		f.log.Info("channel is sent to", "channel", ch.Name, "type", ch.Type)
	}
	f.senders[ch.Name] = f.start(ch, from)
	return nil
}

// start runs a sender. It is stopped by what start returns, not by ctx of the
// caller: senders end after the follower, with time to finish.
func (f *follower) start(ch config.Channel, from uint64) *running {
	ctx, stop := context.WithCancel(context.Background())
	hard, cut := context.WithCancel(context.Background())
	r := &running{channel: ch, stop: stop, done: make(chan struct{})}
	r.cut = func() { stop(); cut() }
	s := &sender{
		name: ch.Name, incarnation: f.incarnation, next: from, target: f.open(ch), timeout: f.cfg.Timeout, giveUp: f.cfg.GiveUp, address: f.cfg.PublicURL,
		js: f.js, deadLetters: f.deadLetters, log: f.log.With("channel", ch.Name), metrics: f.metrics, report: f.report,
	}
	f.wait.Go(func() {
		defer close(r.done)
		defer r.cut()
		s.run(ctx, hard)
	})
	return r
}

// remove stops the senders of channels that are gone, and deletes the consumers
// of channels that are gone, whoever made them: what waits for them will not be
// sent, and must not hold up the purging of the stream.
func (f *follower) remove(ctx context.Context, wanted map[string]bool) error {
	for name, r := range f.senders {
		if wanted[name] {
			continue
		}
		r.cut()
		<-r.done
		delete(f.senders, name)
		f.report.Clear(failing(name))
		f.report.Clear(secretless(name))
		f.log.Info("channel is not sent to any more", "channel", name)
	}
	stream, err := f.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	var gone []string
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if channel, ok := channelOf(name); ok && !wanted[channel] {
			gone = append(gone, name)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list consumers of %s: %w", streams.StreamAlerting, err)
	}
	for _, name := range gone {
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("delete consumer %s: %w", name, err)
		}
	}
	return nil
}
