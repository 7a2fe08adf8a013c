package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/streams"
	"headwater/streams/streamtest"
)

const within = streamtest.Patience

// given is a message that a reader gave to the bridges.
type given struct {
	topic, payload string
	done           func(error)
}

// bridges are given messages.
type bridges chan given

func (b bridges) Publish(topic string, payload []byte, done func(error)) error {
	b <- given{topic, string(payload), done}
	return nil
}

// next returns the next message, which must be that one.
func (b bridges) next(t *testing.T, topic, payload string) given {
	t.Helper()
	select {
	case g := <-b:
		if g.topic != topic || g.payload != payload {
			t.Fatalf("the bridges were given %q on %s, want %q on %s", g.payload, g.topic, payload, topic)
		}
		return g
	case <-time.After(within):
		t.Fatalf("the bridges were not given %q", payload)
	}
	return given{}
}

// script is a broker that does what a test says.
type script struct {
	net.Listener
	v5      bool
	filters int
}

// session is a connection of the reader to it.
type session struct {
	net.Conn
	in *bufio.Reader
	v5 bool
}

// accept takes the next connection, its log-in and its subscription.
func (s script) accept(t *testing.T, continued bool) session {
	t.Helper()
	conn, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(within))
	c := session{conn, bufio.NewReader(conn), s.v5}
	if p := c.read(t); p.kind != kindConnect || p.body[7]&2 != 0 {
		t.Fatalf("packet %d with flags %x, want a CONNECT that keeps the session", p.kind, p.body[7])
	}
	body := []byte{0, 0}
	if continued {
		body[0] = 1
	}
	if s.v5 {
		body = append(body, 5, 0x21, 0, 20, 0x25, 1) // properties that do not matter
	}
	c.send(t, appendPacket(nil, kindConnAck<<4, body))
	if p := c.read(t); p.kind != kindSubscribe {
		t.Fatalf("packet %d, want SUBSCRIBE", p.kind)
	}
	body = []byte{0, subscription}
	if s.v5 {
		body = append(body, 0)
	}
	c.send(t, appendPacket(nil, kindSubAck<<4, append(body, slices.Repeat([]byte{1}, s.filters)...)))
	return c
}

func (c session) read(t *testing.T) packet {
	t.Helper()
	p, _, err := readPacket(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (c session) send(t *testing.T, packets ...[]byte) {
	t.Helper()
	for _, p := range packets {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	again    = 8
	retained = 1
)

// publish sends a message with QoS 1.
func (c session) publish(t *testing.T, flags byte, id uint16, topic, payload string) {
	t.Helper()
	body := append(appendText(nil, topic), byte(id>>8), byte(id))
	if c.v5 {
		body = append(body, 5, 0x02, 0, 0, 0, 60) // it expires
	}
	c.send(t, appendPacket(nil, kindPublish<<4|2|flags, append(body, payload...)))
}

// acknowledged waits for the acknowledgements of messages, in that order.
func (c session) acknowledged(t *testing.T, ids ...uint16) {
	t.Helper()
	for _, want := range ids {
		p := c.read(t)
		in := cursor{b: p.body}
		if id := in.uint16(); p.kind != kindPubAck || id != want {
			t.Fatalf("packet %d of %d, want the acknowledgement of %d", p.kind, id, want)
		}
	}
}

// reading starts a reader of a script.
func reading(t *testing.T, version string, edit ...func(*Config)) (script, bridges, *Reader) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	cfg := Config{From: "mqtt://" + listener.Addr().String(), Topics: []string{"#"}, Version: version}
	for _, f := range edit {
		f(&cfg)
	}
	given := make(bridges, 100)
	r, err := New(cfg, Deps{Store: given, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return script{listener, version == "5", len(cfg.Topics)}, given, r
}

// TestAcknowledgesWhatIsStored checks that the broker hears of a message when it is stored and
// not before, and that what it sends again after a lost connection is not stored twice.
func TestAcknowledgesWhatIsStored(t *testing.T) {
	for _, version := range []string{"3.1.1", "5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			broker, given, r := reading(t, version)
			c := broker.accept(t, false)
			c.publish(t, 0, 1, "sensors/a/b/c", "1")
			c.publish(t, 0, 2, "sensors/a/b/c", "2")
			c.publish(t, 0, 3, "sensors/a/b/c", "3")
			first := given.next(t, "sensors/a/b/c", "1")
			second := given.next(t, "sensors/a/b/c", "2")
			third := given.next(t, "sensors/a/b/c", "3")
			second.done(nil) // it is acknowledged after the first, as MQTT wants it
			first.done(nil)
			c.acknowledged(t, 1, 2)
			_ = c.Close()

			third.done(nil) // stored, but the connection is gone
			c = broker.accept(t, true)
			c.publish(t, again, 2, "sensors/a/b/c", "2") // the acknowledgement did not arrive
			c.publish(t, again, 3, "sensors/a/b/c", "3")
			c.acknowledged(t, 2, 3)
			c.publish(t, 0, 3, "sensors/a/b/c", "3")     // another message with the same content
			c.publish(t, again, 1, "sensors/a/b/c", "9") // another one that did not arrive before
			given.next(t, "sensors/a/b/c", "3").done(nil)
			given.next(t, "sensors/a/b/c", "9").done(nil)
			c.acknowledged(t, 3, 1)
			if n := testutil.ToFloat64(r.repeated); n != 2 {
				t.Errorf("%v messages were taken for repeats, want 2", n)
			}
		})
	}
}

// TestSendsAgain checks what the broker sends again while the bridges have not answered, after
// they have refused, and in a session that it does not continue.
func TestSendsAgain(t *testing.T) {
	t.Parallel()
	broker, given, _ := reading(t, "3.1.1")
	c := broker.accept(t, false)
	c.publish(t, 0, 1, "a", "1")
	waiting := given.next(t, "a", "1")
	_ = c.Close()
	c = broker.accept(t, true)
	c.publish(t, again, 1, "a", "1")
	c.publish(t, 0, 2, "a", "2")
	refused := given.next(t, "a", "2") // the first one is not given again
	waiting.done(nil)
	c.acknowledged(t, 1)
	refused.done(errors.New("the disk is full"))
	c = broker.accept(t, true) // it connects again, so that the broker sends again
	c.publish(t, again, 2, "a", "2")
	given.next(t, "a", "2").done(nil)
	c.acknowledged(t, 2)
	_ = c.Close()
	c = broker.accept(t, false)
	c.publish(t, again, 2, "a", "2") // the broker numbers from 1 again
	given.next(t, "a", "2").done(nil)
	c.acknowledged(t, 2)
}

// TestSkips checks what is acknowledged and not stored.
func TestSkips(t *testing.T) {
	t.Parallel()
	broker, given, r := reading(t, "3.1.1", func(c *Config) { c.Topics = []string{"a/#", "commands/#"} })
	c := broker.accept(t, false)
	c.publish(t, retained, 1, "a/b", "of yesterday")
	c.publish(t, 0, 2, "commands/d", "on")
	c.publish(t, 0, 3, "b/b", "of another subscription")
	c.publish(t, 0, 4, "a/large", strings.Repeat("x", streams.MaxDevicePayload+1))
	c.publish(t, 0, 5, "a/larger", strings.Repeat("x", maxPacket))
	c.publish(t, 0, 6, "a//b", "1")
	given.next(t, "a//b", "1").done(nil)
	c.acknowledged(t, 1, 2, 3, 4, 5, 6)
	for reason, want := range map[string]float64{skipRetained: 1, skipCommand: 1, skipTopic: 1, skipTooLarge: 2} {
		if n := testutil.ToFloat64(r.skipped.WithLabelValues(reason)); n != want {
			t.Errorf("%v messages skipped as %s, want %v", n, reason, want)
		}
	}
}

// TestForgets checks that a message is not taken for an earlier one of which the broker knows
// for long that it was stored.
func TestForgets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		lasted time.Duration
		want   []uint16
	}{{time.Minute, []uint16{2, 3}}, {time.Second, []uint16{2, 3, 5}}} {
		r := &Reader{flights: make(map[uint16]*flight)}
		l, old := &link{reader: r, began: now.Add(-test.lasted)}, &link{reader: r}
		r.flights = map[uint16]*flight{
			1: {link: l, acknowledged: now.Add(-2 * arrives)}, 2: {link: l, acknowledged: now}, 3: {link: l, stored: true},
			4: {link: l, failed: true}, 5: {link: old},
		}
		r.end(l, now)
		if kept := slices.Sorted(maps.Keys(r.flights)); !slices.Equal(kept, test.want) {
			t.Errorf("after %s: kept %v, want %v", test.lasted, kept, test.want)
		}
	}
}

func TestRefusedLogIn(t *testing.T) {
	for _, test := range []struct {
		v5   bool
		body []byte
		want string
	}{
		{false, []byte{0, 5}, "not authorised"},
		{false, []byte{0, 1}, "--from-version"},
		{true, append([]byte{0, 0x86, 7, 0x1f, 0, 4}, "nope"...), "user or password: nope"},
		{true, []byte{0, 0x99, 0}, "code 153"},
		{true, []byte{0}, errMalformed.Error()},
	} {
		_, _, err := accepted(packet{kind: kindConnAck, body: test.body}, test.v5)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%x: %v, want %s", test.body, err, test.want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		filter, topic string
		want          bool
	}{
		{"#", "a/b", true},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"a/#", "b", false},
		{"a/+", "a/b", true},
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"+/b", "a/b", true},
		{"a", "a/b", false},
		{"a/b", "a", false},
		{"+", "", true},
		{"a/+/c", "a//c", true},
	} {
		if got := matches(test.filter, test.topic); got != test.want {
			t.Errorf("%s takes %q: %v", test.filter, test.topic, got)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Config{From: "mqtts://joe@broker.example", Topics: []string{"#", "a/+/b"}, Version: "5", PasswordFile: "f"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if b, _ := good.broker(); b.address != "broker.example:8883" || b.user != "joe" || !b.secure {
		t.Errorf("%+v", b)
	}
	for want, c := range map[string]Config{
		"need --from":          {PasswordFile: "f"},
		"give it as":           {From: "http://h", Topics: []string{"#"}},
		"password-file":        {From: "mqtt://u:p@h", Topics: []string{"#"}},
		"name the user":        {From: "mqtt://h", Topics: []string{"#"}, PasswordFile: "f"},
		"they need mqtts":      {From: "mqtt://h", Topics: []string{"#"}, CA: "f"},
		"belong together":      {From: "mqtts://h", Topics: []string{"#"}, Cert: "f"},
		"0 of them":            {From: "mqtt://h"},
		"a whole level":        {From: "mqtt://h", Topics: []string{"a/b+"}},
		"does not begin with ": {From: "mqtt://h", Topics: []string{"$SYS/#"}},
	} {
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
		if err != nil && strings.Contains(fmt.Sprint(err), "u:p") {
			t.Errorf("%v shows the password", err)
		}
	}
}

// FuzzPacket checks that nothing that a broker sends panics.
func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x32, 7, 0, 1, 'a', 0, 1, '2', '1'}, false)
	f.Add([]byte{0x32, 9, 0, 1, 'a', 0, 1, 2, 0x01, 1, '2'}, true)
	f.Add([]byte{0x20, 2, 1, 0}, false)
	f.Add([]byte{0x90, 4, 0, 1, 0, 1}, true)
	f.Fuzz(func(_ *testing.T, data []byte, v5 bool) {
		p, _, err := readPacket(bufio.NewReader(strings.NewReader(string(data))), nil)
		if err != nil {
			return
		}
		_, _ = parseMessage(p, v5)
		_, _, _ = accepted(p, v5)
		_, _, _ = granted(p, []string{"#"}, v5)
		_ = left(p)
	})
}
