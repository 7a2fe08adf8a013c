package writer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"headwater/services/internal/influx"
)

const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
	// retryPause is the pause before a request to nats-server is repeated.
	retryPause = time.Second
	// maxAsked bounds the pause that InfluxDB may ask for: a wrong date must not stop
	// the history for a day.
	maxAsked = 5 * time.Minute
)

// errStopping is returned by gate.do when the writer stops before InfluxDB accepted
// the request.
var errStopping = errors.New("the writer stops")

// gate lets the requests to one bucket through while InfluxDB accepts them. While it
// does not, one request at a time is retried, at growing intervals, and all others
// wait for it. It is safe for concurrent use.
type gate struct {
	bucket  string
	log     *slog.Logger
	metrics *metrics

	turn chan struct{} // holds a token while a request is retried

	mu     sync.Mutex
	err    error         // why InfluxDB accepts nothing, nil while it does; guarded by mu
	since  time.Time     // when that began; guarded by mu
	next   time.Time     // when to retry; guarded by mu
	opened chan struct{} // closed when err becomes nil; guarded by mu
	pause  backoff.ExponentialBackOff
}

func newGate(bucket string, log *slog.Logger, m *metrics) *gate {
	return &gate{
		bucket: bucket, log: log.With("bucket", bucket), metrics: m,
		turn: make(chan struct{}, 1),
		pause: backoff.ExponentialBackOff{
			InitialInterval: firstPause, MaxInterval: maxPause,
			Multiplier: 2, RandomizationFactor: 0.5,
		},
	}
}

// reason returns why InfluxDB accepts nothing, or nil.
func (g *gate) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// do calls op until InfluxDB has done what it asks or has refused the points
// themselves, and returns nil or that refusal. When ctx ends, do does not wait for
// InfluxDB any longer; op is called with hard. In both cases the error is then
// errStopping.
func (g *gate) do(ctx, hard context.Context, op func(context.Context) error) error {
	for {
		retrying, err := g.enter(ctx)
		if err != nil {
			return err
		}
		err = op(hard)
		again := retryable(err)
		switch {
		case hard.Err() != nil && err != nil:
		case again:
			g.fail(err)
		case retrying:
			// The success of a request that began before the failure proves nothing.
			g.succeed()
		}
		if retrying {
			<-g.turn
		}
		switch {
		case err == nil || !again:
			return err
		case hard.Err() != nil:
			return errStopping
		}
		g.metrics.retries.Inc()
	}
}

// enter waits until a request may be sent. If retrying is set, the caller holds the
// turn and must give it back after the request.
func (g *gate) enter(ctx context.Context) (retrying bool, err error) {
	for {
		g.mu.Lock()
		failing, opened := g.err != nil, g.opened
		g.mu.Unlock()
		if !failing {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, errStopping
		case <-opened:
		case g.turn <- struct{}{}:
			ready, err := g.wait(ctx)
			if ready {
				return true, nil
			}
			<-g.turn
			if err != nil {
				return false, err
			}
		}
	}
}

// wait waits until it is time to retry. It returns false if the gate opened in the
// meantime.
func (g *gate) wait(ctx context.Context) (ready bool, err error) {
	g.mu.Lock()
	failing, opened, pause := g.err != nil, g.opened, time.Until(g.next)
	g.mu.Unlock()
	if !failing {
		return false, nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, errStopping
	case <-opened:
		return false, nil
	case <-timer.C:
		return true, nil
	}
}

// fail closes the gate, or keeps it closed for longer.
func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	first := g.err == nil
	if first {
		g.since, g.opened = now, make(chan struct{})
		g.pause.Reset()
		g.metrics.holding.Inc()
	}
	// Requests that were in flight when it began fail too, and prolong nothing.
	pause := time.Duration(0)
	if !now.Before(g.next) {
		pause = g.pause.NextBackOff()
	}
	var e *influx.Error
	if errors.As(err, &e) && e.RetryAfter > pause {
		// Not all writers must come back at the same moment.
		pause = min(e.RetryAfter, maxAsked) + jitter()
	}
	if next := now.Add(pause); next.After(g.next) {
		g.next = next
	}
	if first || g.err.Error() != err.Error() {
		g.log.Warn("InfluxDB accepts no points; they are held", "err", err)
	}
	g.err = err
}

func jitter() time.Duration { return rand.N(firstPause) }

// succeed opens the gate.
func (g *gate) succeed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log.Info("InfluxDB accepts points again", "after", time.Since(g.since).Round(time.Millisecond))
	g.err, g.next = nil, time.Time{}
	close(g.opened)
	g.metrics.holding.Dec()
}

// retryable reports whether the same request may succeed later. A refusal of the
// points themselves (400, 413, 422) is final. Any other error is treated as a state of
// InfluxDB, of its token or of its buckets that people will fix: dropping points then
// would break the promise to the devices.
func retryable(err error) bool {
	var e *influx.Error
	if err == nil {
		return false
	}
	if !errors.As(err, &e) {
		return true
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return false
	}
	return true
}
