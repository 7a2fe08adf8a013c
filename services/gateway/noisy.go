package gateway

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"headwater/services/internal/problems"
	"headwater/services/internal/quota"
)

// noisyKept is how long a sender is shown after it was last refused.
const noisyKept = problems.FadeAfter

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
	loud   *problems.Fading

	mu sync.Mutex
	// rejected are the reports about wrong requests, by address.
	rejected map[string]rejection // guarded by mu
}

type rejection struct {
	why string
	at  time.Time
}

func newNoisy(report *problems.Reporter) *noisy {
	return &noisy{report: report, loud: problems.NewFading(report), rejected: make(map[string]rejection)}
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

// refused notes why a sender was refused that sends too much.
func (n *noisy) refused(f *fault, now time.Time) {
	n.loud.Set(f.Error, problems.Problem{
		Part: "Gateway", Site: f.of.Site, Device: f.of.Device,
		Text: "Readings over HTTP are refused with 429: " + f.Error + ". Let it send less, or raise --http-device-rate or --http-address-rate (--device-rate and --address-rate of a gateway of its own).",
	}, now)
}

// inventor notes that a device may begin no more metrics.
func (n *noisy) inventor(of quota.Device, most int, now time.Time) {
	n.loud.Set("new series "+of.Site+"/"+of.Device, problems.Problem{
		Part: "Gateway", Site: of.Site, Device: of.Device,
		Text: fmt.Sprintf("Readings over HTTP are refused: device %s/%s has begun %d metrics within a day, and may begin no more. Let it send fewer, or raise --http-new-series (--new-series of a gateway of its own).", of.Site, of.Device, most),
	}, now)
}

// forget drops the senders that were not refused recently.
func (n *noisy) forget(now time.Time) {
	n.loud.Forget(now)
	n.mu.Lock()
	defer n.mu.Unlock()
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
