package writer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/influx"
)

func newTestGate() *gate {
	return newGate("b", slog.New(slog.DiscardHandler), newMetrics(prometheus.NewRegistry()))
}

// TestGateAsksOnceAnInterval has many requests wait for an InfluxDB that is
// away for half an hour.
func TestGateAsksOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate()
		start := time.Now()
		var mu sync.Mutex
		var asked []time.Duration
		op := func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			since := time.Since(start)
			asked = append(asked, since)
			if since < 30*time.Minute {
				return &influx.Error{Status: 503}
			}
			return nil
		}
		const waiting = 10
		var all sync.WaitGroup
		for range waiting {
			all.Go(func() {
				if err := g.do(t.Context(), t.Context(), op); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if g.reason() != nil {
			t.Errorf("still %v", g.reason())
		}
		// The first requests were under way when it began; the last ones waited for
		// the one that got through.
		probes := asked[waiting : len(asked)-waiting+1]
		for i, at := range probes {
			pause := at - asked[waiting+i-1]
			if low, high := firstPause/2, maxPause*3/2; pause < low || pause > high {
				t.Errorf("pause %d is %v", i, pause)
			}
			if i > 10 && pause < maxPause/2 {
				t.Errorf("pause %d is only %v", i, pause)
			}
		}
		if end := asked[len(asked)-1]; end > 30*time.Minute+maxPause*3/2 {
			t.Errorf("noticed after %v", end)
		}
	})
}

func TestGateBoundsWhatInfluxDBAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate()
		start, asked := time.Now(), 0
		err := g.do(t.Context(), t.Context(), func(context.Context) error {
			asked++
			if asked == 1 {
				return &influx.Error{Status: 503, RetryAfter: 24 * time.Hour}
			}
			return nil
		})
		if pause := time.Since(start); err != nil || asked != 2 || pause < maxAsked || pause > maxAsked+firstPause {
			t.Errorf("%v after %v and %d requests", err, pause, asked)
		}
	})
}

func TestGateStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate()
		stop, cancel := context.WithCancel(t.Context())
		fail := func(context.Context) error { return errors.New("away") }
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := g.do(stop, t.Context(), fail); !errors.Is(err, errStopping) {
					t.Errorf("got %v", err)
				}
			})
		}
		<-time.After(time.Minute) // of the clock in the bubble
		cancel()
		all.Wait()
		if g.reason() == nil {
			t.Error("the gate is open")
		}
		// One that may go out takes its result even then.
		if err := newTestGate().do(stop, t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestGatePassesARefusalOn(t *testing.T) {
	for _, status := range []int{400, 413, 422} {
		g := newTestGate()
		refusal := &influx.Error{Status: status}
		if err := g.do(t.Context(), t.Context(), func(context.Context) error { return refusal }); !errors.Is(err, refusal) || g.reason() != nil {
			t.Errorf("%d: %v, %v", status, err, g.reason())
		}
	}
}
