package gateway

import (
	"context"
	"net"
	"sync"
	"time"

	"headwater/services/internal/problems"
)

// noisyKept is how long a sender is shown after it was last refused.
const noisyKept = 10 * time.Minute

const (
	// maxRejected bounds the senders whose requests are reported as wrong.
	maxRejected = 10
	// rejectedPause is the least time between two reports about one of them.
	rejectedPause = 3 * time.Second
)

// noisy reports the senders that are refused: because they send too much, and for the page
// on which somebody connects a device because of what they send. It is safe for concurrent
// use.
type noisy struct {
	report *problems.Reporter

	mu sync.Mutex
	// last is when each report was made, by its id; rejected are those about wrong
	// requests, by address. Both are guarded by mu.
	last     map[string]time.Time
	rejected map[string]rejection
}

type rejection struct {
	why string
	at  time.Time
}

func newNoisy(report *problems.Reporter) *noisy {
	return &noisy{report: report, last: make(map[string]time.Time), rejected: make(map[string]rejection)}
}

// reject notes that a request, or a part of it, was wrong. What one address sent last
// counts.
func (n *noisy) reject(remote, what, why string, now time.Time) {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	was, known := n.rejected[host]
	if known && was.why == why && now.Sub(was.at) < rejectedPause || !known && len(n.rejected) >= maxRejected {
		return
	}
	n.rejected[host] = rejection{why, now}
	n.report.Set(rejectedID(host), problems.Problem{
		Part: "A request from " + host, Since: now, Last: now, Text: why + ".", Refused: what, Quiet: true,
	})
}

func rejectedID(host string) string { return "rejected " + host }

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
	for host, r := range n.rejected {
		if now.Sub(r.at) >= noisyKept {
			delete(n.rejected, host)
			n.report.Clear(rejectedID(host))
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
