// Package zones knows the time zone of each site from the configuration, and how
// the readings of each series are to be read, for the services that read what
// devices send. It follows the configuration while it runs.
package zones

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/decode"
	"headwater/services/decode/mapping"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/process"
	"headwater/streams"
)

// Zones holds the time zones of the sites. It is safe for concurrent use.
type Zones struct {
	js      jetstream.JetStream
	log     *slog.Logger
	current atomic.Pointer[version]
	// locations maps the name of a zone to its *time.Location. The configuration
	// bounds its size.
	locations sync.Map
	known     chan struct{}
}

// version is a configuration and what was looked up in it.
type version struct {
	*config.Config
	mu     sync.RWMutex
	series map[series]decode.Series // guarded by mu
}

type series struct{ site, device, metric string }

// maxSeries bounds the series of which the answer is remembered.
const maxSeries = 100_000

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

// Series returns what is declared of a series; nothing before the configuration is
// known.
func (z *Zones) Series(site, device, metric string) decode.Series {
	v := z.current.Load()
	if v == nil || len(v.Config.Series) == 0 {
		return decode.Series{}
	}
	key := series{site, device, metric}
	v.mu.RLock()
	known, ok := v.series[key]
	v.mu.RUnlock()
	if ok {
		return known
	}
	known.Unit, known.Literal = v.Reading(site, device, metric)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.series == nil || len(v.series) >= maxSeries {
		v.series = make(map[series]decode.Series)
	}
	v.series[series{strings.Clone(site), strings.Clone(device), strings.Clone(metric)}] = known
	return known
}

// Mappings returns the mappings of topics that are declared; none before the configuration
// is known. The slice changes only with the configuration.
func (z *Zones) Mappings() mapping.Set {
	if v := z.current.Load(); v != nil {
		return v.Config.Mappings
	}
	return nil
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
			z.log.Warn("cannot follow what is declared of sites and series; retrying", "stream", streams.BucketConfig, "err", err)
		}
		failing = true
		process.Sleep(ctx, retryEvery)
	}
}

// take is called from one goroutine.
func (z *Zones) take(entry jetstream.KeyValueEntry) {
	if entry != nil {
		c, err := config.Parse("configuration", entry.Value())
		if err != nil {
			z.log.Error("the configuration cannot be read; what is declared of sites and series stays", "revision", entry.Revision(), "err", err)
			return
		}
		z.current.Store(&version{Config: c})
		return
	}
	if z.current.Load() == nil {
		z.current.Store(&version{Config: &config.Config{TimeZone: config.DefaultTimeZone}})
	}
	select {
	case <-z.known:
	default:
		close(z.known)
	}
}
