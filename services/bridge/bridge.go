// Package bridge stores what devices publish over MQTT in TELEMETRY, and has
// nats-server acknowledge a message when it is stored there.
//
// For a message with QoS 1 or 2, nats-server publishes to $MQTT.msgs.<topic> and waits
// for an answer on a reply subject. Then it acknowledges the message to its device.
// Each message has its own reply subject, and a new one each time that a device sends
// it. Nats-server's own stream answers commands only; the bridge answers the rest. So
// that nothing acknowledged is lost, and nothing is stored twice:
//
//  1. One bridge carries: the holder of the account's lease. It takes what waits,
//     packs it, and publishes one message for each lane, with a compare-and-set on the
//     lane's subject. That message holds the readings and the reply subjects of the
//     messages that they came in. The bridge answers those when the message is stored,
//     and only then. So TELEMETRY has all that is acknowledged, and a device sends
//     again what is not answered. No position in another stream can be ahead of what
//     is stored, or behind it.
//  2. When a commit fails, is refused or gets no answer, it may still be stored, now or
//     later. The bridge then reads the end of each lane, and the reply subjects in all
//     commits since the oldest waiting message. It answers those messages and commits
//     the others again, behind the new end. If the first commit arrives after that, the
//     compare-and-set refuses it or the second one, and the lanes are read once more.
//  3. A bridge that takes over does the same, whether the previous one has ended, was
//     killed, or keeps running without knowing that it lost the lease. The lease only
//     keeps two bridges out of each other's way.
//  4. Every bridge hears every message. One that stands by keeps a message until it
//     hears the answer of the one that carries. So a takeover needs no device to send
//     again and closes no connection: what was heard is stored by one of the two, only
//     once because of 2, and answered within the time that nats-server waits. A bridge
//     that is about to end stores what it has heard; the next one answers what it hears
//     later.
//  5. When a bridge is killed between the store and the answer, the next one answers,
//     because of 2 and 3, even if it started after that: the last commits name the
//     messages. A device sends a stored message again only if no bridge answers within
//     streams.AnswerTimeout, or if nats-server itself ends. That repeat has another
//     reply subject. A reading with a time of its own overwrites itself; without one it
//     counts twice, as it does when the acknowledgement is lost on the way to the
//     device. At most one round can be repeated.
//  6. A message with QoS 2 that is released again has the id of the first time. It is
//     stored in a message of its own under that id, which the stream stores once.
//
// QoS 0 is carried at best effort; the bridge counts the losses that it can see.
//
// The bridge also answers the log-ins of devices, redrives its dead letters on request,
// and moves the clock of the lanes. Any number of bridges may stand by; they answer
// log-ins and redrive meanwhile.
package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/services/bridge/topic"
	"headwater/services/bridge/upstream"
	"headwater/services/decode"
	"headwater/services/decode/intake"
	"headwater/services/internal/credentials"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/lease"
	"headwater/services/internal/meter"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/services/internal/registry"
	"headwater/services/internal/zones"
	"headwater/streams"
)

// service names the bridge on its dead letters.
const service = streams.ServiceBridge

// Deps is what the bridge needs. Front, Auth, Refuse and System are optional.
type Deps struct {
	// JS is in the account of the services.
	JS jetstream.JetStream
	// Devices is in the account of the devices.
	Devices jetstream.JetStream
	// Devices0 is a connection to the account of the devices for messages with QoS 0
	// alone, so that a flood of them cannot hold up the others.
	Devices0 *nats.Conn
	// Front is a connection to the account of the devices on which a front stores messages, and
	// the reader of an existing broker; without it nats-server's listener takes them all, and
	// no broker can be read.
	Front *nats.Conn
	// Auth is a connection to the account of the auth callout, and IssuerSeed signs
	// the answers. Without Auth another process must answer log-ins.
	Auth       *nats.Conn
	IssuerSeed []byte
	// Refuse returns why nothing may be stored now, or nil. It is called often and must
	// return at once.
	Refuse func() error
	// System is a connection to the system account, where nats-server reports closed
	// connections and closes those of revoked devices. Without it they are not counted, and
	// a revoked device that chose no client id stays connected.
	System  *nats.Conn
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is the bridge of one account of devices.
type Service struct {
	cfg      Config
	deps     Deps
	topics   *topic.Matcher
	metrics  *metrics
	dead     *deadletter.Publisher
	registry *registry.Registry
	zones    *zones.Zones
	// credentials say who may connect, and whose readings are stored.
	credentials *credentials.Set
	revoker     *revoker
	// births are those of edge nodes of Sparkplug B; rebirths asks for them.
	births   *decode.Births
	rebirths *rebirths
	login    *login.Responder
	seal     login.Seal
	report   *problems.Reporter
	refusals *refusals
	pace     *pace
	// fronted is set when a front of this process holds up devices that send too much.
	fronted atomic.Bool
	// upstream reads an existing broker, and store gives its messages to the bridges; nil
	// without one.
	upstream *upstream.Reader
	store    *front.Store
	keeper   *lease.Keeper
	status   status
	wire     wire
	// kept holds what devices sent with QoS 1 and 2, lossy is the rest.
	kept  *queue
	lossy *lossy
	// ear hears the messages of devices. others hears the answers of other bridges; it
	// is nil while this one carries.
	ear, others ear
	// carrying is set while this bridge has the lease.
	carrying atomic.Bool
}

// account is the number of the one lease: a bridge works for an account as a processor
// works on a lane.
const account = 0

// New returns a bridge that does nothing until Run.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.JS == nil || deps.Devices == nil || deps.Devices0 == nil || deps.Log == nil || deps.Metrics == nil {
		return nil, errors.New("bridge: JS, Devices, Devices0, Log and Metrics must be given")
	}
	if deps.Refuse == nil {
		deps.Refuse = func() error { return nil }
	}
	own, err := topic.New(cfg.Topics...)
	if err != nil {
		return nil, err
	}
	memory := int(cfg.Memory) << 20
	s := &Service{
		cfg: cfg, deps: deps, topics: own, kept: newQueue(memory),
		wire:     natsWire{deps.Devices.Conn(), memory},
		metrics:  newMetrics(deps.Metrics),
		dead:     deadletter.New(deps.JS, deps.Log, deps.Metrics),
		registry: registry.New(deps.JS, deps.Log, deps.Metrics),
		zones:    zones.New(deps.JS, deps.Log),
		keeper: lease.New(streams.ServiceBridge, []int{account},
			lease.Deps{JS: deps.JS, Log: deps.Log, Metrics: lease.NewMetrics(deps.Metrics, streams.ServiceBridge)}),
		status: status{err: errors.New("not started")},
		seal:   login.NewSeal(deps.IssuerSeed),
		births: decode.NewBirths(), rebirths: newRebirths(deps.Devices.Conn(), deps.Log),
	}
	s.lossy = &lossy{svc: s, wire: natsWire{deps.Devices0, memory}, queue: newQueue(memory)}
	s.report = problems.New(deps.JS, streams.ServiceBridge, deps.Log)
	s.refusals = newRefusals(s.report)
	s.pace = newPace(cfg, s.report, s.metrics)
	s.revoker = newRevoker(s)
	s.credentials = credentials.NewSet(deps.JS, deps.Log, s.revoker.changed)
	if deps.Auth != nil {
		s.login, err = login.New(login.Deps{
			IssuerSeed: deps.IssuerSeed, Credentials: s.credentials, Topics: topics{s}, Log: deps.Log, Metrics: deps.Metrics,
			Refused: func(r login.Refusal, d login.Device) { s.refusals.login(r, d, time.Now()) },
		})
		if err != nil {
			return nil, err
		}
	}
	if cfg.Upstream.From != "" {
		if err := s.newUpstream(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// newUpstream makes the reader of an existing broker.
func (s *Service) newUpstream() (err error) {
	if s.deps.Front == nil {
		return errors.New("bridge: Front must be given to read a broker")
	}
	s.store = front.NewStore(s.deps.Front, meter.New(s.deps.Metrics, streams.ServiceBridge).Counter("upstream_messages_total",
		"Messages of the broker of --from that were given to the bridges."))
	installation := ""
	if len(s.deps.IssuerSeed) > 0 {
		// The same in each bridge, which continues the session of another one, and after a restart.
		installation = fmt.Sprintf("-%x", sha256.Sum256(append([]byte("client id at a broker "), s.deps.IssuerSeed...)))[:13]
	}
	s.upstream, err = upstream.New(s.cfg.Upstream, upstream.Deps{
		Store: s.store, Wait: s.held, Installation: installation, Report: s.report, Log: s.deps.Log, Metrics: s.deps.Metrics,
	})
	return err
}

// held returns how long a message on a topic has to wait because its device sends too much.
func (s *Service) held(topic string) time.Duration {
	if !s.pace.someLate() {
		return 0
	}
	return s.pace.wait(topic, 0, time.Now())
}

// topics are those on which devices send: Headwater's own, those of the formats and of the
// declared mappings.
type topics struct{ svc *Service }

// Grants implements login.Topics.
func (t topics) Grants(site, device string) []string {
	return append(t.svc.topics.Subjects(site, device), intake.Subjects(t.svc.zones.Mappings(), site, device)...)
}

// Guards implements login.Topics.
func (t topics) Guards(site, device string) []string {
	return append(t.svc.topics.Subjects(site, device), intake.Guards(t.svc.zones.Mappings(), site, device)...)
}

// NewFront returns a front for the devices of this bridge, before the MQTT listener of
// nats-server at that address. It reports refusals with those of the bridge.
func (s *Service) NewFront(server string, secure front.TLS) (*front.Front, error) {
	if s.login == nil {
		return nil, errors.New("a front needs the log-ins of the bridge")
	}
	policy, err := s.cfg.policy()
	if err != nil {
		return nil, err
	}
	s.fronted.Store(true)
	return front.New(s.cfg.Front, front.Deps{
		Wait: s.held, Server: server, TLS: secure, Seal: s.seal, Log: s.deps.Log, Metrics: s.deps.Metrics, Direct: s.deps.Front,
		MayPublish: func(d login.Device) func(subject string) bool { return s.login.MayPublish(policy, d) },
		Refused:    func(r front.Refused) { s.refusals.front(r, time.Now()) },
	})
}

// Run carries messages until ctx ends and everything heard by then is stored and
// answered. It waits without end for servers and streams; an error is a mistake in the
// configuration.
func (s *Service) Run(ctx context.Context) error {
	policy, err := s.cfg.policy()
	if err != nil {
		return err
	}
	topology, err := s.awaitStreams(ctx)
	if ctx.Err() != nil {
		return nil // stopped, nothing is wrong
	}
	if err != nil {
		return err
	}
	zonesCtx, stopZones := context.WithCancel(context.WithoutCancel(ctx))
	var following sync.WaitGroup
	defer following.Wait()
	defer stopZones()
	following.Go(func() { s.zones.Run(zonesCtx) })
	following.Go(func() { s.credentials.Run(zonesCtx) })
	for _, known := range []<-chan struct{}{s.zones.Known(), s.credentials.Known()} {
		select {
		case <-known:
		case <-ctx.Done():
			return nil
		}
	}
	s.status.set(errNoLease)
	// It hears from before it can carry until after it has.
	s.ear, err = s.wire.listen(streams.MQTTAll, s.hear)
	if err != nil {
		return err
	}
	defer s.ear.stop()
	s.hearOthers(true)
	defer s.hearOthers(false)
	if s.store != nil {
		stop, err := s.store.Listen()
		if err != nil {
			return err
		}
		defer stop()
	}
	// The registry outlives the carrier, so that it sees the last batch.
	registryCtx, stopRegistry := context.WithCancel(context.WithoutCancel(ctx))
	var background errgroup.Group
	background.Go(func() error { return s.registry.Run(registryCtx) })
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { s.report.Run(ctx); return nil })
	work.Go(func() error { s.refusals.run(ctx); return nil })
	work.Go(func() error { s.pace.run(ctx); return nil })
	work.Go(func() error { s.revoker.run(ctx); return nil })
	if s.login != nil {
		work.Go(func() error { return s.login.Run(ctx, s.deps.Auth, policy) })
	}
	work.Go(func() error {
		return s.keeper.Run(ctx, func(ctx context.Context, _ int) error { return s.carry(ctx, topology.Lanes) })
	})
	work.Go(func() error { return newRedriver(s, topology.Lanes).run(ctx) })
	err = work.Wait()
	stopRegistry()
	return errors.Join(err, background.Wait())
}

var errNoLease = errors.New("waiting for the lease of the account")

// carry does what only one bridge of an account may do at a time. ctx ends with the
// lease. A bridge that does not notice this is refused by the compare-and-set of every
// lane.
func (s *Service) carry(ctx context.Context, lanes int) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return s.carryKept(ctx, lanes) })
	work.Go(func() error { return s.lossy.run(ctx, lanes) })
	if s.upstream != nil {
		work.Go(func() error { s.upstream.Run(ctx); return nil })
	}
	if s.deps.System != nil {
		work.Go(func() error { return s.countClosed(ctx, s.deps.System) })
	}
	return work.Wait()
}

// carryKept carries what devices send with QoS 1 and 2.
func (s *Service) carryKept(ctx context.Context, lanes int) error {
	defer s.status.set(errNoLease)
	s.hearOthers(false)
	s.carrying.Store(true)
	defer func() {
		s.carrying.Store(false)
		s.hearOthers(true)
	}()
	c := newCarrier(s, lanes)
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var watch sync.WaitGroup
	watch.Go(func() { c.watchDisk(watching) })
	defer watch.Wait()
	defer stop()
	return c.run(ctx)
}

// Ready returns nil while this bridge carries messages, or stands by for another one
// that does; otherwise the reason.
func (s *Service) Ready() error {
	if len(s.keeper.Held()) == 0 && s.keeper.Ready() == nil {
		return nil
	}
	return s.status.get()
}

// awaitStreams returns when the streams of both accounts are there. The bridge does
// not create them. Without the stream of the devices nats-server would create one that
// answers every message.
func (s *Service) awaitStreams(ctx context.Context) (streams.Topology, error) {
	return process.AwaitStreams(ctx, s.deps.JS, s.deps.Log, s.status.set, s.checkDevices)
}

// checkDevices returns an error until the streams of the devices' account are
// there. Without them, nats-server would create one that answers for all.
func (s *Service) checkDevices(ctx context.Context) error {
	stream, err := s.deps.Devices.Stream(ctx, streams.StreamMQTT)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamMQTT, err)
	}
	if subjects := stream.CachedInfo().Config.Subjects; slices.Contains(subjects, streams.MQTTAll) {
		return fmt.Errorf("stream %s was not made by this version of Headwater: it takes everything that devices publish", streams.StreamMQTT)
	}
	return nil
}

// status is why the bridge does not work; nil while it does.
type status struct {
	mu  sync.Mutex
	err error
}

func (s *status) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *status) get() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
