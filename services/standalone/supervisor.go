package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/meter"
	"headwater/services/notifier/watch"
	"headwater/web/ui"
	"headwater/web/view"
)

const (
	// superviseEvery is the pause between checks of the disk and the servers.
	superviseEvery = 250 * time.Millisecond
	// measureEvery is the pause between measurements of InfluxDB's files.
	measureEvery = time.Minute
	// patience is how long a server must be unable to store before the supervisor acts: on
	// a busy machine, nats-server reports now and then that it is not ready.
	patience = time.Second
	// influxPatience is how long InfluxDB may fail for lack of space before it is
	// restarted.
	influxPatience = 3 * time.Second
	// resumeShare, in per cent of the reserve, must be free before readings are accepted
	// again. The difference keeps the gate from flapping.
	resumeShare = 125
	// firstRestart and lastRestart bound the pause between restarts of a server that
	// stays stuck. After maxRestarts in a row a person has to help, and the pause is
	// rareRestart.
	firstRestart = 2 * time.Second
	lastRestart  = time.Minute
	maxRestarts  = 8
	rareRestart  = 30 * time.Minute
)

// watched is a server that can be stuck after its disk was full, until it is restarted.
type watched struct {
	name string
	// health returns nil while the server can store, or why it can't.
	health  func() error
	restart func(ctx context.Context) error
	// advice says what a person can do when restarts don't help.
	advice string

	retry *backoff.ExponentialBackOff
	// tries counts the restarts since the server was last healthy for a while.
	tries int
	// restarted is the time of the last restart, next the earliest time of the next one.
	// unwell is since when the server can't store, or zero.
	restarted, next, unwell time.Time
}

// supervisor keeps a reserve of the disk free by refusing readings before the disk is
// full. When there is space again, it restarts the servers that the full disk left
// stuck.
type supervisor struct {
	log     *slog.Logger
	disk    diskBudget
	free    func() (bytes uint64, err error)
	servers []*watched
	// influxFolder is empty when InfluxDB runs elsewhere.
	influxFolder string

	freeBytes, held, influxBytes prometheus.Gauge
	restarts                     *prometheus.CounterVec

	mu sync.Mutex // guards what follows
	// refusal is why readings are refused, and since when; nil while they are accepted.
	refusal error
	since   time.Time
	// influxSize is the size of InfluxDB's files, in bytes.
	influxSize uint64
}

func newSupervisor(log *slog.Logger, budget diskBudget, metrics prometheus.Registerer) *supervisor {
	register := meter.New(metrics, "standalone")
	s := &supervisor{
		log: log, disk: budget,
		freeBytes:   register.Gauge("disk_free_bytes", "Free space of the disk that the data folder is on."),
		held:        register.Gauge("intake_refused", "1 while readings are refused for lack of disk space, else 0."),
		influxBytes: register.Gauge("influxdb_bytes", "Size of the files of the embedded InfluxDB."),
		restarts:    register.Counters("restarts_total", "Restarts of an embedded server that could no longer store, by server.", "server"),
	}
	register.Gauge("disk_reserve_bytes", "Free space below which readings are refused.").Set(float64(budget.reserve))
	register.Gauge("streams_budget_bytes", "What the streams may take of the disk.").Set(float64(budget.streams))
	register.Gauge("influxdb_budget_bytes", "What InfluxDB should take of the disk at most.").Set(float64(budget.influx))
	return s
}

// watch adds a server, with advice for people when restarts don't help.
func (s *supervisor) watch(name string, health func() error, restart func(ctx context.Context) error, advice string) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRestart, lastRestart
	s.restarts.WithLabelValues(name)
	s.servers = append(s.servers, &watched{name: name, health: health, restart: restart, advice: advice, retry: retry})
}

// run supervises until ctx ends.
func (s *supervisor) run(ctx context.Context) error {
	var measuring sync.WaitGroup
	defer measuring.Wait()
	if s.influxFolder != "" {
		measuring.Go(func() { s.measure(ctx) })
	}
	tick := time.NewTicker(superviseEvery)
	defer tick.Stop()
	for {
		s.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// room returns how much of the disk is free, and how much must be.
func (s *supervisor) room() (watch.Disk, error) {
	free, err := s.free()
	return watch.Disk{Free: free, Reserve: s.disk.reserve, Total: s.disk.total}, err
}

// look decides whether readings are accepted, and restarts servers.
func (s *supervisor) look(ctx context.Context, now time.Time) {
	free, err := s.free()
	if err != nil {
		// Nothing is known about a disk that does not answer, so refuse to be safe.
		s.refuse(fmt.Errorf("the disk of the data folder does not answer: %w", err), now)
		return
	}
	s.freeBytes.Set(float64(free))
	if s.low(free) {
		s.refuse(s.disk.full(free), now)
		return
	}
	for _, w := range s.servers {
		if err := s.revive(ctx, w, now); err != nil {
			s.refuse(err, now)
			return
		}
	}
	s.accept()
}

// low reports whether too little is free.
func (s *supervisor) low(free uint64) bool {
	if s.refuses() != nil {
		return free < s.disk.reserve/100*resumeShare
	}
	return free < s.disk.reserve
}

// revive restarts a server that can't store, if a restart is due. It returns why the
// server can't store, or nil.
func (s *supervisor) revive(ctx context.Context, w *watched, now time.Time) error {
	err := w.health()
	switch {
	case err == nil:
		if now.Sub(w.restarted) > lastRestart {
			w.retry.Reset()
			w.tries, w.next = 0, time.Time{}
		}
		w.unwell = time.Time{}
		return nil
	case w.unwell.IsZero():
		w.unwell = now
		return nil
	case now.Sub(w.unwell) < patience:
		return nil
	case now.Before(w.next):
		return w.stuck(err)
	}
	s.refuse(fmt.Errorf("%s cannot store and is being restarted: %w", w.name, err), now)
	s.log.Warn("restarting a server that cannot store although there is space", "server", w.name, "err", err)
	s.restarts.WithLabelValues(w.name).Inc()
	begin := time.Now()
	failure := w.restart(ctx)
	pause := w.retry.NextBackOff()
	w.tries++
	if w.tries >= maxRestarts {
		pause = rareRestart
	}
	w.restarted = time.Now()
	w.next = w.restarted.Add(pause)
	if failure != nil {
		err = fmt.Errorf("%s could not be restarted: %w", w.name, failure)
	} else {
		s.log.Info("the server is running again", "server", w.name, "took", time.Since(begin).Round(time.Millisecond))
		err = w.health()
		if err == nil {
			return nil
		}
	}
	if w.tries >= maxRestarts {
		s.log.Error("restarts don't help: a person has to fix it", "server", w.name, "restarts", w.tries, "err", err, "do", w.advice)
	}
	return w.stuck(err)
}

// stuck returns an error that says why the server can't store, and what happens next.
func (w *watched) stuck(err error) error {
	if w.tries < maxRestarts {
		return fmt.Errorf("%s cannot store and is restarted soon: %w", w.name, err)
	}
	return fmt.Errorf("%s cannot store, and %d restarts did not help; the next one is at %s: %w. %s",
		w.name, w.tries, w.next.Format("15:04 MST"), err, w.advice)
}

func (s *supervisor) refuse(reason error, now time.Time) {
	s.mu.Lock()
	first := s.refusal == nil
	if first {
		s.since = now
	}
	s.refusal = reason
	s.mu.Unlock()
	s.held.Set(1)
	if first {
		s.log.Error("refusing readings; devices keep them and send them again", "err", reason)
	}
}

func (s *supervisor) accept() {
	s.mu.Lock()
	was, since := s.refusal, s.since
	s.refusal = nil
	s.mu.Unlock()
	s.held.Set(0)
	if was != nil {
		s.log.Info("accepting readings again", "after", time.Since(since).Round(time.Second))
	}
}

// refuses returns why readings are refused now, or nil. Any number of goroutines may
// call it.
func (s *supervisor) refuses() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusal
}

// problems lists what is wrong with the disk, for the dashboard.
func (s *supervisor) problems() []view.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []view.Problem
	if s.refusal != nil {
		out = append(out, view.Problem{Part: "Disk", Text: "Readings are refused: " + s.refusal.Error() + ".", Since: s.since})
	}
	if s.influxSize > s.disk.influx {
		out = append(out, view.Problem{Part: "InfluxDB", Text: fmt.Sprintf(
			"InfluxDB takes %s of the disk, more than its part of %s. Nothing is deleted because of that. Keep the history for a shorter time (--retention-raw and the like for new data folders, ALTER RETENTION POLICY for this one), or give it more with --disk-share.",
			ui.FormatBytes(s.influxSize), ui.FormatBytes(s.disk.influx))})
	}
	return out
}

// measure adds up the sizes of InfluxDB's files, once a measureEvery.
func (s *supervisor) measure(ctx context.Context) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	above := false
	for {
		size, err := treeSize(ctx, s.influxFolder)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Warn("could not measure the size of InfluxDB's files", "err", err)
		default:
			s.mu.Lock()
			s.influxSize = size
			s.mu.Unlock()
			s.influxBytes.Set(float64(size))
			if size > s.disk.influx && !above {
				s.log.Warn("InfluxDB takes more than its part of the disk; nothing is deleted because of that",
					"bytes", size, "part", s.disk.influx)
			}
			above = size > s.disk.influx
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// treeSize adds up the sizes of the files below root. It leaves out what is deleted
// meanwhile.
func treeSize(ctx context.Context, root string) (uint64, error) {
	var sum uint64
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		sum += uint64(info.Size())
		return nil
	})
	return sum, err
}
