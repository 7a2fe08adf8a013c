package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"headwater/services/internal/deadletter"
	"headwater/services/internal/influx"
	"headwater/services/internal/lane"
	"headwater/services/internal/process"
	"headwater/streams"
)

// Config of the processor.
type Config struct {
	MaxSeries int `name:"processor-max-series" help:"Series that one lane keeps windows and rules for; readings of further ones are only stored. All processors must have the same." default:"50000" env:"HEADWATER_PROCESSOR_MAX_SERIES"`
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
	// Past reads what has left the stream, for replays; nil when it is not known
	// where that is.
	Past    *influx.Client
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service runs its share of the lanes; any number of processors may run.
type Service struct {
	limits      Limits
	js          jetstream.JetStream
	past        *influx.Client
	log         *slog.Logger
	metrics     *Metrics
	laneMetrics *lane.Metrics
	deadLetters *deadletter.Publisher
	replays     *prometheus.CounterVec

	// mu guards ready.
	mu    sync.Mutex
	ready func() error
}

// checkWait is the pause between two looks at streams that are not there yet.
const checkWait = time.Second

// New returns a processor. It does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	limits := DefaultLimits()
	limits.Series = cfg.MaxSeries
	s := &Service{
		limits: limits, js: deps.JS, past: deps.Past, log: deps.Log,
		metrics:     NewMetrics(deps.Metrics),
		laneMetrics: lane.NewMetrics(deps.Metrics, streams.ServiceProcessor),
		deadLetters: deadletter.New(deps.JS, deps.Log, deps.Metrics),
		replays:     newReplayMetrics(deps.Metrics),
	}
	s.setReady(func() error { return errors.New("not started") })
	return s, nil
}

// Run processes until ctx ends and the state of every lane is stored.
func (s *Service) Run(ctx context.Context) error {
	defer s.setReady(func() error { return errors.New("stopped") })
	topology, err := s.awaitStreams(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	lanes := lane.NewGroup(
		lane.Deps{JS: s.js, DeadLetter: s.deadLetter, Log: s.log, Metrics: s.laneMetrics},
		configs(topology.Lanes),
		func(n int) lane.Machine { return NewMachine(n, s.limits, s.metrics) },
	)
	s.setReady(lanes.Ready)
	s.log.Info("shares the lanes with the other processors", "lanes", topology.Lanes)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return lanes.Run(ctx) })
	// A simulated NATS has streams and no connection to be asked on.
	if s.js.Conn() != nil {
		group.Go(func() error { return newReplays(s, topology.Lanes).run(ctx) })
	}
	return group.Wait()
}

// Ready returns nil while every lane is processed, here or by another processor,
// else the reason why not.
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

// awaitStreams returns when the streams are there, or with an error that
// waiting does not mend, or when ctx ends.
func (s *Service) awaitStreams(ctx context.Context) (streams.Topology, error) {
	tick := time.NewTicker(checkWait)
	defer tick.Stop()
	for {
		topology, err := streams.Check(ctx, s.js)
		if err == nil || errors.Is(err, streams.ErrLanes) {
			return topology, err
		}
		s.setReady(func() error { return fmt.Errorf("waiting for the streams: %w", err) })
		select {
		case <-ctx.Done():
			return streams.Topology{}, nil
		case <-tick.C:
		}
	}
}

// configs says what the lanes read and write.
func configs(lanes int) []lane.Config {
	out := make([]lane.Config, lanes)
	for n := range out {
		out[n] = lane.Config{
			Service: streams.ServiceProcessor, Lane: n,
			InputStream: streams.StreamTelemetry, InputFilters: []string{streams.TelemetryFilter(n)},
			OutputStream: streams.StreamDerived, OutputSubject: streams.DerivedSubject(n),
			Format: Format, ReadCommit: readCommit,
		}
	}
	return out
}

// readCommit returns what a commit says of the input.
func readCommit(body []byte) (lane.Position, *lane.ConfigChange, error) {
	c, err := streams.DecodeDerived(body)
	if err != nil {
		return lane.Position{}, nil, err
	}
	pos := lane.Position{
		Incarnation: time.Unix(0, c.GetInput().GetIncarnation()), Sequence: c.GetInput().GetSequence(), Stored: c.GetInput().GetStored(),
	}
	if c.Config == nil {
		return pos, nil, nil
	}
	return pos, &lane.ConfigChange{Revision: c.Config.Revision, Content: c.Config.Content}, nil
}

// deadLetter stores a message of the lane that is no batch.
func (s *Service) deadLetter(ctx context.Context, in lane.Input, reason error) error {
	return s.deadLetters.Publish(ctx, streams.DeadLetter{
		Service: streams.ServiceProcessor, Reason: streams.ReasonMalformed, Detail: reason.Error(),
		Origin: in.Subject, Arrived: in.Stored, Payload: in.Data,
	})
}
