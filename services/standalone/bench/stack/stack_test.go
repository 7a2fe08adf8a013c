//go:build linux

package stack_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"headwater/services/standalone/bench/stack"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// TestStack runs every program and kills, pauses and restarts some.
func TestStack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	s, err := stack.New(stack.Config{
		Bin: bin, Dir: t.TempDir(), Sync: natsd.SyncSecond, Nodes: map[string]int{stack.Writer: 2},
		Rules: "windows: [10s]\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range s.Nodes("") {
			if log, err := os.ReadFile(n.Log()); t.Failed() {
				t.Logf("log of %s (%v):\n%s", n.Name, err, log)
			}
		}
	})
	closed := false
	defer func() {
		if !closed {
			_ = s.Close(time.Second)
		}
	}()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+s.GatewayAddress+"/api/v1/telemetry", "application/json",
		strings.NewReader(`{"site":"hall","device":"d","metric":"m","value":1}`))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %s", resp.Status, body)
	}

	t.Run("a killed process stays away until it is started", func(t *testing.T) {
		n := s.Node(stack.NATS)
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		if n.PID() != 0 || n.Ready(ctx) == nil {
			t.Errorf("it runs, process %d", n.PID())
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if err := s.Await(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("a paused process does not answer until it is resumed", func(t *testing.T) {
		n := s.Node(stack.Dashboard)
		if err := n.Pause(); err != nil {
			t.Fatal(err)
		}
		if n.Ready(ctx) == nil {
			t.Error("it answers")
		}
		if err := n.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := n.Await(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("a process that exits by itself is restarted and reported", func(t *testing.T) {
		n := s.Nodes(stack.Writer)[1]
		before := n.PID()
		process, err := os.FindProcess(before)
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		streamtest.Eventually(t, "another process", func() bool { pid := n.PID(); return pid != 0 && pid != before })
		if exits := n.Exits(); len(exits) != 1 {
			t.Errorf("exits: %q", exits)
		}
	})
	t.Run("all stop at the end", func(t *testing.T) {
		closed = true
		if err := s.Close(30 * time.Second); err != nil {
			t.Error(err)
		}
	})
}
