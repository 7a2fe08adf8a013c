// Package zones returns the time zone of each site, for the services that read
// times of devices. It follows the configuration while it runs.
package zones

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/streams"
)

// Zones holds the time zones of the sites. It is safe for concurrent use.
type Zones struct {
	js      jetstream.JetStream
	log     *slog.Logger
	current atomic.Pointer[config.Config]
	// locations maps the name of a zone to its *time.Location. The configuration
	// bounds its size.
	locations sync.Map
	known     chan struct{}
}

// New returns the zones of the configuration. Run reads it.
func New(js jetstream.JetStream, log *slog.Logger) *Zones {
	return &Zones{js: js, log: log, known: make(chan struct{})}
}

// Known is closed as soon as the configuration has been read.
func (z *Zones) Known() <-chan struct{} { return z.known }

// Of returns the time zone of a site, or nil before the configuration is known.
func (z *Zones) Of(site string) *time.Location {
	c := z.current.Load()
	if c == nil {
		return nil
	}
	name := c.Zone(site)
	if location, ok := z.locations.Load(name); ok {
		return location.(*time.Location)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil // The configuration is checked where it is written.
	}
	z.locations.Store(name, location)
	return location
}

// retryEvery is the pause after a failed attempt to watch the bucket.
const retryEvery = time.Second

// Run follows the configuration until ctx ends. If a version cannot be read,
// the previous one stays in effect.
func (z *Zones) Run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		err := configstore.Follow(ctx, z.js, false, z.take)
		if err == nil || ctx.Err() != nil {
			failing = false
			continue
		}
		if !failing {
			z.log.Warn("cannot follow the time zones of the sites; retrying", "stream", streams.BucketConfig, "err", err)
		}
		failing = true
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// take is called from one goroutine.
func (z *Zones) take(entry jetstream.KeyValueEntry) {
	if entry != nil {
		c, err := config.Parse("configuration", entry.Value())
		if err != nil {
			z.log.Error("the configuration cannot be read; keeping the previous time zones of the sites", "revision", entry.Revision(), "err", err)
			return
		}
		z.current.Store(c)
		return
	}
	if z.current.Load() == nil {
		z.current.Store(&config.Config{TimeZone: config.DefaultTimeZone})
	}
	select {
	case <-z.known:
	default:
		close(z.known)
	}
}
