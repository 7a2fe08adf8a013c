package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Config says what one lane reads and writes.
type Config struct {
	// Service names the lane's owner in keys, logs and metrics; Lane is its number.
	Service string
	Lane    int
	// InputStream is read in order, as far as its subjects match one of the
	// filters.
	InputStream  string
	InputFilters []string
	// OutputStream takes the commits, all on OutputSubject, which no other lane
	// writes to.
	OutputStream  string
	OutputSubject string
	// Beside names the bucket and the key of what the machine, a Taker then, takes in
	// beside the configuration; empty for none.
	BesideBucket, BesideKey string
	// Format is the version of the machine's chunks. A snapshot of another
	// format is not read; the state is built anew from the input.
	Format int
	// ReadCommit returns the position that a commit of this lane carries, and
	// the configuration if it carries one.
	ReadCommit func(body []byte) (Position, *ConfigChange, error)
}

// Deps are what lanes work with.
type Deps struct {
	JS jetstream.JetStream
	// DeadLetter stores an input that the machine could not process. An error
	// means that it is not stored; the lane then tries the input again.
	DeadLetter func(ctx context.Context, in Input, reason error) error
	// Committed is told each commit that was stored, in order, with its sequence;
	// it must return at once. It may be nil.
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
	// snapshotReadings, snapshotMessages and snapshotEvery bound what would have
	// to be replayed: about a second of work, or ten minutes of clock ticks.
	snapshotReadings = 64 << 10
	snapshotMessages = 4096
	snapshotEvery    = 10 * time.Minute
	// stillAfter is how long no input must have come, of which there is some every
	// second as a rule, for a snapshot to be made at once: the input may be full of
	// what only the janitor can remove, behind snapshots.
	stillAfter = 30 * time.Second
	// readAhead is how many messages a lane asks for at once.
	readAhead = 512
	// commitTimeout bounds how long a commit may take to be stored.
	commitTimeout = 5 * time.Second
	// stopTimeout bounds the last snapshot of a lane that is told to stop.
	stopTimeout = 10 * time.Second
	// lookEvery is how often a lane looks whether its input is still the stream
	// that it was opened on, and lookTimeout how long that may take.
	lookEvery   = 5 * time.Second
	lookTimeout = 5 * time.Second
	// loadTimeout is how long a message may keep a lane waiting that was in its
	// stream when the lane began to load its state. What doesn't come by then has
	// left the stream, or the stream was made anew.
	loadTimeout = time.Minute
)

// Run owns the lane until ctx ends: the caller holds the lane for as long as
// ctx lives. It returns nil when ctx has ended. After an error of any kind the
// state is loaded anew, for a commit whose fate is unknown may have been stored.
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
				log.Warn("lane stopped in the middle of a step; the next owner repeats it", "err", err)
			}
			return nil
		}
		status.set(err)
		deps.Metrics.reloads.Inc()
		wait := pause.NextBackOff()
		log.Warn("lane loads its state anew", "err", err, "wait", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// runner is one life of a lane, from loading its state to the first error.
type runner struct {
	Config
	Deps
	log     *slog.Logger
	status  *Status
	machine Machine
	pause   *backoff.ExponentialBackOff

	store *store
	// incarnation and outputIncarnation are when the input and the output stream
	// were created, as of when the state was loaded.
	incarnation, outputIncarnation time.Time
	// config is what is in force in the machine.
	config ConfigChange
	// applied is the sequence of the last input that went into the machine,
	// committed that of the last whose outputs are stored, output the sequence of
	// the commit that says so.
	applied, committed, output uint64
	// appliedStored and committedStored are when the input stream stored the first
	// two, in nanoseconds since the Unix epoch; 0 when it is not known.
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
	// The reader ends when the iterator is stopped; nobody reads on after that.
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
	beside, stop, err := r.watchBeside(ctx)
	if err != nil {
		return err
	}
	defer stop()
	err = r.live(ctx, input, watch, beside)
	if err != nil && !errors.Is(err, streams.ErrLost) {
		return err
	}
	// Also when the input is another: what was learned from the one before can't
	// be had from it again.
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, r.finish(stopCtx))
}

// watchBeside watches what the machine takes in beside the configuration. The channel
// is nil if there is nothing.
func (r *runner) watchBeside(ctx context.Context) (updates <-chan jetstream.KeyValueEntry, stop func(), err error) {
	if r.BesideBucket == "" {
		return nil, func() {}, nil
	}
	bucket, err := r.JS.KeyValue(ctx, r.BesideBucket)
	if err != nil {
		return nil, nil, fmt.Errorf("open bucket %s: %w", r.BesideBucket, err)
	}
	watch, err := bucket.Watch(ctx, r.BesideKey)
	if err != nil {
		return nil, nil, fmt.Errorf("watch bucket %s: %w", r.BesideBucket, err)
	}
	return watch.Updates(), func() { _ = watch.Stop() }, nil
}

// live works until ctx ends or something fails.
func (r *runner) live(ctx context.Context, in *reader, watch jetstream.KeyWatcher, beside <-chan jetstream.KeyValueEntry) error {
	r.lastCommit = time.Now()
	configured := r.config.Revision != 0
	if r.machine.Pending() > 0 {
		if err := r.commit(ctx, nil); err != nil {
			return err
		}
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		// Without a configuration the first input must wait for one: it is part of
		// what the outputs depend on.
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
			return err
		case <-look.C:
			if err := in.same(r.place()); err != nil {
				return err
			}
			if r.sinceSnapshot.messages > 0 && time.Since(r.lastInput) >= stillAfter {
				if err := r.commitRest(ctx); err != nil {
					return err
				}
				if err := r.snapshot(ctx); err != nil {
					return err
				}
			}
		case entry, open := <-watch.Updates():
			if !open {
				return errors.New("the watch of the configuration ended")
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut || entry.Revision() <= r.config.Revision {
				continue
			}
			if err := r.change(ctx, ConfigChange{Revision: entry.Revision(), Content: entry.Value()}); err != nil {
				return err
			}
			configured = r.config.Revision != 0
		case entry, open := <-beside:
			if !open {
				return fmt.Errorf("the watch of bucket %s ended", r.BesideBucket)
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut || entry.Revision() <= r.machine.(Taker).TakenIn() {
				continue
			}
			if err := r.change(ctx, ConfigChange{Revision: entry.Revision(), Content: entry.Value(), Beside: true}); err != nil {
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

// step applies one input that is new.
func (r *runner) step(ctx context.Context, next Input) error {
	if err := r.apply(ctx, next); err != nil {
		return err
	}
	r.pause.Reset()
	r.lastInput = time.Now()
	return nil
}

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

func (r *runner) configure(config ConfigChange) error {
	if config.Beside {
		taker, takes := r.machine.(Taker)
		if !takes {
			return errors.New("the machine takes in nothing beside the configuration")
		}
		return taker.TakeIn(config.Revision, config.Content)
	}
	if err := r.machine.Configure(config.Revision, config.Content); err != nil {
		return err
	}
	r.config = config
	return nil
}
