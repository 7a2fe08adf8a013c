// Package simulator is a fleet of devices that reports over real MQTT: the warehouse of
// the demo or, without the model, a source of load. It decides when each device reports
// and follows every reading to its acknowledgement. Package warehouse decides what the
// devices measure.
//
// It shares no code with the services that receive the readings, so it can stand for
// devices of other makers. The simulator command and standalone's demo use it.
package simulator

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/process"
)

// Deps is what a fleet uses. Each field may be left out.
type Deps struct {
	// Log receives problems of the connections.
	Log *slog.Logger
	// Metrics is the registry for the counts.
	Metrics prometheus.Registerer
	// TLS is how the devices check the server's certificate; nil for the usual way.
	TLS *tls.Config
	// Progress receives one line a second while the fleet reports.
	Progress io.Writer
	// Summary receives one line when the fleet has stopped.
	Summary io.Writer
}

// Service is one fleet. It runs once.
type Service struct {
	cfg      Config
	deps     Deps
	counters counters

	connected atomic.Int64 // links that have a connection
	claimed   atomic.Int64 // readings that links were allowed to publish

	mu         sync.Mutex // guards the next two
	complained time.Time
	withheld   int
}

// New returns a fleet that has not started. Its error is that of Config.Validate.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	cfg.Connections = min(cfg.Connections, cfg.Devices)
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, deps: deps}
	s.counters.register(deps.Metrics)
	return s, nil
}

// Counts returns what the fleet has done so far. Any goroutine may call it.
func (s *Service) Counts() Counts { return s.counters.counts() }

// Ready returns nil when every connection is up.
func (s *Service) Ready() error {
	if up := s.connected.Load(); up < int64(s.cfg.Connections) {
		return fmt.Errorf("%d of %d connections to %s are up", up, s.cfg.Connections, strings.Join(s.cfg.MQTT, ", "))
	}
	return nil
}

// Run connects, however long that takes, and starts the devices once all connections are
// up. It stops when ctx ends, or when the duration or the number of readings is reached.
// It returns when everything that was sent is acknowledged or given up. It fails only if
// the password can't be read.
func (s *Service) Run(ctx context.Context) error {
	links, err := s.links()
	if err != nil {
		return err
	}
	connections := s.connect(ctx, links)
	if ctx.Err() != nil {
		for _, c := range connections {
			if c != nil {
				c.client.Disconnect(quiesce)
			}
		}
		return nil
	}
	begin := time.Now()
	devices, err := fleet(s.cfg, begin.UnixNano())
	if err != nil {
		return err
	}
	if s.cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.Duration)
		defer cancel()
	}
	stop := s.report(begin)
	defer stop()
	var running sync.WaitGroup
	for i, l := range links {
		var own []*device
		for n := i; n < len(devices); n += len(links) {
			own = append(own, devices[n])
		}
		l.begin(own)
		running.Go(func() { l.run(ctx, connections[i]) })
	}
	running.Wait()
	return nil
}

// links creates the links, without their devices.
func (s *Service) links() ([]*link, error) {
	password := ""
	if s.cfg.PasswordFile != "" {
		var err error
		password, err = process.ReadSecret(s.cfg.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("password of the devices: %w", err)
		}
	}
	// Two fleets at one server must not disconnect each other, so client ids are unique.
	run := rand.Text()[:8]
	links := make([]*link, s.cfg.Connections)
	for i := range links {
		links[i] = &link{service: s, client: fmt.Sprintf("simulator-%s-%d", run, i+1), password: password, server: i}
	}
	return links, nil
}

// connect opens a connection for each link, spread over a moment. Connections that are
// missing when ctx ends stay nil.
func (s *Service) connect(ctx context.Context, links []*link) []*connection {
	const (
		each   = 2 * time.Millisecond
		atMost = 5 * time.Second
	)
	spread := min(time.Duration(len(links))*each, atMost)
	connections := make([]*connection, len(links))
	var connecting sync.WaitGroup
	for i, l := range links {
		connecting.Go(func() {
			if !process.Sleep(ctx, mathrand.N(spread)) {
				return
			}
			if c, err := l.connect(ctx); err == nil {
				connections[i] = c
			}
		})
	}
	connecting.Wait()
	return connections
}

// report writes the progress once a second. The returned function stops it and writes
// the summary.
func (s *Service) report(begin time.Time) (stop func()) {
	end := make(chan struct{})
	var reporting sync.WaitGroup
	if s.deps.Progress != nil {
		reporting.Go(func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			before, last := Counts{}, begin
			for {
				select {
				case <-end:
					return
				case now := <-tick.C:
					counts := s.Counts()
					writeProgress(s.deps.Progress, now.Sub(begin), counts, before, now.Sub(last))
					before, last = counts, now
				}
			}
		})
	}
	return func() {
		close(end)
		reporting.Wait()
		if s.deps.Summary != nil {
			writeSummary(s.deps.Summary, time.Since(begin), s.Counts())
		}
	}
}

// claim reports whether one more reading may be published, and counts it.
func (s *Service) claim() bool {
	return s.cfg.Count == 0 || s.claimed.Add(1) <= s.cfg.Count
}

// spent reports whether no more readings may be published.
func (s *Service) spent() bool {
	return s.cfg.Count > 0 && s.claimed.Load() >= s.cfg.Count
}

// complain logs a problem of a connection, at most once in 5 seconds for all connections:
// when a server stops, all of them break.
func (s *Service) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.complained) >= 5*time.Second {
		s.deps.Log.Warn("connection of devices failed", "mqtt", s.cfg.MQTT, "err", err, "alike_before", s.withheld)
		s.complained, s.withheld = now, 0
		return
	}
	s.withheld++
}
