// Package upstream reads an existing MQTT broker as a client, for homes and plants that do not
// move their devices. It gives each message to the bridges and acknowledges it to the broker
// when it is stored, so the broker keeps what is not. The session there is persistent: what
// devices publish while nobody reads it arrives later.
//
// After a lost connection the broker sends again what it has no acknowledgement for, with the
// id that the message had. What was stored meanwhile is only acknowledged then. A process that
// was killed does not know what it had stored, so at most the messages that the broker lets be
// under way at a time arrive twice; readings with a time of their own overwrite themselves.
//
// A client that only reads needs five kinds of packets, so it is written here, once for both
// versions of MQTT: the known libraries speak one version each, hold packets of any size in
// memory, and acknowledge on a connection that may be over.
package upstream

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"headwater/proto/figure"
	"headwater/services/internal/meter"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/streams"
)

const (
	keepAlive = 30 * time.Second
	// keepSession is how long a broker of MQTT 5 keeps what nobody reads. With 3.1.1 that is
	// the broker's own setting.
	keepSession = 7 * 24 * time.Hour
	// window is how many messages a broker of MQTT 5 may send before one is acknowledged. With
	// 3.1.1 that is the broker's own setting, often 20.
	window = 1024
	// maxMemory bounds the payloads that wait to be stored, in bytes; the broker waits then.
	maxMemory = 32 << 20

	// overhead is about what a message takes beside its texts, in bytes.
	overhead = 256

	dialWithin  = 10 * time.Second
	writeWithin = 10 * time.Second
	// settleWithin is how long a reader that stops waits for what is under way.
	settleWithin = 2 * time.Second
	// arrives is how long an acknowledgement that was written may take to the broker. Of those
	// that were written earlier it is certain.
	arrives = 10 * time.Second

	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	// longestHold bounds how long a message waits because its device sends too much.
	longestHold = 5 * time.Second
)

// Store gives messages to the bridges.
type Store interface {
	// Publish calls done once with nil when the message is stored, else with the reason why it
	// is not known to be. It does not keep the payload after it returns.
	Publish(topic string, payload []byte, done func(error)) error
}

// Deps is what a Reader needs.
type Deps struct {
	Store Store
	// Wait returns how long a message on a topic has to wait because its device sends too much.
	Wait func(topic string) time.Duration
	// Installation, if not empty, is part of the default client id.
	Installation string
	Report       *problems.Reporter
	Log          *slog.Logger
	Metrics      prometheus.Registerer
}

// Reasons why messages are not stored.
const (
	skipRetained = "retained"
	skipCommand  = "command"
	skipTooLarge = "too-large"
	skipTopic    = "topic"
	skipQoS0     = "qos0"
)

// Reader reads one broker.
type Reader struct {
	cfg    Config
	deps   Deps
	broker broker
	memory *semaphore.Weighted
	seed   maphash.Seed

	connected prometheus.Gauge
	skipped   *prometheus.CounterVec
	repeated  prometheus.Counter

	mu sync.Mutex // guards what follows, and what says so
	// flights are the messages of the session, by their ids.
	flights map[uint16]*flight
	// progress is set when something was stored since the last attempt to connect.
	progress bool
}

// flight is a message with QoS 1. It is guarded by the reader's lock.
type flight struct {
	id  uint16
	sum uint64
	// link is the connection that acknowledges it.
	link           *link
	stored, failed bool
	// acknowledged is when that was written; zero before.
	acknowledged time.Time
}

// New returns a reader that does nothing until Run. The configuration must name a broker.
func New(cfg Config, deps Deps) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.From == "" || deps.Store == nil {
		return nil, errors.New("upstream: a broker and a store must be given")
	}
	b, err := cfg.broker()
	if err != nil {
		return nil, err
	}
	if _, _, err := cfg.secrets(b); err != nil {
		return nil, err
	}
	if deps.Wait == nil {
		deps.Wait = func(string) time.Duration { return 0 }
	}
	cfg.ClientID = cmp.Or(cfg.ClientID, "headwater"+deps.Installation)
	register := meter.New(deps.Metrics, streams.ServiceBridge)
	return &Reader{
		cfg: cfg, deps: deps, broker: b, memory: semaphore.NewWeighted(maxMemory), seed: maphash.MakeSeed(), flights: make(map[uint16]*flight),
		connected: register.Gauge("upstream_connected", "1 while the broker of --from is read."),
		skipped: register.Counters("upstream_skipped_total", "Messages of the broker of --from that are not stored, by reason.", "reason",
			skipRetained, skipCommand, skipTooLarge, skipTopic, skipQoS0),
		repeated: register.Counter("upstream_repeated_total", "Messages that the broker of --from sent again and that were stored already."),
	}, nil
}

// problem is the id of the report that the broker is not read; unsure that of QoS 0.
const (
	problem = "upstream"
	unsure  = "upstream qos"
)

// Run reads the broker until ctx ends and what is under way is stored, or a moment has passed.
func (r *Reader) Run(ctx context.Context) {
	defer r.deps.Report.Clear(problem)
	defer r.deps.Report.Clear(unsure)
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		if r.progress {
			retry.Reset()
		}
		r.progress = false
		r.mu.Unlock()
		wait := retry.NextBackOff()
		r.deps.Log.Warn("the broker is not read; trying again", "broker", r.broker.address, "err", err, "after", wait)
		r.deps.Report.Set(problem, problems.Problem{
			Part: "Broker " + figure.Clip(r.broker.address, 80),
			Text: "Its messages do not arrive: " + clip(err.Error()) + ". What it keeps for the session of client id " +
				clip(r.cfg.ClientID) + " arrives when it is read again.",
		})
		if !process.Sleep(ctx, wait) {
			return
		}
	}
}

func clip(text string) string { return figure.Clip(strings.ToValidUTF8(text, "?"), 200) }

// session reads the broker over one connection, until that fails or ctx ends.
func (r *Reader) session(ctx context.Context) error {
	password, secure, err := r.cfg.secrets(r.broker)
	if err != nil {
		return err
	}
	dialer := &net.Dialer{Timeout: dialWithin}
	var conn net.Conn
	if secure == nil {
		conn, err = dialer.DialContext(ctx, "tcp", r.broker.address)
	} else {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext(ctx, "tcp", r.broker.address)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l := &link{reader: r, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), began: time.Now(), v5: r.cfg.Version == "5", wake: make(chan struct{}, 1), keepAlive: keepAlive}
	return l.serve(ctx, login{r.cfg.ClientID, r.broker.user, password, l.v5})
}

// end forgets the messages of a connection that is over, except those of which the broker may
// not know that they are stored.
func (r *Reader) end(l *link, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, f := range r.flights {
		if f.failed || f.link != l && now.Sub(l.began) > arrives || !f.acknowledged.IsZero() && now.Sub(f.acknowledged) > arrives {
			delete(r.flights, id)
		}
	}
}

// take takes a message of a connection.
func (r *Reader) take(ctx context.Context, l *link, m message) error {
	topic := string(m.topic)
	skip := ""
	switch {
	case m.tooLarge:
		skip = skipTooLarge
		r.deps.Log.Warn("a message of the broker is too large and is not stored", "topic", clip(topic), "most", streams.MaxDevicePayload)
	case m.retained:
		skip = skipRetained // it is of any time
	case streams.IsCommand(streams.MQTTStoredSubject(streams.SubjectFromTopic(topic))):
		skip = skipCommand
	case len(topic) > maxName || strings.ContainsAny(topic, "+#\x00") || !slices.ContainsFunc(r.cfg.Topics, func(f string) bool { return matches(f, topic) }):
		skip = skipTopic // of a subscription that an earlier configuration made
	}
	if skip != "" {
		r.skipped.WithLabelValues(skip).Inc()
		if m.qos == 1 {
			r.mu.Lock()
			delete(r.flights, m.id)
			l.add(&flight{id: m.id, stored: true})
			r.mu.Unlock()
		}
		return nil
	}
	var f *flight
	if m.qos == 1 {
		if f = r.begin(l, m); f == nil {
			return nil
		}
	}
	if wait := min(r.deps.Wait(topic), longestHold); wait > 0 && !process.Sleep(ctx, wait) {
		return ctx.Err()
	}
	size := int64(len(m.payload) + len(topic) + overhead)
	if err := r.memory.Acquire(ctx, size); err != nil {
		return err //nolint:wrapcheck // the connection is over
	}
	var once sync.Once
	done := func(err error) {
		once.Do(func() {
			r.memory.Release(size)
			r.done(f, err)
		})
	}
	if err := r.deps.Store.Publish(topic, m.payload, done); err != nil {
		done(err)
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// begin returns the flight of a message with QoS 1, or nil if it was heard before.
func (r *Reader) begin(l *link, m message) *flight {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.Write(m.topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(m.payload)
	sum := h.Sum64()
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[m.id]; f != nil && m.again && l.continued && f.link != l && f.sum == sum && !f.failed {
		r.repeated.Inc()
		f.link, f.acknowledged = l, time.Time{}
		l.add(f)
		return nil
	}
	f := &flight{id: m.id, sum: sum, link: l}
	r.flights[m.id] = f
	l.add(f)
	return f
}

// done takes what became of a message.
func (r *Reader) done(f *flight, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f == nil && err != nil:
		r.skipped.WithLabelValues(skipQoS0).Inc()
	case f == nil:
	case err != nil:
		f.failed = true
		f.link.fail(fmt.Errorf("a message is not stored: %w", err))
	default:
		f.stored, r.progress = true, true
		f.link.advance(time.Now())
	}
}

// link is a connection to the broker.
type link struct {
	reader    *Reader
	conn      net.Conn
	in        *bufio.Reader
	began     time.Time
	v5        bool
	keepAlive time.Duration
	// continued is set when the broker has kept the session.
	continued bool
	// wake has a value when there is something to write, or nothing is under way any more.
	wake chan struct{}
	// writing is held while something is written, so that nothing overtakes.
	writing sync.Mutex

	// What follows is guarded by the reader's lock.

	// queue are the messages without an acknowledgement, in their order.
	queue []*flight
	out   []byte
	// why is why the connection is closed; nil while it is not.
	why error
}

// add adds a message; the caller holds the lock.
func (l *link) add(f *flight) {
	f.link = l
	l.queue = append(l.queue, f)
	l.advance(time.Now())
}

// advance acknowledges what is stored, in the order of arrival; the caller holds the lock.
func (l *link) advance(now time.Time) {
	n := 0
	for n < len(l.queue) && l.queue[n].stored {
		l.queue[n].acknowledged = now
		l.out = appendPubAck(l.out, l.queue[n].id)
		n++
	}
	if n > 0 {
		l.queue = slices.Delete(l.queue, 0, n)
		l.rouse()
	}
}

func (l *link) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// fail closes the connection; the caller holds the lock.
func (l *link) fail(why error) {
	if l.why == nil {
		l.why = why
		_ = l.conn.Close()
		l.rouse()
	}
}

// serve logs in, subscribes and reads until the connection fails or ctx ends.
func (l *link) serve(ctx context.Context, as login) error {
	defer l.conn.Close()
	_ = l.conn.SetDeadline(time.Now().Add(dialWithin))
	cut := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Now()) })
	defer cut()
	if _, err := l.conn.Write(appendConnect(nil, as)); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	p, buf, err := readPacket(l.in, nil)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	continued, of, err := accepted(p, l.v5)
	if err != nil {
		return err
	}
	l.continued = continued
	if of.keepAlive > 0 {
		l.keepAlive = time.Duration(of.keepAlive) * time.Second
	}
	r := l.reader
	if !continued {
		r.mu.Lock()
		clear(r.flights) // the ids begin again
		r.mu.Unlock()
	}
	if _, err := l.conn.Write(appendSubscribe(nil, r.cfg.Topics, l.v5)); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	_ = l.conn.SetDeadline(time.Time{})
	defer func() { r.end(l, time.Now()) }()
	defer r.connected.Set(0)

	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var writer sync.WaitGroup
	writer.Go(func() { l.write(writing) })
	err = l.read(ctx, buf)
	if ctx.Err() != nil {
		l.settle()
	}
	r.mu.Lock()
	if l.why != nil {
		err = l.why
	}
	r.mu.Unlock()
	stop()
	if ctx.Err() == nil {
		_ = l.conn.Close() // the writer may wait for a broker that does not read
	}
	writer.Wait()
	return err
}

// read reads packets until the connection fails or ctx ends.
func (l *link) read(ctx context.Context, buf []byte) error {
	r, subscribed := l.reader, false
	deadline := time.Now().Add(dialWithin) // for the answer to SUBSCRIBE
	for {
		if subscribed {
			deadline = time.Now().Add(l.keepAlive * 3 / 2)
		}
		_ = l.conn.SetReadDeadline(deadline)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var p packet
		var err error
		if p, buf, err = readPacket(l.in, buf); err != nil {
			return err
		}
		switch p.kind {
		case kindPublish:
			m, err := parseMessage(p, l.v5)
			if err == nil {
				err = r.take(ctx, l, m)
			}
			if err != nil {
				return err
			}
		case kindSubAck:
			if err := l.subscribed(p); err != nil {
				return err
			}
			subscribed = true
		case kindPingResp:
		case kindDisconnect:
			return left(p)
		default:
			return errUnexpected
		}
	}
}

// subscribed takes the answer to SUBSCRIBE.
func (l *link) subscribed(p packet) error {
	r := l.reader
	refused, withoutAck, err := granted(p, r.cfg.Topics, l.v5)
	switch {
	case err != nil:
		return err
	case len(refused) > 0:
		return fmt.Errorf("the broker refuses a subscription to %s (--from-topics, and what it lets this user read)", strings.Join(refused, ", "))
	}
	r.deps.Log.Info("the broker is read", "broker", r.broker.address, "client", r.cfg.ClientID, "continued", l.continued)
	r.connected.Set(1)
	r.deps.Report.Clear(problem)
	if len(withoutAck) == 0 {
		r.deps.Report.Clear(unsure)
		return nil
	}
	r.deps.Report.Set(unsure, problems.Problem{
		Part: "Broker " + figure.Clip(r.broker.address, 80),
		Text: "It sends " + clip(strings.Join(withoutAck, ", ")) + " with QoS 0 only: what is published while it is not read is lost.",
	})
	return nil
}

// write writes acknowledgements and pings until ctx ends, or the connection fails.
func (l *link) write(ctx context.Context) {
	ping := time.NewTicker(max(l.keepAlive/2, time.Second))
	defer ping.Stop()
	var buf []byte
	for {
		buf = buf[:0]
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			buf = append(buf, kindPingReq<<4, 0)
		case <-l.wake:
		}
		if err := l.flush(buf); err != nil {
			l.reader.mu.Lock()
			l.fail(err)
			l.reader.mu.Unlock()
			return
		}
	}
}

// flush writes the acknowledgements that are due, before more.
func (l *link) flush(more []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.reader.mu.Lock()
	out := append(l.out, more...)
	l.out = nil
	l.reader.mu.Unlock()
	if len(out) == 0 {
		return nil
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := l.conn.Write(out); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// settle waits a moment until everything is acknowledged, and takes leave. The session stays.
func (l *link) settle() {
	end := time.Now().Add(settleWithin)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	for l.open() && process.Sleep(ctx, 5*time.Millisecond) {
	}
	// The broker closes the connection. Closed here, with something left to read, it could lose
	// the acknowledgements.
	_ = l.conn.SetReadDeadline(end)
	if l.flush([]byte{kindDisconnect << 4, 0}) == nil {
		_, _ = io.Copy(io.Discard, l.in)
	}
}

// open reports whether something is under way.
func (l *link) open() bool {
	l.reader.mu.Lock()
	defer l.reader.mu.Unlock()
	return l.why == nil && len(l.queue) > 0
}
