package simulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/simulator"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
	"headwater/streams/streamtest/ports"
)

// server is nats-server with somebody who answers what devices publish.
type server struct {
	*streamtest.Server

	mu sync.Mutex
	// found is what devices published with QoS 1, in the order of arrival.
	found []reading
}

// hear answers a message as stored.
func (s *server) hear(t testing.TB, m *nats.Msg) {
	s.mu.Lock()
	s.found = append(s.found, reading{streams.TopicFromMQTT(m.Subject), string(m.Data)})
	s.mu.Unlock()
	if err := m.Respond(streams.MQTTStored()); err != nil {
		t.Errorf("answer a message: %v", err)
	}
}

// broker starts nats-server, keeps what is published with QoS 1 and lets every
// device in whose password is the one given.
func broker(t testing.TB, password string) *server {
	t.Helper()
	s := &server{Server: streamtest.Run(t)}
	if err := streams.EnsureDevices(t.Context(), s.DevicesJS(t), streams.DeviceOptions{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	seed, err := s.IssuerSeed()
	if err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	devices := s.Conn(t, natsd.UserDevices)
	if _, err := devices.Subscribe(streams.MQTTAll, func(m *nats.Msg) { s.hear(t, m) }); err != nil {
		t.Fatal(err)
	}
	if err := devices.Flush(); err != nil {
		t.Fatal(err)
	}
	nc := s.Conn(t, natsd.UserAuth)
	if _, err := nc.Subscribe(natsserver.AuthCalloutSubject, func(m *nats.Msg) {
		request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			t.Errorf("read a request to log in: %v", err)
			return
		}
		response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
		response.Audience = request.Server.ID
		if request.ConnectOptions.Password == password {
			user := jwt.NewUserClaims(request.UserNkey)
			user.Audience = natsd.AccountDevices
			response.Jwt, err = user.Encode(key)
		} else {
			response.Error = "wrong password"
		}
		var token string
		if err == nil {
			token, err = response.Encode(key)
		}
		if err == nil {
			err = m.Respond([]byte(token))
		}
		if err != nil {
			t.Errorf("answer a request to log in: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// reading is what nats-server kept of one publish.
type reading struct {
	topic, payload string
}

// kept returns what devices published with QoS 1, in the order of arrival.
func (s *server) kept() []reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.found)
}

func fleetOf(t testing.TB, address string, deps simulator.Deps, change func(*simulator.Config)) *simulator.Service {
	t.Helper()
	cfg := simulator.DefaultConfig()
	cfg.MQTT = []string{"tcp://" + address}
	cfg.Warehouse = false
	change(&cfg)
	s, err := simulator.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run waits for the end of a fleet, a minute at most.
func run(t testing.TB, s *simulator.Service) simulator.Counts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("the fleet did not come to its end: %+v", s.Counts())
	}
	return s.Counts()
}

func TestEveryReadingIsPublishedOnceAndAcknowledged(t *testing.T) {
	s := broker(t, "")
	const count = 3000
	var summary bytes.Buffer
	metrics := prometheus.NewRegistry()
	f := fleetOf(t, s.MQTT(), simulator.Deps{Summary: &summary, Metrics: metrics}, func(c *simulator.Config) {
		c.Devices, c.Connections, c.Unpaced, c.Count = 7, 3, true, count
	})
	got := run(t, f)
	if want := (simulator.Counts{Published: count, Acknowledged: count, Connects: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	found := s.kept()
	different := make(map[reading]bool)
	topics := make(map[string]int64)
	for _, r := range found {
		different[r] = true
		var body struct {
			Value float64
			TS    int64
			Unit  string
		}
		if err := json.Unmarshal([]byte(r.payload), &body); err != nil || body.Unit != "°C" {
			t.Fatalf("%s: %v", r.payload, err)
		}
		if body.TS < 1e15 { // in milliseconds
			body.TS *= 1000
		}
		if body.TS <= topics[r.topic] {
			t.Fatalf("%s: the reading at %d came after that at %d", r.topic, body.TS, topics[r.topic])
		}
		topics[r.topic] = body.TS
	}
	if len(found) != count || len(different) != count || len(topics) != 7 {
		t.Errorf("%d readings were kept, %d different, of %d devices; want %d of 7", len(found), len(different), len(topics), count)
	}
	if !strings.Contains(summary.String(), "3000 readings published, 3000 acknowledged") {
		t.Errorf("summary: %q", summary.String())
	}
	if families, err := metrics.Gather(); err != nil || len(families) != 7 {
		t.Errorf("%d metrics: %v", len(families), err)
	}
}

func TestReadingsOutliveBrokenConnections(t *testing.T) {
	s := broker(t, "")
	p := newProxy(t, s.MQTT())
	const count = 4000
	f := fleetOf(t, p.address(), simulator.Deps{}, func(c *simulator.Config) {
		c.Devices, c.Connections, c.Unpaced, c.Count = 8, 4, true, count
	})
	var got simulator.Counts
	var ended sync.WaitGroup
	ended.Go(func() { got = run(t, f) })
	for _, at := range []int64{500, 1500, 2500} {
		streamtest.Eventually(t, "readings are published", func() bool { return f.Counts().Published >= at })
		// Nothing comes back any more, so that readings are on their way when the
		// connections break.
		p.mute()
		streamtest.Eventually(t, "readings wait for their acknowledgement", func() bool { return f.Counts().InFlight() >= 20 })
		p.cut()
	}
	ended.Wait()
	if got.Published != count || got.Acknowledged != count || got.Lost != 0 {
		t.Errorf("%+v, want %d published and acknowledged, none lost", got, count)
	}
	if got.Resent < 60 || got.Connects < 7 || got.Errors < 3 {
		t.Errorf("%+v, want 60 resent, 7 connections and 3 errors at least", got)
	}
	different := make(map[reading]bool)
	for _, r := range s.kept() {
		different[r] = true
	}
	if len(different) != count {
		t.Errorf("%d different readings were kept, want %d: a reading sent again must be the same", len(different), count)
	}
}

func TestQoS0IsWritten(t *testing.T) {
	s := broker(t, "")
	var mu sync.Mutex
	arrived := make(map[string]int)
	nc := s.Conn(t, natsd.UserDevices0)
	if _, err := nc.Subscribe("*.>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		arrived[streams.TopicFromMQTT(m.Subject)]++
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	f := fleetOf(t, s.MQTT(), simulator.Deps{}, func(c *simulator.Config) {
		c.Devices, c.Connections, c.Interval, c.QoS, c.Count = 5, 2, 5*time.Millisecond, 0, 200
		c.Payload, c.Warehouse = simulator.PayloadNumber, true
	})
	if got := run(t, f); got.Published != 200 || got.Acknowledged != 200 {
		t.Errorf("%+v, want 200 published and written", got)
	}
	streamtest.Eventually(t, "200 readings of 5 doors arrive", func() bool {
		mu.Lock()
		defer mu.Unlock()
		sum := 0
		for _, n := range arrived {
			sum += n
		}
		return len(arrived) == 5 && sum == 200
	})
}

func TestRateAndDuration(t *testing.T) {
	s := broker(t, "")
	progress := new(lockedBuffer)
	f := fleetOf(t, s.MQTT(), simulator.Deps{Progress: progress}, func(c *simulator.Config) {
		c.Devices, c.Connections, c.Rate, c.Duration = 40, 4, 400, 1500*time.Millisecond
	})
	got := run(t, f)
	if got.Published < 500 || got.Published > 640 {
		t.Errorf("%d readings in 1.5 s, want about 600", got.Published)
	}
	if got.InFlight() != 0 || got.Lost != 0 {
		t.Errorf("%+v: readings were left in flight", got)
	}
	if lines := strings.Count(progress.String(), "\n"); lines != 1 {
		t.Errorf("%d lines of progress in 1.5 s, want 1:\n%s", lines, progress.String())
	}
}

func TestPasswordComesFromAFile(t *testing.T) {
	s := broker(t, "open sesame")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	change := func(c *simulator.Config) { c.Count, c.Unpaced, c.User, c.PasswordFile = 10, true, "fleet", file }
	if got := run(t, fleetOf(t, s.MQTT(), simulator.Deps{}, change)); got.Acknowledged != 10 {
		t.Errorf("%+v, want 10 acknowledged", got)
	}
	missing := fleetOf(t, s.MQTT(), simulator.Deps{}, func(c *simulator.Config) { c.PasswordFile = file + ".not" })
	if err := missing.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "password.not") {
		t.Errorf("a missing password file: %v", err)
	}
}

// TestFleetIsSpreadOverItsServers checks that connections start at all servers of a list,
// and that connections to an unreachable server move to the next one.
func TestFleetIsSpreadOverItsServers(t *testing.T) {
	a, b := broker(t, ""), broker(t, "")
	f := fleetOf(t, nobody(t), simulator.Deps{}, func(c *simulator.Config) {
		c.MQTT = append(c.MQTT, "tcp://"+a.MQTT(), "tcp://"+b.MQTT())
		c.Devices, c.Connections, c.Count, c.Unpaced = 6, 6, 600, true
	})
	if got := run(t, f); got.Acknowledged != 600 {
		t.Errorf("%+v, want 600 acknowledged", got)
	}
	if atA, atB := len(a.kept()), len(b.kept()); atA == 0 || atB == 0 || atA+atB != 600 {
		t.Errorf("%d readings at one server and %d at the other, want 600 at both", atA, atB)
	}
}

// nobody returns an address without a server.
func nobody(t *testing.T) string {
	t.Helper()
	addresses, err := ports.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

func TestFleetWaitsForItsServerAndStops(t *testing.T) {
	f := fleetOf(t, nobody(t), simulator.Deps{}, func(c *simulator.Config) { c.Devices, c.Connections = 3, 3 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	streamtest.Eventually(t, "the fleet tries to connect", func() bool { return f.Counts().Errors >= 6 })
	if err := f.Ready(); err == nil || !strings.Contains(err.Error(), "0 of 3 connections") {
		t.Errorf("ready without a server: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the fleet did not stop")
	}
}

// BenchmarkPublish is what a reading costs from the device to the
// acknowledgement, with nats-server in the same process.
func BenchmarkPublish(b *testing.B) {
	for _, warehouse := range []bool{false, true} {
		b.Run(fmt.Sprintf("warehouse=%t", warehouse), func(b *testing.B) {
			s := broker(b, "")
			f := fleetOf(b, s.MQTT(), simulator.Deps{}, func(c *simulator.Config) {
				c.Devices, c.Connections, c.Unpaced, c.Warehouse, c.Count = 1000, 50, true, warehouse, int64(b.N)
			})
			b.ReportAllocs()
			b.ResetTimer()
			run(b, f)
		})
	}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// proxy forwards connections to a server. It can be switched to drop what the server
// sends, or to break the connections.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	muted bool
	conns []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			device, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.pass(device) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		p.cut()
		serving.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// pass carries bytes both ways until either side ends.
func (p *proxy) pass(device net.Conn) {
	back, err := net.Dial("tcp", p.target)
	if err != nil {
		device.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, device, back)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		defer back.Close()
		_, _ = io.Copy(back, device) // Either end may go at any time.
	})
	both.Go(func() {
		defer device.Close()
		buffer := make([]byte, 4096)
		for {
			n, err := back.Read(buffer)
			if err != nil {
				return
			}
			p.mu.Lock()
			muted := p.muted
			p.mu.Unlock()
			if muted {
				continue
			}
			if _, err := device.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	both.Wait()
}

// mute swallows what the server says on the connections there are.
func (p *proxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = true
}

// cut breaks every connection; new ones work.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = false
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
