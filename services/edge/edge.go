// Package edge sends what a Headwater at a site finds up to a centre: anomalies and the window
// summaries that the centre declares at once, and the readings that it declares. The site works alone: nothing that it does waits
// for the link, and what is not sent yet waits in its own streams.
//
// It goes over HTTPS, not over a leaf node of NATS: a site needs no open port and no more
// than a proxy lets through, each request stands for itself, so there is nothing to resume
// after a cut, and the centre opens nothing of its streams to the network. How a frame is
// stored once is described in services/internal/uplink.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/influx"
	"headwater/services/internal/meter"
	"headwater/services/internal/process"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

// name is that of the service in metrics.
const name = "edge"

// Config is how an edge sends.
type Config struct {
	// Every is the pause between two reports to the centre.
	Every time.Duration `name:"edge-report-every" help:"Pause between two reports to the centre." default:"30s" hidden:""`
	// Gather is how long readings wait for others of their upload.
	Gather time.Duration `name:"edge-gather" help:"How long readings wait for others that are sent with them." default:"1s" hidden:""`
	// Compare is the pause between two reports of what this edge holds.
	Compare time.Duration `name:"edge-compare-every" help:"Pause between two reports of what this edge holds." default:"15m" hidden:""`
}

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	if c.Every <= 0 || c.Gather <= 0 || c.Compare <= 0 {
		return errors.New("--edge-report-every, --edge-gather and --edge-compare-every must be longer than 0s")
	}
	return nil
}

// Deps are what an edge works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS jetstream.JetStream
	// Disk returns the room on the disk of the data folder. It may be nil.
	Disk func() (uplink.Disk, error)
	// Past is the history of this edge.
	Past    *influx.Client
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service sends up.
type Service struct {
	cfg     Config
	deps    Deps
	link    *Link
	started time.Time
	metrics *metrics

	mu sync.Mutex
	// answer is the last one of the centre; guarded by mu.
	answer uplink.Answer
	// own is what reports took; guarded by mu.
	own uplink.Traffic
	// clock is how the clock stood at the last report; guarded by mu.
	clock uplink.Clock
	pipes []*pipe
	// recount asks for a report of what this edge holds.
	recount chan struct{}
}

type metrics struct {
	up       prometheus.Gauge
	readings prometheus.Counter
	bytes    prometheus.Counter
	skipped  prometheus.Counter
	unnamed  prometheus.Counter
}

// New returns an edge that belongs to a centre. It does no I/O.
func New(cfg Config, link *Link, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	register := meter.New(deps.Metrics, name)
	return &Service{
		cfg: cfg, deps: deps, link: link, started: time.Now().UTC(), recount: make(chan struct{}, 1),
		metrics: &metrics{
			up:       register.Gauge("link_up", "1 while the centre answers."),
			readings: register.Counter("readings_sent_total", "Readings that the centre has stored."),
			bytes:    register.Counter("sent_bytes_total", "Bytes of what was sent, compressed."),
			skipped:  register.Counter("skipped_total", "Messages that were removed for lack of room before they were sent."),
			unnamed:  register.Counter("summaries_unnamed_total", "Summaries that do not go up because the name of their metric is too long."),
		},
	}, nil
}

// Ready returns nil: an edge works without its link.
func (s *Service) Ready() error { return nil }

// Run sends until ctx ends. It returns nil.
func (s *Service) Run(ctx context.Context) error {
	topology, err := process.AwaitStreams(ctx, s.deps.JS, s.deps.Log, func(error) {})
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // stopped, nothing is wrong
	case err != nil:
		return err
	}
	s.pipes = []*pipe{
		newPipe(s, streams.StreamTelemetry, topology.Telemetry, uplink.PathReadings, s.cfg.Gather, &readingsPacker{}),
		newPipe(s, streams.StreamDerived, topology.Derived, uplink.PathAlerts, gatherAlerts, &alertsPacker{js: s.deps.JS}),
		newPipe(s, streams.StreamDerived, topology.Derived, uplink.PathSummaries, s.cfg.Gather, &summariesPacker{unnamed: s.metrics.unnamed}),
	}
	for _, p := range s.pipes {
		if !p.restore(ctx) {
			return nil
		}
	}
	c := s.connect(ctx)
	if c == nil {
		return nil
	}
	var parts sync.WaitGroup
	for i, p := range s.pipes {
		p.align(places(s.answer)[i])
		parts.Go(func() { p.run(ctx, c) })
	}
	parts.Go(func() { s.compare(ctx, c) })
	s.report(ctx, c)
	parts.Wait()
	return nil
}

// places are those that the centre has stored, in the order of the pipes.
func places(a uplink.Answer) [3]uplink.Place {
	return [3]uplink.Place{a.Readings, a.Alerts, a.Summaries}
}

// gatherAlerts is how long anomalies wait for others of their upload: those of one reading.
const gatherAlerts = 20 * time.Millisecond

// connect joins the centre and gets its first answer. It returns nil when ctx ends first.
func (s *Service) connect(ctx context.Context) *client {
	var c *client
	var pause backoff
	for {
		var err error
		if c == nil {
			c, err = open(ctx, s.link)
		}
		if err == nil {
			err = c.join(ctx)
		}
		if err == nil {
			err = s.contact(ctx, c)
		}
		if err == nil {
			s.deps.Log.Info("this edge is connected to its centre", "centre", s.link.Address, "edge", s.link.Name)
			return c
		}
		if !pause.wait(ctx, s.deps.Log, err) {
			return nil
		}
	}
}

// report reports to the centre until ctx ends.
func (s *Service) report(ctx context.Context, c *client) {
	for process.Sleep(ctx, s.cfg.Every) {
		if err := s.contact(ctx, c); err != nil && ctx.Err() == nil {
			s.deps.Log.Debug("the centre could not be reached", "err", err)
		}
	}
	// The last report says how far it came. It is not worth waiting for.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.contact(last, c)
}

// contact reports once, and takes in what the centre answers.
func (s *Service) contact(ctx context.Context, c *client) error {
	r := uplink.Contact{Version: process.Version(), Started: s.started}
	s.mu.Lock()
	r.Sent, r.Clock = s.own, s.clock
	s.mu.Unlock()
	if s.deps.Disk != nil {
		var err error
		if r.Disk, err = s.deps.Disk(); err != nil {
			s.deps.Log.Debug("the room on the disk is not known", "err", err)
		}
	}
	acked := make([]uplink.Place, len(s.pipes))
	for i, p := range s.pipes {
		st, last, paused := p.progress(ctx)
		acked[i] = st.Acked
		r.Sent.Add(st.Sent)
		r.Whole.Add(st.Whole)
		r.Skipped += st.Skipped
		r.Paused = r.Paused || paused
		r.SpentToday += st.Spent.on(time.Now())
		progress := uplink.Progress{Place: st.at(), Last: last}
		switch i {
		case 0:
			r.Readings, r.Repair = progress, st.Repair
		case 1:
			r.Alerts = progress
		default:
			r.Summaries = progress
		}
	}
	asked := time.Now()
	answer, sent, err := c.contact(ctx, r)
	answered := time.Now()
	if err != nil {
		s.metrics.up.Set(0)
		return err
	}
	s.metrics.up.Set(1)
	for i, p := range s.pipes {
		p.compare(acked[i], places(answer)[i])
	}
	if answer.Repair != nil && answer.Repair.Validate() == nil {
		s.pipes[0].asked.Store(answer.Repair)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own.Add(uplink.Traffic{Messages: 1, Bytes: uint64(sent)})
	s.answer, s.clock = answer, uplink.ClockOf(asked, answered, answer.Now)
	return nil
}

// policy returns what is to be sent.
func (s *Service) policy() uplink.Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer.Policy
}

// backoff is the pause between attempts to reach the centre, and logs the first failure.
type backoff struct {
	pause  time.Duration
	failed bool
}

const (
	leastPause = 200 * time.Millisecond
	mostPause  = 10 * time.Second
	// refusedPause is that of an edge that the centre does not let in.
	refusedPause = 15 * time.Second
)

// wait waits before the next attempt and reports whether ctx still runs.
func (b *backoff) wait(ctx context.Context, log *slog.Logger, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if !b.failed {
		log.Warn("the centre cannot be reached; what is to be sent waits here", "err", err)
	}
	b.failed = true
	b.pause = min(max(2*b.pause, leastPause), mostPause)
	if errors.Is(err, errRefused) {
		b.pause = refusedPause
	}
	return process.Sleep(ctx, b.pause)
}

// reset ends a series of failures.
func (b *backoff) reset(log *slog.Logger) {
	if b.failed {
		log.Info("the centre answers again")
	}
	*b = backoff{}
}

func same(a, b uplink.Policy) bool { return reflect.DeepEqual(a, b) }
