package bridge

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"headwater/services/bridge/login"
	"headwater/services/internal/problems"
)

const (
	// refusalsToReport is how often a client must be refused within refusalsKept
	// before people hear of it.
	refusalsToReport = 3
	// refusalsKept is how long a refusal counts.
	refusalsKept = 10 * time.Minute
	// maxRefused bounds the clients that are remembered.
	maxRefused = problems.Most
	// maxName bounds what a stranger says of itself, in characters.
	maxName = 64
)

// refusals remembers which clients are refused again and again, and reports
// them. It may be used by several goroutines.
type refusals struct {
	report *problems.Reporter

	mu      sync.Mutex
	clients map[refused]*refusedOften // guarded by mu
}

// refused names a client and why it is refused.
type refused struct{ client, host, why string }

type refusedOften struct {
	count       int
	first, last time.Time
}

func newRefusals(report *problems.Reporter) *refusals {
	return &refusals{report: report, clients: make(map[refused]*refusedOften)}
}

// login takes in that a client may not log in.
func (r *refusals) login(reason login.Refusal, d login.Device, now time.Time) {
	r.add(refused{short(d.ClientID), short(d.Host), "it may not log in: " + reason.String() + ". Check its user and password, and the flags --mqtt-user and --mqtt-password-file"}, now)
}

// closed takes in that nats-server closed the connection of a client for what it
// sent.
func (r *refusals) closed(client, host, reason string, now time.Time) {
	r.add(refused{short(client), short(host), "what it sends is refused (" + reason + "). Topics may not hold spaces, a message must not be larger than a device may send, and MQTT 3.1.1 is spoken"}, now)
}

func (r *refusals) add(who refused, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.clients[who]
	if c == nil {
		if len(r.clients) >= maxRefused {
			return
		}
		c = &refusedOften{first: now}
		r.clients[who] = c
	}
	c.count, c.last = c.count+1, now
	if c.count < refusalsToReport {
		return
	}
	r.report.Set(who.id(), problems.Problem{
		Part: "Device " + strconv.Quote(who.client), Since: c.first,
		// Without a count, which would have it written with each refusal.
		Text: "It is refused again and again, from " + who.host + ": " + who.why + ".",
	})
}

// forget drops the clients that have not been refused for long.
func (r *refusals) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for who, c := range r.clients {
		if now.Sub(c.last) >= refusalsKept {
			delete(r.clients, who)
			r.report.Clear(who.id())
		}
	}
}

func (w refused) id() string { return fmt.Sprintf("%q", []string{w.client, w.host, w.why}) }

// run forgets now and then until ctx ends.
func (r *refusals) run(ctx context.Context) {
	tick := time.NewTicker(refusalsKept / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.forget(now)
		}
	}
}

func short(s string) string {
	if r := []rune(s); len(r) > maxName {
		return string(r[:maxName]) + "…"
	}
	return s
}
