package lane

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"headwater/services/internal/lease"
	"headwater/services/internal/meter"
)

// Metrics count what all lanes of a service do together.
type Metrics struct {
	commits, readings, rejected, reloads, badSnapshots, failedSnapshots, incarnations prometheus.Counter
	snapshotBytes                                                                     prometheus.Counter
	commitSeconds, delaySeconds, snapshotSeconds, loadSeconds, replaySeconds          prometheus.Histogram
	waiting                                                                           *prometheus.GaugeVec
	// Leases are the metrics of the keeper that assigns the lanes.
	Leases *lease.Metrics
}

// NewMetrics registers the metrics of the lanes of a service, and those of their
// leases.
func NewMetrics(reg prometheus.Registerer, service string) *Metrics {
	register := meter.New(reg, service)
	counter := register.Counter
	seconds := func(name, help string) prometheus.Histogram { return register.Histogram(name, help, 0.0005, 2, 16) }
	return &Metrics{
		commits:         counter("lane_commits_total", "Commits stored."),
		readings:        counter("lane_readings_total", "Readings applied, replayed ones included."),
		rejected:        counter("lane_rejected_total", "Input messages that could not be processed."),
		reloads:         counter("lane_reloads_total", "Times that a lane loaded its state again after an error."),
		badSnapshots:    counter("lane_bad_snapshots_total", "Snapshots that were skipped because they are damaged."),
		failedSnapshots: counter("lane_failed_snapshots_total", "Snapshots that could not be written."),
		incarnations:    counter("lane_input_incarnations_total", "Times that a stream was found recreated, or without its end."),
		snapshotBytes:   counter("lane_snapshot_bytes_total", "Bytes of snapshots written."),
		commitSeconds:   seconds("lane_commit_seconds", "Time until a commit is stored."),
		delaySeconds:    seconds("lane_delay_seconds", "Time from when the first input of a step was stored until its outputs are."),
		snapshotSeconds: seconds("lane_snapshot_seconds", "Time to make and store a snapshot."),
		loadSeconds:     seconds("lane_load_seconds", "Time until a new owner of a lane has read its newest snapshot and the commits after it."),
		replaySeconds:   seconds("lane_replay_seconds", "Time until a new owner of a lane has replayed the input after its snapshot."),
		waiting:         register.Gauges("lane_waiting_messages", "Input messages that wait for this process, by lane.", "lane"),
		Leases:          lease.NewMetrics(reg, service),
	}
}

// waits sets how much input waits for a lane of this process.
func (m *Metrics) waits(lane int, messages uint64) {
	m.waiting.WithLabelValues(strconv.Itoa(lane)).Set(float64(messages))
}

// left removes a lane that this process no longer has.
func (m *Metrics) left(lane int) { m.waiting.DeleteLabelValues(strconv.Itoa(lane)) }

var (
	errStopped      = errors.New("stopped")
	errLoading      = errors.New("loading its state")
	errUnconfigured = errors.New("waiting for a configuration")
)

// Status is whether a lane works. It may be used by several goroutines at once.
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

// Ready returns nil while the lane works here, or the reason why it does not.
func (s *Status) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Group runs the lanes of a service that this process holds: its share of all lanes.
type Group struct {
	deps       Deps
	lanes      map[int]Config
	newMachine func(lane int) Machine
	// companions run where the lane first runs.
	companions []int
	first      int
	statuses   map[int]*Status
	keeper     *lease.Keeper
}

// NewGroup returns the group of this process. Lanes are the configurations of all lanes of
// one service, of which the first has a lease. NewMachine is called each time a lane loads its
// state.
func NewGroup(deps Deps, lanes []Config, newMachine func(lane int) Machine) *Group {
	g := &Group{deps: deps, lanes: make(map[int]Config), newMachine: newMachine, statuses: make(map[int]*Status)}
	var service string
	var numbers []int
	for _, cfg := range lanes {
		service = cfg.Service
		if cfg.Companion {
			g.companions = append(g.companions, cfg.Lane)
		} else {
			numbers = append(numbers, cfg.Lane)
		}
		g.lanes[cfg.Lane], g.statuses[cfg.Lane] = cfg, NewStatus()
	}
	g.first = numbers[0]
	g.keeper = lease.New(service, numbers, lease.Deps{JS: deps.JS, Log: deps.Log, Metrics: deps.Metrics.Leases})
	return g
}

// Run runs lanes until ctx ends, and then until each of them has stored its state and its
// lease is given back.
func (g *Group) Run(ctx context.Context) error {
	return g.keeper.Run(ctx, func(ctx context.Context, lane int) error {
		var all errgroup.Group
		for _, n := range g.with(lane) {
			all.Go(func() error {
				return Run(ctx, g.lanes[n], g.deps, func() Machine { return g.newMachine(n) }, g.statuses[n])
			})
		}
		return all.Wait()
	})
}

// with returns the lanes that run with the lease on a lane.
func (g *Group) with(lane int) []int {
	if lane != g.first {
		return []int{lane}
	}
	return append([]int{lane}, g.companions...)
}

// Ready returns nil if every lane has an owner and the lanes of this process work, or the
// reason why the first of them does not. A process on standby, without a lane, is ready.
func (g *Group) Ready() error {
	if err := g.keeper.Ready(); err != nil {
		return err
	}
	for _, lane := range g.keeper.Held() {
		for _, n := range g.with(lane) {
			if err := g.statuses[n].Ready(); err != nil {
				return fmt.Errorf("lane %d: %w", n, err)
			}
		}
	}
	return nil
}
