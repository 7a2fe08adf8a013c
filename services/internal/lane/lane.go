package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
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

// load brings back the newest snapshot and returns the changes of the
// configuration that were committed after it, with their positions.
func (r *runner) load(ctx context.Context) ([]change, error) {
	var err error
	if r.store, err = openStore(ctx, r.JS, r.Service, r.Lane, r.Format); err != nil {
		return nil, err
	}
	input, err := streams.LookUp(ctx, r.JS, r.InputStream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", r.InputStream, err)
	}
	output, err := streams.LookUp(ctx, r.JS, r.OutputStream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", r.OutputStream, err)
	}
	r.incarnation, r.outputIncarnation = input.CachedInfo().Created, output.CachedInfo().Created
	m, chunks, passedOver, err := r.store.load(ctx)
	if passedOver != nil {
		r.Metrics.badSnapshots.Inc()
		r.log.Error("passed over a snapshot that is not whole; its input is replayed", "err", passedOver)
	}
	firstCommit := uint64(0)
	switch {
	case errors.Is(err, errNoSnapshot):
	case err != nil:
		return nil, err
	default:
		if err := r.restore(ctx, input, m, chunks); err != nil {
			return nil, err
		}
		if firstCommit, err = r.firstCommit(ctx, output, m); err != nil {
			return nil, err
		}
		r.tellGap(input.CachedInfo().State, m)
	}
	r.sinceSnapshot.at = time.Now()
	return r.commits(ctx, input, output, firstCommit)
}

// firstCommit returns the sequence of the first commit that the snapshot does
// not cover. An output stream that was recreated, or lost its end, gives the
// sequences of what it lost again.
func (r *runner) firstCommit(ctx context.Context, output jetstream.Stream, m *manifest) (uint64, error) {
	now, loss, err := m.Output().Resume(ctx, output)
	if err != nil {
		return 0, err
	}
	r.reportLoss(ctx, loss, "what was committed there is gone; the lane continues with what was learned before")
	return now.Sequence + 1, nil
}

// reportLoss raises an alarm if a stream has lost what the lane had of it, and has
// the next input make a snapshot that says where the lane resumes.
func (r *runner) reportLoss(ctx context.Context, loss *streams.Loss, consequence string) {
	if loss == nil {
		return
	}
	r.log.Error("a stream is missing what the lane had read of it", "consequence", consequence, "stream", loss.Stream, "recreated", loss.Recreated, "kept_seq", loss.Kept, "lost_seq", loss.Until, "loss", loss)
	r.Metrics.incarnations.Inc()
	r.sinceSnapshot.readings = snapshotReadings
	if err := loss.Record(ctx, r.JS, r.Service); err != nil {
		r.log.Error("the dashboard cannot say what is lost", "err", err)
	}
}

// tellGap says when the input begins only behind what the snapshot covers.
func (r *runner) tellGap(state jetstream.StreamState, m *manifest) {
	if r.applied == 0 || state.FirstSeq <= r.applied+1 {
		return
	}
	r.log.Warn("the input between the snapshot and the stream's beginning is gone; the lane goes on with what was learned before",
		"stream", r.InputStream, "snapshot_seq", r.applied, "first_seq", state.FirstSeq, "written", m.Written.UTC())
}

func (r *runner) restore(ctx context.Context, input jetstream.Stream, m *manifest, chunks []Chunk) error {
	for i, chunk := range chunks {
		if chunk.ID == configChunk {
			r.config = ConfigChange{Revision: m.Revision, Content: chunk.Data}
			chunks = append(chunks[:i:i], chunks[i+1:]...)
			break
		}
	}
	if err := r.machine.Restore(chunks); err != nil {
		return fmt.Errorf("restore the snapshot of input %d: %w", m.InputSequence, err)
	}
	now, loss, err := m.Input().Resume(ctx, input)
	if err != nil {
		return err
	}
	r.applied, r.appliedStored = now.Sequence, now.Stored
	r.committed, r.committedStored = now.Sequence, now.Stored
	r.reportLoss(ctx, loss, "the input is another than what was read: what is new is read, with what was learned before")
	return nil
}

// change is a configuration that took effect behind the input of a sequence.
type change struct {
	ConfigChange
	after uint64
}

// commits reads the lane's commits from the sequence first on: how far they
// reach, and which configurations they carry.
func (r *runner) commits(ctx context.Context, input, output jetstream.Stream, first uint64) ([]change, error) {
	last, err := output.GetLastMsgForSubject(ctx, r.OutputSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last commit: %w", err)
	}
	r.output = last.Sequence
	if last.Sequence < first {
		return nil, nil
	}
	consumer, err := r.JS.OrderedConsumer(ctx, r.OutputStream, orderedFrom(first, r.OutputSubject))
	if err != nil {
		return nil, fmt.Errorf("read the commits: %w", err)
	}
	iterator, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return nil, fmt.Errorf("read the commits: %w", err)
	}
	defer iterator.Stop()
	messages := ordered{MessagesContext: iterator}
	var changes []change
	var newest streams.Place
	for {
		limited, cancel := context.WithTimeout(ctx, loadTimeout)
		msg, meta, _, err := messages.take(jetstream.NextContext(limited))
		cancel()
		if err != nil {
			return nil, fmt.Errorf("read the commits: %w", err)
		}
		pos, config, err := r.ReadCommit(msg.Data())
		if err != nil {
			return nil, fmt.Errorf("commit %d of %s: %w", meta.Sequence.Stream, r.OutputSubject, err)
		}
		same := pos.Incarnation.Equal(r.incarnation)
		if same {
			// Not the highest: the input may have lost its end in between.
			newest = streams.Place{Incarnation: pos.Incarnation.UnixNano(), Sequence: pos.Sequence, Stored: pos.Stored}
		}
		if config != nil {
			at := change{ConfigChange: *config}
			if same {
				at.after = pos.Sequence
			}
			changes = append(changes, at)
		}
		if meta.Sequence.Stream >= last.Sequence {
			return changes, r.covered(ctx, input, newest, changes)
		}
	}
}

// covered takes note of the input that the newest commit covers, as far as the
// input still is what that was made of. Changes that took effect behind it do so
// at its end.
func (r *runner) covered(ctx context.Context, input jetstream.Stream, newest streams.Place, changes []change) error {
	now, loss, err := newest.Resume(ctx, input)
	if err != nil {
		return err
	}
	if now.Sequence > r.committed {
		r.committed, r.committedStored = now.Sequence, now.Stored
	}
	for i := range changes {
		changes[i].after = min(changes[i].after, r.committed)
	}
	r.reportLoss(ctx, loss, "the input is another than what was committed: what is new is read, with what was learned before")
	return nil
}

func orderedFrom(sequence uint64, filters ...string) jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: filters, DeliverPolicy: jetstream.DeliverAllPolicy}
	if sequence > 1 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, sequence
	}
	return cfg
}

// reader hands the input over, in order.
type reader struct {
	messages ordered
	// same returns an error unless the stream is the one that the lane was opened
	// on, and still holds what was read.
	same func(streams.Place) error
	// read is the last that was handed over; for the reader's goroutine only.
	last   streams.Place
	inputs chan Input
	errs   chan error
	// waiting is how many messages lay in the stream when it was opened.
	waiting uint64
	quit    chan struct{}
	done    chan struct{}
}

// open starts to read behind what was applied. Next is called without a time
// limit in a goroutine of its own: with a short one the heartbeat, and so a lost
// pull, would never be noticed.
func (r *runner) open(ctx context.Context) (*reader, error) {
	consumer, err := r.JS.OrderedConsumer(ctx, r.InputStream, orderedFrom(r.applied+1, r.InputFilters...))
	if err != nil {
		return nil, fmt.Errorf("open the input: %w", err)
	}
	if err := r.sameInput(r.place()); err != nil {
		return nil, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the input: %w", err)
	}
	r.Metrics.waits(r.Lane, info.NumPending)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead),
		jetstream.PullHeartbeat(500*time.Millisecond), jetstream.PullExpiry(2*time.Second))
	if err != nil {
		return nil, fmt.Errorf("open the input: %w", err)
	}
	in := &reader{
		messages: ordered{MessagesContext: messages}, waiting: info.NumPending, same: r.sameInput, last: r.place(),
		inputs: make(chan Input, readAhead), errs: make(chan error, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	go in.read()
	return in, nil
}

// place is how far the lane has read its input.
func (r *runner) place() streams.Place {
	return streams.Place{Incarnation: r.incarnation.UnixNano(), Sequence: r.applied, Stored: r.appliedStored}
}

// sameInput returns nil if the input is the stream that the lane was opened on,
// and holds what was read of it.
func (r *runner) sameInput(read streams.Place) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	return read.Check(ctx, r.JS, r.InputStream)
}

// errOrder is returned when a message does not follow the one before: the state
// would then be of another input than the one that the stream holds.
var errOrder = errors.New("messages are missing or came again")

// ordered is the messages of an ordered consumer. That none is missing and none
// comes again is what nats.go promises, and what all rests on.
type ordered struct {
	jetstream.MessagesContext
	// consumer is the one on the server, of which each replaces the one before when
	// that was cut off; its deliveries count from one.
	consumer string
	next     uint64
}

// take returns the next message, and whether its consumer has replaced another.
func (o *ordered) take(opts ...jetstream.NextOpt) (msg jetstream.Msg, meta *jetstream.MsgMetadata, replaced bool, err error) {
	if msg, err = o.Next(opts...); err != nil {
		return nil, nil, false, err
	}
	if meta, err = msg.Metadata(); err != nil {
		return nil, nil, false, err
	}
	if o.consumer != meta.Consumer {
		replaced = o.consumer != ""
		o.consumer, o.next = meta.Consumer, 1
	}
	if meta.Sequence.Consumer != o.next {
		return nil, nil, false, fmt.Errorf("%w: delivery %d came instead of %d", errOrder, meta.Sequence.Consumer, o.next)
	}
	o.next++
	return msg, meta, replaced, nil
}

// read hands over the messages. An ordered consumer that was cut off is replaced
// by nats.go with another, which goes on at the same sequence, whatever stream is
// there now: before its first message is taken, the stream is looked at.
func (in *reader) read() {
	defer close(in.done)
	for {
		msg, meta, replaced, err := in.messages.take()
		if err == nil && replaced {
			err = in.same(in.last)
		}
		if err != nil {
			in.errs <- fmt.Errorf("read the input: %w", err)
			return
		}
		in.last.Sequence, in.last.Stored = meta.Sequence.Stream, meta.Timestamp.UnixNano()
		select {
		case in.inputs <- Input{
			Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Stored: meta.Timestamp,
			Header: msg.Headers(), Data: msg.Data(), waiting: meta.NumPending,
		}:
		case <-in.quit:
			return
		}
	}
}

func (in *reader) stop() {
	close(in.quit)
	in.messages.Stop()
	<-in.done
}

// replay applies what was committed before, drops the outputs, and applies the
// changes of the configuration where they took effect. It returns the first new
// input if it has come upon that.
func (r *runner) replay(ctx context.Context, in *reader, changes []change) (first *Input, err error) {
	if r.config.Content != nil {
		if err := r.machine.Configure(r.config.Revision, r.config.Content); err != nil {
			return nil, fmt.Errorf("configuration %d of the snapshot: %w", r.config.Revision, err)
		}
	}
	configureUpTo := func(sequence uint64) error {
		for len(changes) > 0 && changes[0].after <= sequence {
			if err := r.configure(changes[0].ConfigChange); err != nil {
				return fmt.Errorf("configuration %d of a commit: %w", changes[0].Revision, err)
			}
			changes = changes[1:]
		}
		return nil
	}
	from, until := r.applied, r.committed
	start := time.Now()
	for waiting := in.waiting; waiting > 0 && r.applied < until; waiting-- {
		next, err := in.next(ctx)
		if err != nil {
			return nil, err
		}
		if err := configureUpTo(next.Sequence - 1); err != nil {
			return nil, err
		}
		if next.Sequence > until {
			// What was committed has left the stream; this one is the first new input.
			first = &next
			break
		}
		if err := r.apply(ctx, next); err != nil {
			return nil, err
		}
		if r.machine.Pending() >= maxPending {
			if err := r.drop(); err != nil {
				return nil, err
			}
		}
	}
	if until > r.applied {
		r.applied, r.appliedStored = until, r.committedStored
	}
	if err := configureUpTo(r.applied); err != nil {
		return nil, err
	}
	if r.applied > from {
		r.log.Info("lane replayed its input", "from", from, "to", r.applied, "took", time.Since(start).Round(time.Millisecond))
	}
	return first, r.drop()
}

// drop forgets outputs that were committed before.
func (r *runner) drop() error {
	_, err := r.machine.Take(Position{}, nil)
	return err
}

// next returns the next message, which must be in the stream.
func (in *reader) next(ctx context.Context) (Input, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	select {
	case next := <-in.inputs:
		return next, nil
	case err := <-in.errs:
		return Input{}, err
	case <-ctx.Done():
		return Input{}, fmt.Errorf("read the input: %w", ctx.Err())
	}
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

// change puts a new configuration in force and commits it, with its position.
func (r *runner) change(ctx context.Context, config ConfigChange) error {
	if err := r.configure(config); err != nil {
		r.log.Error("a change can't be used; what was before stays in force", "bucket", r.bucketOf(config), "revision", config.Revision, "err", err)
		return nil
	}
	r.log.Info("a change is in force", "bucket", r.bucketOf(config), "revision", config.Revision)
	return r.commit(ctx, &config)
}

func (r *runner) bucketOf(config ConfigChange) string {
	if config.Beside {
		return r.BesideBucket
	}
	return streams.BucketConfig
}

// commit stores all outputs and the position in one message.
func (r *runner) commit(ctx context.Context, config *ConfigChange) error {
	body, err := r.machine.Take(Position{Incarnation: r.incarnation, Sequence: r.applied, Stored: r.appliedStored}, config)
	if err != nil {
		return fmt.Errorf("encode the commit of input %d: %w", r.applied, err)
	}
	// The fate of a publish that is cut short is unknown, so it is not cut short
	// when the lane is told to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	start := time.Now()
	ack, err := r.JS.PublishMsg(ctx, &nats.Msg{Subject: r.OutputSubject, Data: body},
		jetstream.WithExpectLastSequencePerSubject(r.output))
	if err != nil {
		return fmt.Errorf("commit input %d: %w", r.applied, err)
	}
	r.Metrics.commitSeconds.Observe(time.Since(start).Seconds())
	r.Metrics.commits.Inc()
	r.output, r.committed, r.committedStored, r.lastCommit = ack.Sequence, r.applied, r.appliedStored, time.Now()
	if r.Committed != nil {
		r.Committed(r.Lane, ack.Sequence, body)
	}
	return nil
}

func (r *runner) snapshotIfDue(ctx context.Context) error {
	since := &r.sinceSnapshot
	if since.readings < snapshotReadings && since.messages < snapshotMessages && time.Since(since.at) < snapshotEvery {
		return nil
	}
	if err := r.commitRest(ctx); err != nil {
		return err
	}
	return r.snapshot(ctx)
}

// commitRest commits what the state has taken in since the last commit, outputs
// or not: a commit also carries counts, which a snapshot leaves out.
func (r *runner) commitRest(ctx context.Context) error {
	if r.machine.Pending() == 0 && r.applied == r.committed {
		return nil
	}
	return r.commit(ctx, nil)
}

// finish commits what waits and stores the state, so that the next owner has
// nothing to replay.
func (r *runner) finish(ctx context.Context) error {
	if r.config.Revision == 0 {
		return nil
	}
	if err := r.commitRest(ctx); err != nil {
		return err
	}
	if r.sinceSnapshot.messages == 0 {
		return nil
	}
	return r.snapshot(ctx)
}

// outputStored returns when the lane's last commit was stored, or 0 if that is not
// known.
func (r *runner) outputStored(ctx context.Context) int64 {
	stream, err := r.JS.Stream(ctx, r.OutputStream)
	if err != nil {
		return 0
	}
	msg, err := stream.GetMsg(ctx, r.output)
	if err != nil {
		return 0
	}
	return msg.Time.UnixNano()
}

// snapshot stores the state as of what was applied. No output may wait.
func (r *runner) snapshot(ctx context.Context) error {
	start := time.Now()
	all := r.store.needsAll()
	chunks, err := r.machine.Snapshot(all)
	if err != nil {
		return fmt.Errorf("snapshot at input %d: %w", r.applied, err)
	}
	if all || r.store.current.Revision != r.config.Revision {
		chunks = append(chunks, Chunk{ID: configChunk, Data: r.config.Content})
	}
	size, err := r.store.write(ctx, manifest{
		Revision: r.config.Revision, Written: start,
		Holding: streams.Holding{
			Incarnation: r.incarnation.UnixNano(), OutputIncarnation: r.outputIncarnation.UnixNano(),
			InputStream: r.InputStream, InputSequence: r.applied, InputStored: r.appliedStored,
			OutputStream: r.OutputStream, OutputSequence: r.output, OutputStored: r.outputStored(ctx),
		},
	}, chunks, all)
	r.sinceSnapshot.readings, r.sinceSnapshot.messages, r.sinceSnapshot.at = 0, 0, start
	if errors.Is(err, errLost) {
		return fmt.Errorf("snapshot at input %d: %w", r.applied, err)
	}
	if err != nil {
		// The lane goes on: the snapshot before and the input are still there.
		r.Metrics.failedSnapshots.Inc()
		r.log.Error("snapshot was not written whole; the next one is tried as usual", "err", err)
		return nil
	}
	r.Metrics.snapshotSeconds.Observe(time.Since(start).Seconds())
	r.Metrics.snapshotBytes.Add(float64(size))
	return nil
}
