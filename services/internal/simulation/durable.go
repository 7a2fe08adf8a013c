package simulation

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// durable is a consumer that the server keeps. The mutex of the cluster guards
// its stream. It follows consumer.go of nats-server.
type durable struct {
	cfg jetstream.ConsumerConfig
	// next is the sequence of the next message to deliver, delivery the number of
	// that delivery.
	next, delivery uint64
	// floor is the position up to which everything is acknowledged.
	floor jetstream.SequenceInfo
	// pending is what was delivered and is not acknowledged.
	pending map[uint64]handed
	// times counts how often a message was delivered.
	times map[uint64]uint64
	// requests are the waiting pulls, and until when they wait. The server doesn't
	// know whether their client still listens.
	requests map[*durableIterator]time.Time
	// gone means that the consumer was deleted.
	gone bool
}

// handed is a message that was delivered and not yet acknowledged.
type handed struct {
	// delivery is the number of the first delivery.
	delivery uint64
	// until is when the message is delivered again.
	until time.Time
}

// defaultAckWait is the default of nats-server.
const defaultAckWait = 30 * time.Second

func newDurable(cfg jetstream.ConsumerConfig, s *stream) *durable {
	if cfg.AckWait == 0 {
		cfg.AckWait = defaultAckWait
	}
	d := &durable{cfg: cfg, requests: make(map[*durableIterator]time.Time)}
	first := uint64(1)
	if len(s.messages) > 0 {
		first = s.messages[0].sequence
	}
	switch cfg.DeliverPolicy {
	case jetstream.DeliverByStartSequencePolicy:
		first = max(cfg.OptStartSeq, first)
	case jetstream.DeliverNewPolicy:
		first = s.last + 1
	default:
	}
	d.set(first)
	return d
}

// set puts the consumer before a sequence, with nothing pending.
func (d *durable) set(sequence uint64) {
	d.next, d.delivery = sequence, 1
	d.floor = jetstream.SequenceInfo{Stream: sequence - 1}
	d.pending, d.times = make(map[uint64]handed), make(map[uint64]uint64)
}

func (d *durable) filters() []string {
	if d.cfg.FilterSubject != "" {
		return []string{d.cfg.FilterSubject}
	}
	return d.cfg.FilterSubjects
}

// take delivers the next message, or nil: first what was not acknowledged in
// time.
func (d *durable) take(s *stream, now time.Time) *delivered {
	for _, sequence := range slices.Sorted(maps.Keys(d.pending)) {
		if h := d.pending[sequence]; !h.until.After(now) {
			if m := s.next(sequence, nil); m != nil && m.sequence == sequence {
				return d.hand(m, now, h.delivery)
			}
			delete(d.pending, sequence)
		}
	}
	if d.cfg.MaxAckPending > 0 && len(d.pending) >= d.cfg.MaxAckPending {
		return nil
	}
	m := s.next(d.next, d.filters())
	if m == nil {
		return nil
	}
	d.next = m.sequence + 1
	return d.hand(m, now, d.delivery)
}

func (d *durable) hand(m *message, now time.Time, first uint64) *delivered {
	d.times[m.sequence]++
	d.pending[m.sequence] = handed{delivery: first, until: now.Add(d.cfg.AckWait)}
	d.delivery++
	return &delivered{message: m, of: d, consumer: d.cfg.Durable, delivery: d.delivery - 1, times: d.times[m.sequence]}
}

// ack records that a message was acknowledged.
func (d *durable) ack(sequence uint64) {
	if sequence >= d.next {
		return
	}
	if d.cfg.AckPolicy != jetstream.AckExplicitPolicy {
		panic(fmt.Sprintf("simulation: acks are %s", d.cfg.AckPolicy))
	}
	h, ok := d.pending[sequence]
	if !ok {
		return
	}
	delete(d.pending, sequence)
	d.moveFloor(h.delivery, sequence)
}

func (d *durable) moveFloor(delivery, sequence uint64) {
	if len(d.pending) == 0 {
		d.floor = jetstream.SequenceInfo{Consumer: d.delivery - 1, Stream: d.next - 1}
		return
	}
	if delivery != d.floor.Consumer+1 {
		return
	}
	d.floor = jetstream.SequenceInfo{Consumer: delivery, Stream: sequence}
	for n := sequence + 1; n < d.next; n++ {
		if h, ok := d.pending[n]; ok {
			d.floor = jetstream.SequenceInfo{Consumer: h.delivery - 1, Stream: n - 1}
			return
		}
	}
}

// until returns the time until the earliest message is delivered again, at most
// an hour.
func (d *durable) until(now time.Time) time.Duration {
	earliest := time.Hour
	for _, h := range d.pending {
		earliest = min(earliest, h.until.Sub(now))
	}
	return max(earliest, 0)
}

func (d *durable) info(s *stream, now time.Time) *jetstream.ConsumerInfo {
	maps.DeleteFunc(d.requests, func(_ *durableIterator, until time.Time) bool { return !until.After(now) })
	return &jetstream.ConsumerInfo{
		Stream: s.cfg.Name, Name: d.cfg.Durable, Config: d.cfg,
		Delivered: jetstream.SequenceInfo{Consumer: d.delivery - 1, Stream: d.next - 1}, AckFloor: d.floor,
		NumAckPending: len(d.pending), NumPending: s.pending(d.next, d.filters()), NumWaiting: len(d.requests),
	}
}

// onDurable does something with a durable consumer.
func onDurable[T any](ctx context.Context, c *Client, in, name string, do func(*stream, *durable) (T, error)) (T, error) {
	return call(ctx, c.process, kindConsumer, func() (T, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		var zero T
		s, err := c.cluster.find(in)
		if err != nil {
			return zero, err
		}
		d := s.durables[name]
		if d == nil {
			return zero, jetstream.ErrConsumerNotFound
		}
		return do(s, d)
	})
}

// CreateOrUpdateConsumer creates a durable consumer, or does nothing if it
// exists.
func (c *Client) CreateOrUpdateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	_, err := call(ctx, c.process, kindConsumer, func() (struct{}, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		s, err := c.cluster.find(stream)
		if err == nil && s.durables[cfg.Durable] == nil {
			s.durables[cfg.Durable] = newDurable(cfg, s)
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	return c.Consumer(ctx, stream, cfg.Durable)
}

// CreateConsumer creates a durable consumer.
func (c *Client) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	return c.CreateOrUpdateConsumer(ctx, stream, cfg)
}

// Consumer looks up a durable consumer.
func (c *Client) Consumer(ctx context.Context, of, name string) (jetstream.Consumer, error) {
	info, err := onDurable(ctx, c, of, name, func(s *stream, d *durable) (*jetstream.ConsumerInfo, error) {
		return d.info(s, time.Now()), nil
	})
	if err != nil {
		return nil, err
	}
	return &durableHandle{client: c, stream: of, name: name, info: info}, nil
}

// DeleteConsumer deletes a durable consumer.
func (c *Client) DeleteConsumer(ctx context.Context, of, name string) error {
	_, err := onDurable(ctx, c, of, name, func(s *stream, d *durable) (struct{}, error) {
		d.gone = true
		delete(s.durables, name)
		s.wake()
		return struct{}{}, nil
	})
	return err
}

// ResetConsumer sets a consumer back to what is not acknowledged.
func (c *Client) ResetConsumer(ctx context.Context, of, name string) (*jetstream.ConsumerResetResponse, error) {
	return onDurable(ctx, c, of, name, func(s *stream, d *durable) (*jetstream.ConsumerResetResponse, error) {
		sequence := d.floor.Stream + 1
		if !c.cluster.IgnoreReset {
			d.set(sequence)
		}
		s.wake()
		return &jetstream.ConsumerResetResponse{ConsumerInfo: d.info(s, time.Now()), ResetSeq: sequence}, nil
	})
}

// durableHandle is a durable consumer that a client has looked up.
type durableHandle struct {
	jetstream.Consumer

	client       *Client
	stream, name string
	info         *jetstream.ConsumerInfo
}

func (h *durableHandle) CachedInfo() *jetstream.ConsumerInfo { return h.info }

func (h *durableHandle) Info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	info, err := onDurable(ctx, h.client, h.stream, h.name, func(s *stream, d *durable) (*jetstream.ConsumerInfo, error) {
		return d.info(s, time.Now()), nil
	})
	if err == nil {
		h.info = info
	}
	return info, err
}

func (h *durableHandle) Messages(opts ...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	if h.client.Dead() {
		return nil, nats.ErrConnectionClosed
	}
	ctx, stop := context.WithCancel(context.Background())
	it := &durableIterator{durableHandle: h, batch: maxBatch, expiry: 30 * time.Second, stopped: ctx, stop: stop}
	for _, opt := range opts {
		switch opt := opt.(type) {
		case jetstream.PullMaxMessages:
			it.batch = min(it.batch, int(opt))
		case jetstream.PullExpiry:
			it.expiry = time.Duration(opt)
		}
	}
	return it, nil
}

// maxBatch is the largest number of messages on the wire to one reader.
const maxBatch = 16

// durableIterator returns the messages of a durable consumer. It reads ahead,
// as nats.go does.
type durableIterator struct {
	*durableHandle
	jetstream.MessagesContext

	batch  int
	expiry time.Duration
	// reads is the consumer that it reads from, since its first pull. A consumer
	// of the same name that was created later is a different one.
	reads  *durable
	buffer []*delivered

	stopped  context.Context
	stop     context.CancelFunc
	draining bool
}

func (it *durableIterator) Stop() { it.stop() }

// Drain makes Next return what was read ahead, and nothing after it.
func (it *durableIterator) Drain() {
	it.draining = true
	it.stop()
}

func (it *durableIterator) Next(opts ...jetstream.NextOpt) (jetstream.Msg, error) {
	ctx, cancel := nextContext(opts)
	defer cancel()
	rng, odds := it.client.process.draw("deliver " + it.stream)
	if !it.draining {
		switch n := rng.IntN(1000); {
		case n < odds.Break:
			if rng.IntN(2) == 0 {
				return nil, jetstream.ErrNoHeartbeat
			}
			return nil, errBroken
		case n < odds.Break+odds.Reset:
			// The connection was lost, with what was on the wire. The reader may or may
			// not notice before the next message comes.
			it.buffer = nil
			if rng.IntN(2) == 0 {
				it.client.process.tell(nats.RECONNECTING)
			}
		case n < odds.Break+odds.Reset+odds.Repeat:
			it.expire()
		}
	}
	for {
		if it.client.Dead() {
			return nil, nats.ErrConnectionClosed
		}
		if it.stopped.Err() != nil && !it.draining {
			return nil, jetstream.ErrMsgIteratorClosed
		}
		if len(it.buffer) > 0 {
			msg := it.buffer[0]
			it.buffer = it.buffer[1:]
			msg.client, msg.stream = it.client, it.stream
			return msg, sleep(ctx, travel(rng))
		}
		if it.draining {
			return nil, jetstream.ErrMsgIteratorClosed
		}
		changed, until, err := it.pull(rng)
		if err != nil {
			return nil, err
		}
		if len(it.buffer) > 0 {
			continue
		}
		timer := time.NewTimer(until)
		select {
		case <-changed:
		case <-timer.C:
		case <-it.stopped.Done():
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// pull requests messages, and returns when to request again if there are none.
func (it *durableIterator) pull(rng *rand.Rand) (changed <-chan struct{}, until time.Duration, err error) {
	c := it.client.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(it.stream)
	if err != nil {
		return nil, 0, jetstream.ErrConsumerDeleted
	}
	if it.reads == nil {
		it.reads = s.durables[it.name]
	}
	d := it.reads
	if d == nil || d.gone {
		return nil, 0, jetstream.ErrConsumerDeleted
	}
	now := time.Now()
	// The request of a client that has gone gets messages too, and nobody reads
	// them.
	for other, until := range d.requests {
		if (other.stopped.Err() != nil || other.client.process != it.client.process && other.client.Dead()) && until.After(now) && rng.IntN(2) == 0 {
			d.take(s, now)
		}
	}
	for range 1 + rng.IntN(it.batch) {
		m := d.take(s, now)
		if m == nil {
			break
		}
		it.buffer = append(it.buffer, m)
	}
	d.requests[it] = now.Add(it.expiry)
	return s.changed, min(it.expiry, d.until(now)), nil
}

// expire makes the server treat delivered messages as lost, some of them while
// they are on their way.
func (it *durableIterator) expire() {
	c := it.client.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.reads == nil {
		return
	}
	for sequence, h := range it.reads.pending {
		h.until = time.Now()
		it.reads.pending[sequence] = h
	}
}

// nextContext returns how long Next waits.
func nextContext(opts []jetstream.NextOpt) (context.Context, context.CancelFunc) {
	ctx := context.Background()
	for _, opt := range opts {
		if v, ok := option(opt, "ctx"); ok {
			// The field is private to nats.go: only its address gets at the value.
			ctx = *(*context.Context)(v.Addr().UnsafePointer())
		}
		if v, ok := option(opt, "timeout"); ok {
			return context.WithTimeout(ctx, time.Duration(v.Int()))
		}
	}
	return context.WithCancel(ctx)
}

// settle sends the outcome of the message to the server, which does not answer.
func (d *delivered) settle(do func(*stream, *durable)) error {
	if d.of == nil {
		return jetstream.ErrMsgNoReply
	}
	p := d.client.process
	if p.isDead() {
		return nats.ErrConnectionClosed
	}
	rng, odds := p.draw(kindAck)
	there := travel(rng)
	f := pick(rng, odds)
	switch f {
	case refused:
		return nats.ErrConnectionReconnecting
	case lost:
		return nil
	case late:
		there += answerTime + time.Duration(rng.Int64N(int64(6*time.Second)))
	case stall:
		there += time.Duration(rng.Int64N(int64(4 * time.Second)))
	case crashBefore:
		p.die()
		return nats.ErrConnectionClosed
	default:
	}
	time.AfterFunc(there, func() { d.arrive(do) })
	if f == crashAfter {
		p.die()
	}
	return nil
}

// arrive applies what was sent for the message, if its consumer still exists.
// Nothing reaches another consumer of the same name. Nats-server would accept
// an acknowledgement of the previous consumer that was delayed for longer than
// it took to recreate the stream, and no reader can prevent that.
func (d *delivered) arrive(do func(*stream, *durable)) {
	c := d.client.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(d.stream)
	if err != nil || d.of.gone {
		return
	}
	do(s, d.of)
	s.wake()
}

func (d *delivered) Ack() error {
	return d.settle(func(_ *stream, of *durable) { of.ack(d.message.sequence) })
}

func (d *delivered) Nak() error {
	return d.settle(func(_ *stream, of *durable) { d.again(of, 0) })
}

func (d *delivered) InProgress() error {
	return d.settle(func(_ *stream, of *durable) { d.again(of, of.cfg.AckWait) })
}

// again makes the server deliver the message again after a while, unless it is
// settled.
func (d *delivered) again(of *durable, after time.Duration) {
	if h, ok := of.pending[d.message.sequence]; ok {
		h.until = time.Now().Add(after)
		of.pending[d.message.sequence] = h
	}
}

// DoubleAck acknowledges and waits for the answer.
func (d *delivered) DoubleAck(ctx context.Context) error {
	_, err := call(ctx, d.client.process, kindAck, func() (struct{}, error) {
		d.arrive(func(_ *stream, of *durable) { of.ack(d.message.sequence) })
		return struct{}{}, nil
	})
	return err
}

// PublishMsgAsync stores a message while the caller continues. Without an
// answer its future never completes.
func (c *Client) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	if c.Dead() {
		return nil, nats.ErrConnectionClosed
	}
	f := &future{msg: m, ok: make(chan *jetstream.PubAck, 1), err: make(chan error, 1)}
	c.cluster.publishing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		ack, err := c.PublishMsg(ctx, m, opts...)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.err <- err
		default:
			f.ok <- ack
		}
	})
	return f, nil
}

type future struct {
	msg *nats.Msg
	ok  chan *jetstream.PubAck
	err chan error
}

func (f *future) Ok() <-chan *jetstream.PubAck { return f.ok }
func (f *future) Err() <-chan error            { return f.err }
func (f *future) Msg() *nats.Msg               { return f.msg }

// StatusChanged returns a channel that reports lost connections.
func (c *Client) StatusChanged(...nats.Status) chan nats.Status { return c.process.listen() }

// RemoveStatusListener undoes StatusChanged.
func (c *Client) RemoveStatusListener(listener chan nats.Status) { c.process.unlisten(listener) }

// RemoveConsumers deletes the durable consumers of streams, in a simulation
// without their readers: what they have not read would be kept forever.
func (c *Cluster) RemoveConsumers(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		for _, d := range c.streams[name].durables {
			d.gone = true
		}
		clear(c.streams[name].durables)
	}
}
