package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Sleep waits for d, or until ctx ends, and reports whether ctx still runs.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// HardStop returns a context that ends grace after ctx, or when cancel is called.
//
// Work that must not be left half done takes two contexts, in this order and
// under these names:
//
//   - ctx ends when the work is to stop: nothing new begins, and waiting ends.
//   - hard ends later, when the time to finish is over. Requests in flight are
//     made with it, and are cut off when it ends.
func HardStop(ctx context.Context, grace time.Duration) (hard context.Context, cancel context.CancelFunc) {
	hard, end := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, end)
		context.AfterFunc(hard, func() { timer.Stop() })
	})
	return hard, func() {
		forget()
		end()
	}
}

// checkEvery is the pause between two looks whether the streams are there.
const checkEvery = time.Second

// AwaitStreams returns the topology as soon as the streams are there and the
// other checks return nil. Until then it calls waiting with the reason, once per
// look; a new reason is logged, unless there is no connection, which is logged
// elsewhere. The error is streams.ErrLanes, which waiting does not fix, or that of
// ctx.
func AwaitStreams(ctx context.Context, js jetstream.JetStream, log *slog.Logger, waiting func(error), checks ...func(context.Context) error) (streams.Topology, error) {
	logged := ""
	for {
		topology, err := streams.Check(ctx, js)
		for i := 0; err == nil && i < len(checks); i++ {
			err = checks[i](ctx)
		}
		switch {
		case err == nil:
			return topology, nil
		case errors.Is(err, streams.ErrLanes):
			return streams.Topology{}, err
		case ctx.Err() != nil:
			return streams.Topology{}, ctx.Err()
		}
		waiting(fmt.Errorf("waiting for the streams: %w", err))
		if text := err.Error(); text != logged && (js.Conn() == nil || js.Conn().IsConnected()) {
			log.Warn("waiting for the streams: `provision` creates them", "err", err)
			logged = text
		}
		if !Sleep(ctx, checkEvery) {
			return streams.Topology{}, ctx.Err()
		}
	}
}
