package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"headwater/services/bridge/escape"
	"headwater/services/bridge/login"
	"headwater/services/internal/brake"
	"headwater/services/internal/process"
)

// session is one client and its connection to nats-server. Two goroutines work for it: one
// reads from the client, the other one writes to it.
type session struct {
	front  *Front
	device net.Conn
	server net.Conn
	host   string
	// connect is the client's first packet; its texts are not valid any more. client is the
	// id that it sent, assigned the one that it got instead.
	connect          connect
	client, assigned string

	// up is of the goroutine that reads from the client, down of the other one.
	up, down pump
	scratch  []byte // of up
	topic    []byte // of down

	// unanswered counts the messages with QoS 1 that nats-server has not acknowledged.
	// answered has a value after it was zero, and after the front has acknowledged some.
	unanswered atomic.Int64
	answered   chan struct{}
	// inFlight bounds what a client of MQTT 5 gets.
	inFlight inFlight
	// unsubscribes are the numbers of filters in the requests that nats-server has not
	// answered.
	unsubscribes counts
	// mayPublish reports whether the client may publish on a subject; nil if the front stores
	// nothing for it. routes are those of its topics. debts are what it is owed.
	mayPublish func(subject string) bool
	routes     map[string]route
	debts      debts
	// pinged is when the front last reported the client to nats-server, pings counts the
	// answers to that which are to come.
	pinged time.Time
	pings  atomic.Int64
	// failed is set when a message of the client could not be stored.
	failed atomic.Bool
	// stopping is closed when the front stops.
	stopping <-chan struct{}
	// writing is locked while something is written to the client, inPacket while only a part
	// of a packet is written, which torn says of the last one.
	writing        sync.Mutex
	inPacket, torn bool
	// farewell is the reason code of the DISCONNECT that a client of MQTT 5 gets; negative
	// for none.
	farewell atomic.Int32
	// quiet is closed when nothing more is read from the client, over when nothing more comes
	// from nats-server.
	quiet, over chan struct{}
	// closed is set when nats-server has closed its connection first, left when the client
	// has.
	closed atomic.Bool
	left   bool
	// last, if not nil, is what ends the session after the connection: a CONNECT without a
	// will. ending is its entry in the front.
	last   *connect
	ending *ending
}

func newSession(f *Front, device net.Conn, host string) *session {
	s := &session{front: f, device: device, host: host, answered: make(chan struct{}, 1), quiet: make(chan struct{}), over: make(chan struct{})}
	s.debts.fewer = make(chan struct{}, 1)
	s.farewell.Store(codeUnspecified)
	s.up = pump{src: device, judge: s.fromClient}
	s.down = pump{judge: s.fromServer, written: s.between}
	return s
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// serve serves the client until one of the two connections ends, or ctx.
func (s *session) serve(ctx context.Context) {
	conn := s.device
	s.stopping = ctx.Done()
	defer func() { _ = s.device.Close() }()
	hurry := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(past) })
	defer hurry()
	if !s.open(ctx) {
		s.endSession(ctx)
		s.linger()
		return
	}
	defer s.server.Close()
	finish := context.AfterFunc(ctx, func() { _ = s.server.SetWriteDeadline(time.Now().Add(settleWithin)) })
	defer finish()
	s.front.opened.WithLabelValues(versions[s.connect.level]).Inc()
	var down sync.WaitGroup
	down.Go(s.toClient)
	s.toServer(ctx)
	down.Wait()
	s.endSession(ctx)
	s.linger()
}

// open connects the client. It returns false if that failed; then the client has its
// answer.
func (s *session) open(ctx context.Context) bool {
	_ = s.device.SetDeadline(time.Now().Add(s.front.within))
	if ctx.Err() != nil {
		return false
	}
	if !s.secure(ctx) {
		return false
	}
	body, err := s.readConnect(ctx)
	if err == nil {
		s.connect, err = parseConnect(body)
		s.client = string(s.connect.clientID)
	}
	if err != nil {
		s.refuseConnect(err)
		return false
	}
	_ = s.device.SetDeadline(time.Time{})
	if ctx.Err() != nil {
		return false
	}
	if s.client == "" {
		// As long as one that nats-server makes.
		s.client = rand.Text()[:22]
		s.connect.clientID, s.assigned = []byte(s.client), s.client
	}
	if err := s.front.gate.enter(ctx, brake.Network(s.host), s.front.patience); err != nil {
		if ctx.Err() == nil {
			s.refuseConnect(err)
		}
		return false
	}
	code, present := s.admit(ctx)
	s.front.gate.leave()
	if code == codeUnavailable {
		s.front.refused.WithLabelValues(string(ReasonServer)).Inc()
	}
	if code == 0 && s.front.direct != nil {
		s.pinged = time.Now()
		s.mayPublish = s.front.deps.MayPublish(s.claims())
	}
	_, err = slowly{s.device}.Write(s.connect.appendConnAck(nil, code, present, s.assigned, ""))
	// The texts are parts of the buffer, which is used again.
	s.connect.clientID, s.connect.will, s.connect.user, s.connect.password = nil, nil, nil, nil
	if code != 0 {
		return false
	}
	s.inFlight.limit(int(s.connect.receiveMaximum))
	if err != nil {
		_ = s.server.Close()
		s.left = true
	}
	return err == nil
}

// secure does the handshake of TLS, if there is TLS. It returns false if that failed.
func (s *session) secure(ctx context.Context) bool {
	secure := s.front.deps.TLS
	if secure.Config == nil {
		return true
	}
	conn, err := process.Greet(ctx, s.device, secure.Config)
	if err != nil {
		if secure.Refused != nil && ctx.Err() == nil {
			secure.Refused(err)
		}
		return false
	}
	s.device, s.up.src = conn, conn
	if _, isSecure := conn.(*tls.Conn); !isSecure && !secure.PlainToo {
		s.front.refuse(errPlain, "", s.host)
		return false
	}
	return true
}

// readConnect reads the first packet.
func (s *session) readConnect(ctx context.Context) ([]byte, error) {
	p := &s.up
	for {
		if p.w > 0 && p.buf[0] != typeConnect<<4 {
			return nil, errProtocol
		}
		_, size, head, err := header(p.buf[:p.w])
		switch {
		case err != nil:
			return nil, errProtocol
		case size > maxConnect:
			return nil, errConnectSize
		case head > 0 && p.w >= head+size:
			p.r, p.run = head+size, head+size
			return p.buf[head : head+size], nil
		}
		if err := p.fill(); err != nil {
			if netError, ok := errors.AsType[net.Error](err); ok && netError.Timeout() && ctx.Err() == nil {
				return nil, errSlow
			}
			if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
				return nil, errProtocol
			}
			return nil, err
		}
	}
}

// refuseConnect answers a first packet that is refused.
func (s *session) refuseConnect(err error) {
	s.front.refuse(err, s.client, s.host)
	why, ok := errors.AsType[*refusal](err)
	if !ok || s.connect.level == 0 {
		return
	}
	_, _ = slowly{s.device}.Write(s.connect.appendConnAck(nil, why.code, false, "", why.text))
}

// admit connects to nats-server as the client, and returns its answer as a reason code of
// MQTT 5, and whether it has a session of the client.
func (s *session) admit(ctx context.Context) (code byte, present bool) {
	if s.connect.level == level5 && s.connect.keepAlive == 0 {
		s.connect.keepAlive = longestSilence
	}
	if wait := s.front.endings.take(s.client); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
	user, err := s.origin(&s.connect)
	if err != nil {
		return codePassword, false
	}
	keeps := s.connect.keeps()
	switch {
	case s.connect.clean && keeps:
		// The first connection ends the old session, the second one begins one that stays.
		server, code, _ := s.dial(ctx, &s.connect, user, true, false)
		if code != 0 {
			return code, false
		}
		hangUp(server)
	case !s.connect.clean && !keeps && s.assigned == "":
		// The client continues an old session, if there is one, and that ends with this
		// connection. MQTT 3.1.1 needs another connection for the end. A new session ends
		// by itself.
		server, code, present := s.dial(ctx, &s.connect, user, false, true)
		if code != 0 {
			return code, false
		}
		if present {
			s.attach(server)
			last := s.connect
			last.will = nil
			last.clientID, last.user, last.password = bytes.Clone(last.clientID), bytes.Clone(last.user), bytes.Clone(last.password)
			s.last, s.ending = &last, s.front.endings.add(s.client)
			return 0, true
		}
		hangUp(server)
	}
	server, code, present := s.dial(ctx, &s.connect, user, !keeps, true)
	if code != 0 {
		return code, false
	}
	s.attach(server)
	return 0, present && !s.connect.clean
}

// attach has packets pass between the client and a connection to nats-server.
func (s *session) attach(server net.Conn) {
	s.server = server
	s.up.dst, s.down.src, s.down.dst = server, server, toDevice{s}
}

// endSession ends the session of a client that has left, if it must end with the
// connection. It stays if another connection has
// taken it over, also of another front: then nats-server has closed this one. A client whose
// front stops comes back.
func (s *session) endSession(ctx context.Context) {
	if s.last == nil {
		return
	}
	ends := s.front.endings
	defer ends.finish(s.client, s.ending)
	if !s.left || ctx.Err() != nil {
		return
	}
	if s.front.gate.enter(ctx, brake.Network(s.host), s.front.patience) != nil {
		return // the next connection finds the session
	}
	defer s.front.gate.leave()
	if !ends.begin(s.client, s.ending) {
		return
	}
	user, err := s.origin(s.last)
	if err != nil {
		return
	}
	if server, code, _ := s.dial(ctx, s.last, user, true, false); code == 0 {
		hangUp(server)
	}
}

// hangUp ends a connection to nats-server, and returns when nats-server is done with it.
func hangUp(server net.Conn) {
	_, _ = server.Write([]byte{typeDisconnect << 4, 0})
	_ = server.SetReadDeadline(time.Now().Add(answerWithin))
	_, _ = io.Copy(io.Discard, server)
	_ = server.Close()
}

// origin is the name of the user that tells login where the client comes from.
func (s *session) origin(c *connect) (string, error) {
	o := login.Origin{Host: s.host, User: string(c.user), Sent: time.Now().Unix(), Certificate: certificate(s.device)}
	return s.front.deps.Seal.Close(o, string(escape.ID(nil, c.clientID))) //nolint:wrapcheck // it is not reported
}

// claims are what the client has said of itself.
func (s *session) claims() login.Device {
	return login.Device{
		Protocol: login.ProtocolMQTT, Host: s.host, ClientID: s.client, User: string(s.connect.user), Password: string(s.connect.password),
		Certificate: certificate(s.device),
	}
}

// maxURIs bounds the names of a certificate that are passed on.
const maxURIs = 8

// certificate is what the client has shown over TLS.
func certificate(conn net.Conn) (c login.Certificate) {
	secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return c
	}
	state := secure.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return c
	}
	leaf := state.PeerCertificates[0]
	sum := sha256.Sum256(leaf.Raw)
	c.Fingerprint = hex.EncodeToString(sum[:])
	for _, uri := range leaf.URIs[:min(len(leaf.URIs), maxURIs)] {
		c.URIs = append(c.URIs, uri.String())
	}
	return c
}

// dial opens a connection to nats-server and sends the first packet on it. After a code
// other than 0 there is none.
func (s *session) dial(ctx context.Context, c *connect, user string, clean, withWill bool) (server net.Conn, code byte, present bool) {
	dialer := net.Dialer{Timeout: connectWithin}
	server, err := dialer.DialContext(ctx, "tcp", s.front.deps.Server)
	if err != nil {
		return nil, codeUnavailable, false
	}
	hurry := context.AfterFunc(ctx, func() { _ = server.SetReadDeadline(past) })
	_ = server.SetDeadline(time.Now().Add(answerWithin))
	var answer [4]byte
	if _, err = server.Write(c.appendTo(nil, user, clean, withWill)); err == nil {
		_, err = io.ReadFull(server, answer[:])
	}
	if !hurry() || err != nil || answer[0] != typeConnAck<<4 || answer[1] != 2 {
		_ = server.Close()
		return nil, codeUnavailable, false
	}
	_ = server.SetDeadline(time.Time{})
	if answer[3] != 0 {
		_ = server.Close()
		return nil, reasonCode(answer[3]), false
	}
	return server, 0, answer[2]&1 != 0
}

// slowly writes to a client that may be slow, but not dead.
type slowly struct{ net.Conn }

func (c slowly) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(writeWithin))
	return c.Conn.Write(b) //nolint:wrapcheck // it stands in for the connection
}

// toServer passes on what the client sends. When the client is done, nats-server sees the
// end of its connection, after all that was sent.
func (s *session) toServer(ctx context.Context) {
	err := s.up.move()
	s.left = ctx.Err() == nil && !s.up.broken && !s.closed.Load()
	close(s.quiet)
	switch why, refused := errors.AsType[*refusal](err); {
	case refused:
		s.front.refuse(err, s.client, s.host)
		s.farewell.Store(int32(why.code))
	case errors.Is(err, errLeft):
		s.farewell.Store(-1)
	case ctx.Err() != nil && !s.up.broken:
		s.farewell.CompareAndSwap(codeUnspecified, codeShuttingDown)
		s.settle()
	}
	if tcp, ok := s.server.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = s.server.SetReadDeadline(time.Now().Add(answerWithin))
}

// settle waits a moment until everything that the client has sent is acknowledged.
func (s *session) settle() {
	timeout := time.NewTimer(settleWithin)
	defer timeout.Stop()
	for s.unanswered.Load() > 0 || s.debts.len() > 0 {
		select {
		case <-s.answered:
		case <-timeout.C:
			return
		}
	}
}

// toClient passes on what nats-server sends, until it closes the connection.
func (s *session) toClient() {
	err := s.down.move()
	if !s.down.broken {
		s.closed.Store(true)
	}
	close(s.over)
	s.tear()
	if s.down.broken {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			s.front.refuse(errReader, s.client, s.host)
		}
		// Nats-server gets what the client has sent before it went.
		_ = s.device.SetReadDeadline(time.Now().Add(lingerFor))
		_, _ = io.Copy(io.Discard, s.server)
		return
	}
	_ = s.device.SetReadDeadline(past)
	if code := s.farewell.Load(); code >= 0 && s.connect.level == level5 && s.down.rest == 0 {
		_, _ = slowly{s.device}.Write([]byte{typeDisconnect << 4, 1, byte(code)})
	}
}

// linger ends the connection so that the client receives what was written last, although it
// may still be sending.
func (s *session) linger() {
	if half, ok := s.device.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = s.device.SetReadDeadline(time.Now().Add(lingerFor))
		_, _ = io.Copy(io.Discard, s.device)
	}
}

// inFlight holds the messages that a client has not acknowledged.
type inFlight struct {
	mu   sync.Mutex // guards what follows
	most int
	ids  map[uint16]struct{}
	free chan struct{}
}

// limit bounds the messages; 0 means any number.
func (f *inFlight) limit(most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.most, f.ids, f.free = most, make(map[uint16]struct{}), make(chan struct{}, 1)
}

// add adds a message, or returns false if there are too many.
func (f *inFlight) add(id uint16) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most == 0 {
		return true
	}
	// Nats-server may send a message again.
	if _, again := f.ids[id]; !again && len(f.ids) >= f.most {
		return false
	}
	f.ids[id] = struct{}{}
	return true
}

func (f *inFlight) remove(id uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ids, id)
	select {
	case f.free <- struct{}{}:
	default:
	}
}

// counts is a queue of numbers.
type counts struct {
	mu      sync.Mutex
	numbers []int // guarded by mu
}

// maxCounts bounds the queue.
const maxCounts = 256

// push returns false if the queue is full.
func (c *counts) push(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.numbers) >= maxCounts {
		return false
	}
	c.numbers = append(c.numbers, n)
	return true
}

func (c *counts) pop() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.numbers) == 0 {
		return 0
	}
	n := c.numbers[0]
	c.numbers = slices.Delete(c.numbers, 0, 1)
	return n
}
