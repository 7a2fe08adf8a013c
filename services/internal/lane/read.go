package lane

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/ordered"
	"headwater/streams"
)

// reader reads the input in order, in a goroutine of its own.
type reader struct {
	messages ordered.Messages
	// same returns an error unless the stream is the one that the lane was opened on,
	// and still holds what was read.
	same func(streams.Place) error
	// last is the last message that was passed on. Only the reader's goroutine uses it.
	last   streams.Place
	inputs chan Input
	errs   chan error
	// waiting is how many messages were in the stream when it was opened.
	waiting uint64
	quit    chan struct{}
	done    chan struct{}
}

// open starts to read after the last input that was applied. The goroutine calls Next
// without a time limit: with a short limit, a missing heartbeat, and so a lost pull,
// would never be noticed.
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
		messages: ordered.Messages{MessagesContext: messages}, waiting: info.NumPending, same: r.sameInput, last: r.place(),
		inputs: make(chan Input, readAhead), errs: make(chan error, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	go in.read()
	return in, nil
}

// place returns how far the lane has read its input.
func (r *runner) place() streams.Place {
	return streams.Place{Incarnation: r.incarnation.UnixNano(), Sequence: r.applied, Stored: r.appliedStored}
}

// sameInput returns nil if the input is the stream that the lane was opened on, and still
// holds what was read of it.
func (r *runner) sameInput(read streams.Place) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	return read.Check(ctx, r.JS, r.InputStream)
}

// read passes the messages on. nats.go replaces an ordered consumer that was cut off with
// another one, which continues at the same sequence of whatever stream has that name now.
// Before the first message of a replacement counts, read checks the stream.
func (in *reader) read() {
	defer close(in.done)
	for {
		msg, meta, replaced, err := in.messages.Take()
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

// next returns the next message. The caller knows that there is one in the stream.
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

func (in *reader) stop() {
	close(in.quit)
	in.messages.Stop()
	<-in.done
}

// orderedFrom returns the configuration of an ordered consumer that begins at a sequence.
func orderedFrom(sequence uint64, filters ...string) jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: filters, DeliverPolicy: jetstream.DeliverAllPolicy}
	if sequence > 1 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, sequence
	}
	return cfg
}
