package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/process"
	"headwater/streams"
)

// retryEvery is the pause before a stream or a bucket is tried again.
const retryEvery = time.Second

// maxReplay bounds how many messages of a stream are read when a dashboard
// starts, whatever their age.
const maxReplay = 50_000

// callWithin bounds one request to JetStream.
const callWithin = 5 * time.Second

// message is one message of a followed stream.
type message struct {
	subject  string
	sequence uint64
	stored   time.Time
	data     []byte
	header   nats.Header
}

// streamReader reads a stream in order and without end, beginning some time back. After
// an interruption it resumes where it was, unless the stream was recreated.
type streamReader struct {
	js      jetstream.JetStream
	log     *slog.Logger
	stream  string
	filters []string
	// back is how far back in time reading begins, most the largest number of messages
	// to go back; 0 means any number.
	back time.Duration
	most uint64
	// handle takes one message. It is called from one goroutine.
	handle func(message)
	// began, if not nil, is called with the time from which messages are read, unless
	// they directly follow the messages that were read before.
	began func(time.Time)

	mu    sync.Mutex // guards what follows
	place streams.Place
	// there is the last message of the stream when reading began.
	there    uint64
	caughtUp bool
	err      error
	since    time.Time // when err occurred
}

func (f *streamReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.read(ctx)
		if ctx.Err() != nil {
			return
		}
		f.fail(err)
		process.Sleep(ctx, retryEvery)
	}
}

func (f *streamReader) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.since = time.Now()
		f.log.Warn("stream cannot be followed, retrying", "stream", f.stream, "err", err)
	}
	f.err = err
}

// state returns whether everything that the stream held has been read, and since
// when and why it cannot be read.
func (f *streamReader) state() (caughtUp bool, since time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.caughtUp, f.since, f.err
}

// reached reports whether the stream has been read up to a sequence.
func (f *streamReader) reached(sequence uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err == nil && f.place.Sequence >= sequence
}

func (f *streamReader) ready() error {
	switch caughtUp, _, err := f.state(); {
	case err != nil:
		return fmt.Errorf("read stream %s: %w", f.stream, err)
	case !caughtUp:
		return fmt.Errorf("still reading what stream %s holds", f.stream)
	}
	return nil
}

// read follows the stream until something fails.
func (f *streamReader) read(ctx context.Context) error {
	cfg, err := f.begin(ctx)
	if err != nil {
		return err
	}
	consumer, err := f.js.OrderedConsumer(ctx, f.stream, cfg)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	// An ordered consumer resumes where it was, whatever happened to the stream while
	// nats-server was unavailable.
	var looking sync.WaitGroup
	defer looking.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	looking.Go(func() { cancel(f.watch(ctx)) })
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil && context.Cause(ctx) != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		f.handle(message{subject: msg.Subject(), sequence: meta.Sequence.Stream, stored: meta.Timestamp, data: msg.Data(), header: msg.Headers()})
		f.mu.Lock()
		f.place.Sequence, f.place.Stored = meta.Sequence.Stream, meta.Timestamp.UnixNano()
		f.caughtUp = f.caughtUp || f.place.Sequence >= f.there
		f.err = nil
		f.mu.Unlock()
	}
}

// lookEvery is how often a reader checks that its stream is still the same.
const lookEvery = 5 * time.Second

// watch returns when the stream no longer holds what was read from it, with the
// reason, or when ctx ends.
func (f *streamReader) watch(ctx context.Context) error {
	for ; ctx.Err() == nil; process.Sleep(ctx, lookEvery) {
		f.mu.Lock()
		read := f.place
		f.mu.Unlock()
		limited, cancel := context.WithTimeout(ctx, callWithin)
		err := read.Check(limited, f.js, f.stream)
		cancel()
		if errors.Is(err, streams.ErrLost) {
			return err
		}
	}
	return nil
}

// begin returns where to begin.
func (f *streamReader) begin(ctx context.Context) (jetstream.OrderedConsumerConfig, error) {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: f.filters}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return cfg, err
	}
	f.mu.Lock()
	read := f.place
	f.mu.Unlock()
	now, loss, err := read.Resume(ctx, stream)
	if err != nil {
		return cfg, err
	}
	if loss != nil {
		f.log.Error("stream lost messages, continuing with the new ones", "stream", f.stream, "loss", loss)
	}
	info := stream.CachedInfo()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.place = now
	f.there = info.State.LastSeq
	f.caughtUp = f.caughtUp || info.State.Msgs == 0
	f.err = nil
	cfg.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
	oldest := time.Now().Add(-f.back)
	if f.began != nil && f.place.Sequence == 0 {
		f.began(oldest)
	}
	switch {
	case f.place.Sequence > 0:
		cfg.OptStartSeq = f.place.Sequence + 1
	case info.State.Msgs == 0 || info.State.LastTime.Before(oldest):
		cfg.OptStartSeq = info.State.LastSeq + 1
		f.caughtUp, f.place.Sequence = true, info.State.LastSeq
	case f.most > 0 && info.State.Msgs > f.most:
		cfg.OptStartSeq = info.State.LastSeq - f.most
	case info.State.FirstTime.After(oldest):
		cfg.OptStartSeq = max(1, info.State.FirstSeq)
	default:
		cfg.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		cfg.OptStartTime = &oldest
	}
	return cfg, nil
}

// watcher reads a bucket: everything that it holds, then each change.
type watcher struct {
	js     jetstream.JetStream
	log    *slog.Logger
	bucket string
	// keys are the keys to watch; empty means all.
	keys string
	// handle takes one entry; the value is nil when the key was removed, and at is
	// when it was put or removed. It is called from one goroutine.
	handle func(key string, value []byte, at time.Time)
	// entry, if not nil, is called instead of handle.
	entry func(jetstream.KeyValueEntry)

	mu     sync.Mutex // guards what follows
	loaded bool
	err    error
}

func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		w.mu.Lock()
		if w.err == nil {
			w.log.Warn("bucket cannot be watched, retrying", "stream", w.bucket, "err", err)
		}
		w.err = err
		w.mu.Unlock()
		process.Sleep(ctx, retryEvery)
	}
}

func (w *watcher) ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return fmt.Errorf("watch bucket %s: %w", w.bucket, w.err)
	case !w.loaded:
		return fmt.Errorf("still reading what bucket %s holds", w.bucket)
	}
	return nil
}

// rewatchEvery is how often a watch is recreated, which reads the bucket again:
// a watch does not report that it has missed something.
const rewatchEvery = 10 * time.Minute

// read watches the bucket until something fails, or returns nil when it is time to
// recreate the watch.
func (w *watcher) read(ctx context.Context) error {
	bucket, err := w.open(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rewatchEvery)
	defer cancel()
	watch, err := bucket.Watch(ctx, cmp.Or(w.keys, jetstream.AllKeys))
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }() // it may already have ended
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watch.Updates():
			switch {
			case !ok:
				return errors.New("the watch ended")
			case entry == nil: // everything that the bucket held has been read
				w.mu.Lock()
				w.loaded, w.err = true, nil
				w.mu.Unlock()
			case w.entry != nil:
				w.entry(entry)
			case entry.Operation() == jetstream.KeyValuePut:
				w.handle(entry.Key(), entry.Value(), entry.Created())
			default:
				w.handle(entry.Key(), nil, entry.Created())
			}
		}
	}
}

func (w *watcher) open(ctx context.Context) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	return w.js.KeyValue(ctx, w.bucket)
}
