// Package streamtest runs a real nats-server for tests, with the accounts, JetStream and
// the MQTT listener of standalone, in its own folder and on its own ports. It ends with the
// test.
package streamtest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest/ports"
)

// Server is a nats-server of one test.
type Server struct {
	*natsd.Server
}

// Run starts a server that stops with the test.
func Run(tb testing.TB) *Server {
	tb.Helper()
	return RunIn(tb, tb.TempDir())
}

// RunIn starts a server with the streams in dir, which a stopped server may have left. It
// stops with the test, or earlier with Shutdown.
func RunIn(tb testing.TB, dir string) *Server {
	tb.Helper()
	// Restart listens on the same addresses again.
	addresses, err := ports.Reserve(2)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := natsd.Start(tb.Context(), natsd.Config{Dir: dir, Sync: natsd.SyncSecond, MQTT: addresses[0], NATS: addresses[1]})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Shutdown)
	return &Server{Server: s}
}

// Conn connects as the user; the connection closes with the test.
func (s *Server) Conn(tb testing.TB, user natsd.User, options ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := s.Connect(user, options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// JS is JetStream in the account of the services.
func (s *Server) JS(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	return jetStream(tb, s.Conn(tb, natsd.UserCore))
}

// DevicesJS is JetStream in the account of the devices.
func (s *Server) DevicesJS(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	return jetStream(tb, s.Conn(tb, natsd.UserDevices))
}

func jetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// Ensure makes the streams of both accounts.
func (s *Server) Ensure(tb testing.TB, lanes int) streams.Topology {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	topology, err := streams.Ensure(ctx, s.JS(tb), streams.Options{Lanes: lanes, MaxBytes: 1 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	if err := streams.EnsureDevices(ctx, s.DevicesJS(tb), streams.DeviceOptions{MaxBytes: 64 << 20}); err != nil {
		tb.Fatal(err)
	}
	return topology
}

// Patience is how long a test waits for something before it fails. It only ends a test
// that would wait forever: even on a slow machine, what works happens earlier.
const Patience = 3 * time.Minute

// Eventually waits until cond holds, asking every 10 ms, and fails the test
// after [Patience]. What says what was awaited.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	EventuallyWithin(tb, Patience, what, cond)
}

// EventuallyWithin is [Eventually] with another time, which was promised or is longer than
// Patience.
func EventuallyWithin(tb testing.TB, within time.Duration, what string, cond func() bool) {
	tb.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			tb.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}
