package lane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

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
