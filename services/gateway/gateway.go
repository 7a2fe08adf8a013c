// Package gateway takes readings over HTTP: POST /api/v1/telemetry. It answers 202 only
// when the stream has stored them, lists the items that it refused with the reasons, and
// answers 503 with Retry-After when the stream refuses. Agents and libraries that write to
// InfluxDB may write here, see PathWrite2.
//
// Requests that arrive during a commit wait for the next one, which also waits a moment
// for the senders that were just answered. So many small requests cost few messages.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"headwater/services/decode"
	"headwater/services/internal/audit"
	"headwater/services/internal/credentials"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/services/internal/registry"
	"headwater/services/internal/uplink"
	"headwater/services/internal/zones"
	"headwater/streams"
)

// Path is where Handler takes readings.
const Path = "/api/v1/telemetry"

// Paths are all paths on which Handler answers.
func Paths() []string {
	return []string{
		Path, PathWrite2, PathWrite1, pathQuery, pathPing,
		uplink.PathJoin, uplink.PathContact, uplink.PathReadings, uplink.PathAlerts, uplink.PathSummaries, uplink.PathRepair, uplink.PathHoldings,
	}
}

// Config is what the gateway accepts.
type Config struct {
	MaxBody        int           `name:"max-body" help:"Largest body in bytes, also decompressed." default:"5242880" env:"HEADWATER_GATEWAY_MAX_BODY"`
	Memory         int64         `name:"memory" help:"Bytes of all bodies together; others wait." default:"67108864" env:"HEADWATER_GATEWAY_MEMORY"`
	Queue          int           `name:"queue" default:"50000" env:"HEADWATER_GATEWAY_QUEUE"`
	ReadTimeout    time.Duration `name:"read-timeout" help:"How long a body may take to arrive." default:"30s" env:"HEADWATER_GATEWAY_READ_TIMEOUT"`
	PublishTimeout time.Duration `name:"publish-timeout" default:"3s" env:"HEADWATER_GATEWAY_PUBLISH_TIMEOUT"`
	Anonymous      Anonymous     `name:"anonymous" enum:"loopback,any,none" default:"any" env:"HEADWATER_GATEWAY_ANONYMOUS"`
	DeviceRate     int           `name:"device-rate" default:"5000" env:"HEADWATER_GATEWAY_DEVICE_RATE"`
	AddressRate    int           `name:"address-rate" default:"20000" env:"HEADWATER_GATEWAY_ADDRESS_RATE"`
	NewSeries      int           `name:"new-series" default:"5000" env:"HEADWATER_GATEWAY_NEW_SERIES"`
	LineSiteTags   []string      `name:"line-site-tags" default:"site" env:"HEADWATER_GATEWAY_LINE_SITE_TAGS"`
	LineDeviceTags []string      `name:"line-device-tags" default:"host,device" env:"HEADWATER_GATEWAY_LINE_DEVICE_TAGS"`
	Lines          LinesConfig   `embed:"" prefix:"lines-"`
	MaxAge         time.Duration `name:"max-age" help:"How much older than its arrival a reading may be." default:"168h" env:"HEADWATER_MAX_AGE"`
	MaxAhead       time.Duration `name:"max-ahead" help:"How far ahead of its arrival a reading may be." default:"5m" env:"HEADWATER_MAX_AHEAD"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Queue": "How many readings may wait for the stream; beyond it requests are refused with 503.",
		"PublishTimeout": "How long the stream may take to store a commit; after a commit without an answer the next ones get a " +
			"third of that.",
		"Anonymous": "Who may send readings without a credential: loopback, any or none. A proxy on this machine makes all " +
			"senders look like loopback.",
		"DeviceRate": "Readings a second that one device may send on average, with a burst of 20 s; beyond it requests are " +
			"refused with 429. 0 sets no bound.",
		"AddressRate": "The same for all devices at one address together. This machine has no such bound, because a proxy " +
			"here would be one address.",
		"NewSeries": "Metrics that one device may begin within a day; readings of others are refused. A device with no more " +
			"metrics than that is never refused. 0 sets no bound.",
		"LineSiteTags":   "Tags of line protocol that name the site; the first that a line has counts.",
		"LineDeviceTags": "Tags of line protocol that name the device; the first that a line has counts.",
	}
}

// Anonymous selects the senders that need no credential.
type Anonymous string

const (
	// AnonymousLoopback is for senders on this machine.
	AnonymousLoopback Anonymous = "loopback"
	// AnonymousAny is for all.
	AnonymousAny Anonymous = "any"
	// AnonymousNone is for none.
	AnonymousNone Anonymous = "none"
)

// DefaultConfig returns the configuration without any flag.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.MaxBody <= 0 {
		errs = append(errs, errors.New("max-body: must be more than 0 bytes"))
	}
	if c.Memory < int64(c.MaxBody) {
		errs = append(errs, errors.New("memory: must hold at least one body of max-body"))
	}
	switch c.Anonymous {
	case AnonymousLoopback, AnonymousAny, AnonymousNone:
	default:
		errs = append(errs, fmt.Errorf("anonymous: %q is none of loopback, any and none", c.Anonymous))
	}
	if least := decode.DefaultLimits().Readings; c.Queue < least {
		errs = append(errs, fmt.Errorf("queue: must hold the readings of one body, %d", least))
	}
	if c.DeviceRate < 0 || c.AddressRate < 0 || c.NewSeries < 0 {
		errs = append(errs, errors.New("device-rate, address-rate, new-series: must not be less than 0"))
	}
	for name, d := range map[string]time.Duration{
		"read-timeout": c.ReadTimeout, "publish-timeout": c.PublishTimeout, "max-age": c.MaxAge, "max-ahead": c.MaxAhead,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be more than 0s", name))
		}
	}
	return errors.Join(append(errs, c.Lines.problems()...)...)
}

// Deps are what the gateway works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS jetstream.JetStream
	// Refuse, if not nil, returns why nothing may be stored now, or nil. It is called for
	// every request and must return at once.
	Refuse  func() error
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is the gateway. Its Handler answers 503 until Run has found the
// streams, and again when Run ends.
type Service struct {
	cfg      Config
	js       jetstream.JetStream
	refusal  func() error
	log      *slog.Logger
	metrics  metrics
	registry *registry.Registry
	zones    *zones.Zones
	// credentials say who may send, and for which devices.
	credentials *credentials.Set
	queue       *queue
	decider     *decider
	quotas      quotas
	noisy       *noisy
	health      health
	audit       *audit.Log
	// edges takes what edges send; nil until the streams are there.
	edges atomic.Pointer[edgeIntake]
	// memory bounds the bodies that are being read.
	memory *semaphore.Weighted
	// zstd decompresses the bodies of all readers.
	zstd *zstd.Decoder
	// readers holds *reader.
	readers sync.Pool
}

// New returns a gateway that does nothing yet.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of the gateway: %w", err)
	}
	limits := decode.DefaultLimits()
	limits.Payload, limits.Past, limits.Future = cfg.MaxBody, cfg.MaxAge, cfg.MaxAhead
	queue := newQueue(cfg.Queue)
	if deps.Refuse == nil {
		deps.Refuse = func() error { return nil }
	}
	unpack, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(uint64(unpackedMost(cfg.MaxBody))))
	if err != nil {
		return nil, fmt.Errorf("set up decompression: %w", err)
	}
	s := &Service{
		cfg: cfg, js: deps.JS, refusal: deps.Refuse, log: deps.Log,
		metrics:     newMetrics(deps.Metrics, queue.len),
		registry:    registry.New(deps.JS, deps.Log, deps.Metrics),
		queue:       queue,
		decider:     newDecider(deps.JS, deps.Log),
		memory:      semaphore.NewWeighted(cfg.Memory),
		zones:       zones.New(deps.JS, deps.Log),
		credentials: credentials.NewSet(deps.JS, deps.Log, nil),
		quotas:      newQuotas(cfg),
		noisy:       newNoisy(problems.New(deps.JS, streams.ServiceGateway, deps.Log)),
		audit:       audit.New(deps.JS, streams.ServiceGateway, deps.Log, deps.Metrics),
		zstd:        unpack,
	}
	s.readers.New = func() any { return newReader(limits, s.zones.Of, s.zones.Series, s.zstd) }
	s.health.set(errors.New("the gateway has not started"))
	return s, nil
}

// Run commits the requests of the Handler until ctx ends. Then it refuses further
// requests, commits those that wait, within PublishTimeout, and returns nil.
func (s *Service) Run(ctx context.Context) error {
	topology, err := process.AwaitStreams(ctx, s.js, s.log, s.health.set)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	registryCtx, stopRegistry := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopRegistry()
	wg.Go(func() { _ = s.registry.Run(registryCtx) }) // It always returns nil.
	zonesCtx, stopZones := context.WithCancel(ctx)
	wg.Go(func() { s.zones.Run(zonesCtx) })
	wg.Go(func() { s.credentials.Run(zonesCtx) })
	wg.Go(func() { s.noisy.run(zonesCtx) })
	wg.Go(func() { s.decider.run(zonesCtx) })
	defer stopZones()
	for _, known := range []<-chan struct{}{s.zones.Known(), s.credentials.Known()} {
		select {
		case <-known:
		case <-ctx.Done():
			return nil
		}
	}

	c := newCommitter(s, topology.Lanes)
	s.edges.Store(newEdgeIntake(s, topology.Lanes))
	s.health.set(nil)
	s.queue.open()
	s.log.Info("the gateway takes readings", "lanes", topology.Lanes)
	lines := make(chan error, 1)
	wg.Go(func() { lines <- s.runLines(zonesCtx) })
	for {
		select {
		case <-s.queue.wake:
			c.commit(ctx, c.gather(ctx))
		case err := <-lines:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			s.queue.close()
			s.health.set(errors.New("the gateway is stopping"))
			c.commit(ctx, s.queue.take())
			s.log.Info("the gateway has drained")
			return nil
		}
	}
}

// Ready returns nil while the gateway can store readings; otherwise the reason.
func (s *Service) Ready() error { return s.health.ready(time.Now()) }

// Handler answers on Paths. Any number of requests may be under way at once.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path, s.serve)
	s.routeInflux(mux)
	s.routeEdges(mux)
	return mux
}
