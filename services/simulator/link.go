package simulator

import (
	"bufio"
	"container/heap"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/internal/process"
)

const (
	// The pause between two attempts to connect doubles from the first of these to the
	// second. Each link waits a random part of it, at least half, so that a fleet does not
	// come back all at once.
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 10 * time.Second
	// connectTimeout bounds one attempt to connect, with TLS and MQTT's own
	// greeting.
	connectTimeout = 10 * time.Second
	// ackTimeout is how long a link waits for an acknowledgement before it treats its
	// connection as dead and sends again on a new one.
	ackTimeout = 30 * time.Second
	// writeTimeout is how long the server may leave a reading unread before the connection
	// counts as dead.
	writeTimeout = 3 * time.Second
	// drainTimeout is how long a stopping link waits for acknowledgements.
	drainTimeout = 5 * time.Second
	// patience is how late a reading may still be sent.
	patience = 10 * time.Second
	// quiesce is how long disconnecting may take, in milliseconds.
	quiesce = 100
)

// link is one MQTT connection and the devices that share it. Readings of a
// device go out in the order of their event times, and are sent again in that
// order when a connection breaks before they were acknowledged.
type link struct {
	service  *Service
	client   string // MQTT client id
	password string
	// server is the server to try first: the links are spread over all servers.
	server int

	devices timetable
	order   uint64

	// unacked are readings sent at QoS 1 on a connection that has ended.
	unacked []message
	// publishing counts the publishers of the connections that have not ended.
	publishing sync.WaitGroup
}

// message is one reading on its way.
type message struct {
	topic   string
	payload []byte
	// token receives the client's token once the client has accepted the reading.
	token chan mqtt.Token
}

// begin assigns the devices to the link.
func (l *link) begin(devices []*device) {
	l.devices = devices
	heap.Init(&l.devices)
}

// run reports until ctx ends or the service has published everything. The caller has
// opened the first connection.
func (l *link) run(ctx context.Context, c *connection) {
	for {
		done := l.session(ctx, c)
		l.service.connected.Add(-1)
		if done {
			break
		}
		var err error
		c, err = l.connect(ctx)
		if err != nil {
			break
		}
	}
	l.service.counters.lost.Add(int64(len(l.unacked)))
	l.unacked = nil
	l.publishing.Wait()
}

// connection is one open MQTT session.
type connection struct {
	client mqtt.Client
	// broken is cancelled when the connection ends, with the reason as its cause.
	broken context.Context
	fail   context.CancelCauseFunc
}

// connect retries until it has a connection or ctx ends.
func (l *link) connect(ctx context.Context) (*connection, error) {
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		c, err := l.dial(ctx)
		if err == nil {
			l.service.counters.connects.Add(1)
			l.service.connected.Add(1)
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.service.counters.errors.Add(1)
		l.service.complain(fmt.Errorf("connect: %w", err))
		if !process.Sleep(ctx, backoff/2+rand.N(backoff/2)) {
			return nil, ctx.Err()
		}
	}
}

// dial makes one attempt. The client must neither reconnect nor resend by itself: the
// link does both, because it keeps the order of readings and stops with ctx.
func (l *link) dial(ctx context.Context) (*connection, error) {
	cfg := &l.service.cfg
	c := new(connection)
	c.broken, c.fail = context.WithCancelCause(context.Background())
	options := mqtt.NewClientOptions().SetClientID(l.client).
		SetUsername(cfg.User).SetPassword(l.password).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).
		SetConnectTimeout(connectTimeout).SetWriteTimeout(writeTimeout).
		SetProtocolVersion(4).SetOrderMatters(false).SetCustomOpenConnectionFn(
		func(broker *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			return open(ctx, broker, l.service.deps.TLS)
		}).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.fail(err) })
	for i := range cfg.MQTT {
		options.AddBroker(cfg.MQTT[(l.server+i)%len(cfg.MQTT)])
	}
	c.client = mqtt.NewClient(options)
	token := c.client.Connect()
	select {
	case <-token.Done():
		return c, token.Error()
	case <-ctx.Done():
		c.client.Disconnect(quiesce)
		return nil, ctx.Err()
	}
}

// open opens the connection below MQTT. It reads ahead, because the client reads single
// bytes at the beginning of each acknowledgement.
func open(ctx context.Context, broker *url.URL, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var conn net.Conn
	var err error
	if slices.Contains(tlsSchemes, broker.Scheme) {
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", broker.Host)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", broker.Host)
	}
	if err != nil {
		return nil, err
	}
	return &bufferedConn{conn, bufio.NewReader(conn)}, nil
}

// bufferedConn is a connection with a read buffer.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// session uses one connection. It first sends again what the previous connection left
// unacknowledged, then the readings as they become due. It reports whether the link is
// done.
func (l *link) session(ctx context.Context, c *connection) (done bool) {
	// Sends to the two channels of messages never block: each has room for every slot.
	inFlight := l.service.cfg.InFlight
	slots := make(chan struct{}, inFlight)
	out := make(chan message, inFlight)
	sent := make(chan message, inFlight)
	again := l.unacked
	l.unacked = nil
	collected := make(chan []message)
	go func() { collected <- l.collect(ctx, c, sent, slots) }()
	l.publishing.Go(func() { l.publish(c, out) })

	send := func(m message) {
		m.token = make(chan mqtt.Token, 1)
		sent <- m
		out <- m
	}
	for len(again) > 0 && take(ctx, c, slots) {
		l.service.counters.resent.Add(1)
		send(again[0])
		again = again[1:]
	}
	for len(again) == 0 {
		m, ok := l.await(ctx, c, slots)
		if !ok {
			break
		}
		l.service.counters.published.Add(1)
		send(m)
	}
	close(out)
	close(sent)
	l.unacked = append(<-collected, again...)
	c.client.Disconnect(quiesce)
	c.fail(nil)
	if cause := context.Cause(c.broken); cause != nil && !errors.Is(cause, context.Canceled) {
		l.service.counters.errors.Add(1)
		l.service.complain(fmt.Errorf("connection lost: %w", cause))
		return ctx.Err() != nil || len(l.unacked) == 0 && l.service.spent()
	}
	return true
}

// publish hands readings to the client. When the connection breaks meanwhile, the client
// blocks for up to writeTimeout. publish therefore has a goroutine of its own, so that
// the link can continue with a new connection at once.
func (l *link) publish(c *connection, out <-chan message) {
	for m := range out {
		if c.broken.Err() != nil {
			return
		}
		m.token <- c.client.Publish(m.topic, byte(l.service.cfg.QoS), false, m.payload)
	}
}

// take waits until one more reading may be in flight. It returns false when ctx or the
// connection ends first.
func take(ctx context.Context, c *connection, slots chan<- struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c.broken.Done():
		return false
	default:
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	case <-c.broken.Done():
		return false
	}
}

// await returns the next reading when it is due and may be in flight. It returns false
// when ctx or the connection ends first, or when no more readings are to be published.
func (l *link) await(ctx context.Context, c *connection, slots chan<- struct{}) (message, bool) {
	d := l.devices[0]
	if d.interval > 0 {
		if early := time.Until(time.Unix(0, d.due)); early > 0 && !waitAny(ctx, c, early) {
			return message{}, false
		}
	}
	if !take(ctx, c, slots) || !l.service.claim() {
		return message{}, false
	}
	now := time.Now().UnixNano()
	l.service.counters.skipped.Add(d.skip(now, patience))
	t := d.next(now)
	l.order++
	d.order = l.order
	l.devices.moved()
	return message{topic: d.topic, payload: encode(l.service.cfg.Payload, d.value(t), t)}, true
}

// collect waits for the acknowledgement of each reading, in order, frees its slot, and
// returns the readings that were not acknowledged. After ctx has ended it waits at most
// drainTimeout for all of them together.
func (l *link) collect(ctx context.Context, c *connection, sent <-chan message, slots <-chan struct{}) []message {
	// The drain timeout starts when ctx ends.
	drained, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		process.Sleep(drained, drainTimeout)
		cancel()
	})()
	late := time.NewTimer(ackTimeout)
	defer late.Stop()
	var unacked []message
	for m := range sent {
		late.Reset(ackTimeout)
		if err := settle(drained, c, m, late.C); err == nil {
			l.service.counters.acknowledged.Add(1)
		} else {
			if !errors.Is(err, errStopped) {
				c.fail(err)
			}
			if l.service.cfg.QoS == 0 {
				l.service.counters.lost.Add(1)
			} else {
				unacked = append(unacked, m)
			}
		}
		<-slots
	}
	return unacked
}

var (
	errNotAcknowledged = errors.New("no acknowledgement came in time")
	errStopped         = errors.New("the fleet has stopped")
)

// settle waits for one acknowledgement.
func settle(drained context.Context, c *connection, m message, late <-chan time.Time) error {
	var token mqtt.Token
	var done <-chan struct{}
	for {
		select {
		case token = <-m.token:
			done = token.Done()
		case <-done:
			return token.Error()
		case <-c.broken.Done():
			if token != nil && token.WaitTimeout(0) {
				return token.Error()
			}
			return context.Cause(c.broken)
		case <-late:
			return errNotAcknowledged
		case <-drained.Done():
			return errStopped
		}
	}
}

// waitAny is like wait, and also returns false when the connection ends first.
func waitAny(ctx context.Context, c *connection, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-c.broken.Done():
		return false
	}
}
