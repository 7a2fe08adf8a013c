package lane

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"
)

// Metrics are what all lanes of a service count together.
type Metrics struct {
	commits, readings, rejected, reloads, badSnapshots, failedSnapshots, incarnations prometheus.Counter
	snapshotBytes                                                                     prometheus.Counter
	commitSeconds, snapshotSeconds                                                    prometheus.Histogram
}

// NewMetrics registers the metrics of the lanes of a service.
func NewMetrics(reg prometheus.Registerer, service string) *Metrics {
	factory := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Namespace: "headwater", Subsystem: service, Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return factory.NewHistogram(prometheus.HistogramOpts{
			Namespace: "headwater", Subsystem: service, Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		})
	}
	return &Metrics{
		commits:         counter("lane_commits_total", "Commits stored."),
		readings:        counter("lane_readings_total", "Readings applied, replayed ones included."),
		rejected:        counter("lane_rejected_total", "Input messages that could not be processed."),
		reloads:         counter("lane_reloads_total", "Times that a lane loaded its state anew after an error."),
		badSnapshots:    counter("lane_bad_snapshots_total", "Snapshots that were passed over because they are not whole."),
		failedSnapshots: counter("lane_failed_snapshots_total", "Snapshots that could not be written."),
		incarnations:    counter("lane_input_incarnations_total", "Times that the input stream was found made anew."),
		snapshotBytes:   counter("lane_snapshot_bytes_total", "Bytes of snapshots written."),
		commitSeconds:   seconds("lane_commit_seconds", "Time until a commit is stored."),
		snapshotSeconds: seconds("lane_snapshot_seconds", "Time to make and store a snapshot."),
	}
}

var (
	errStopped      = errors.New("stopped")
	errLoading      = errors.New("loading its state")
	errUnconfigured = errors.New("waiting for a configuration")
)

// Status says how a lane is. It may be used by several goroutines at once.
type Status struct {
	mu  sync.Mutex
	err error
}

// NewStatus returns the status of a lane that has not been started.
func NewStatus() *Status { return &Status{err: errStopped} }

func (s *Status) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Ready returns nil while the lane works, else the reason why not.
func (s *Status) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Group runs several lanes that this process owns.
type Group struct {
	deps       Deps
	lanes      []Config
	newMachine func(lane int) Machine
	statuses   []*Status
}

// NewGroup returns a group that owns the lanes of the configurations. The
// function makes a new machine each time a lane loads its state.
func NewGroup(deps Deps, lanes []Config, newMachine func(lane int) Machine) *Group {
	g := &Group{deps: deps, lanes: lanes, newMachine: newMachine}
	for range lanes {
		g.statuses = append(g.statuses, NewStatus())
	}
	return g
}

// Run works until ctx ends and every lane has stored its state.
func (g *Group) Run(ctx context.Context) error {
	var lanes errgroup.Group
	for i, cfg := range g.lanes {
		lanes.Go(func() error {
			return Run(ctx, cfg, g.deps, func() Machine { return g.newMachine(cfg.Lane) }, g.statuses[i])
		})
	}
	return lanes.Wait()
}

// Ready returns nil when every lane works, else the reason of the first that
// does not.
func (g *Group) Ready() error {
	for i, status := range g.statuses {
		if err := status.Ready(); err != nil {
			return fmt.Errorf("lane %d: %w", g.lanes[i].Lane, err)
		}
	}
	return nil
}
