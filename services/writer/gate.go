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
	// maxAsked bounds the pause that InfluxDB may ask for: a date that is wrong
	// must not stop the history for a day.
	maxAsked = 5 * time.Minute
)

// errStopping is returned by gate.do when the writer stops before InfluxDB took
// the request.
var errStopping = errors.New("the writer stops")

// gate lets the requests to one bucket through while InfluxDB takes them.
// While it does not, one request at a time asks again, at growing intervals,
// and all others wait for it. It is safe for concurrent use.
type gate struct {
	bucket  string
	log     *slog.Logger
	metrics *metrics

	turn chan struct{} // holds one token while a request asks again

	mu     sync.Mutex
	err    error         // why InfluxDB takes nothing, nil while it does; guarded by mu
	since  time.Time     // when that began; guarded by mu
	next   time.Time     // when to ask again; guarded by mu
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

// reason returns why InfluxDB takes nothing, or nil.
func (g *gate) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// do calls op until InfluxDB did what it asks or refused the points
// themselves, and returns nil or that refusal. When stop ends, it waits no
// longer for InfluxDB to come back; op itself lasts as long as work does. Then
// the error is errStopping.
func (g *gate) do(stop, work context.Context, op func(context.Context) error) error {
	for {
		asking, err := g.enter(stop)
		if err != nil {
			return err
		}
		err = op(work)
		again := retryable(err)
		switch {
		case work.Err() != nil && err != nil:
		case again:
			g.fail(err)
		case asking:
			// Those that began before it failed prove nothing.
			g.succeed()
		}
		if asking {
			<-g.turn
		}
		switch {
		case err == nil || !again:
			return err
		case work.Err() != nil:
			return errStopping
		}
		g.metrics.retries.Inc()
	}
}

// enter waits until a request may go out. Asking says that the caller holds
// the turn, and gives it back after the request.
func (g *gate) enter(stop context.Context) (asking bool, err error) {
	for {
		g.mu.Lock()
		failing, opened := g.err != nil, g.opened
		g.mu.Unlock()
		if !failing {
			return false, nil
		}
		select {
		case <-stop.Done():
			return false, errStopping
		case <-opened:
		case g.turn <- struct{}{}:
			ready, err := g.wait(stop)
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

// wait waits until it is time to ask again. It is not ready when the gate has
// opened in the meantime.
func (g *gate) wait(stop context.Context) (ready bool, err error) {
	g.mu.Lock()
	failing, opened, pause := g.err != nil, g.opened, time.Until(g.next)
	g.mu.Unlock()
	if !failing {
		return false, nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-stop.Done():
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
	// The requests that were under way when it began say the same once more.
	pause := time.Duration(0)
	if !now.Before(g.next) {
		pause = g.pause.NextBackOff()
	}
	var e *influx.Error
	if errors.As(err, &e) && e.RetryAfter > pause {
		// Not all who were sent away come back at the same moment.
		pause = min(e.RetryAfter, maxAsked) + jitter()
	}
	if next := now.Add(pause); next.After(g.next) {
		g.next = next
	}
	if first || g.err.Error() != err.Error() {
		g.log.Warn("InfluxDB takes no points; they are held", "err", err)
	}
	g.err = err
}

func jitter() time.Duration { return rand.N(firstPause) }

// succeed opens the gate.
func (g *gate) succeed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log.Info("InfluxDB takes points again", "after", time.Since(g.since).Round(time.Millisecond))
	g.err, g.next = nil, time.Time{}
	close(g.opened)
	g.metrics.holding.Dec()
}

// retryable says whether the same request may succeed later. A refusal of the
// points themselves (400, 413, 422) will be the same again. All else is taken
// for a state of InfluxDB, its token or its buckets that people will mend: to
// drop points then would break the promise to the devices.
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
