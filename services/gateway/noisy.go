package gateway

import (
	"context"
	"sync"
	"time"

	"headwater/services/internal/problems"
)

// noisyKept is how long a sender is shown after it was last refused.
const noisyKept = 10 * time.Minute

// noisy reports the senders that are refused because they send too much. It is safe for
// concurrent use.
type noisy struct {
	report *problems.Reporter

	mu   sync.Mutex
	last map[string]time.Time // by what is reported; guarded by mu
}

func newNoisy(report *problems.Reporter) *noisy {
	return &noisy{report: report, last: make(map[string]time.Time)}
}

// refused notes why a sender was refused.
func (n *noisy) refused(why string, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.last[why]; !known && len(n.last) >= problems.Most {
		return
	}
	n.last[why] = now
	n.report.Set(why, problems.Problem{
		Part: "Gateway", Since: now,
		Text: "Readings over HTTP are refused with 429: " + why + ". Let it send less, or raise --http-device-rate or --http-address-rate (--device-rate and --address-rate of a gateway of its own).",
	})
}

// forget drops the senders that were not refused recently.
func (n *noisy) forget(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for why, last := range n.last {
		if now.Sub(last) >= noisyKept {
			delete(n.last, why)
			n.report.Clear(why)
		}
	}
}

// run reports and forgets until ctx ends.
func (n *noisy) run(ctx context.Context) {
	var reports sync.WaitGroup
	defer reports.Wait()
	reports.Go(func() { n.report.Run(ctx) })
	tick := time.NewTicker(noisyKept / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			n.forget(now)
		}
	}
}
