// Package processor turns readings into window summaries and anomalies, lane by
// lane. Service runs the lanes that this process owns, and the what-if replays that
// people ask for.
//
//	machine  the deterministic core of a lane: all that follows put together
//	window   summaries of windows of time
//	detect   detectors, which turn the readings of a series into anomalies
//	codec    the binary form of their state in a snapshot
//	whatif   replays of one rule over stored readings
package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"headwater/services/internal/deadletter"
	"headwater/services/internal/influx"
	"headwater/services/internal/lane"
	"headwater/services/internal/process"
	"headwater/services/processor/machine"
	"headwater/services/processor/whatif"
	"headwater/streams"
)

// Config of the processor.
type Config struct {
	MaxSeries int `name:"processor-max-series" default:"50000"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"MaxSeries": "Series that one lane keeps windows and rules for; readings of further ones are only stored. All processors " +
			"must have the same.",
	}
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate returns all that is wrong with the configuration, joined.
func (c Config) Validate() error {
	if c.MaxSeries < 1 || c.MaxSeries > 1_000_000 {
		return fmt.Errorf("--processor-max-series must be from 1 to 1000000, not %d", c.MaxSeries)
	}
	return nil
}

// Deps are what the processor works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS jetstream.JetStream
	// Past holds the readings that have left the stream, for replays; nil if there is
	// none.
	Past    *influx.Client
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service runs its share of the lanes; any number of processors may run.
type Service struct {
	limits      machine.Limits
	js          jetstream.JetStream
	log         *slog.Logger
	metrics     *machine.Metrics
	laneMetrics *lane.Metrics
	deadLetters *deadletter.Publisher
	replays     *whatif.Queue

	// mu guards ready.
	mu    sync.Mutex
	ready func() error
}

// New returns a processor. It does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	limits := machine.DefaultLimits()
	limits.Series = cfg.MaxSeries
	s := &Service{
		limits: limits, js: deps.JS, log: deps.Log,
		metrics:     machine.NewMetrics(deps.Metrics),
		laneMetrics: lane.NewMetrics(deps.Metrics, streams.ServiceProcessor),
		deadLetters: deadletter.New(deps.JS, deps.Log, deps.Metrics),
		replays:     whatif.New(whatif.Deps{JS: deps.JS, Past: deps.Past, Limits: limits, Log: deps.Log, Metrics: deps.Metrics}),
	}
	s.setReady(func() error { return errors.New("not started") })
	return s, nil
}

// Run processes until ctx ends and the state of every lane is stored.
func (s *Service) Run(ctx context.Context) error {
	defer s.setReady(func() error { return errors.New("stopped") })
	topology, err := process.AwaitStreams(ctx, s.js, s.log, s.waiting)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	lanes := lane.NewGroup(
		lane.Deps{JS: s.js, DeadLetter: s.deadLetter, Log: s.log, Metrics: s.laneMetrics},
		configs(topology.Lanes),
		func(n int) lane.Machine { return s.newMachine(n, topology.Lanes) },
	)
	s.setReady(lanes.Ready)
	s.log.Info("sharing the lanes with the other processors", "lanes", topology.Lanes)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return lanes.Run(ctx) })
	// A simulated NATS has streams but no connection on which requests arrive.
	if s.js.Conn() != nil {
		group.Go(func() error { return s.replays.Run(ctx, topology.Lanes) })
	}
	return group.Wait()
}

// newMachine returns the machine of one of the lanes.
func (s *Service) newMachine(n, lanes int) *machine.Machine {
	if n == streams.GroupLane(lanes) {
		return machine.NewGroups(n, lanes, s.limits, s.metrics)
	}
	return machine.New(n, s.limits, s.metrics)
}

// Ready returns nil while every lane is processed, here or by another processor, or else
// the reason why not.
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

// waiting makes the service unready for a reason.
func (s *Service) waiting(err error) { s.setReady(func() error { return err }) }

// configs returns what the lanes read and write.
func configs(lanes int) []lane.Config {
	out := make([]lane.Config, streams.GroupLane(lanes)+1)
	for n := range out {
		out[n] = lane.Config{
			Service: streams.ServiceProcessor, Lane: n,
			InputStream: streams.StreamTelemetry, InputFilters: []string{streams.TelemetryFilter(n)},
			OutputStream: streams.StreamDerived, OutputSubject: streams.DerivedSubject(n),
			Format: machine.Format, ReadCommit: machine.ReadCommit,
		}
	}
	groups := &out[streams.GroupLane(lanes)]
	groups.Companion, groups.InputFilters, groups.OutputSubject = true, []string{streams.TelemetryAll}, streams.DerivedGroups
	return out
}

// deadLetter stores a message of the lane that is not a batch.
func (s *Service) deadLetter(ctx context.Context, in lane.Input, reason error) error {
	return s.deadLetters.Publish(ctx, streams.DeadLetter{
		Service: streams.ServiceProcessor, Reason: streams.ReasonMalformed, Detail: reason.Error(),
		Origin: in.Subject, Arrived: in.Stored, Payload: in.Data,
	})
}
