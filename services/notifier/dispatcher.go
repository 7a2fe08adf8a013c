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
	"headwater/services/internal/process"
	"headwater/services/internal/webpush"
	"headwater/streams"
)

// dispatcher reads the commits of the lane, keeps the projection, and keeps a
// sender for each channel of the configuration in force.
//
// The durable consumer of a channel must exist before the first message for the
// channel is committed, or the message would be skipped. The dispatcher creates
// a consumer in two places:
//
//  1. When a configuration takes effect, from the commit after the last one that
//     the dispatcher has seen.
//  2. When it sees a message for a channel that has no consumer, from the commit
//     of that message.
//
// So no message is lost, whether the lane or the dispatcher learns of a new
// channel first. One goroutine only.
type dispatcher struct {
	cfg         Config
	js          jetstream.JetStream
	log         *slog.Logger
	metrics     *metrics
	report      *problems.Reporter
	reach       *reach
	deadLetters *deadletter.Publisher
	// open returns the target of a sender.
	open       func(config.Channel) target
	projection *projection
	config     jetstream.KeyValue
	// linkKey signs the links of actions.
	linkKey []byte
	names   *names
	// pictures draws the charts of messages.
	pictures *pictures

	// alerting identifies ALERTING as it was when the dispatcher was prepared.
	alerting streams.Place
	// floor is the last commit that an earlier dispatcher handled. New consumers do
	// not start before it.
	floor    uint64
	revision uint64
	senders  map[string]*running
	// wait waits for the goroutines of the senders.
	wait sync.WaitGroup
}

// running is a sender that runs.
type running struct {
	channel config.Channel
	// stop ends the sender after its current attempt, for which it has finishTime.
	// cut ends it at once.
	stop, cut context.CancelFunc
	done      chan struct{}
}

// prepare creates the consumers of all channels. After it no message can be
// lost, so the lane may start.
func (d *dispatcher) prepare(ctx context.Context) error {
	stream, err := d.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	d.alerting = streams.Place{Incarnation: stream.CachedInfo().Created.UnixNano()}
	d.projection, err = openProjection(ctx, d.js, d.alerting.Incarnation, d.metrics)
	if err != nil {
		return err
	}
	d.config, err = d.js.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	push, err := webpush.Open(ctx, d.js)
	if err == nil {
		d.linkKey, err = push.LinkKey(ctx)
	}
	if err != nil {
		return err
	}
	if d.projection.recreated {
		d.log.Error("the stream was recreated: messages that were not sent yet are lost; all messages that it holds now are sent", "stream", streams.StreamAlerting)
	}
	if d.projection.unknown {
		d.projection.channels = stream.CachedInfo().State.LastSeq
	}
	if d.projection.unknown || d.projection.recreated {
		if err := d.projection.write(ctx); err != nil {
			return err
		}
	}
	if err := d.resume(ctx); err != nil {
		return err
	}
	d.floor = d.projection.channels
	return d.reconfigure(ctx, d.projection.position+1)
}

// resume ensures that no new commit in ALERTING is mistaken for one that the
// projection reflects, and raises an alarm if the end of the stream is gone.
func (d *dispatcher) resume(ctx context.Context) error {
	stream, err := d.js.Stream(ctx, streams.StreamAlerting)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamAlerting, err)
	}
	now, loss, err := d.projection.place().Resume(ctx, stream)
	switch {
	case err != nil:
		return err
	case loss == nil:
		return nil
	case loss.Recreated:
		return fmt.Errorf("stream %s: %w", streams.StreamAlerting, streams.ErrRecreated)
	}
	d.log.Error("the end of the stream is lost: messages in it that were not sent yet will not be sent; the alerts continue from what is left", "stream", loss.Stream,
		"kept_seq", loss.Kept, "lost_seq", loss.Until, "loss", loss)
	d.metrics.losses.Inc()
	if err := loss.Record(ctx, d.js, streams.ServiceNotifier); err != nil {
		d.log.Error("cannot record the loss for the dashboard", "err", err)
	}
	d.floor = min(d.floor, now.Sequence)
	return d.projection.rewind(ctx, now)
}

// run dispatches until ctx ends or ALERTING is recreated, then stops the senders
// and returns when they have stopped.
func (d *dispatcher) run(ctx context.Context) error {
	defer d.stop()
	pause := newBackoff(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		err := d.dispatch(ctx, pause.Reset)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, streams.ErrRecreated) {
			return err
		}
		wait := pause.NextBackOff()
		d.log.Warn("dispatcher restarts", "err", err, "wait", wait)
		process.Sleep(ctx, wait)
	}
	return nil
}

func (d *dispatcher) stop() {
	// The next owner reports its own problems.
	defer func() {
		for name := range d.senders {
			d.report.Clear(failing(name))
			d.report.Clear(secretless(name))
		}
		d.reach.clear()
	}()
	for _, r := range d.senders {
		r.stop()
	}
	d.wait.Wait()
	if d.projection == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := d.projection.save(ctx, true); err != nil {
		d.log.Warn("cannot record how far the alerts are written; the next start writes some of them again", "err", err)
	}
}

// dispatch works until ctx ends or something fails.
func (d *dispatcher) dispatch(ctx context.Context, progress func()) error {
	if d.projection.stale {
		if err := d.projection.reload(ctx); err != nil {
			return err
		}
	}
	if err := d.resume(ctx); err != nil {
		return err
	}
	watch, err := d.config.Watch(ctx, streams.ConfigKey)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketConfig, err)
	}
	defer func() { _ = watch.Stop() }()
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{streams.AlertingAll},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: d.projection.position + 1,
	}
	consumer, err := d.js.OrderedConsumer(ctx, streams.StreamAlerting, cfg)
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
	defer d.unread(reading, commits)
	// The stream may have been recreated before the consumer was created.
	if err := d.alerting.Check(ctx, d.js, streams.StreamAlerting); err != nil {
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
			if err := d.configure(ctx, entry, d.projection.position+1); err != nil {
				return err
			}
		case <-tick.C:
			d.checkSecrets()
			d.reach.forget(d.projection.settled)
			if err := d.projection.place().Check(ctx, d.js, streams.StreamAlerting); err != nil {
				return err
			}
			if err := d.projection.checkBucket(ctx); err != nil {
				return err
			}
			if err := d.projection.save(ctx, false); err != nil {
				return err
			}
		case msg := <-commits:
			if err := d.commit(ctx, msg); err != nil {
				return err
			}
			progress()
		}
	}
}

// unread stops the consumption and returns when its callback has ended. It drops
// what the callback still hands over.
func (d *dispatcher) unread(reading jetstream.ConsumeContext, commits <-chan jetstream.Msg) {
	reading.Stop()
	for {
		select {
		case <-commits:
		case <-reading.Closed():
			return
		}
	}
}

// commit handles one commit of the lane.
func (d *dispatcher) commit(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("message without metadata: %w", err)
	}
	sequence := meta.Sequence.Stream
	if sequence <= d.projection.position {
		return nil
	}
	c, err := streams.DecodeAlerting(msg.Data())
	if err != nil {
		// The senders store it as a dead letter.
		d.log.Error("skipped a commit that does not decode", "seq", sequence, "err", err)
		d.projection.position, d.projection.positionStored = sequence, meta.Timestamp.UnixNano()
		return nil
	}
	if err := d.ensureSenders(ctx, sequence, c); err != nil {
		return err
	}
	return d.projection.apply(ctx, sequence, meta.Timestamp.UnixNano(), c)
}

// ensureSenders ensures that every message of the commit has a sender.
func (d *dispatcher) ensureSenders(ctx context.Context, sequence uint64, c *alertingv1.Commit) error {
	if sequence <= d.floor {
		return nil
	}
	reconfigured := false
	for _, m := range c.GetMessages() {
		if d.senders[m.GetChannel()] != nil {
			continue
		}
		if !reconfigured {
			// The lane may have learned of a new channel first.
			if err := d.reconfigure(ctx, sequence); err != nil {
				return err
			}
			reconfigured = true
		}
		if d.senders[m.GetChannel()] == nil {
			d.metrics.dropped.WithLabelValues("channel_removed").Inc()
			d.log.Warn("dropped a message for a channel that was removed", "seq", sequence, "channel", m.GetChannel())
		}
	}
	return nil
}

// reconfigure reads the configuration and applies it.
func (d *dispatcher) reconfigure(ctx context.Context, from uint64) error {
	entry, err := d.config.Get(ctx, streams.ConfigKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read key %s of bucket %s: %w", streams.ConfigKey, streams.BucketConfig, err)
	}
	return d.configure(ctx, entry, from)
}

// configure starts and stops senders. A new channel gets the messages of commits
// from the sequence from on.
func (d *dispatcher) configure(ctx context.Context, entry jetstream.KeyValueEntry, from uint64) error {
	if entry.Revision() <= d.revision {
		return nil
	}
	c, err := parse(entry.Revision(), entry.Value())
	if err != nil {
		d.log.Error("cannot use the configuration; the previous one stays in force", "revision", entry.Revision(), "err", err)
		d.revision = entry.Revision()
		return nil
	}
	d.names.config.Store(c)
	wanted := map[string]bool{}
	for _, ch := range c.Channels {
		wanted[ch.Name] = true
		if err := d.want(ctx, ch, max(from, d.floor+1)); err != nil {
			return err
		}
	}
	if err := d.remove(ctx, wanted); err != nil {
		return err
	}
	d.revision = entry.Revision()
	d.metrics.senders.Set(float64(len(d.senders)))
	d.checkSecrets()
	return nil
}

// checkSecrets reports the channels whose url_file or secret_file cannot be used, before a
// message has to wait for it.
func (d *dispatcher) checkSecrets() {
	for name, r := range d.senders {
		if _, err := (&remote{cfg: r.channel, secrets: d.cfg.Secrets}).read(); err != nil {
			d.report.Set(secretless(name), problems.Problem{
				Part: "Channel " + name,
				Text: fmt.Sprintf("It cannot be used: %v. Its notifications wait. Put the file there, or name another; it is read before each message.", err),
			})
		} else {
			d.report.Clear(secretless(name))
		}
	}
}

// secretless returns the id of the problem that a file of a channel cannot be used.
func secretless(channel string) string { return "secret:" + channel }

// want starts the sender of a channel. A sender that runs is replaced when the
// type or the address of its channel changed.
func (d *dispatcher) want(ctx context.Context, ch config.Channel, from uint64) error {
	previous := d.senders[ch.Name]
	if previous != nil {
		same := previous.channel
		same.Resolved, same.FromPage = ch.Resolved, ch.FromPage
		if same == ch {
			previous.channel = ch
			return nil
		}
	}
	if err := ensureConsumer(ctx, d.js, d.alerting, ch.Name, from); err != nil {
		return err
	}
	if previous != nil {
		previous.stop()
		<-previous.done
		d.log.Info("channel changed", "channel", ch.Name, "type", ch.Type)
	} else {
		d.log.Info("channel added", "channel", ch.Name, "type", ch.Type)
	}
	d.senders[ch.Name] = d.start(ch, from)
	return nil
}

// start runs a sender. The sender ends when running.stop or running.cut is
// called, not with a context of the caller: senders end after the dispatcher.
func (d *dispatcher) start(ch config.Channel, from uint64) *running {
	ctx, stop := context.WithCancel(context.Background())
	hard, cut := process.HardStop(ctx, finishTime)
	r := &running{channel: ch, stop: stop, done: make(chan struct{})}
	r.cut = func() { stop(); cut() }
	s := &sender{
		name: ch.Name, alerting: d.alerting, next: from, target: d.open(ch), timeout: d.cfg.Timeout, giveUp: d.cfg.GiveUp, address: d.cfg.PublicURL,
		js: d.js, deadLetters: d.deadLetters, log: d.log.With("channel", ch.Name), metrics: d.metrics, report: d.report, reach: d.reach, linkKey: d.linkKey, names: d.names, pictures: d.pictures,
	}
	d.wait.Go(func() {
		defer close(r.done)
		defer r.cut()
		s.run(ctx, hard)
	})
	return r
}

// remove stops the senders of channels that are not wanted, and deletes all
// consumers of such channels: their messages will not be sent, and must not keep
// the janitor from purging the stream.
func (d *dispatcher) remove(ctx context.Context, wanted map[string]bool) error {
	for name, r := range d.senders {
		if wanted[name] {
			continue
		}
		r.cut()
		<-r.done
		delete(d.senders, name)
		d.report.Clear(failing(name))
		d.report.Clear(secretless(name))
		d.log.Info("channel removed", "channel", name)
	}
	stream, err := d.js.Stream(ctx, streams.StreamAlerting)
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
