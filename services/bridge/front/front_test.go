package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge/login"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// tape is a connection of which everything to read is there already, in pieces.
type tape struct {
	net.Conn
	pieces [][]byte
	out    bytes.Buffer
}

func (c *tape) Read(b []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *tape) Write(b []byte) (int, error) { return c.out.Write(b) }

func (c *tape) SetReadDeadline(time.Time) error { return nil }

// cut cuts b into pieces.
func cut(b []byte, random *rand.Rand) (pieces [][]byte) {
	for len(b) > 0 {
		n := 1 + random.IntN(min(len(b), 1+random.IntN(3000)))
		pieces, b = append(pieces, b[:n]), b[n:]
	}
	return pieces
}

// deps are for a front that reports to nobody.
func deps() Deps {
	return Deps{Seal: login.NewSeal([]byte("seed")), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}
}

func newFront(tb testing.TB, d Deps) *Front {
	tb.Helper()
	f, err := New(Config{Connections: 1000, PerAddress: 100, ConnectsPerSec: 100}, d)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// translate returns what becomes of bytes of a client (up) or of nats-server, and why it
// ends.
func translate(f *Front, level byte, up bool, pieces [][]byte) ([]byte, error) {
	in, out := &tape{pieces: pieces}, new(tape)
	s := newSession(f, in, "192.0.2.1")
	s.connect.level = level
	s.inFlight.limit(0)
	p := &s.up
	if !up {
		p = &s.down
		s.unsubscribes.push(2)
	}
	p.src, p.dst = in, out
	err := p.move()
	return out.out.Bytes(), err
}

// publishing returns a PUBLISH with QoS 1, with properties for MQTT 5.
func publishing(topic string, payload int, properties ...byte) []byte {
	body := append(appendText(nil, topic), 0, 7)
	body = append(body, properties...)
	return appendPacket(nil, 0x32, body, bytes.Repeat([]byte{'x'}, payload))
}

func subscription(first byte, parts ...[]byte) []byte {
	return appendPacket(nil, first, slices.Concat(parts...))
}

func TestPacketsAreTranslated(t *testing.T) {
	f := newFront(t, deps())
	id, text := []byte{0, 9}, func(s string) []byte { return appendText(nil, s) }
	for _, c := range []struct {
		name     string
		level    byte
		down     bool
		in, want []byte
		err      error
	}{
		{name: "ordinary", level: 4, in: publishing("sensors/hall/door-1/t", 5), want: publishing("sensors/hall/door-1/t", 5)},
		{name: "space", level: 4, in: publishing("sensors/hall/living room/t", 5), want: publishing("sensors/hall/living%20room/t", 5)},
		{name: "3.1 is 3.1.1", level: 3, in: publishing("a/*", 5), want: publishing("a/%2A", 5)},
		{name: "large", level: 4, in: publishing("a b", streams.MaxDevicePayload), want: publishing("a%20b", streams.MaxDevicePayload)},
		{name: "too large", level: 4, in: publishing("a", streams.MaxDevicePayload+1), err: errPayload},
		{name: "longest topic", level: 4, in: publishing(strings.Repeat("*", maxName), 1), want: publishing(strings.Repeat("%2A", maxName), 1)},
		{name: "long topic", level: 4, in: publishing(strings.Repeat("a", maxName+1), 1), err: errTopic},
		{name: "longest size of a topic", level: 4, in: publishing(strings.Repeat("a", 65535), 1), err: errTopic},
		{name: "no topic", level: 4, in: publishing("", 1), err: errTopic},
		{name: "wildcard", level: 4, in: publishing("a/+", 1), err: errTopic},
		{name: "NUL", level: 4, in: publishing("a\x00", 1), err: errTopic},
		{name: "broken UTF-8", level: 4, in: publishing("a\xff", 1), err: errTopic},
		{name: "umlaut", level: 4, in: publishing("tür", 1), want: publishing("tür", 1)},
		{name: "QoS 3", level: 4, in: []byte{0x36, 5, 0, 1, 'a', 0, 1}, err: errMalformed},
		{name: "short", level: 4, in: []byte{0x32, 3, 0, 1, 'a'}, err: errMalformed},
		{name: "size without end", level: 4, in: []byte{0x32, 0xff, 0xff, 0xff, 0xff, 1}, err: errMalformed},
		{name: "largest size", level: 4, in: slices.Concat([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, text("a")), err: errPayload},
		{name: "subscribe", level: 4, in: subscription(0x82, id, text("a/+"), []byte{1}, text("b c/#"), []byte{0}), want: subscription(0x82, id, text("a/+"), []byte{1}, text("b%20c/#"), []byte{0})},
		{name: "options before 5", level: 4, in: subscription(0x82, id, text("a"), []byte{4}), err: errMalformed},
		{name: "no filter", level: 4, in: subscription(0x82, id), err: errMalformed},
		{name: "unsubscribe", level: 4, in: subscription(0xa2, id, text("a b")), want: subscription(0xa2, id, text("a%20b"))},
		{name: "flags", level: 4, in: subscription(0x80, id, text("a"), []byte{1}), err: errMalformed},
		{name: "large subscribe", level: 4, in: appendPacket(nil, 0x82, make([]byte, maxControl+1)), err: errTooLarge},
		{name: "ping and acknowledgements", level: 4, in: []byte{0xc0, 0, 0x40, 2, 0, 1, 0x62, 2, 0, 1}, want: []byte{0xc0, 0, 0x40, 2, 0, 1, 0x62, 2, 0, 1}},
		{name: "leaves", level: 4, in: []byte{0xe0, 0, 0xc0, 0}, want: []byte{0xe0, 0}, err: errLeft},
		{name: "second connect", level: 4, in: []byte{0x10, 0}, err: errMalformed},
		{name: "packet of a server", level: 4, in: []byte{0x20, 2, 0, 0}, err: errMalformed},

		{name: "5", level: 5, in: publishing("a", 5, 0), want: publishing("a", 5)},
		{name: "5 with properties", level: 5, in: publishing("a b", 5, 12, 2, 0, 0, 0, 9, 38, 0, 1, 'k', 0, 1, 'v'), want: publishing("a%20b", 5)},
		{name: "5 with an unknown property", level: 5, in: publishing("a", 5, 2, 4, 1), err: errMalformed},
		{name: "5 with a property twice", level: 5, in: publishing("a", 5, 4, 1, 1, 1, 1), err: errMalformed},
		{name: "5 with a property that is too short", level: 5, in: publishing("a", 5, 2, 2, 0), err: errMalformed},
		{name: "5 with properties that are too long", level: 5, in: publishing("a", 5, 0x7f), err: errMalformed},
		{name: "5 with very many properties", level: 5, in: publishing("a", 1<<17, 0xff, 0xff, 3), err: errTooLarge},
		{name: "5 without properties", level: 5, in: publishing("a", 0), err: errMalformed},
		{name: "5 with an alias", level: 5, in: publishing("", 5, 3, propTopicAlias, 0, 1), err: errAlias},
		{name: "5 subscribe", level: 5, in: subscription(0x82, id, []byte{0}, text("a"), []byte{0x2d}), want: subscription(0x82, id, text("a"), []byte{1})},
		{name: "5 shared", level: 5, in: subscription(0x82, id, []byte{0}, text("$share/g/a"), []byte{1}), err: errShared},
		{name: "5 subscription identifier", level: 5, in: subscription(0x82, id, []byte{2, propSubscriptionID, 1}, text("a"), []byte{1}), err: errIdentifier},
		{name: "5 unsubscribe", level: 5, in: subscription(0xa2, id, []byte{0}, text("a")), want: subscription(0xa2, id, text("a"))},
		{name: "5 acknowledgement with a reason", level: 5, in: []byte{0x40, 4, 0, 1, 0x10, 0}, want: []byte{0x40, 2, 0, 1}},
		{name: "5 acknowledgement with a code", level: 5, in: []byte{0x50, 3, 0, 1, 0x80}, want: []byte{0x50, 2, 0, 1}},
		{name: "5 leaves", level: 5, in: []byte{0xe0, 2, 0, 0}, want: []byte{0xe0, 0}, err: errLeft},
		{name: "5 leaves with its will", level: 5, in: []byte{0xc0, 0, 0xe0, 1, 4}, want: []byte{0xc0, 0}, err: errLeft},
		{name: "5 authentication", level: 5, in: []byte{0xf0, 0}, err: errMalformed},

		{name: "to the client", level: 4, down: true, in: publishing("a/b%20c", 5), want: publishing("a/b c", 5)},
		{name: "to the client, a percent sign", level: 4, down: true, in: publishing("50%2520", 5), want: publishing("50%20", 5)},
		{name: "to the client, as it is", level: 4, down: true, in: publishing("50%", 5), want: publishing("50%", 5)},
		{name: "to the client, answers", level: 4, down: true, in: []byte{0x40, 2, 0, 1, 0x90, 3, 0, 9, 0x80, 0xb0, 2, 0, 9, 0xd0, 0}, want: []byte{0x40, 2, 0, 1, 0x90, 3, 0, 9, 0x80, 0xb0, 2, 0, 9, 0xd0, 0}},
		{name: "to a client of 5", level: 5, down: true, in: publishing("b%20c", 5000), want: publishing("b c", 5000, 0)},
		{
			name: "to a client of 5, answers", level: 5, down: true,
			in:   []byte{0x40, 2, 0, 1, 0x90, 4, 0, 9, 0x80, 1, 0xb0, 2, 0, 9, 0xd0, 0},
			want: []byte{0x40, 2, 0, 1, 0x90, 5, 0, 9, 0, 0x87, 1, 0xb0, 5, 0, 9, 0, 0, 0, 0xd0, 0},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.err == nil {
				c.err = io.EOF
			}
			ping := []byte{0xc0, 0}
			if c.down {
				ping = []byte{0xd0, 0}
			}
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 20 {
				// What comes before and behind is not touched.
				in, want := slices.Concat(ping, c.in, ping), slices.Concat(ping, c.want, ping)
				if !errors.Is(c.err, io.EOF) {
					want = slices.Concat(ping, c.want)
				}
				pieces := [][]byte{in}
				if i > 0 {
					pieces = cut(in, random)
				}
				got, err := translate(f, c.level, !c.down, pieces)
				if err != c.err { //nolint:errorlint // each is a value of its own
					t.Fatalf("ends with %v, want %v", err, c.err)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("%x becomes\n%.200x, want\n%.200x", c.in[:min(len(c.in), 100)], got, want)
				}
			}
		})
	}
}

// FuzzPackets sends anything through a session: however it is cut into pieces, it ends the
// same way, and what arrives is MQTT 3.1.1 within the limits.
func FuzzPackets(f *testing.F) {
	f.Add(publishing("a b", 5), byte(4), uint64(1))
	f.Add(publishing("a b", 5, 12, 2, 0, 0, 0, 9, 38, 0, 1, 'k', 0, 1, 'v'), byte(5), uint64(2))
	f.Add([]byte{0x82, 8, 0, 9, 0, 0, 1, 'a', 0x2d, 0xc0, 0}, byte(5), uint64(3))
	f.Add([]byte{0xa2, 6, 0, 9, 0, 0, 1, 'a', 0x40, 4, 0, 1, 0x10, 0, 0xe0, 1, 4}, byte(5), uint64(4))
	f.Add([]byte{0x90, 4, 0, 9, 0x80, 1, 0xb0, 2, 0, 9, 0xd0, 0}, byte(5), uint64(5))
	f.Add(slices.Concat(publishing("%20", 3000), publishing("%2520", 3000), []byte{0xc0, 0}), byte(3), uint64(6))
	front := newFront(f, deps())
	f.Fuzz(func(t *testing.T, in []byte, level byte, seed uint64) {
		level = level31 + level%3
		for _, up := range []bool{true, false} {
			whole, wholeErr := translate(front, level, up, [][]byte{slices.Clone(in)})
			random := rand.New(rand.NewPCG(seed, seed))
			cutUp, cutErr := translate(front, level, up, cut(slices.Clone(in), random))
			if !bytes.Equal(whole, cutUp) || wholeErr != cutErr { //nolint:errorlint // each is a value of its own
				t.Fatalf("as a whole %x, %v; in pieces %x, %v", whole, wholeErr, cutUp, cutErr)
			}
			if !up {
				continue
			}
			// Once more, as a client of 3.1.1: nothing is left to be refused.
			again, err := translate(front, level311, true, [][]byte{whole})
			if why, refused := errors.AsType[*refusal](err); refused && why != errTopic { // escapes are longer
				t.Fatalf("%x becomes %x, which is refused: %s", in, again, why)
			}
		}
	})
}

// connecting returns a CONNECT.
func connecting(level byte, id string) []byte {
	name := "MQTT"
	if level&^bridgeBit == level31 {
		name = "MQIsdp"
	}
	body := append(appendText(nil, name), level, flagClean, 0, 60)
	if level == level5 {
		body = append(body, 0)
	}
	return appendPacket(nil, typeConnect<<4, body, appendText(nil, id))
}

func FuzzConnect(f *testing.F) {
	f.Add(connecting(3, "a")[2:])
	f.Add(connecting(0x84, "host.name")[2:])
	f.Add(connecting(5, "")[2:])
	f.Add([]byte("\x00\x04MQTT\x05\xee\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x01a\x00\x00\x03w x\x00\x01p\x00\x01u\x00\x01p"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseConnect(body)
		if err != nil {
			if c.level != 0 {
				c.appendConnAck(nil, codeVersion, false, "", "why")
			}
			return
		}
		packet := c.appendTo(nil, "user", c.clean, true)
		_, size, head, err := header(packet)
		if err != nil || head+size != len(packet) {
			t.Fatalf("%x becomes %x", body, packet)
		}
		again, err := parseConnect(packet[head:])
		if why, refused := errors.AsType[*refusal](err); refused && why != errTopic && why != errClientID { // escapes are longer
			t.Fatalf("%x becomes %x: %v", body, packet, err)
		}
		if again.level != level311 || again.keepAlive != c.keepAlive || (again.will == nil) != (c.will == nil) || !bytes.Equal(again.password, c.password) {
			t.Errorf("%+v becomes %+v", c, again)
		}
	})
}

// fake is a nats-server that says yes, and keeps what it gets.
type fake struct {
	net.Listener
	running sync.WaitGroup

	mu  sync.Mutex
	got [][]byte // by connection; guarded by mu

	// hold, if not nil, withholds the answers until it is closed.
	hold chan struct{}
}

func newFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fake{Listener: l}
	s.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.running.Wait()
	})
	return s
}

func (s *fake) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	at := len(s.got)
	s.got = append(s.got, nil)
	s.mu.Unlock()
	buf := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := conn.Read(buf)
		s.mu.Lock()
		s.got[at] = append(s.got[at], buf[:n]...)
		s.mu.Unlock()
		if err != nil {
			return
		}
		if bytes.HasSuffix(buf[:n], []byte{0xe0, 0}) {
			return
		}
		if first {
			if s.hold != nil {
				<-s.hold
			}
			_, _ = conn.Write([]byte{0x20, 2, 1, 0})
		}
	}
}

// all returns what each connection has sent.
func (s *fake) all() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// from is a listener whose clients seem to come from an address.
type from struct {
	net.Listener
	address net.Addr
}

type fromConn struct {
	*net.TCPConn
	address net.Addr
}

func (l from) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return fromConn{conn.(*net.TCPConn), l.address}, nil
}

func (c fromConn) RemoteAddr() net.Addr { return c.address }

// serve runs a front for clients of 192.0.2.7 until the test ends. It returns what opens a
// connection to it, and the clients that it refuses.
func serve(t *testing.T, d Deps, within time.Duration, change ...func(*Front)) (dial func() net.Conn, refused chan Refused) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused = make(chan Refused, 1000)
	d.Refused = func(r Refused) { refused <- r }
	f := newFront(t, d)
	f.within = within
	for _, c := range change {
		c(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, from{l, &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 1}}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	dial = func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return dial, refused
}

// exchange sends bytes and returns what comes until the connection is closed.
func exchange(t *testing.T, conn net.Conn, in ...[]byte) []byte {
	t.Helper()
	if _, err := conn.Write(slices.Concat(in...)); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is not closed; it sent %x", out)
	}
	return out
}

func TestClientsAreRefusedInTheirOwnForm(t *testing.T) {
	d := deps()
	d.Server = newFake(t).Addr().String()
	dial, refused := serve(t, d, time.Minute)
	hasReason := func(code byte) func([]byte) bool {
		return func(out []byte) bool { return len(out) > 5 && out[0] == 0x20 && out[2] == 0 && out[3] == code }
	}
	is := func(want ...byte) func([]byte) bool { return func(out []byte) bool { return bytes.Equal(out, want) } }
	endsWith := func(want ...byte) func([]byte) bool {
		return func(out []byte) bool { return bytes.HasSuffix(out, want) }
	}
	long := strings.Repeat("i", maxName+1)
	for _, c := range []struct {
		name   string
		in     []byte
		ok     func(out []byte) bool
		reason Reason
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), is(), ReasonProtocol},
		{"another protocol", appendPacket(nil, 0x10, appendText(nil, "MQTX"), []byte{4, 2, 0, 0, 0, 0}), is(), ReasonProtocol},
		{"level 2", slices.Concat([]byte{0x10, 14}, appendText(nil, "MQIsdp"), []byte{2, 2, 0, 0, 0, 0}), is(0x20, 2, 0, 1), ReasonVersion},
		{"level 6", slices.Concat([]byte{0x10, 12}, appendText(nil, "MQTT"), []byte{6, 2, 0, 0, 0, 0}), hasReason(codeVersion), ReasonVersion},
		{"too large", []byte{0x10, 0xff, 0xff, 0xff, 0x7f}, is(), ReasonConnect},
		{"long client id", connecting(4, long), is(0x20, 2, 0, 2), ReasonClientID},
		{"long client id of 5", connecting(5, long), hasReason(codeClientID), ReasonClientID},
		{"no client id of 3.1", connecting(3, ""), is(0x20, 2, 0, 2), ReasonClientID},
		{"truncated", append([]byte{0x10, 10}, connecting(4, "a")[2:12]...), is(), ReasonConnect},
		{"envelope", appendPacket(nil, 0x10, appendText(nil, "MQTT"), []byte{4, 0x82, 0, 0, 0, 1, 'a'}, appendText(nil, "headwater-front/1:x.y")), is(0x20, 2, 0, 4), ReasonUser},
		{"topic", slices.Concat(connecting(4, "a"), publishing(long, 1)), is(0x20, 2, 0, 0), ReasonTopic},
		{"topic of 5", slices.Concat(connecting(5, "a"), publishing(long, 1, 0)), endsWith(0xe0, 1, codeTopicName), ReasonTopic},
		{"payload of 5", slices.Concat(connecting(5, "a"), publishing("a", streams.MaxDevicePayload+1, 0)), endsWith(0xe0, 1, codePacketTooLarge), ReasonPayload},
		{"shared of 5", slices.Concat(connecting(5, "a"), subscription(0x82, []byte{0, 9, 0}, appendText(nil, "$share/g/a"), []byte{1})), endsWith(0xe0, 1, codeShared), ReasonUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out := exchange(t, dial(), c.in); !c.ok(out) {
				t.Errorf("the answer is %x", out)
			}
			if r := <-refused; r.Reason != c.reason || r.Host != "192.0.2.7" || r.Why == "" {
				t.Errorf("refused for %+v, want %s", r, c.reason)
			}
		})
	}
}

func TestAnAddressIsLimited(t *testing.T) {
	d := deps()
	d.Server = newFake(t).Addr().String()
	dial, refused := serve(t, d, time.Minute)
	for range 100 { // PerAddress
		conn := dial()
		if _, err := conn.Write(connecting(4, "a")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if out, _ := io.ReadAll(dial()); len(out) > 0 {
		t.Errorf("one too many gets %x", out)
	}
	if r := <-refused; r.Reason != ReasonConnections {
		t.Errorf("refused for %+v", r)
	}
}

func TestASilentClientIsClosed(t *testing.T) {
	d := deps()
	d.Server = newFake(t).Addr().String()
	const within = 200 * time.Millisecond
	dial, refused := serve(t, d, within)
	begin := time.Now()
	if out := exchange(t, dial(), []byte{0x10, 20, 0}); len(out) > 0 {
		t.Errorf("it gets %x", out)
	}
	if took := time.Since(begin); took < within {
		t.Errorf("it is closed after %s", took)
	}
	if r := <-refused; r.Reason != ReasonSlow {
		t.Errorf("refused for %+v", r)
	}
}

// TestNatsServerSeesEverythingBeforeTheEnd has a client that sends much and goes at once.
func TestNatsServerSeesEverythingBeforeTheEnd(t *testing.T) {
	server, d := newFake(t), deps()
	d.Server = server.Addr().String()
	dial, _ := serve(t, d, time.Minute)
	conn := dial()
	var all []byte
	for range 200 {
		all = append(all, publishing("a b", 10_000)...)
	}
	if _, err := conn.Write(connecting(4, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(slices.Concat(all, []byte{0xe0, 0})); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	want := append(bytes.ReplaceAll(all, publishing("a b", 10_000), publishing("a%20b", 10_000)), 0xe0, 0)
	streamtest.Eventually(t, "everything arrives", func() bool {
		got := server.all()
		return len(got) == 1 && bytes.HasSuffix(got[0], want)
	})
}

// TestANewSessionThatStays has a client of MQTT 5 that wants a new session and keep it:
// one connection ends the old one.
func TestANewSessionThatStays(t *testing.T) {
	server, d := newFake(t), deps()
	d.Server = server.Addr().String()
	dial, _ := serve(t, d, time.Minute)
	conn := dial()
	body := append(appendText(nil, "MQTT"), 5, flagClean, 0, 0, 5, propSessionExpiry, 0, 0, 0, 60)
	if _, err := conn.Write(appendPacket(nil, 0x10, body, appendText(nil, "a.b"))); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	if answer[0] != 0x20 || answer[2] != 0 || answer[3] != 0 {
		t.Errorf("the answer is %x", answer)
	}
	got := server.all()
	if len(got) != 2 {
		t.Fatalf("%d connections", len(got))
	}
	for i, clean := range []bool{true, false} {
		_, size, head, err := header(got[i])
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseConnect(got[i][head : head+size])
		if !errors.Is(err, error(errUser)) || c.clean != clean || string(c.clientID) != "a%2Eb" || c.keepAlive != longestSilence {
			t.Errorf("connection %d: %+v, %v", i, c, err)
		}
	}
}

// connecting5 returns a CONNECT of MQTT 5 that continues the old session.
func connecting5(id string, properties ...byte) []byte {
	body := append(appendText(nil, "MQTT"), 5, 0, 0, 60, byte(len(properties)))
	return appendPacket(nil, typeConnect<<4, append(body, properties...), appendText(nil, id))
}

// TestASessionThatEndsWithItsConnection has clients of MQTT 5 continue an old session, and
// not say how long it stays then.
func TestASessionThatEndsWithItsConnection(t *testing.T) {
	server, d := newFake(t), deps()
	d.Server = server.Addr().String()
	var f *Front
	dial, _ := serve(t, d, time.Minute, func(front *Front) { f = front })
	// cleans are the flags for a clean session of the connections to nats-server that have
	// sent something.
	cleans := func() (all []bool) {
		for _, got := range server.all() {
			if len(got) == 0 {
				continue
			}
			_, _, head, _ := header(got)
			c, _ := parseConnect(got[head:]) // the name of the user is one that a client may not send
			all = append(all, c.clean)
		}
		return all
	}
	for _, leaves := range []bool{true, false} {
		conn, before := dial(), len(cleans())
		if _, err := conn.Write(connecting5("a")); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4)
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatal(err)
		}
		if answer[2] != 1 || answer[3] != 0 {
			t.Errorf("the answer is %x, without its session", answer)
		}
		if got := cleans()[before:]; !slices.Equal(got, []bool{false}) {
			t.Errorf("while it is connected: %v", got)
		}
		if leaves {
			if _, err := conn.Write([]byte{0xe0, 0}); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.Close()
		streamtest.Eventually(t, "the session is ended", func() bool { return slices.Equal(cleans()[before:], []bool{false, true}) })
	}
	streamtest.Eventually(t, "nothing is left of the sessions", func() bool {
		f.endings.mu.Lock()
		defer f.endings.mu.Unlock()
		return len(f.endings.byID) == 0
	})
}

func TestASessionIsTakenOver(t *testing.T) {
	e := newEndings()
	first := e.add("a")
	if e.take("a") != nil || e.begin("a", first) {
		t.Error("a session that another connection has is ended")
	}
	second := e.add("a")
	e.finish("a", first)
	if !e.begin("a", second) {
		t.Error("the session is not ended")
	}
	wait := e.take("a")
	select {
	case <-wait:
		t.Error("a connection does not wait until the old session has ended")
	default:
	}
	e.finish("a", second)
	<-wait
	if e.take("a") != nil || len(e.byID) > 0 {
		t.Error("something is left")
	}
}
