package dashboard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/web/connect"
	"headwater/web/view"
)

const (
	// letterEvery is how often new dead letters are looked for while somebody waits for a
	// device, and lookFor how long after they last asked. A look reads at most lookBack.
	letterEvery = time.Second
	lookFor     = 20 * time.Minute
	lookBack    = 20
	// payloadKept bounds the bytes of a payload that are kept.
	payloadKept = 256
	// newShown bounds the new devices of an answer.
	newShown = 5
)

// arrivals implements connect.Source.
type arrivals struct {
	js    jetstream.JetStream
	fleet *fleet.Fleet
	board *problems.Board
	// asked is when somebody last asked, in nanoseconds since the Unix epoch.
	asked atomic.Int64
	// changes counts what is new.
	changes atomic.Uint64

	mu        sync.Mutex
	through   uint64              // the last sequence of the dead letters that was looked at; guarded by mu
	undecoded []connect.Undecoded // the newest first; guarded by mu
}

// Device implements connect.Source.
func (a *arrivals) Device(site, device string) (view.Device, bool) {
	a.asked.Store(time.Now().UnixNano())
	return a.fleet.Device(site, device, time.Now())
}

// NewDevices implements connect.Source.
func (a *arrivals) NewDevices(since time.Time) []view.Device {
	return a.fleet.FirstSeen(since, time.Now(), newShown)
}

// Refused implements connect.Source.
func (a *arrivals) Refused(since time.Time) []connect.Refused {
	var out []connect.Refused
	for _, p := range a.board.Problems(time.Now()) {
		if p.Refused != "" && !p.Last.Before(since) {
			out = append(out, connect.Refused{What: p.Refused, Who: p.Part, Why: p.Text, At: p.Last})
		}
	}
	return out
}

// Undecoded implements connect.Source.
func (a *arrivals) Undecoded(since time.Time) []connect.Undecoded {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []connect.Undecoded
	for _, u := range a.undecoded {
		if !u.At.Before(since) {
			out = append(out, u)
		}
	}
	return out
}

// run looks for dead letters while somebody waits, until ctx ends.
func (a *arrivals) run(ctx context.Context) {
	for process.Sleep(ctx, letterEvery) {
		if time.Since(time.Unix(0, a.asked.Load())) < lookFor {
			// What cannot be read now is looked for again in a moment; the pages say when
			// NATS does not answer.
			_ = a.look(ctx)
		}
	}
}

// look reads the dead letters that are new.
func (a *arrivals) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stream, err := a.js.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	a.mu.Lock()
	through := a.through
	a.mu.Unlock()
	if last == through {
		return nil
	}
	var found []connect.Undecoded
	for seq := last; seq > 0 && seq != through && seq+lookBack > last; seq-- {
		msg, err := stream.GetMsg(ctx, seq)
		if err != nil {
			continue // it was redriven or purged, or is looked for again
		}
		l := letter(msg)
		if l.Service != streams.ServiceBridge && l.Service != streams.ServiceGateway {
			continue
		}
		found = append(found, connect.Undecoded{
			Reason: l.Reason, Detail: l.Detail, Topic: l.From, Site: l.Site, Device: l.Device,
			Payload: l.Payload[:min(len(l.Payload), payloadKept)], Size: l.Size, At: l.Arrived,
		})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.through = last
	a.undecoded = append(found, a.undecoded...)
	a.undecoded = a.undecoded[:min(len(a.undecoded), lookBack)]
	a.changes.Add(1)
	return nil
}

// onReport takes the problems of a process.
func (a *arrivals) onReport(key string, value []byte, at time.Time) {
	a.board.Take(key, value, at)
	a.changes.Add(1)
}
