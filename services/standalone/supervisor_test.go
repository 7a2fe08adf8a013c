package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestRestartsThatDoNotHelp has a server that restarts do not fix. After some restarts it
// is left alone, and the supervisor reports what is wrong and what people can do. When
// they have done it, readings are accepted again.
func TestRestartsThatDoNotHelp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("stream 'CORE > TELEMETRY' could not be recovered")
		s := newSupervisor(slog.New(slog.DiscardHandler), diskBudget{}, prometheus.NewRegistry())
		s.free = func() (uint64, error) { return 1 << 30, nil }
		restarts := 0
		s.watch("nats-server", func() error { return broken }, func(context.Context) error { restarts++; return nil }, "Put it back from a backup")
		look := func(length time.Duration) {
			for began := time.Now(); time.Since(began) < length; time.Sleep(superviseEvery) { //nolint:forbidigo // the clock of the bubble
				s.look(t.Context(), time.Now())
			}
		}
		look(10 * time.Minute)
		if restarts != maxRestarts {
			t.Errorf("%d restarts within 10 minutes, want %d", restarts, maxRestarts)
		}
		reason := s.refuses()
		if reason == nil || !strings.Contains(reason.Error(), "TELEMETRY") || !strings.Contains(reason.Error(), "Put it back from a backup") {
			t.Errorf("readings are refused with %v, want the stream and what people can do", reason)
		}
		look(3 * time.Hour)
		if more := restarts - maxRestarts; more < 1 || more > 7 {
			t.Errorf("%d more restarts within 3 hours", more)
		}
		broken = nil
		look(2 * time.Minute)
		before := restarts
		for range 10 {
			broken = errors.New("not ready for a moment")
			look(2 * superviseEvery)
			broken = nil
			look(2 * superviseEvery)
		}
		if restarts != before || s.refuses() != nil {
			t.Errorf("what is over in a moment caused %d restarts, and readings are refused with %v", restarts-before, s.refuses())
		}
		if err := s.refuses(); err != nil {
			t.Errorf("the server is well, and readings are refused: %v", err)
		}
		broken, restarts = errors.New("stuck"), 0
		look(10 * time.Second)
		if restarts == 0 {
			t.Error("it is stuck again, and not restarted within 10 s")
		}
	})
}
