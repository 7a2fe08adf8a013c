// Package functions runs the code that people deploy on the readings of the devices:
// WebAssembly in a sandbox, or workers in any language over NATS.
//
// Each function reads what triggers it, TELEMETRY, DERIVED or ALERTING, through a durable
// consumer of its own, in order, so a slow one holds up nothing but itself. Or a schedule or an
// HTTP request triggers it. Of readings it sees what devices and edges sent, and never what a
// function made, and what one on summaries, anomalies or alerts makes can trigger no other of
// these: so none runs in a circle. Its outputs enter TELEMETRY as readings of the source
// fn.<name>, and are stored, charted and watched by rules like all others.
//
// Exactly once, over crashes:
//
//  1. A step is a few messages of the input. Its outputs, its state and its place in the input
//     are one value of a bucket, written with a compare-and-set. That is the commit, and the
//     fence: a service that lost the function cannot commit.
//  2. Only then the outputs go to their lanes, each message only behind the last one of its
//     subject, with the place of the input as its origin. A service that finds a commit after
//     a crash stores its outputs again; those that are there already are known by their origin.
//  3. Then the input is acknowledged, or the request answered. A step without any effect is
//     only acknowledged.
//
// The place in the input of a schedule is the time, and that of requests their number.
package functions

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"headwater/services/functions/sandbox"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/function"
	"headwater/services/internal/lease"
	"headwater/services/internal/process"
	"headwater/services/internal/zones"
	"headwater/streams"
)

// Deps are what the service works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS      jetstream.JetStream
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service runs its share of the functions; any number of services may run.
type Service struct {
	js      jetstream.JetStream
	log     *slog.Logger
	metrics *metrics
	letters *deadletter.Publisher
	leases  *lease.Metrics
	store   function.Store
	cache   *sandbox.Cache
	all     *catalogue
	zones   *zones.Zones
	now     func() time.Time

	mu    sync.Mutex
	ready func() error // guarded by mu
}

// New returns a service; it does no I/O.
func New(deps Deps) *Service {
	s := &Service{
		js: deps.JS, log: deps.Log, metrics: newMetrics(deps.Metrics), letters: deadletter.New(deps.JS, deps.Log, deps.Metrics),
		leases: lease.NewMetrics(deps.Metrics, streams.ServiceFunctions), store: function.Store{JS: deps.JS}, cache: sandbox.NewCache(),
		zones: zones.New(deps.JS, deps.Log), now: time.Now,
	}
	s.all = newCatalogue(s)
	s.setReady(func() error { return errors.New("not started") })
	return s
}

// Run runs functions until ctx ends and their steps are done. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	defer s.setReady(func() error { return errors.New("stopped") })
	topology, err := process.AwaitStreams(ctx, s.js, s.log, func(err error) { s.setReady(func() error { return err }) },
		func(ctx context.Context) error { _, err := s.store.Bucket(ctx); return err })
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	numbers := make([]int, topology.Lanes)
	for i := range numbers {
		numbers[i] = i
	}
	keeper := lease.New(streams.ServiceFunctions, numbers, lease.Deps{JS: s.js, Log: s.log, Metrics: s.leases})
	s.setReady(func() error { return errors.Join(keeper.Ready(), s.all.problem()) })
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.all.run(ctx); return nil })
	group.Go(func() error { s.zones.Run(ctx); return nil })
	group.Go(func() error {
		return keeper.Run(ctx, func(ctx context.Context, slot int) error {
			(&share{s: s, all: s.all, slot: slot, lanes: topology.Lanes, running: make(map[string]*running)}).run(ctx)
			return nil
		})
	})
	err = group.Wait()
	return errors.Join(err, s.cache.Close())
}

// Ready returns nil while every function has a service that runs it, else the reason why not.
func (s *Service) Ready() error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	return ready()
}

func (s *Service) setReady(ready func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = ready
}

// retryAfter is the pause after something failed that is not the function's fault.
const retryAfter = time.Second

// grace is how long a step may take to end after the service is to stop.
const grace = 5 * time.Second
