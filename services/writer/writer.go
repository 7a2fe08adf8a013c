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
	"headwater/streams"
)

// drainTime is how long a writer that is told to stop lets InfluxDB take what
// is in flight. Afterwards it is given back, and stored again by the next one.
const drainTime = 10 * time.Second

// Deps are what a writer works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS      jetstream.JetStream
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is a writer. Any number of them may share the streams.
type Service struct {
	cfg         Config
	js          jetstream.JetStream
	log         *slog.Logger
	metrics     *metrics
	influx      *influx.Client
	deadLetters *deadletter.Publisher
	leases      *lease.Metrics
	holds       holds

	mu      sync.Mutex
	running bool             // guarded by mu
	keeper  *lease.Keeper    // of the lanes of DERIVED, nil before they are known; guarded by mu
	gates   map[string]*gate // by bucket; guarded by mu
	inputs  map[string]error // why a stream can't be read; guarded by mu
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
		leases:      lease.NewMetrics(deps.Metrics, streams.ServiceWriter),
		gates:       make(map[string]*gate),
		inputs:      make(map[string]error),
	}, nil
}

// Run moves readings and summaries into InfluxDB until ctx ends and what is in
// flight is stored or given back. It may be called once. It needs the streams,
// and returns an error when they are not there; InfluxDB may come and go.
func (s *Service) Run(ctx context.Context) error {
	defer s.influx.Close()
	readings, lanes, err := s.consumers(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan struct{})
	var beside, movers sync.WaitGroup
	beside.Go(func() { s.holds.run(done, readings.CachedInfo().Config.AckWait/3) })
	beside.Go(func() { limitDrain(ctx, done, cancel) })
	beside.Go(func() { s.watchLag(ctx, readings) })

	keeper := s.newKeeper(len(lanes))
	s.setRunning(true)
	s.log.Info("writer started", "url", s.influx.URL(), "database", s.cfg.Influx.Database, "lanes", len(lanes))
	for _, b := range s.cfg.buckets() {
		movers.Go(func() { s.prepare(ctx, work, b) })
	}
	movers.Go(func() { s.prepare(ctx, work, s.cfg.ledger()) })
	movers.Go(func() { (&telemetry{s: s, consumer: readings}).run(ctx, work) })
	kept := keeper.Run(ctx, func(owned context.Context, number int) error {
		l := &lane{s: s, consumer: lanes[number], until: func() time.Time { return keeper.Until(number) }}
		l.run(owned, work)
		return nil
	})
	movers.Wait()
	s.setRunning(false)
	close(done)
	beside.Wait()
	// The acknowledgements must be out before the connection is closed.
	if err := s.js.Conn().FlushTimeout(time.Second); err != nil {
		s.log.Warn("acknowledgements may be lost; their points will be stored once more", "err", err)
	}
	s.log.Info("writer stopped")
	return kept
}

// newKeeper makes the keeper of the leases on the lanes of DERIVED.
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

// limitDrain ends the work some time after ctx.
func limitDrain(ctx context.Context, done <-chan struct{}, cancel context.CancelFunc) {
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		cancel()
	}
}

// lagInterval is how often a writer asks how much is left to do.
const lagInterval = 2 * time.Second

// watchLag keeps the lag up to date, also while nothing is fetched, until ctx
// ends.
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
			s.log.Debug("lag is not known", "err", err)
			continue
		}
		s.metrics.pending.Set(float64(info.NumPending))
	}
}

// consumers returns the durable consumers of TELEMETRY and of each lane of
// DERIVED.
func (s *Service) consumers(ctx context.Context) (readings jetstream.Consumer, lanes []jetstream.Consumer, err error) {
	topology, err := streams.Check(ctx, s.js)
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

// prepare makes a bucket as soon as InfluxDB answers, so that it can be queried
// before the first points come. When it can't, the writes to it will tell.
func (s *Service) prepare(stop, work context.Context, b influx.Bucket) {
	err := s.gate(b).do(stop, work, func(ctx context.Context) error {
		err := s.influx.Ensure(ctx, b)
		var e *influx.Error
		if err != nil && errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusTooManyRequests && e.Status < 500 {
			s.log.Warn("cannot make sure that the bucket is there", "bucket", b.Name(), "err", err)
			return nil
		}
		return err
	})
	if err != nil && stop.Err() == nil {
		s.log.Warn("cannot make sure that the bucket is there", "bucket", b.Name(), "err", err)
	}
}

// Ready returns nil while the writer stores what comes, else why it does not.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return errors.New("the writer does not run")
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

func (s *Service) setRunning(running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = running
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

// input takes note of whether a stream could be read, and pauses if not.
func (s *Service) input(stop context.Context, stream string, err error) {
	if stop.Err() != nil {
		return
	}
	s.mu.Lock()
	before := s.inputs[stream]
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
	if before == nil || before.Error() != err.Error() {
		s.log.Warn("cannot read", "stream", stream, "err", err)
	}
	select {
	case <-stop.Done():
	case <-time.After(inputPause):
	}
}

// fetch hands up to n messages to f, as they come within the time.
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

// malformed keeps a message that does not decode as a dead letter.
func (s *Service) malformed(stop, work context.Context, m jetstream.Msg, reason error) {
	d := streams.DeadLetter{
		Reason: streams.ReasonMalformed, Detail: reason.Error(),
		Origin: m.Subject(), Payload: m.Data(), Arrived: time.Now(),
	}
	if meta, err := m.Metadata(); err == nil {
		d.Arrived = meta.Timestamp
	}
	if s.bury(stop, work, d) != nil {
		s.giveBack(m)
		return
	}
	s.ack(m)
}

// ack acknowledges a message. When that is lost, the message comes again, and
// its points overwrite themselves.
func (s *Service) ack(m jetstream.Msg) {
	if err := m.Ack(); err != nil {
		s.log.Debug("acknowledgement failed", "subject", m.Subject(), "err", err)
	}
}

// giveBack has a message delivered again at once, to this writer or another.
func (s *Service) giveBack(m jetstream.Msg) {
	if err := m.Nak(); err != nil {
		s.log.Debug("giving back failed", "subject", m.Subject(), "err", err)
	}
}
