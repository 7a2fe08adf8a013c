package streams

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// askAgain is the pause before a question is repeated.
const askAgain = time.Second

// Ask sends a question to nats-server, such as the state of a stream, and repeats it every
// second until there is an answer or ctx ends: while a stream of a cluster has no leader,
// a question gets no answer, not even later. The first answer counts, even a late one of a
// slow server. An error is an answer. The question must change nothing; it may be under
// way several times at once.
func Ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer)
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		asking.Go(func() {
			value, err := question(ctx)
			select {
			case answers <- answer{value, err}:
			case <-ctx.Done():
			}
		})
		select {
		case a := <-answers:
			return a.value, a.err
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		case <-again.C:
		}
	}
}

// LookUp looks up a stream with Ask.
func LookUp(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	return Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, name) })
}

// LookUpBucket looks up a bucket with Ask.
func LookUpBucket(ctx context.Context, js jetstream.JetStream, name string) (jetstream.KeyValue, error) {
	return Ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) { return js.KeyValue(ctx, name) })
}
