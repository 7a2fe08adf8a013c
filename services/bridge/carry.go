package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/batch"
	"headwater/streams"
)

const (
	// requestTimeout bounds one question to the server, commitTimeout the time
	// until a round is stored, which includes a disk that is slow.
	requestTimeout = 5 * time.Second
	commitTimeout  = 8 * time.Second

	// firstRetry and lastRetry bound the pause after a failure. The devices wait
	// meanwhile.
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second

	// clockInterval is the pause between two clocks.
	clockInterval = time.Second
	// clockMargin is how far a clock lies behind what waits: readings of the gateway
	// that arrived by then are on their way into the lanes no longer.
	clockMargin = 100 * time.Millisecond

	// lookBack is how long before the first message that waits an earlier commit of
	// it may lie: by that much the clocks of this machine and of nats-server's may
	// differ.
	lookBack = 2 * time.Second

	// refusedPause is the pause between looks whether the disk has room again.
	refusedPause = 100 * time.Millisecond
)

// cause is why the lanes were loaded again, as a value of a metric's label.
func cause(err error) string {
	if errors.Is(err, errMoved) {
		return "moved"
	}
	return "error"
}

// carrier stores what devices send with QoS 1 and 2, and answers it. It is for one
// goroutine.
type carrier struct {
	svc   *Service
	lanes *lanes
	step  *step
	// single packs one message with QoS 2 at a time.
	single *step

	// taken are the messages of the round with QoS 1, by lane, in order; released
	// those with QoS 2.
	taken    [][]*message
	released []once
	// letters are the messages that the round's dead letters are of.
	letters []*message

	// earlier are the replies of messages that had been stored when the lanes were
	// loaded. Until forget, one that is heard only later is answered too.
	earlier map[string]struct{}
	forget  time.Time
	// dropped is how many messages the connection had dropped when that was counted.
	dropped int
	// ticked is when the clock moved last.
	ticked time.Time
	// drained says that no reading is left in the stream of an earlier version.
	drained bool
	// progress says that something was stored since the lanes were loaded.
	progress bool
}

// once is a message with QoS 2 and what it became.
type once struct {
	*message
	batch  batch.ForLane
	future jetstream.PubAckFuture
}

func newCarrier(svc *Service, n int) *carrier {
	return &carrier{
		svc: svc, lanes: newLanes(svc, n), step: svc.newStep(n),
		single: svc.newStep(n), taken: make([][]*message, n),
	}
}

// run carries until ctx ends and what was heard before is stored and answered.
func (c *carrier) run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		c.progress = false
		err := c.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was asked to stop, so nothing is wrong
		}
		c.svc.status.set(err)
		c.svc.metrics.resumes.WithLabelValues(cause(err)).Inc()
		if c.progress {
			retry.Reset()
		}
		wait := retry.NextBackOff()
		c.svc.deps.Log.Warn("what devices sent is not stored; the lanes are loaded again", "err", err, "after", wait)
		c.svc.giveUp(err, hopeless)
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// session carries until ctx ends or something fails.
func (c *carrier) session(ctx context.Context) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	if !c.drained {
		if err := c.drain(ctx); err != nil {
			return fmt.Errorf("take over what stream %s holds: %w", streams.StreamMQTT, err)
		}
		c.drained = true
	}
	c.svc.status.set(nil)
	for c.gather(ctx) {
		if err := c.round(ctx); err != nil {
			return err
		}
	}
	// What this bridge has heard until now, it stores and answers; what comes later is
	// for the next one.
	for end := time.Now().UnixNano(); c.svc.kept.oldest() < end; {
		if err := c.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

// load finds out where the lanes end and what is stored of that which waits.
func (c *carrier) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	c.earlier, c.forget = make(map[string]struct{}), time.Now().Add(streams.AnswerTimeout)
	since := time.Unix(0, c.svc.kept.oldest()).Add(-lookBack)
	if err := c.lanes.load(ctx, since, func(reply string) { c.earlier[reply] = struct{}{} }); err != nil {
		return err
	}
	// The one who stored them may not have come to answer them. Nats-server passes
	// over what it does not wait for.
	for reply := range c.earlier {
		if err := c.svc.wire.answer(reply, stored); err != nil {
			return fmt.Errorf("answer what was stored: %w", err)
		}
	}
	return nil
}

var stored = streams.MQTTStored()

// gather waits for the first message, then until it has waited for a moment, and
// returns true; it returns false when ctx ends. It also returns when the clock has
// to move.
func (c *carrier) gather(ctx context.Context) bool {
	for {
		if refuse := c.svc.deps.Refuse; refuse != nil {
			if why := refuse(); why != nil {
				c.svc.status.set(why)
				c.svc.giveUp(why, 0)
				if !pause(ctx, refusedPause) {
					return false
				}
				continue
			}
			c.svc.status.set(nil)
		}
		wait := time.Until(c.ticked.Add(clockInterval))
		if c.svc.kept.len() > 0 {
			wait = min(wait, c.svc.cfg.Step-time.Since(time.Unix(0, c.svc.kept.oldest())))
		}
		if wait <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-c.svc.kept.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// round stores what waits, as far as it fits a round, and answers it.
func (c *carrier) round(ctx context.Context) error {
	now := time.Now()
	c.fill()
	clock := int64(0)
	if now.Sub(c.ticked) >= clockInterval {
		// All that arrived before this is stored with this round.
		clock = min(now.UnixNano(), c.svc.kept.oldest(), c.svc.lossy.unstored()) - int64(clockMargin)
		c.ticked = now
		dropped := max(c.svc.ear.dropped(), c.dropped)
		c.svc.metrics.refused.WithLabelValues(refusedConnection).Add(float64(dropped - c.dropped))
		c.dropped = dropped
	}
	// What was taken is stored even if the bridge is asked to stop meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	defer c.watchDisk(cancel)()
	err := c.store(ctx, clock)
	c.svc.metrics.waiting.Set(float64(c.svc.kept.len()))
	if flushErr := c.svc.wire.flush(ctx); flushErr != nil && err == nil {
		// The answers leave when the connection is back. Until then there is nothing to
		// hear either.
		err = fmt.Errorf("answer the devices: %w", flushErr)
	}
	return err
}

// watchDisk ends a round that is under way when nothing may be stored any more:
// nats-server does not answer when its disk is full. What it returns ends the
// watch.
func (c *carrier) watchDisk(cancel context.CancelFunc) (end func()) {
	refuse := c.svc.deps.Refuse
	if refuse == nil {
		return func() {}
	}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(refusedPause)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if refuse() != nil {
					cancel()
					return
				}
			}
		}
	})
	return func() { close(done); watch.Wait() }
}

// fill takes messages into the round.
func (c *carrier) fill() {
	for lane := range c.taken {
		c.taken[lane] = c.taken[lane][:0]
	}
	c.released, c.letters = c.released[:0], c.letters[:0]
	if c.earlier != nil && time.Now().After(c.forget) {
		c.earlier = nil
	}
	for !c.step.full() {
		m := c.svc.kept.next()
		if m == nil {
			return
		}
		if _, before := c.earlier[m.reply]; before {
			c.svc.metrics.repeated.Inc()
			c.answer(m)
			continue
		}
		// A bridge that took over may have heard it before the clock that the lanes
		// have from the previous one.
		m.arrival = max(m.arrival, c.lanes.clock+1)
		if m.once != "" {
			c.release(m)
			continue
		}
		lane := c.add(c.step, m)
		c.taken[lane] = append(c.taken[lane], m)
	}
}

// add puts a message into a step.
func (c *carrier) add(s *step, m *message) (lane int) {
	dead := len(s.dead)
	lane = s.add(m.subject, m.data, m.arrival)
	switch {
	case len(s.dead) == dead:
	case m.buried:
		s.dead = s.dead[:dead]
	default:
		c.letters = append(c.letters, m)
	}
	return lane
}

// release puts a message with QoS 2 into the round. It is stored by itself, under its
// id, so that the stream takes it once. Nothing fences that, so one that is on its way
// for long may come after the clock of its time, as those of the gateway may.
func (c *carrier) release(m *message) {
	c.add(c.single, m)
	batches, dead := c.single.take()
	c.step.dead = append(c.step.dead, dead...)
	c.step.messages++
	c.step.bytes += len(m.data)
	o := once{message: m}
	if len(batches) > 0 {
		o.batch = batches[0]
	}
	c.released = append(c.released, o)
}

// onceID identifies a message with QoS 2 for the two minutes for which a stream
// knows the ids that it stored. Nats-server's own id is the place of the message in a
// stream of the account, whose last places a power cut may give out again, so it
// counts only together with what was sent.
func onceID(m *message) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(m.subject))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(m.data)
	return m.once + "/" + strconv.Itoa(len(m.data)) + fmt.Sprintf("/%x", h.Sum(nil))
}

// store stores the round and answers what is stored. What is not goes back to the
// head of the queue.
func (c *carrier) store(ctx context.Context, clock int64) error {
	batches, dead := c.step.take()
	for _, b := range batches {
		replies := make([]string, len(c.taken[b.Lane]))
		for i, m := range c.taken[b.Lane] {
			replies[i] = m.reply
		}
		b.Batch.Answers = encodeAnswers(replies)
	}
	// Dead letters go first: a message is answered when its lane is stored.
	if err := c.svc.bury(ctx, dead); err != nil {
		c.putBack()
		return err
	}
	for _, m := range c.letters {
		m.buried = true
	}
	err := c.storeReleased(ctx)
	if err != nil {
		// Not all that arrived before it is stored with this round.
		clock = 0
	}
	done, failure := c.lanes.commit(ctx, batches, clock)
	err = errors.Join(err, failure)
	for i := range batches {
		if !done[i] {
			continue
		}
		lane := batches[i].Lane
		for _, m := range c.taken[lane] {
			c.answer(m)
		}
		c.svc.metrics.messages.WithLabelValues(qosKept).Add(float64(len(c.taken[lane])))
		c.taken[lane] = c.taken[lane][:0]
		c.progress = true
	}
	if err != nil {
		c.putBack()
		return err
	}
	// A message without a reading is in no batch.
	for _, messages := range c.taken {
		for _, m := range messages {
			c.answer(m)
		}
	}
	for _, o := range c.released {
		if o.message != nil {
			c.answer(o.message)
		}
	}
	return nil
}

// storeReleased stores the messages with QoS 2 and answers those that are stored.
func (c *carrier) storeReleased(ctx context.Context) error {
	var failure error
	for i := range c.released {
		o := &c.released[i]
		if o.batch.Batch == nil {
			continue
		}
		m, err := streams.TelemetryMsg(o.batch.Lane, streams.SourceMQTT2, o.batch.Batch)
		if err == nil {
			o.future, err = c.svc.deps.JS.PublishMsgAsync(m, jetstream.WithMsgID(onceID(o.message)))
		}
		if err != nil {
			failure = fmt.Errorf("publish to lane %d: %w", o.batch.Lane, err)
			break
		}
	}
	for i := range c.released {
		o := &c.released[i]
		if o.future == nil {
			continue
		}
		ack, err := await(ctx, o.future)
		if err != nil {
			failure = errors.Join(failure, fmt.Errorf("store in lane %d: %w", o.batch.Lane, err))
			continue
		}
		if ack.Duplicate {
			c.svc.metrics.repeated.Inc()
		} else {
			c.lanes.count(o.batch.Batch)
		}
		c.answer(o.message)
		c.svc.metrics.messages.WithLabelValues(qosKept).Inc()
		o.message = nil
	}
	return failure
}

// putBack has what is not answered wait again, in the order of its arrival.
func (c *carrier) putBack() {
	var back []*message
	for _, messages := range c.taken {
		back = append(back, messages...)
	}
	for _, o := range c.released {
		if o.message != nil {
			back = append(back, o.message)
		}
	}
	slices.SortStableFunc(back, func(a, b *message) int { return cmp.Compare(a.arrival, b.arrival) })
	c.svc.kept.putBack(back)
}

// answer has nats-server acknowledge a message to its device. An answer that is lost
// is given again by the next bridge, or else the device sends again.
func (c *carrier) answer(m *message) {
	if err := c.svc.wire.answer(m.reply, stored); err != nil {
		c.svc.deps.Log.Warn("a stored message is not answered", "err", err)
	}
}
