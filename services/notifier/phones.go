package notifier

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/webpush"
	"headwater/services/notifier/channel"
)

const (
	// pushAtOnce is how many browsers are sent to at once.
	pushAtOnce = 8
	// pushTries is how often the browsers that fail are tried while others have taken a
	// message: one dead push service must not hold up later messages to the rest.
	pushTries = 3
)

// errNoPhone is the reason why a channel without any device takes nothing.
var errNoPhone = &channel.Error{Permanent: true, Reason: "no phone or browser is registered: press “Notify this device” on the page Channels there"}

// phones is the target of a channel of type webpush: all browsers that are registered. One
// that its push service no longer knows is removed.
type phones struct {
	js     jetstream.JetStream
	log    *slog.Logger
	client *http.Client
	// only is the id of the only device to send to; empty for all.
	only string

	// key is that of the message in hand, taken the devices that have it, and tries how
	// often it was tried.
	key   string
	taken map[string]bool
	tries int
}

func (p *phones) close() { p.client.CloseIdleConnections() }

func (p *phones) send(ctx context.Context, m channel.Message) error {
	store, err := webpush.Open(ctx, p.js)
	if err != nil {
		return &channel.Error{Reason: "the registered devices cannot be read: " + err.Error()}
	}
	keys, err := store.Keys(ctx)
	if err != nil {
		return &channel.Error{Reason: "the keys cannot be read: " + err.Error()}
	}
	devices, err := store.Devices(ctx)
	if err != nil {
		return &channel.Error{Reason: "the registered devices cannot be read: " + err.Error()}
	}
	if m.Key != p.key {
		p.key, p.taken, p.tries = m.Key, map[string]bool{}, 0
	}
	p.tries++
	return p.judge(p.sendAll(ctx, store, channel.Pusher{Client: p.client, Keys: keys}, devices, m))
}

// pushed is the outcome of a message to one device.
type pushed struct {
	device webpush.Device
	err    *channel.Error
}

// sendAll sends to the devices that have not taken the message yet.
func (p *phones) sendAll(ctx context.Context, store *webpush.Store, pusher channel.Pusher, devices []webpush.Device, m channel.Message) []pushed {
	var sending sync.WaitGroup
	var mu sync.Mutex // guards results
	var results []pushed
	slots := make(chan struct{}, pushAtOnce)
	for _, d := range devices {
		if p.taken[d.ID] || p.only != "" && p.only != d.ID {
			continue
		}
		slots <- struct{}{}
		sending.Go(func() {
			defer func() { <-slots }()
			err := pusher.Push(ctx, d.Subscription, m)
			failure, ok := errors.AsType[*channel.Error](err)
			if err != nil && !ok {
				failure = &channel.Error{Reason: "could not be sent"}
			}
			mu.Lock()
			defer mu.Unlock()
			results = append(results, pushed{d, failure})
		})
	}
	sending.Wait()
	for _, r := range results {
		switch {
		case r.err == nil:
			p.taken[r.device.ID] = true
		case r.err.Gone:
			// The browser has unsubscribed, or its owner has removed it.
			if err := store.Delete(ctx, r.device.ID); err != nil {
				p.log.Warn("a device that is gone stays registered", "device", r.device.Name, "err", err)
			} else {
				p.log.Info("a device that its push service no longer knows is not notified any more", "device", r.device.Name)
			}
		}
	}
	return results
}

// judge returns the outcome for the channel: taken once every device has taken the message
// or never will, if one has taken it.
func (p *phones) judge(results []pushed) error {
	var worst *channel.Error
	for _, r := range results {
		if r.err != nil && !r.err.Gone && (worst == nil || worst.Permanent && !r.err.Permanent) {
			worst = &channel.Error{Permanent: r.err.Permanent, RetryAfter: r.err.RetryAfter, Reason: r.device.Name + ": " + r.err.Reason}
		}
	}
	switch {
	case worst == nil && len(p.taken) > 0:
		return nil
	case worst == nil:
		return errNoPhone
	case len(p.taken) > 0 && (worst.Permanent || p.tries >= pushTries):
		p.log.Warn("not every device has taken a message", "key", p.key, "err", worst.Reason)
		return nil
	}
	return worst
}
