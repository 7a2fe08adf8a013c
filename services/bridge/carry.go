package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"

	"headwater/services/internal/batch"
	"headwater/services/internal/process"
	"headwater/streams"
)

const (
	// requestTimeout bounds one request to the server. commitTimeout bounds one round,
	// and leaves time for a slow disk.
	requestTimeout = 5 * time.Second
	commitTimeout  = 8 * time.Second

	// firstRetry and lastRetry bound the pause after a failure. The devices wait
	// meanwhile.
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second

	// clockInterval is the pause between two clocks.
	clockInterval = time.Second
	// clockMargin is how far a clock stays behind the oldest message that waits. By
	// then the readings of the gateway that arrived earlier are in the lanes.
	clockMargin = 100 * time.Millisecond

	// lookBack is how much earlier than the arrival of a message here its commit may
	// be dated. It bounds the difference between the clocks of this machine and of
	// nats-server's.
	lookBack = 2 * time.Second

	// refusedPause is the pause between two looks at the disk.
	refusedPause = 100 * time.Millisecond
)

// carrier stores what devices send with QoS 1 and 2, and answers it. One goroutine only.
type carrier struct {
	svc   *Service
	lanes *lanes
	step  *step
	// single packs one message at a time: with QoS 2, or with readings in several lanes.
	single *step

	// taken are the messages of the round, by lane, in order. released are those that are
	// stored by themselves, one for each lane.
	taken    [][]*message
	released []released
	// letters are the messages that become the round's dead letters.
	letters []*message
	// together are the reply subjects of fronts that are answered when the round ends, by what
	// they begin with.
	together map[string][]string

	// earlier are the reply subjects that were found stored when the lanes were loaded.
	// Until forget, a message that is heard late is compared with them.
	earlier map[string]struct{}
	forget  time.Time
	// dropped is how many messages the connection had dropped at the last clock.
	dropped int
	// ticked is when the clock moved last.
	ticked time.Time
	// drained is set when no reading is left in the stream of an earlier version.
	drained bool
	// progress is set when something was stored since the lanes were loaded.
	progress bool
	// endRound ends the round that is under way.
	endRound atomic.Pointer[context.CancelFunc]
}

// released is a message that is stored by itself, and its readings in one lane.
type released struct {
	*message

	batch batch.ForLane
}

func newCarrier(svc *Service, n int) *carrier {
	return &carrier{
		svc: svc, lanes: newLanes(svc, n), step: svc.newStep(n),
		single: svc.newStep(n), taken: make([][]*message, n), together: make(map[string][]string),
	}
}

// run carries until ctx ends and everything heard by then is stored and answered.
func (c *carrier) run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		c.progress = false
		err := c.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped, nothing is wrong
		}
		c.svc.status.set(err)
		c.svc.metrics.resumes.WithLabelValues(cause(err)).Inc()
		if c.progress {
			retry.Reset()
		}
		wait := retry.NextBackOff()
		c.svc.deps.Log.Warn("messages of devices are not stored; the lanes are loaded again", "err", err, "after", wait)
		c.svc.giveUp(err, hopeless)
		if !process.Sleep(ctx, wait) {
			return nil
		}
	}
}

// cause is why the lanes are loaded again, as a value of a metric's label.
func cause(err error) string {
	if errors.Is(err, errMoved) {
		return "moved"
	}
	return "error"
}

// session carries until ctx ends or something fails.
func (c *carrier) session(ctx context.Context) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	if !c.drained {
		if err := c.drain(ctx); err != nil {
			return fmt.Errorf("drain stream %s: %w", streams.StreamMQTT, err)
		}
		c.drained = true
	}
	c.step.whole = true
	c.svc.status.set(nil)
	for c.gather(ctx) {
		if err := c.round(ctx); err != nil {
			return err
		}
	}
	// This bridge stores and answers what it has heard until now. The next one does the
	// same with what comes later.
	for end := time.Now().UnixNano(); c.svc.kept.oldest() < end; {
		if err := c.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

var stored = streams.MQTTStored()

// load reads where the lanes end, and which of the waiting messages they hold.
func (c *carrier) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	c.earlier, c.forget = make(map[string]struct{}), time.Now().Add(streams.AnswerTimeout)
	since := time.Unix(0, c.svc.kept.oldest()).Add(-lookBack)
	if err := c.lanes.load(ctx, since, func(reply string) { c.earlier[reply] = struct{}{} }); err != nil {
		return err
	}
	// The bridge that stored them may have been killed before it answered. Nats-server
	// ignores an answer that it does not wait for.
	for reply := range c.earlier {
		if err := c.svc.wire.answer(reply, stored); err != nil {
			return fmt.Errorf("answer what was stored: %w", err)
		}
	}
	return nil
}

// gather returns true when a round is due: the first message has waited for a moment, or
// the clock has to move. It returns false when ctx ends.
func (c *carrier) gather(ctx context.Context) bool {
	for {
		if why := c.svc.deps.Refuse(); why != nil {
			c.svc.status.set(why)
			c.svc.giveUp(why, 0)
			if !process.Sleep(ctx, refusedPause) {
				return false
			}
			continue
		}
		c.svc.status.set(nil)
		wait, wake := time.Until(c.ticked.Add(clockInterval)), c.svc.kept.wake
		if n, oldest, newest := c.svc.kept.span(); n > 0 {
			now := time.Now().UnixNano()
			// The next look is due by the clock alone, not with each message.
			due := untilRound(n, len(c.taken), time.Duration(now-oldest), time.Duration(now-newest), c.svc.cfg.Step)
			wait, wake = min(wait, due), nil
		}
		if wait <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// untilRound returns how long n messages for that many lanes wait for others, given how long
// ago the first one and the last one came. A device that is alone is answered after a step. While
// messages keep coming they share the cost of a round, which hardly depends on their number:
// with 6,000 readings a second that takes a third off the CPU time of each.
func untilRound(n, lanes int, first, last, step time.Duration) time.Duration {
	longest := min(stepsTogether*step, longestStep)
	if n >= enoughEach*lanes {
		longest = step
	}
	return min(step-last, longest-first)
}

// round stores what waits, as far as it fits into a round, and answers it.
func (c *carrier) round(ctx context.Context) error {
	now := time.Now()
	c.fill()
	clock := int64(0)
	if now.Sub(c.ticked) >= clockInterval {
		// Everything that arrived earlier is stored with this round.
		clock = min(now.UnixNano(), c.svc.kept.oldest(), c.svc.lossy.unstored()) - int64(clockMargin)
		c.ticked = now
		dropped := max(c.svc.ear.dropped(), c.dropped)
		c.svc.metrics.refused.WithLabelValues(refusedConnection).Add(float64(dropped - c.dropped))
		c.dropped = dropped
	}
	// A round that has started is finished even if the bridge is stopped meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	c.endRound.Store(&cancel)
	err := c.store(ctx, clock)
	c.answerTogether()
	c.svc.metrics.waiting.Set(float64(c.svc.kept.len()))
	if flushErr := c.svc.wire.flush(ctx); flushErr != nil && err == nil {
		// The answers are sent when the connection is back. Until then there is nothing
		// to hear either.
		err = fmt.Errorf("answer the devices: %w", flushErr)
	}
	return err
}

// watchDisk ends the round that is under way when nothing may be stored any more:
// nats-server does not answer while its disk is full.
func (c *carrier) watchDisk(ctx context.Context) {
	for process.Sleep(ctx, refusedPause) {
		if end := c.endRound.Load(); end != nil && c.svc.deps.Refuse() != nil {
			(*end)()
		}
	}
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
		// A bridge that took over may have heard it before the previous one set the clock
		// of the lanes.
		m.arrival = max(m.arrival, c.lanes.clock+1)
		if m.once != "" {
			c.release(m)
			continue
		}
		lane := c.add(c.step, m)
		if lane == severalLanes {
			c.release(m)
			continue
		}
		c.taken[lane] = append(c.taken[lane], m)
	}
}

// add puts a message into a step.
func (c *carrier) add(s *step, m *message) (lane int) {
	dead := len(s.dead)
	lane = s.add(m.subject, m.data, m.arrival)
	if lane != severalLanes {
		c.svc.charge(m, s)
	}
	switch {
	case len(s.dead) == dead:
	case m.buried:
		s.dead = s.dead[:dead]
	default:
		c.letters = append(c.letters, m)
	}
	return lane
}

// release puts a message with QoS 2, or with readings in several lanes, into the round. It
// is stored by itself, under its id, so that the stream stores it once. No compare-and-set fences it, so one that is under
// way for long may arrive after the clock of its time, as those of the gateway may.
func (c *carrier) release(m *message) {
	lane := c.add(c.single, m)
	batches, dead := c.single.take()
	c.step.dead = append(c.step.dead, dead...)
	c.step.messages++
	c.step.bytes += len(m.data)
	if len(batches) == 0 {
		c.taken[lane] = append(c.taken[lane], m)
		return
	}
	for _, b := range batches {
		c.released = append(c.released, released{m, b})
	}
}

// onceID identifies a message with QoS 2 for the two minutes for which a stream remembers
// the ids that it stored. Nats-server's own id is the message's place in a stream of the
// account. After a power cut that stream may use its last places again, so the id counts
// only together with the content.
func onceID(m *message) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(m.subject))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(m.data)
	once := m.once
	if once == "" {
		once = m.reply
	}
	return once + "/" + strconv.Itoa(len(m.data)) + fmt.Sprintf("/%x", h.Sum(nil))
}

// store stores the round and answers what is stored. The rest waits again, at the head of
// the queue.
func (c *carrier) store(ctx context.Context, clock int64) error {
	batches, dead := c.step.take()
	for _, b := range batches {
		replies := make([]string, len(c.taken[b.Lane]))
		for i, m := range c.taken[b.Lane] {
			replies[i] = m.reply
		}
		b.Batch.Answers = streams.EncodeReplies(replies)
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
		// A message that arrived before the clock is not stored with this round.
		clock = 0
	}
	done, failure := c.lanes.commit(ctx, batches, clock)
	err = errors.Join(err, failure)
	for i := range batches {
		if done[i] {
			c.answerLane(batches[i].Lane)
			c.progress = true
		}
	}
	if err != nil {
		c.putBack()
		return err
	}
	// What is left are messages without a reading, in lanes without a batch.
	for lane := range c.taken {
		c.answerLane(lane)
	}
	return nil
}

// storeReleased stores the messages with QoS 2 and answers those that are stored.
func (c *carrier) storeReleased(ctx context.Context) error {
	acks, errs := c.svc.storeAll(ctx, len(c.released), func(i int) (*nats.Msg, error) {
		id := onceID(c.released[i].message)
		if i > 0 && c.released[i-1].message == c.released[i].message {
			id += "/" + strconv.Itoa(c.released[i].batch.Lane)
		}
		return telemetryMsg(c.released[i].batch, streams.SourceMQTT2, nats.MsgIdHdr, id)
	})
	rest := c.released[:0]
	for i, r := range c.released {
		switch {
		case acks[i] == nil:
			if len(rest) == 0 || rest[len(rest)-1].message != r.message {
				rest = append(rest, r)
			}
			continue
		case acks[i].Duplicate:
			c.svc.metrics.repeated.Inc()
		default:
			c.lanes.count(r.batch.Batch)
		}
		if last := i+1 == len(c.released) || c.released[i+1].message != r.message; !last || len(rest) > 0 && rest[len(rest)-1].message == r.message {
			continue // it is answered when all of it is stored
		}
		c.answer(r.message)
		c.svc.metrics.messages.WithLabelValues(qosKept).Inc()
	}
	c.released = rest
	return first(errs)
}

// putBack has every message of the round that is not answered wait again, in the order of
// arrival.
func (c *carrier) putBack() {
	back := slices.Concat(c.taken...)
	for _, r := range c.released {
		back = append(back, r.message)
	}
	slices.SortStableFunc(back, func(a, b *message) int { return cmp.Compare(a.arrival, b.arrival) })
	c.svc.kept.putBack(back)
}

// answerLane answers the messages of a lane, all of which are stored.
func (c *carrier) answerLane(lane int) {
	for _, m := range c.taken[lane] {
		c.answer(m)
	}
	c.svc.metrics.messages.WithLabelValues(qosKept).Add(float64(len(c.taken[lane])))
	c.taken[lane] = c.taken[lane][:0]
}

// answer has nats-server, or at the end of the round a front, acknowledge a message to its
// device. If the answer is lost, the next bridge answers again, or else the device sends again.
func (c *carrier) answer(m *message) {
	if before, _, ok := streams.ReplyNumber(m.reply); ok {
		if _, ok := streams.MQTTStoredTogether(before); ok {
			c.together[before] = append(c.together[before], m.reply)
			return
		}
	}
	c.send(m.reply, stored)
}

// answerTogether answers the messages of each front with one.
func (c *carrier) answerTogether() {
	for before, replies := range c.together {
		if len(replies) == 0 {
			delete(c.together, before) // that front may be gone
			continue
		}
		subject, _ := streams.MQTTStoredTogether(before)
		c.send(subject, streams.EncodeReplies(replies))
		c.together[before] = replies[:0]
	}
}

func (c *carrier) send(reply string, body []byte) {
	if err := c.svc.wire.answer(reply, body); err != nil {
		c.svc.deps.Log.Warn("a stored message is not answered", "err", err)
	}
}
