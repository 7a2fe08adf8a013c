package natsd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// TestRestart starts the server again under its connections: they find the new
// one with the same passwords, at the same addresses, and what was stored is
// still there.
func TestRestart(t *testing.T) {
	s := streamtest.Run(t)
	within := s.Conn(t, natsd.UserCore, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	byTCP, err := nats.Connect(s.NATS(natsd.UserCore), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer byTCP.Close()
	js, err := jetstream.New(within)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "kept", []byte("before")); err != nil {
		t.Fatal(err)
	}
	mqtt, url := s.MQTT(), s.NATS(natsd.UserCore)
	for round := range 2 {
		if err := s.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Health(); err != nil {
			t.Errorf("round %d: a new server is not healthy: %v", round, err)
		}
		if s.MQTT() != mqtt || s.NATS(natsd.UserCore) != url {
			t.Errorf("round %d: addresses are %s and %s, were %s and %s", round, s.MQTT(), s.NATS(natsd.UserCore), mqtt, url)
		}
		for name, nc := range map[string]*nats.Conn{"in process": within, "TCP": byTCP} {
			streamtest.Eventually(t, "the connection "+name+" is back", func() bool {
				return nc.IsConnected() && nc.FlushTimeout(time.Second) == nil
			})
		}
		stream, err := js.Stream(ctx, "KEPT")
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Msgs; n != uint64(1+round) {
			t.Errorf("round %d: %d messages are stored, want %d", round, n, 1+round)
		}
		if _, err := js.Publish(ctx, "kept", []byte("after")); err != nil {
			t.Fatal(err)
		}
	}
	s.Shutdown()
	if err := s.Restart(ctx); err == nil {
		t.Error("a server that was shut down for good was started again")
	}
	if err := s.Health(); err == nil {
		t.Error("a server that was shut down says that it is healthy")
	}
}

// TestStartThatCannotSucceed has a file where the streams need a folder: the
// start ends with the cause, and does not wait for a server that never comes.
func TestStartThatCannotSucceed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	s, err := natsd.Start(t.Context(), natsd.Config{Dir: dir, MQTT: "127.0.0.1:0"})
	if err == nil {
		s.Shutdown()
		t.Fatal("a server runs without its folder")
	}
	if !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("it ends with %v, want the cause", err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %s to say so", took)
	}
}

// TestStartIsGivenUp ends the context of a start: no server is left, and the
// next one has the folder.
func TestStartIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := natsd.Start(ctx, natsd.Config{Dir: dir, MQTT: "127.0.0.1:0"}); !errors.Is(err, context.Canceled) {
		if err == nil {
			s.Shutdown()
		}
		t.Errorf("a start that was given up ends with %v", err)
	}
	s, err := natsd.Start(t.Context(), natsd.Config{Dir: dir, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
}
