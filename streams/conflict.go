package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// IsConflict reports whether a write was refused because another one wrote
// first: the subject or key is not at the sequence that the writer expected.
// Nats-server has a code for streams with one replica and another for those with
// several, and nats.go maps only the first to ErrKeyExists.
func IsConflict(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// codeStoreFailed is nats-server's answer when a stream or its disk is full.
const codeStoreFailed jetstream.ErrorCode = 10077

// IsFull reports whether a message was refused because the stream or its disk is full.
func IsFull(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeStoreFailed
}

// ErrNoAnswer is returned by Stored when a stream did not answer in time. The message may
// be stored, now or later.
var ErrNoAnswer = errors.New("the stream did not answer in time")

// Stored waits until a stream has answered a message that was published, or ctx ends. An
// answer that has arrived counts even after the end of ctx.
func Stored(ctx context.Context, future jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	var err error
	select {
	case ack := <-future.Ok():
		return ack, nil
	case err = <-future.Err():
	case <-ctx.Done():
		select {
		case ack := <-future.Ok():
			return ack, nil
		case err = <-future.Err():
		default:
			err = ErrNoAnswer
		}
	}
	return nil, fmt.Errorf("store on %s: %w", future.Msg().Subject, err)
}
