package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/deadletter"
	"headwater/services/internal/influx"
	"headwater/services/internal/lease"
	"headwater/services/internal/process"
	"headwater/services/internal/registry"
	"headwater/streams"
)

// drainTime is how long requests in flight may take after the writer is to stop. After
// it their messages are given back, and another writer stores them again.
const drainTime = 10 * time.Second

// Deps are the dependencies of a writer.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS      jetstream.JetStream
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is a writer. Any number may share the streams.
type Service struct {
	cfg         Config
	js          jetstream.JetStream
	log         *slog.Logger
	metrics     *metrics
	influx      *influx.Client
	deadLetters *deadletter.Publisher
	// registry gets the derived series, which no other service sees as they arrive.
	registry   *registry.Registry
	leases     *lease.Metrics
	inProgress inProgress

	mu     sync.Mutex
	idle   error            // why the writer does not run, nil while it does; guarded by mu
	keeper *lease.Keeper    // of the lanes of DERIVED; guarded by mu
	gates  map[string]*gate // by bucket; guarded by mu
	inputs map[string]error // why a stream cannot be read; guarded by mu
}

// New returns a writer; it does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := influx.New(cfg.Influx)
	if err != nil {
		return nil, err
	}
	return &Service{
		cfg: cfg, js: deps.JS, log: deps.Log, metrics: newMetrics(deps.Metrics), influx: client,
		deadLetters: deadletter.New(deps.JS, deps.Log, deps.Metrics),
		registry:    registry.New(deps.JS, deps.Log, deps.Metrics),
		leases:      lease.NewMetrics(deps.Metrics, streams.ServiceWriter),
		idle:        errors.New("the writer has not started"),
		gates:       make(map[string]*gate),
		inputs:      make(map[string]error),
	}, nil
}

// Run moves readings and summaries into InfluxDB until ctx ends and everything in
// flight is stored or given back. It may be called once. It waits for the streams, and
// works with an InfluxDB that comes and goes.
func (s *Service) Run(ctx context.Context) error {
	defer s.influx.Close()
	readings, lanes, err := s.consumers(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	hard, cancel := process.HardStop(ctx, drainTime)
	defer cancel()
	done := make(chan struct{})
	var beside, movers sync.WaitGroup
	beside.Go(func() { s.inProgress.run(done, readings.CachedInfo().Config.AckWait/3) })
	beside.Go(func() { s.watchLag(ctx, readings) })
	beside.Go(func() { _ = s.registry.Run(ctx) })

	keeper := s.newKeeper(len(lanes))
	s.setIdle(nil)
	s.log.Info("writer started", "url", s.influx.URL(), "database", s.cfg.Influx.Database, "lanes", len(lanes))
	for _, b := range s.cfg.buckets() {
		movers.Go(func() { s.prepare(ctx, hard, b) })
	}
	movers.Go(func() { s.prepare(ctx, hard, s.cfg.ledger()) })
	movers.Go(func() { (&telemetry{s: s, consumer: readings}).run(ctx, hard) })
	kept := keeper.Run(ctx, func(owned context.Context, number int) error {
		l := &lane{s: s, consumer: lanes[number], until: func() time.Time { return keeper.Until(number) }}
		l.run(owned, hard)
		return nil
	})
	movers.Wait()
	s.setIdle(errors.New("the writer has stopped"))
	close(done)
	beside.Wait()
	// The acknowledgements must be out before the connection is closed.
	if err := s.js.Conn().FlushTimeout(time.Second); err != nil {
		s.log.Warn("acknowledgements may be lost; their points will be stored again", "err", err)
	}
	s.log.Info("writer stopped")
	return kept
}

// newKeeper creates the keeper of the leases on the lanes of DERIVED.
func (s *Service) newKeeper(lanes int) *lease.Keeper {
	numbers := make([]int, lanes)
	for i := range numbers {
		numbers[i] = i
	}
	k := lease.New(streams.ServiceWriter, numbers, lease.Deps{JS: s.js, Log: s.log, Metrics: s.leases})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeper = k
	return k
}

// lagInterval is how often a writer asks how many messages wait.
const lagInterval = 2 * time.Second

// watchLag updates the lag until ctx ends, also while nothing is fetched.
func (s *Service) watchLag(ctx context.Context, readings jetstream.Consumer) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := readings.Info(ctx)
		if err != nil {
			s.log.Debug("cannot ask for the lag", "err", err)
			continue
		}
		s.metrics.pending.Set(float64(info.NumPending))
	}
}

// consumers waits for the streams and returns the durable consumers of TELEMETRY and
// of each lane of DERIVED.
func (s *Service) consumers(ctx context.Context) (readings jetstream.Consumer, lanes []jetstream.Consumer, err error) {
	topology, err := process.AwaitStreams(ctx, s.js, s.log, s.setIdle)
	if err != nil {
		return nil, nil, err
	}
	readings, err = s.js.Consumer(ctx, streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		return nil, nil, fmt.Errorf("look up consumer %s of %s: %w", streams.ConsumerWriter, streams.StreamTelemetry, err)
	}
	for n := range topology.Lanes {
		name := streams.WriterDerivedConsumer(n)
		c, err := s.js.Consumer(ctx, streams.StreamDerived, name)
		if err != nil {
			return nil, nil, fmt.Errorf("look up consumer %s of %s: %w", name, streams.StreamDerived, err)
		}
		lanes = append(lanes, c)
	}
	return readings, lanes, nil
}

// prepare creates a bucket as soon as InfluxDB answers, so that it can be queried
// before the first points come. If that fails, the writes to the bucket report it.
func (s *Service) prepare(ctx, hard context.Context, b influx.Bucket) {
	err := s.gate(b).do(ctx, hard, func(ctx context.Context) error {
		err := s.influx.Ensure(ctx, b)
		var e *influx.Error
		if err != nil && errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusTooManyRequests && e.Status < 500 {
			s.log.Warn("cannot create the bucket", "bucket", b.Name(), "err", err)
			return nil
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("cannot create the bucket", "bucket", b.Name(), "err", err)
	}
}

// Ready returns nil while the writer stores readings and summaries, else the reason
// why it does not.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		return s.idle
	}
	var reasons []string
	if err := s.keeper.Ready(); err != nil {
		reasons = append(reasons, fmt.Sprintf("leases of %s: %v", streams.StreamDerived, err))
	}
	for _, err := range s.inputs {
		reasons = append(reasons, err.Error())
	}
	for bucket, g := range s.gates {
		if err := g.reason(); err != nil {
			reasons = append(reasons, fmt.Sprintf("points for %s are held: %v", bucket, err))
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	slices.Sort(reasons)
	return errors.New(strings.Join(reasons, "; "))
}

func (s *Service) setIdle(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = reason
}

// gate returns the gate of a bucket.
func (s *Service) gate(b influx.Bucket) *gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gates[b.Name()]
	if !ok {
		g = newGate(b.Name(), s.log, s.metrics)
		s.gates[b.Name()] = g
	}
	return g
}

// inputPause is the pause after a fetch that failed.
const inputPause = 500 * time.Millisecond

// input records whether a stream could be read, and pauses if not.
func (s *Service) input(ctx context.Context, stream string, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	previous := s.inputs[stream]
	if err == nil {
		delete(s.inputs, stream)
	} else {
		err = fmt.Errorf("fetch from %s: %w", stream, err)
		s.inputs[stream] = err
	}
	s.mu.Unlock()
	if err == nil {
		return
	}
	if previous == nil || previous.Error() != err.Error() {
		s.log.Warn("cannot read a stream", "stream", stream, "err", err)
	}
	process.Sleep(ctx, inputPause)
}

// fetch calls f with each of up to n messages, as they come, for at most wait.
func fetch(c jetstream.Consumer, n int, wait time.Duration, f func(jetstream.Msg)) error {
	messages, err := c.Fetch(n, jetstream.FetchMaxWait(wait))
	if err != nil {
		return err
	}
	for m := range messages.Messages() {
		f(m)
	}
	return messages.Error()
}

// malformed stores a message that does not decode as a dead letter.
func (s *Service) malformed(ctx, hard context.Context, m jetstream.Msg, reason error) {
	d := streams.DeadLetter{
		Reason: streams.ReasonMalformed, Detail: reason.Error(),
		Origin: m.Subject(), Payload: m.Data(), Arrived: time.Now(),
	}
	if meta, err := m.Metadata(); err == nil {
		d.Arrived = meta.Timestamp
	}
	if s.bury(ctx, hard, d) != nil {
		s.giveBack(m)
		return
	}
	s.ack(m)
}

// ack acknowledges a message. If that is lost, the message is delivered again, and its
// points overwrite themselves.
func (s *Service) ack(m jetstream.Msg) {
	if err := m.Ack(); err != nil {
		s.log.Debug("cannot acknowledge", "subject", m.Subject(), "err", err)
	}
}

// giveBack makes nats-server deliver a message again at once, to this writer or
// another.
func (s *Service) giveBack(m jetstream.Msg) {
	if err := m.Nak(); err != nil {
		s.log.Debug("cannot give back", "subject", m.Subject(), "err", err)
	}
}
