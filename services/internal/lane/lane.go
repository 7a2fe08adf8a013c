package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/process"
	"headwater/streams"
)

// Config says what one lane reads and writes.
type Config struct {
	// Service names the lane's owner in keys, logs and metrics; Lane is its number.
	Service string
	Lane    int
	// Companion is set for a lane without a lease of its own: a Group runs it where the
	// first lane runs.
	Companion bool
	// InputStream is read in order. Only subjects count that match one of the filters.
	InputStream  string
	InputFilters []string
	// OutputStream holds the commits, all on OutputSubject. No other lane may write to
	// that subject.
	OutputStream  string
	OutputSubject string
	// ExtraBucket holds the extra configuration, each key a part of it, if the machine
	// is an ExtraConfigurer; empty for none.
	ExtraBucket string
	// Format is the version of the machine's chunks. A snapshot of another format is
	// not read; the state is rebuilt from the input.
	Format int
	// ReadCommit decodes a commit of this lane: its position, and the configuration if
	// it carries one.
	ReadCommit func(body []byte) (Position, *ConfigChange, error)
}

// Deps are what lanes work with.
type Deps struct {
	JS jetstream.JetStream
	// DeadLetter stores an input that the machine could not process. After an error
	// the lane retries the input.
	DeadLetter func(ctx context.Context, in Input, reason error) error
	// Committed, if not nil, is called for each commit that was stored, in order,
	// with its sequence in the output stream. It must return at once.
	Committed func(lane int, sequence uint64, body []byte)
	Log       *slog.Logger
	Metrics   *Metrics
}

const (
	// maxStep bounds the input messages between two commits that have output.
	maxStep = 256
	// maxPending is the number of outputs at which a step ends early: the commit
	// must stay below streams.MaxMessage.
	maxPending = 4096
	// positionEvery is how often a lane with input but without output commits its
	// position, so that its progress can be seen.
	positionEvery = 15 * time.Second
	// snapshotReadings, snapshotMessages and snapshotEvery bound what a new owner has
	// to replay: about a second of work, or ten minutes of clock ticks.
	snapshotReadings = 64 << 10
	snapshotMessages = 4096
	snapshotEvery    = 10 * time.Minute
	// idleAfter is how long the lane must have been without input before it stores a
	// snapshot at once. Usually there is some input every second. If there is none, the
	// input stream may be full, and the janitor removes only what snapshots cover.
	idleAfter = 30 * time.Second
	// readAhead is how many messages a lane requests at once.
	readAhead = 512
	// commitTimeout bounds how long a commit may take to be stored.
	commitTimeout = 5 * time.Second
	// stopTimeout bounds the last snapshot of a lane that stops.
	stopTimeout = 10 * time.Second
	// checkEvery is how often a lane checks that its input is still the stream that it
	// was opened on, and checkTimeout how long that may take.
	checkEvery   = 5 * time.Second
	checkTimeout = 5 * time.Second
	// loadTimeout is how long a lane that loads waits for a message that was in the
	// stream when the lane began. If it does not arrive by then, it has left the
	// stream, or the stream was recreated.
	loadTimeout = time.Minute
)

// Run owns the lane until ctx ends, and then returns nil. The caller must hold the
// lane's lease until Run returns. After an error of any kind Run loads the state again,
// because a commit whose publish failed may have been stored all the same.
func Run(ctx context.Context, cfg Config, deps Deps, newMachine func() Machine, status *Status) error {
	log := deps.Log.With("lane", cfg.Lane)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 10*time.Second
	defer deps.Metrics.left(cfg.Lane)
	for {
		r := &runner{Config: cfg, Deps: deps, log: log, status: status, machine: newMachine(), pause: pause}
		err := r.run(ctx)
		if ctx.Err() != nil {
			status.set(errStopped)
			if err != nil && !errors.Is(err, context.Canceled) {
				log.Warn("the lane stopped in the middle of a step; the next owner repeats it", "err", err)
			}
			return nil
		}
		status.set(err)
		deps.Metrics.reloads.Inc()
		wait := pause.NextBackOff()
		log.Warn("the lane loads its state again", "err", err, "wait", wait)
		process.Sleep(ctx, wait)
	}
}

// runner runs a lane from loading its state to the first error.
type runner struct {
	Config
	Deps
	log     *slog.Logger
	status  *Status
	machine Machine
	pause   *backoff.ExponentialBackOff

	store *store
	// incarnation and outputIncarnation are when the input and the output stream were
	// created, when the state was loaded.
	incarnation, outputIncarnation time.Time
	// config is the configuration in force in the machine.
	config ConfigChange
	// applied is the sequence of the last input that the machine has taken. committed
	// is the sequence of the last input whose outputs are stored, and output is the
	// sequence of the commit with them.
	applied, committed, output uint64
	// appliedStored and committedStored are when the input stream stored those two
	// messages, in nanoseconds since the Unix epoch; 0 if that is not known.
	appliedStored, committedStored int64
	lastCommit, lastInput          time.Time
	sinceSnapshot                  struct {
		readings, messages int
		at                 time.Time
	}
}

func (r *runner) run(ctx context.Context) error {
	r.status.set(errLoading)
	start := time.Now()
	changes, err := r.load(ctx)
	if err != nil {
		return err
	}
	r.Metrics.loadSeconds.Observe(time.Since(start).Seconds())
	input, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer input.stop()
	start = time.Now()
	first, err := r.replay(ctx, input, changes)
	if err != nil {
		return err
	}
	if err := r.store.unchanged(ctx); err != nil {
		return fmt.Errorf("replay up to input %d: %w", r.applied, err)
	}
	if first != nil {
		if err := r.step(ctx, *first); err != nil {
			return err
		}
	}
	r.Metrics.replaySeconds.Observe(time.Since(start).Seconds())
	bucket, err := r.JS.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	watch, err := bucket.Watch(ctx, streams.ConfigKey)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketConfig, err)
	}
	defer func() { _ = watch.Stop() }()
	extra, stop, err := r.watchExtra(ctx)
	if err != nil {
		return err
	}
	defer stop()
	err = r.live(ctx, input, watch, extra)
	if err != nil && !errors.Is(err, streams.ErrLost) {
		return err
	}
	// This also happens when the input was recreated: the state learned from the
	// previous stream can't be restored from the new one.
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, r.finish(stopCtx))
}

// watchExtra watches the extra configuration. The channel is nil if there is none.
func (r *runner) watchExtra(ctx context.Context) (updates <-chan jetstream.KeyValueEntry, stop func(), err error) {
	if r.ExtraBucket == "" {
		return nil, func() {}, nil
	}
	bucket, err := r.JS.KeyValue(ctx, r.ExtraBucket)
	if err != nil {
		return nil, nil, fmt.Errorf("open bucket %s: %w", r.ExtraBucket, err)
	}
	watch, err := bucket.WatchAll(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("watch bucket %s: %w", r.ExtraBucket, err)
	}
	return watch.Updates(), func() { _ = watch.Stop() }, nil
}

// live processes new input until ctx ends or something fails.
func (r *runner) live(ctx context.Context, in *reader, watch jetstream.KeyWatcher, extra <-chan jetstream.KeyValueEntry) error {
	r.lastCommit = time.Now()
	configured := r.config.Revision != 0
	if r.machine.Pending() > 0 {
		if err := r.commit(ctx, nil); err != nil {
			return err
		}
	}
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		// The outputs depend on the configuration, so the first input waits for it.
		inputs := in.inputs
		if !configured {
			inputs = nil
			r.status.set(errUnconfigured)
		} else {
			r.status.set(nil)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-in.errs:
			return unlessStopped(ctx, err)
		case <-check.C:
			if err := in.same(r.place()); err != nil {
				return err
			}
			if r.unsaved() && time.Since(r.lastInput) >= idleAfter {
				if err := r.commitRest(ctx); err != nil {
					return err
				}
				if err := r.snapshot(ctx); err != nil {
					return err
				}
			}
		case entry, open := <-watch.Updates():
			if !open {
				return unlessStopped(ctx, errors.New("the watch of the configuration ended"))
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut || entry.Revision() <= r.config.Revision {
				continue
			}
			if err := r.change(ctx, ConfigChange{Revision: entry.Revision(), Content: entry.Value()}); err != nil {
				return err
			}
			configured = r.config.Revision != 0
		case entry, open := <-extra:
			if !open {
				return unlessStopped(ctx, fmt.Errorf("the watch of bucket %s ended", r.ExtraBucket))
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut || entry.Revision() <= r.machine.(ExtraConfigurer).ExtraRevision() {
				continue
			}
			if err := r.change(ctx, ConfigChange{Revision: entry.Revision(), Content: entry.Value(), Extra: entry.Key()}); err != nil {
				return err
			}
		case next := <-inputs:
			first := next.Stored
			if err := r.step(ctx, next); err != nil {
				return err
			}
			for range maxStep {
				if r.machine.Pending() >= maxPending || len(in.inputs) == 0 {
					break
				}
				next = <-in.inputs
				if err := r.step(ctx, next); err != nil {
					return err
				}
			}
			outputs := r.machine.Pending() > 0
			if outputs || time.Since(r.lastCommit) >= positionEvery {
				if err := r.commit(ctx, nil); err != nil {
					return err
				}
			}
			if outputs {
				r.Metrics.delaySeconds.Observe(time.Since(first).Seconds())
			}
			r.Metrics.waits(r.Lane, next.waiting)
			if err := r.snapshotIfDue(ctx); err != nil {
				return err
			}
		}
	}
}

// unlessStopped returns err unless ctx ended. The end of ctx also ends the watches, and a
// lane that stops must still store its last snapshot.
func unlessStopped(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// step applies one new input.
func (r *runner) step(ctx context.Context, next Input) error {
	if err := r.apply(ctx, next); err != nil {
		return err
	}
	r.pause.Reset()
	r.lastInput = time.Now()
	return nil
}

// apply applies one input, new or replayed. A new one that can't be processed becomes a
// dead letter; a replayed one has become one before.
func (r *runner) apply(ctx context.Context, next Input) error {
	readings, err := r.machine.Apply(next)
	if err != nil {
		r.Metrics.rejected.Inc()
		if next.Sequence > r.committed {
			if err := r.DeadLetter(ctx, next, err); err != nil {
				return fmt.Errorf("dead-letter input %d: %w", next.Sequence, err)
			}
		}
	}
	r.applied, r.appliedStored = next.Sequence, next.Stored.UnixNano()
	r.sinceSnapshot.readings += readings
	r.sinceSnapshot.messages++
	r.Metrics.readings.Add(float64(readings))
	return nil
}

// configure puts a configuration in force without a commit.
func (r *runner) configure(config ConfigChange) error {
	if config.Extra != "" {
		machine, ok := r.machine.(ExtraConfigurer)
		if !ok {
			return errors.New("the machine has no extra configuration")
		}
		return machine.ConfigureExtra(config.Revision, config.Extra, config.Content)
	}
	if err := r.machine.Configure(config.Revision, config.Content); err != nil {
		return err
	}
	r.config = config
	return nil
}
