package notifier

import (
	"context"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	said "headwater/services/internal/about"
	"headwater/services/internal/config"
	"headwater/services/internal/registry"
	"headwater/services/notifier/channel"
	"headwater/services/notifier/policy"
)

// names know what people call devices. They are looked up when a message is sent, not when
// it is decided: a name changes no decision. They may be used by many goroutines.
type names struct {
	js     jetstream.JetStream
	config atomic.Pointer[config.Config]
}

// of returns what is said about a device; nothing if that cannot be read.
func (n *names) of(ctx context.Context, site, device string) said.About {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	// A message does not wait for a name.
	named, _ := registry.About(ctx, n.js, site, device)
	if c := n.config.Load(); c != nil {
		named = named.Under(c.About(site, device))
	}
	return named
}

// call names the devices of a message as people do.
func (n *names) call(ctx context.Context, m *channel.Message) {
	type place struct{ site, device string }
	known := make(map[place]said.About)
	for i := range m.Alerts {
		a := &m.Alerts[i]
		named, again := known[place{a.Site, a.Device}]
		if !again {
			named = n.of(ctx, a.Site, a.Device)
			known[place{a.Site, a.Device}] = named
			m.Title, m.Body = policy.Called(m.Title, m.Body, a.Device, named.Name, named.Room)
		}
		a.DeviceName, a.Room = named.Name, named.Room
	}
}
