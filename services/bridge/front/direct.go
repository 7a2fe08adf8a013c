package front

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge/escape"
	"headwater/services/internal/process"
	"headwater/streams"
)

// A message with QoS 1 need not take the way through the client's own connection to
// nats-server, with a read and a write of each side for it and for its acknowledgement. The
// front does itself what nats-server would do with it, on one connection for all clients:
// it publishes the message to those who listen, publishes it to the bridges with a reply
// subject of its own, and acknowledges it when the answer comes. The bridges see no
// difference.
//
// A client sees none either: the front passes everything else on, such as messages with
// another QoS, retained ones, those that the client may not publish, and those on topics
// that nats-server names in a way of its own. Messages with QoS 1 that take different ways do
// not overtake one another, because one way is used only while nothing waits on the other one.

const (
	// largestDirect bounds a packet that the front stores itself, in bytes.
	largestDirect = 8 << 10
	// maxRoutes bounds the topics that are remembered of each client.
	maxRoutes = 32
	// lookForLate is the pause between two looks for messages without an answer.
	lookForLate = time.Second
	// pingsEach is how often the front reports a client to nats-server within the client's
	// keep-alive, since nats-server hears nothing of messages that the front stores.
	pingsEach = 4
)

// direct stores messages of clients, and hears the answers. Any number of goroutines may use
// it.
type direct struct {
	nc *nats.Conn
	// send publishes on nc.
	send func(*nats.Msg) error
	// prefix begins the reply subjects.
	prefix string
	header nats.Header
	count  prometheus.Counter

	mu sync.Mutex // guards what follows
	// waiting are the messages without an answer, by their numbers from oldest on, before
	// next.
	waiting      map[int64]*delivery
	oldest, next int64
}

// owner hears once what became of a message, and must return at once.
type owner interface {
	// owes is called when the message is stored, fail when it is not, as far as is known.
	owes(w *delivery)
	fail(why error)
}

// delivery is a message that the client waits for to be acknowledged.
type delivery struct {
	session owner
	id      [2]byte
	sent    time.Time
	// stored is guarded by the lock of the session's debts.
	stored bool
}

func newDirect(nc *nats.Conn, count prometheus.Counter) *direct {
	return &direct{
		nc: nc, send: nc.PublishMsg, prefix: streams.MQTTAnswersTo(rand.Text()[:12]), header: streams.MQTTPublished(), count: count,
		waiting: make(map[int64]*delivery),
	}
}

// listen hears answers until stop is called, which waits for what it began.
func (d *direct) listen() (stop func(), err error) {
	sub, err := d.nc.Subscribe(d.prefix+"*", d.answered)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the answers of bridges: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() {
		for process.Sleep(ctx, lookForLate) {
			for _, late := range d.late(time.Now()) {
				late.session.fail(errUnanswered)
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
		_ = sub.Unsubscribe() // it fails only when the connection is closed
	}, nil
}

// late removes and returns the messages that got no answer in time.
func (d *direct) late(now time.Time) (all []*delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; d.oldest < d.next; d.oldest++ {
		w := d.waiting[d.oldest]
		if w == nil {
			continue
		}
		if now.Sub(w.sent) < streams.AnswerTimeout {
			break
		}
		delete(d.waiting, d.oldest)
		all = append(all, w)
	}
	return all
}

// publish publishes a message of a client.
func (d *direct) publish(r route, payload []byte, of *delivery) error {
	d.mu.Lock()
	number := d.next
	d.next++
	d.waiting[number] = of
	d.mu.Unlock()
	d.count.Inc()
	err := d.send(&nats.Msg{Subject: r.subject, Header: d.header, Data: payload})
	if err == nil {
		reply := string(streams.AppendReplyNumber([]byte(d.prefix), number))
		err = d.send(&nats.Msg{Subject: r.stored, Reply: reply, Header: d.header, Data: payload})
	}
	return err //nolint:wrapcheck // the client sends again, whatever the reason
}

// answered takes an answer of a bridge.
func (d *direct) answered(m *nats.Msg) {
	if streams.IsStoredTogether(m.Subject) {
		// Of one that does not decode to its end the messages become late.
		_ = streams.DecodeReplies(m.Data, func(reply string) {
			if w := d.take(reply); w != nil {
				w.session.owes(w)
			}
		})
		return
	}
	w := d.take(m.Subject)
	if w == nil {
		return
	}
	if err := streams.MQTTAnswer(m.Data); err != nil {
		w.session.fail(errNotStored)
		return
	}
	w.session.owes(w)
}

// take removes and returns the message with a reply subject; nil if it has none, since a bridge
// that took over answers once more.
func (d *direct) take(reply string) *delivery {
	_, number, ok := streams.ReplyNumber(reply)
	if !ok {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.waiting[number]
	delete(d.waiting, number)
	return w
}

// route is where the messages on a topic go; empty if nats-server takes them.
type route struct{ subject, stored string }

// route returns where the messages on a topic go.
func (s *session) route(topic []byte) route {
	if r, known := s.routes[string(topic)]; known {
		return r
	}
	if len(s.routes) >= maxRoutes || s.routes == nil {
		s.routes = make(map[string]route)
	}
	r := s.find(string(escape.Topic(nil, topic)))
	s.routes[string(topic)] = r
	return r
}

func (s *session) find(topic string) route {
	if topic[0] == '$' || slices.Contains(strings.Split(topic, "/"), "") {
		return route{}
	}
	subject := streams.SubjectFromTopic(topic)
	if s.mayPublish == nil || !s.mayPublish(subject) {
		return route{}
	}
	return route{subject, streams.MQTTStoredSubject(subject)}
}

// store stores a message of the client, with a packet of size bytes, if it may be stored here.
// It returns false if nats-server must take it.
func (s *session) store(topic, id, payload []byte, here bool, size int) (stored bool, err error) {
	var r route
	if here && s.unanswered.Load() == 0 {
		r = s.route(topic)
	}
	if r.subject == "" {
		return false, s.debts.wait(s, 0)
	}
	if err := s.debts.wait(s, window-1); err != nil {
		return false, err
	}
	now := time.Now()
	w := &delivery{session: s, id: [2]byte(id), sent: now}
	s.debts.add(w)
	if err := s.front.direct.publish(r, payload, w); err != nil {
		return false, err
	}
	s.up.drop(size)
	if alive := time.Duration(s.connect.keepAlive) * time.Second / pingsEach; alive > 0 && now.Sub(s.pinged) >= alive {
		s.pinged = now
		s.pings.Add(1)
		s.up.out = append(s.up.out, typePingReq<<4, 0)
	}
	return true, nil
}

// debts are the messages of a client that the front stores and has not acknowledged.
type debts struct {
	mu sync.Mutex // guards what follows
	// all are in the order in which they came, which is that of their acknowledgements.
	all []*delivery
	// paying is set while a goroutine writes acknowledgements, closed when none may start
	// any more.
	paying, closed bool
	payers         sync.WaitGroup

	// fewer has a value after some were acknowledged.
	fewer chan struct{}
	// buf is of the goroutine that writes.
	buf []byte
}

func (d *debts) add(w *delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, w)
}

func (d *debts) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all)
}

// wait waits until there are at most that many, and passes on what is judged before it does.
func (d *debts) wait(s *session, most int) error {
	if d.len() <= most {
		return nil
	}
	if err := s.up.flush(); err != nil {
		return err
	}
	for d.len() > most {
		select {
		case <-d.fewer:
		case <-s.over:
			return errOver
		}
	}
	return nil
}

func (d *debts) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// close has no acknowledgement written any more, and waits for the one that is.
func (d *debts) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.payers.Wait()
}

// owes acknowledges a message that is stored, after those that came before it.
func (s *session) owes(w *delivery) {
	d := &s.debts
	d.mu.Lock()
	defer d.mu.Unlock()
	w.stored = true
	if d.paying || d.closed || !d.all[0].stored {
		return
	}
	d.paying = true
	d.payers.Go(s.pay)
}

// pay writes acknowledgements until everything that is stored has one. The client may read
// slowly, which holds up nobody else.
func (s *session) pay() {
	d := &s.debts
	for {
		d.mu.Lock()
		n := 0
		d.buf = d.buf[:0]
		for n < len(d.all) && d.all[n].stored {
			d.buf = append(d.buf, typePubAck<<4, 2, d.all[n].id[0], d.all[n].id[1])
			n++
		}
		if n == 0 || d.closed {
			d.paying = false
			d.mu.Unlock()
			return
		}
		d.all = slices.Delete(d.all, 0, n)
		d.mu.Unlock()
		s.writing.Lock()
		if !s.torn {
			if _, err := (slowly{s.device}).Write(d.buf); err != nil {
				_ = s.server.Close()
			}
		}
		s.writing.Unlock()
		for _, done := range []chan struct{}{d.fewer, s.answered} {
			select {
			case done <- struct{}{}:
			default:
			}
		}
	}
}

var (
	// errUnanswered and errNotStored are why a client is disconnected, which then sends
	// again.
	errUnanswered = errors.New("no bridge has answered in time")
	errNotStored  = errors.New("the bridge cannot store the message")
	// errOver is returned when the connection has ended meanwhile.
	errOver = errors.New("the connection to nats-server has ended")
)

// fail ends the session: both connections are closed, as nats-server would do.
func (s *session) fail(why error) {
	if s.debts.isClosed() || s.failed.Swap(true) {
		return
	}
	s.front.deps.Log.Debug("a device is disconnected", "err", why, "host", s.host)
	s.front.refused.WithLabelValues(string(ReasonServer)).Inc()
	_ = s.server.Close()
}

// toDevice writes what nats-server sends to the client. Between packets, acknowledgements of
// the front may be written too.
type toDevice struct{ *session }

func (c toDevice) Write(b []byte) (int, error) {
	if !c.inPacket {
		c.inPacket = true
		c.writing.Lock()
	}
	return slowly{c.device}.Write(b)
}

// between is called when what is judged is written to the client.
func (s *session) between() {
	if s.inPacket && s.down.rest == 0 {
		s.inPacket = false
		s.writing.Unlock()
	}
}

// tear ends the writing of packets to the client, perhaps within one, and has no
// acknowledgement of the front follow.
func (s *session) tear() {
	if s.inPacket {
		s.inPacket, s.torn = false, true
		s.writing.Unlock()
	}
	s.debts.close()
}
