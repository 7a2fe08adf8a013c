package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

const (
	// Messages that the server hands out ahead, at most that many bytes a
	// request. The bytes must be more than one message can have.
	readAhead      = 4096
	readAheadBytes = 16 << 20

	// A pull without a sign of life for twice the heartbeat has been lost. What
	// it asked for stays valid until it expires, also when the one who asked is
	// gone, and the next reader waits for that.
	pullExpiry    = 2 * time.Second
	pullHeartbeat = time.Second

	// settleWait is the pause between looks whether that is so.
	settleWait = 20 * time.Millisecond
)

// input is a message of the durable consumer.
type input struct {
	msg      jetstream.Msg
	sequence uint64
	arrival  int64
}

// source is the durable consumer, set back to its ack floor.
type source struct {
	stream      jetstream.Stream
	incarnation time.Time
	iterator    jetstream.MessagesContext
	floor       uint64
}

// open sets the durable consumer back to the first message that is not
// acknowledged, loads the lanes and begins to read. Without the reset, what an
// earlier reader was handed would come after later messages.
func (r *reader) open(ctx context.Context) (source, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	devices := r.svc.deps.Devices
	stream, err := streams.LookUp(ctx, devices, streams.StreamMQTT)
	if err != nil {
		return source{}, fmt.Errorf("look up stream %s: %w", streams.StreamMQTT, err)
	}
	consumer, err := stream.Consumer(ctx, streams.ConsumerBridge)
	if err != nil {
		return source{}, fmt.Errorf("look up consumer %s of %s: %w", streams.ConsumerBridge, streams.StreamMQTT, err)
	}
	info, err := settle(ctx, consumer)
	if err != nil {
		return source{}, err
	}
	if info.AckFloor.Consumer > info.Delivered.Consumer {
		r.svc.metrics.staleAcks.Inc()
		r.svc.deps.Log.Error("the durable consumer took an ack from before its last reset", "consumer", streams.ConsumerBridge,
			"acked", info.AckFloor.Consumer, "delivered", info.Delivered.Consumer)
	}
	// To its ack floor, whatever that is then: a request with a number that comes
	// late could pass over messages of a stream that was made anew meanwhile.
	reset, err := devices.ResetConsumer(ctx, streams.StreamMQTT, streams.ConsumerBridge)
	if err != nil {
		return source{}, fmt.Errorf("set consumer %s back: %w", streams.ConsumerBridge, err)
	}
	src := source{stream: stream, incarnation: stream.CachedInfo().Created, floor: reset.ResetSeq - 1}
	if err := r.lanes.load(ctx, src.incarnation); err != nil {
		return source{}, err
	}
	src.iterator, err = consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return source{}, fmt.Errorf("read consumer %s: %w", streams.ConsumerBridge, err)
	}
	return src, nil
}

// settle returns what the consumer says when no request of an earlier reader
// waits there any more. Such a request would take messages of the next reader:
// nats-server drops one whose inbox nobody listens to, but the subscription to
// messages with QoS 0 listens to every subject, so that the server tries to
// deliver again and again until the request expires.
func settle(ctx context.Context, consumer jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	for {
		info, err := consumer.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at consumer %s: %w", streams.ConsumerBridge, err)
		}
		if info.NumWaiting == 0 {
			return info, nil
		}
		if !pause(ctx, settleWait) {
			return nil, fmt.Errorf("%d requests of another reader wait at consumer %s: %w", info.NumWaiting, streams.ConsumerBridge, ctx.Err())
		}
	}
}

// watchConnection reports the loss of the connection: the iterator would go on
// by itself after it, with what was on the wire missing.
func watchConnection(nc connection, broken chan<- error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	changes := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-changes:
			report(broken, errReconnect)
		}
	}()
	return func() { cancel(); <-done; nc.RemoveStatusListener(changes) }
}

func report(broken chan<- error, err error) {
	select {
	case broken <- err:
	default:
	}
}

// same returns an error unless the stream of the devices is the one that was
// opened.
func (r *reader) same(ctx context.Context, incarnation time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := r.svc.deps.Devices.Stream(ctx, streams.StreamMQTT)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamMQTT, err)
	}
	if !stream.CachedInfo().Created.Equal(incarnation) {
		return errMadeAnew
	}
	return nil
}

// deliver hands on the messages as long as each follows the one before. It is
// the one goroutine that calls Next, which watches the heartbeat only while it
// is being called without a time limit.
func (r *reader) deliver(ctx context.Context, src source, inputs chan<- input, broken chan<- error) {
	defer close(inputs)
	for expected := uint64(1); ; expected++ {
		msg, err := src.iterator.Next()
		if err != nil {
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				err = errSilence
			}
			report(broken, fmt.Errorf("read consumer %s: %w", streams.ConsumerBridge, err))
			return
		}
		meta, err := msg.Metadata()
		switch {
		case err != nil:
			report(broken, fmt.Errorf("read consumer %s: %w", streams.ConsumerBridge, err))
			return
		case meta.NumDelivered > 1:
			report(broken, fmt.Errorf("%w: %d of %s", errRepeat, meta.Sequence.Stream, streams.StreamMQTT))
			return
		case meta.Sequence.Consumer != expected:
			report(broken, fmt.Errorf("%w: delivery %d came after %d", errGap, meta.Sequence.Consumer, expected-1))
			return
		}
		if expected == 1 {
			// The stream may have been made anew since it was looked up, and its messages
			// would be taken for those that the lanes hold. Later on that shows, as the
			// deliveries count from one again.
			if err := r.same(ctx, src.incarnation); err != nil {
				report(broken, err)
				return
			}
		}
		select {
		case inputs <- input{msg: msg, sequence: meta.Sequence.Stream, arrival: meta.Timestamp.UnixNano()}:
		case <-ctx.Done():
			return
		}
	}
}
