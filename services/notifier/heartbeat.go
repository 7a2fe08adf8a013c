package notifier

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"headwater/services/internal/config"
	"headwater/services/internal/process"
	"headwater/services/notifier/channel"
)

const (
	// beatEvery is the time between two heartbeats, and beatWithin how old the newest input
	// may be: the processor commits at least every 15 s while the bridge's clock reaches it.
	beatEvery  = time.Minute
	beatWithin = time.Minute
	// beatCheck is how often it is looked at whether one is due.
	beatCheck = time.Second
)

// heartbeat calls an address every minute while input flows from the bridge through the
// processor to the notifier. A service elsewhere raises an alarm when the calls end, be it
// because a part fails, or because the machine or its network is gone.
type heartbeat struct {
	// file holds the address, which is secret. It is read before each call.
	file    string
	timeout time.Duration
	log     *slog.Logger
	// newest is when the newest input was stored, in nanoseconds since the Unix epoch.
	newest atomic.Int64
}

// heard notes that the lane has input that was stored at a time.
func (h *heartbeat) heard(stored int64) { h.newest.Store(stored) }

// due reports whether a call is due now, after the last one.
func (h *heartbeat) due(now, last time.Time) bool {
	return now.Sub(last) >= beatEvery && h.flows(now)
}

// flows reports whether input has come lately.
func (h *heartbeat) flows(now time.Time) bool {
	return now.Sub(time.Unix(0, h.newest.Load())) < beatWithin
}

// beating calls until stop is called, or ctx ends. Without a file it does nothing.
func (h *heartbeat) beating(ctx context.Context) (stop func()) {
	if h.file == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { h.run(ctx) })
	return func() { cancel(); running.Wait() }
}

func (h *heartbeat) run(ctx context.Context) {
	beacon := channel.NewBeacon()
	defer beacon.Close()
	var last time.Time
	failing := false
	for begun := time.Now(); process.Sleep(ctx, beatCheck); {
		now := time.Now()
		var why string
		switch {
		case h.due(now, last):
			last = now
			if err := h.call(ctx, beacon); err != nil && ctx.Err() == nil {
				why = err.Error()
			}
		case h.flows(now) || now.Sub(begun) < beatWithin:
			continue
		default:
			why = "nothing has come from the processor for " + beatWithin.String()
		}
		if why != "" && !failing {
			h.log.Warn("no heartbeat; the next attempt follows", "err", why)
		}
		failing = why != ""
	}
}

func (h *heartbeat) call(ctx context.Context, beacon channel.Beacon) error {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	address, err := process.ReadSecret(h.file)
	if err != nil {
		return err
	}
	return beacon.Call(ctx, config.Secret(address))
}
