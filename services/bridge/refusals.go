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
	// maxQuiet bounds the clients that are reported although they were refused less often,
	// so that they leave room for what everybody should see.
	maxQuiet = 10
	// quietPause is the least time between two reports about one of those.
	quietPause = 3 * time.Second
	// maxName bounds the names that a stranger sends, in characters.
	maxName = 64
)

// refusals reports the clients that are refused: at once for the page on which somebody
// connects a device, and for every page when they are refused again and again. Any number
// of goroutines may use it.
type refusals struct {
	report *problems.Reporter

	mu      sync.Mutex
	clients map[refused]*refusedOften // guarded by mu
}

// refused names a client and why it is refused.
type refused struct{ client, host, what, why string }

type refusedOften struct {
	count       int
	first, last time.Time
	// reported is when it was last reported that it is refused less often; zero if that
	// is not reported.
	reported time.Time
}

func newRefusals(report *problems.Reporter) *refusals {
	return &refusals{report: report, clients: make(map[refused]*refusedOften)}
}

// login counts a client that may not log in.
func (r *refusals) login(reason login.Refusal, d login.Device, now time.Time) {
	r.add(refused{figure.Clip(d.ClientID, maxName), figure.Clip(d.Host, maxName), problems.RefusedLogIn, "it may not log in: " + reason.String() + ". Check its user and password, and the flags --mqtt-user, --mqtt-reader and their password files"}, now)
}

// closed counts a client whose connection nats-server closed because of what it sent.
func (r *refusals) closed(client, host, reason string, now time.Time) {
	r.add(refused{figure.Clip(client, maxName), figure.Clip(host, maxName), problems.RefusedMQTT, "what it sends is refused (" + reason + "). A message must not be larger than a device may send; without --mqtt-front topics may not hold spaces, and MQTT 3.1.1 is spoken"}, now)
}

// front counts a client that the front refuses.
func (r *refusals) front(f front.Refused, now time.Time) {
	r.add(refused{figure.Clip(f.Client, maxName), figure.Clip(f.Host, maxName), problems.RefusedMQTT, f.Why}, now)
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
	p := problems.Problem{
		Part: "Device " + strconv.Quote(who.client), Since: c.first, Refused: who.what, Last: now,
		// Without a count, which would change the text with each refusal.
		Text: "It is refused again and again, from " + who.host + ": " + who.why + ".",
	}
	if who.client == "" {
		p.Part = "Devices at " + who.host // which were refused before they said who they are
	}
	if c.count < refusalsToReport {
		p.Quiet, p.Text = true, "It was refused, from "+who.host+": "+who.why+"."
		r.makeRoom()
	} else if now.Sub(c.reported) < quietPause && c.count > refusalsToReport {
		return
	}
	c.reported = now
	r.report.Set(who.id(), p)
}

// makeRoom withdraws the oldest report of a client that was not refused often when there
// are too many of them. The caller holds the lock.
func (r *refusals) makeRoom() {
	quiet, oldest, id := 0, (*refusedOften)(nil), ""
	for who, c := range r.clients {
		if c.reported.IsZero() || c.count >= refusalsToReport {
			continue
		}
		quiet++
		if oldest == nil || c.reported.Before(oldest.reported) {
			oldest, id = c, who.id()
		}
	}
	if quiet >= maxQuiet {
		oldest.reported = time.Time{}
		r.report.Clear(id)
	}
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

func (w refused) id() string { return fmt.Sprintf("%q", []string{w.client, w.host, w.what, w.why}) }

// run forgets clients regularly until ctx ends.
func (r *refusals) run(ctx context.Context) {
	for process.Sleep(ctx, refusalsKept/10) {
		r.forget(time.Now())
	}
}
