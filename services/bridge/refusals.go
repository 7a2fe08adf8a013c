package bridge

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"headwater/proto/figure"
	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
)

const (
	// refusalsToReport is how often a client must be refused within refusalsKept until
	// the dashboard shows it.
	refusalsToReport = 3
	// refusalsKept is how long a refusal is remembered.
	refusalsKept = 10 * time.Minute
	// maxRefused bounds the clients that are remembered.
	maxRefused = problems.Most
	// maxName bounds the names that a stranger sends, in characters.
	maxName = 64
)

// refusals reports the clients that are refused again and again. Any number of goroutines
// may use it.
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

// login counts a client that may not log in.
func (r *refusals) login(reason login.Refusal, d login.Device, now time.Time) {
	r.add(refused{figure.Clip(d.ClientID, maxName), figure.Clip(d.Host, maxName), "it may not log in: " + reason.String() + ". Check its user and password, and the flags --mqtt-user, --mqtt-reader and their password files"}, now)
}

// closed counts a client whose connection nats-server closed because of what it sent.
func (r *refusals) closed(client, host, reason string, now time.Time) {
	r.add(refused{figure.Clip(client, maxName), figure.Clip(host, maxName), "what it sends is refused (" + reason + "). A message must not be larger than a device may send; without --mqtt-front topics may not hold spaces, and MQTT 3.1.1 is spoken"}, now)
}

// front counts a client that the front refuses.
func (r *refusals) front(f front.Refused, now time.Time) {
	r.add(refused{figure.Clip(f.Client, maxName), figure.Clip(f.Host, maxName), f.Why}, now)
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
	part := "Device " + strconv.Quote(who.client)
	if who.client == "" {
		part = "Devices at " + who.host // which were refused before they said who they are
	}
	r.report.Set(who.id(), problems.Problem{
		Part: part, Since: c.first,
		// Without a count, which would change the text with each refusal.
		Text: "It is refused again and again, from " + who.host + ": " + who.why + ".",
	})
}

// forget drops the clients that were not refused recently.
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

// run forgets clients regularly until ctx ends.
func (r *refusals) run(ctx context.Context) {
	for process.Sleep(ctx, refusalsKept/10) {
		r.forget(time.Now())
	}
}
