package simulation

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Client is the connection of one process to the cluster. Methods of JetStream
// that no simulation calls panic.
type Client struct {
	// JetStream is nil: a method that is not implemented here panics.
	jetstream.JetStream

	cluster *Cluster
	process *process
}

// Conn returns nil: only JetStream is simulated.
func (c *Client) Conn() *nats.Conn { return nil }

// Connect returns the connection of a process without faults, until SetOdds.
// Faults are drawn from the seed and the name. Crash is called when the process
// dies, on the goroutine of the call at which it dies.
func (c *Cluster) Connect(seed uint64, name string, crash func()) *Client {
	return &Client{cluster: c, process: &process{
		cluster: c, seed: seed, name: name, crash: crash, made: make(map[string]uint64), deaf: make(map[string]bool),
	}}
}

// SetOdds sets the faults of the process from now on.
func (c *Client) SetOdds(o Odds) {
	c.process.mu.Lock()
	defer c.process.mu.Unlock()
	c.process.odds = o
}

// SetDeaf sets whether the process's calls to the bucket get no answer.
func (c *Client) SetDeaf(bucket string, deaf bool) {
	c.process.mu.Lock()
	defer c.process.mu.Unlock()
	c.process.deaf[kindBucket+bucket] = deaf
}

// Kill makes the process die now.
func (c *Client) Kill() { c.process.die() }

// Dead reports whether the process has died.
func (c *Client) Dead() bool { return c.process.isDead() }

// option reads a field that an option of nats.go sets. Those structs and their
// fields are private to nats.go: reflection can read them, but not name them.
func option(opt any, field string) (reflect.Value, bool) {
	f := reflect.ValueOf(opt)
	into := reflect.New(f.Type().In(0).Elem())
	f.Call([]reflect.Value{into})
	v := into.Elem().FieldByName(field)
	if !v.IsValid() {
		panic(fmt.Sprintf("simulation: nats.go no longer has the option %s", field))
	}
	return v, !v.IsZero()
}

// PublishMsg stores a message.
func (c *Client) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	sent := &nats.Msg{Subject: m.Subject, Header: maps.Clone(m.Header), Data: m.Data}
	if sent.Header == nil {
		sent.Header = nats.Header{}
	}
	for _, opt := range opts {
		if v, ok := option(opt, "lastSubjectSeq"); ok {
			sent.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(v.Elem().Uint(), 10))
		}
		if v, ok := option(opt, "id"); ok {
			sent.Header.Set(jetstream.MsgIDHeader, v.String())
		}
	}
	return call(ctx, c.process, kindPublish, func() (*jetstream.PubAck, error) { return c.cluster.store(sent) })
}

// Publish stores a message.
func (c *Client) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return c.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}, opts...)
}

// Stream looks up a stream.
func (c *Client) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	info, err := c.streamInfo(ctx, kindStream, name)
	if err != nil {
		return nil, err
	}
	return &streamHandle{client: c, name: name, info: info}, nil
}

func (c *Client) streamInfo(ctx context.Context, kind, name string) (*jetstream.StreamInfo, error) {
	return call(ctx, c.process, kind, func() (*jetstream.StreamInfo, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		s, err := c.cluster.find(name)
		if err != nil {
			return nil, err
		}
		return s.info(), nil
	})
}

// CreateOrUpdateStream creates or updates a stream.
func (c *Client) CreateOrUpdateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	c.cluster.ensure(cfg)
	return c.Stream(ctx, cfg.Name)
}

// DeleteStream deletes a stream.
func (c *Client) DeleteStream(ctx context.Context, name string) error {
	_, err := call(ctx, c.process, kindStream, func() (struct{}, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		s := c.cluster.streams[name]
		if s == nil {
			return struct{}{}, jetstream.ErrStreamNotFound
		}
		c.cluster.remove(s)
		return struct{}{}, nil
	})
	return err
}

// streamHandle is a stream that a client has looked up.
type streamHandle struct {
	jetstream.Stream

	client *Client
	name   string
	info   *jetstream.StreamInfo
}

func (s *streamHandle) CachedInfo() *jetstream.StreamInfo { return s.info }

func (s *streamHandle) Info(ctx context.Context, _ ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := s.client.streamInfo(ctx, kindStream, s.name)
	if err == nil {
		s.info = info
	}
	return info, err
}

func (s *streamHandle) get(ctx context.Context, find func(*stream) *message) (*jetstream.RawStreamMsg, error) {
	c := s.client
	return call(ctx, c.process, kindStream, func() (*jetstream.RawStreamMsg, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		stream, err := c.cluster.find(s.name)
		if err != nil {
			return nil, err
		}
		m := find(stream)
		if m == nil {
			return nil, jetstream.ErrMsgNotFound
		}
		return &jetstream.RawStreamMsg{Subject: m.subject, Sequence: m.sequence, Header: m.header, Data: m.data, Time: m.stored}, nil
	})
}

func (s *streamHandle) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	return s.get(ctx, func(stream *stream) *message { return stream.lastMessage(subject) })
}

func (s *streamHandle) GetMsg(ctx context.Context, sequence uint64, _ ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return s.get(ctx, func(stream *stream) *message {
		if m := stream.next(sequence, nil); m != nil && m.sequence == sequence {
			return m
		}
		return nil
	})
}

func (s *streamHandle) Purge(ctx context.Context, opts ...jetstream.StreamPurgeOpt) error {
	var request jetstream.StreamPurgeRequest
	for _, opt := range opts {
		if err := opt(&request); err != nil {
			return err
		}
	}
	c := s.client
	_, err := call(ctx, c.process, kindStream, func() (struct{}, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		stream, err := c.cluster.find(s.name)
		if err == nil {
			stream.purge(request.Sequence)
		}
		return struct{}{}, err
	})
	return err
}

func (s *streamHandle) Consumer(ctx context.Context, name string) (jetstream.Consumer, error) {
	return s.client.Consumer(ctx, s.name, name)
}

func (s *streamHandle) DeleteConsumer(ctx context.Context, name string) error {
	return s.client.DeleteConsumer(ctx, s.name, name)
}

// ListConsumers lists the durable consumers.
func (s *streamHandle) ListConsumers(ctx context.Context) jetstream.ConsumerInfoLister {
	return s.list(ctx)
}

// ConsumerNames lists the durable consumers.
func (s *streamHandle) ConsumerNames(ctx context.Context) jetstream.ConsumerNameLister {
	return consumerNames{s.list(ctx)}
}

func (s *streamHandle) list(ctx context.Context) *consumerList {
	c := s.client
	all, err := call(ctx, c.process, kindStream, func() ([]*jetstream.ConsumerInfo, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		stream, err := c.cluster.find(s.name)
		if err != nil {
			return nil, err
		}
		var all []*jetstream.ConsumerInfo
		for _, name := range slices.Sorted(maps.Keys(stream.durables)) {
			all = append(all, stream.durables[name].info(stream, time.Now()))
		}
		return all, nil
	})
	return &consumerList{all: all, err: err}
}

// consumerList answers a request for the consumers of a stream.
type consumerList struct {
	all []*jetstream.ConsumerInfo
	err error
}

func (l *consumerList) Info() <-chan *jetstream.ConsumerInfo {
	infos := make(chan *jetstream.ConsumerInfo, len(l.all))
	for _, info := range l.all {
		infos <- info
	}
	close(infos)
	return infos
}

func (l *consumerList) Err() error { return l.err }

type consumerNames struct{ *consumerList }

func (l consumerNames) Name() <-chan string {
	names := make(chan string, len(l.all))
	for _, info := range l.all {
		names <- info.Name
	}
	close(names)
	return names
}

// OrderedConsumer returns a reader of the stream. It is created on the server
// at once, so that it counts what waits there.
func (c *Client) OrderedConsumer(ctx context.Context, name string, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	from := uint64(1)
	if cfg.DeliverPolicy == jetstream.DeliverByStartSequencePolicy {
		from = cfg.OptStartSeq
	}
	pending, err := call(ctx, c.process, kindRead, func() (uint64, error) {
		c.cluster.mu.Lock()
		defer c.cluster.mu.Unlock()
		s, err := c.cluster.find(name)
		if err != nil {
			return 0, err
		}
		if cfg.DeliverPolicy == jetstream.DeliverByStartTimePolicy {
			from = s.since(*cfg.OptStartTime)
		}
		return s.pending(from, cfg.FilterSubjects), nil
	})
	if err != nil {
		return nil, err
	}
	return &orderedConsumer{client: c, stream: name, filters: cfg.FilterSubjects, from: from, pending: pending}, nil
}

type orderedConsumer struct {
	jetstream.Consumer

	client  *Client
	stream  string
	filters []string
	from    uint64
	pending uint64
}

func (o *orderedConsumer) Info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	return call(ctx, o.client.process, kindRead, func() (*jetstream.ConsumerInfo, error) {
		return &jetstream.ConsumerInfo{Stream: o.stream, NumPending: o.pending}, nil
	})
}

func (o *orderedConsumer) Messages(...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	if o.client.Dead() {
		return nil, nats.ErrConnectionClosed
	}
	ctx, stop := context.WithCancel(context.Background())
	return &iterator{orderedConsumer: o, next: o.from, stopped: ctx, stop: stop, serial: 1}, nil
}

// iterator returns the messages of an ordered consumer.
type iterator struct {
	*orderedConsumer
	jetstream.MessagesContext

	next, delivered uint64
	// serial is the number of the consumer on the server: each reset creates a new
	// one, whose deliveries count from one.
	serial int
	// cuts is how often the stream had lost its end by then.
	cuts int
	last *delivered
	// whole means that it skips no message.
	whole   bool
	stopped context.Context
	stop    context.CancelFunc
}

func (it *iterator) Stop() { it.stop() }

// resetTime is how long a reader takes to notice that it was cut off and to
// read again.
const resetTime = time.Second

func (it *iterator) Next(opts ...jetstream.NextOpt) (jetstream.Msg, error) {
	ctx, cancel := nextContext(opts)
	defer cancel()
	rng, odds := it.client.process.draw("deliver " + it.stream)
	switch n := rng.IntN(1000); {
	case n < odds.Break:
		return nil, errBroken
	case n < odds.Break+odds.Reset:
		if err := it.wait(ctx, resetTime+time.Duration(rng.Int64N(int64(resetTime)))); err != nil {
			return nil, err
		}
		it.serial++
		it.delivered = 0
	case n < odds.Break+odds.Reset+odds.Repeat && it.last != nil:
		return it.last, it.wait(ctx, travel(rng))
	case n < odds.Break+odds.Reset+odds.Repeat+odds.Skip:
		// If the last message were skipped, nobody would notice.
		if m, _ := it.peek(); m != nil && it.more(m.sequence+1) && !it.whole {
			it.next = m.sequence + 1
			it.delivered++
		}
	}
	for {
		m, changed := it.peek()
		if m != nil {
			if err := it.wait(ctx, travel(rng)); err != nil {
				return nil, err
			}
			it.next = m.sequence + 1
			it.delivered++
			it.last = &delivered{message: m, stream: it.stream, consumer: "ordered_" + strconv.Itoa(it.serial), delivery: it.delivered, times: 1}
			return it.last, nil
		}
		select {
		case <-changed:
		case <-it.stopped.Done():
			return nil, jetstream.ErrMsgIteratorClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// wait lets time pass, unless the iterator is stopped.
func (it *iterator) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-it.stopped.Done():
		return jetstream.ErrMsgIteratorClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	if it.client.Dead() {
		return nats.ErrConnectionClosed
	}
	return nil
}

// more reports whether there are messages at or after the sequence.
func (it *iterator) more(from uint64) bool {
	c := it.client.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(it.stream)
	return err == nil && s.next(from, it.filters) != nil
}

// peek returns the next message, or a channel that is closed when there may be
// one. A deleted stream has no messages until it is recreated. Then the
// consumer begins where the previous one was, as ordered consumers do.
func (it *iterator) peek() (*message, <-chan struct{}) {
	c := it.client.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(it.stream)
	if err != nil {
		return nil, c.created
	}
	if it.cuts != s.cuts {
		it.cuts = s.cuts
		it.serial++
		it.delivered = 0
	}
	m := s.next(it.next, it.filters)
	for m != nil && c.SkipEvery > 0 && m.sequence%c.SkipEvery == 0 {
		m = s.next(m.sequence+1, it.filters)
	}
	return m, s.changed
}

// delivered is a message that a consumer returned.
type delivered struct {
	jetstream.Msg

	client           *Client
	message          *message
	stream, consumer string
	// delivery is its number among all deliveries of the consumer, times how often
	// the consumer returned this message.
	delivery, times uint64
	// of is the durable consumer to acknowledge it to, if any.
	of *durable
}

func (d *delivered) Subject() string      { return d.message.subject }
func (d *delivered) Data() []byte         { return d.message.data }
func (d *delivered) Headers() nats.Header { return d.message.header }
func (d *delivered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{
		Stream: d.stream, Consumer: d.consumer, Timestamp: d.message.stored, NumDelivered: d.times,
		Sequence: jetstream.SequencePair{Stream: d.message.sequence, Consumer: d.delivery},
	}, nil
}
