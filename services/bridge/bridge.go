// Package bridge carries what devices publish over MQTT into TELEMETRY, and has
// nats-server acknowledge it when it is stored there.
//
// For a message with QoS 1 or 2, nats-server publishes it to $MQTT.msgs.<topic> and
// acknowledges it to its device when an answer comes to the reply subject of that,
// which is another for each message and each time that a device sends one. Its own
// stream answers for commands alone; for all else the bridge does. Nothing is
// acknowledged that is lost, and nothing stored twice:
//
//  1. One bridge carries: the one that holds the lease of the account. It takes what
//     waits, packs it, and publishes one message for each lane, with a
//     compare-and-set on the lane's subject. That message holds the readings and the
//     reply subjects of what they came in. It answers them when the message is
//     stored, and only then. So what is acknowledged is in TELEMETRY, and what is not
//     answered is sent again by its device: there is no position in another stream
//     that could be ahead of what is stored, or behind it.
//  2. When a commit fails, is refused, or gets no answer, it may be stored or come to
//     be. The bridge then reads where the lanes end, and which reply subjects lie in
//     the commits since the oldest message that waits: those messages are answered,
//     the others committed again behind what is there now. If the first commit
//     arrives after that, either it or the second is refused by the compare-and-set,
//     and the lanes are read once more.
//  3. A bridge that takes over does the same, whether the previous one has ended, was
//     killed, or keeps running without knowing that it lost the lease. The lease only
//     keeps two from getting in each other's way.
//  4. All bridges hear all messages. One that stands by keeps them until it hears the
//     answer of the one that carries. So a takeover needs no device to send again, and
//     closes no connection: what was heard is stored by one of the two, by 2 only by
//     one, and answered within the time that nats-server waits. One that is about to
//     end stores what it has heard; the next one answers what it hears later.
//  5. What is stored and was not answered, because the bridge was killed in between,
//     the next one answers by 2 and 3, also if it was started after that: the last
//     commits say what. Only when no bridge answers within streams.AnswerTimeout, or
//     nats-server itself ends, does a device send again what is stored. Such a repeat
//     has another reply subject. With a time of its own, its reading overwrites
//     itself; without, it counts twice, as it does when an answer is lost on the way
//     to the device. At most one round can be so.
//  6. A message with QoS 2 that is released again has the id of the first time. It is
//     stored by itself under that id, which its stream takes once.
//
// QoS 0 is carried at best effort, and what is lost on the way is counted as far as
// it is seen.
//
// The bridge also answers the log-ins of devices, redrives its dead letters when
// it is asked to, and moves the clock of the lanes. One bridge carries at a time,
// the one that holds the account's lease; any number may stand by, and answer
// log-ins and redrive meanwhile.
package bridge

import (
	"context"
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

	"headwater/services/bridge/login"
	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/lease"
	"headwater/services/internal/problems"
	"headwater/services/internal/registry"
	"headwater/services/internal/zones"
	"headwater/streams"
)

// service names the bridge on its dead letters.
const service = streams.ServiceBridge

// Deps is what the bridge needs. All of it must be set but Auth, Refuse and System.
type Deps struct {
	// JS is in the account of the services.
	JS jetstream.JetStream
	// Devices is in the account of the devices.
	Devices jetstream.JetStream
	// Devices0 is a connection to the account of the devices for the messages
	// with QoS 0 alone, so that a flood of them cannot hold up the others.
	Devices0 *nats.Conn
	// Auth is a connection to the account of the auth callout, and IssuerSeed
	// signs the answers. Without Auth somebody else must answer log-ins.
	Auth       *nats.Conn
	IssuerSeed []byte
	// Refuse, if not nil, says why nothing may be stored now, or nil. It is asked often
	// and must answer at once.
	Refuse func() error
	// System is a connection to the system account, on which nats-server tells
	// which connections it closed; without it they are not counted.
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
	login    *login.Responder
	report   *problems.Reporter
	refusals *refusals
	keeper   *lease.Keeper
	status   status
	wire     wire
	// kept holds what devices sent with QoS 1 and 2, lossy is the rest.
	kept  *queue
	lossy *lossy
	// ear hears the messages of devices, others the answers of other bridges, if it is
	// not nil.
	ear, others ear
	// carrying says that this bridge has the lease.
	carrying atomic.Bool
}

// account is the number of the one account that there is a lease for: a bridge
// reads for an account as a processor works on a lane.
const account = 0

// New returns a bridge that does nothing until Run.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.JS == nil || deps.Devices == nil || deps.Devices0 == nil || deps.Log == nil || deps.Metrics == nil {
		return nil, errors.New("bridge: JS, Devices, Devices0, Log and Metrics must be given")
	}
	topics, err := topic.New(cfg.Topics...)
	if err != nil {
		return nil, err
	}
	memory := int(cfg.Memory) << 20
	s := &Service{
		cfg: cfg, deps: deps, topics: topics, kept: newQueue(memory),
		wire:     natsWire{deps.Devices.Conn(), memory},
		metrics:  newMetrics(deps.Metrics),
		dead:     deadletter.New(deps.JS, deps.Log, deps.Metrics),
		registry: registry.New(deps.JS, deps.Log, deps.Metrics),
		zones:    zones.New(deps.JS, deps.Log),
		keeper: lease.New(streams.ServiceBridge, []int{account},
			lease.Deps{JS: deps.JS, Log: deps.Log, Metrics: lease.NewMetrics(deps.Metrics, streams.ServiceBridge)}),
		status: status{err: errors.New("not started")},
	}
	s.lossy = &lossy{svc: s, wire: natsWire{deps.Devices0, memory}, queue: newQueue(memory)}
	s.report = problems.New(deps.JS, streams.ServiceBridge, deps.Log)
	s.refusals = newRefusals(s.report)
	if deps.Auth != nil {
		s.login, err = login.New(login.Deps{IssuerSeed: deps.IssuerSeed, Refused: func(r login.Refusal, d login.Device) { s.refusals.login(r, d, time.Now()) }, Log: deps.Log, Metrics: deps.Metrics})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run carries messages until ctx ends and what was read has been stored and
// acknowledged. Whatever may go away is waited for without end; an error is a
// mistake in the configuration.
func (s *Service) Run(ctx context.Context) error {
	policy, err := s.cfg.policy()
	if err != nil {
		return err
	}
	topology, err := s.waitForStreams(ctx)
	if ctx.Err() != nil {
		return nil // it was asked to stop, so nothing is wrong
	}
	if err != nil {
		return err
	}
	zonesCtx, stopZones := context.WithCancel(context.WithoutCancel(ctx))
	var following sync.WaitGroup
	defer following.Wait()
	defer stopZones()
	following.Go(func() { s.zones.Run(zonesCtx) })
	select {
	case <-s.zones.Known():
	case <-ctx.Done():
		return nil
	}
	s.status.set(errNoLease)
	// From before it can carry until it does no longer.
	if s.ear, err = s.wire.listen(streams.MQTTAll, s.hear); err != nil {
		return err
	}
	defer s.ear.stop()
	s.hearOthers(true)
	defer s.hearOthers(false)
	// The registry outlives what carries, so that it hears of the last batch.
	registryCtx, stopRegistry := context.WithCancel(context.WithoutCancel(ctx))
	var background errgroup.Group
	background.Go(func() error { return s.registry.Run(registryCtx) })
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { s.report.Run(ctx); return nil })
	work.Go(func() error { s.refusals.run(ctx); return nil })
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

// carry does what one bridge of an account may do at a time: ctx ends when its
// lease does. A bridge that goes on without knowing is refused by the
// compare-and-set of every lane.
func (s *Service) carry(ctx context.Context, lanes int) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return s.carryKept(ctx, lanes) })
	work.Go(func() error { return s.lossy.run(ctx, lanes) })
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
	return newCarrier(s, lanes).run(ctx)
}

// Ready returns nil while messages are carried, by this bridge or by another
// that it stands by for, else why they are not.
func (s *Service) Ready() error {
	if len(s.keeper.Held()) == 0 && s.keeper.Ready() == nil {
		return nil
	}
	return s.status.get()
}

// checkWait is the pause between looks whether the streams are there.
const checkWait = time.Second

// waitForStreams returns when the streams of both accounts are there. The bridge
// does not make them. Without those of the devices, nats-server would make one that
// answers for all.
func (s *Service) waitForStreams(ctx context.Context) (streams.Topology, error) {
	for {
		topology, err := streams.Check(ctx, s.deps.JS)
		if errors.Is(err, streams.ErrLanes) {
			return streams.Topology{}, err
		}
		if err == nil {
			if err = s.checkDevices(ctx); err == nil {
				return topology, nil
			}
		}
		if s.status.set(fmt.Errorf("waiting for the streams: %w", err)) {
			s.deps.Log.Warn("waiting for the streams", "err", err)
		}
		if !pause(ctx, checkWait) {
			return streams.Topology{}, ctx.Err()
		}
	}
}

func (s *Service) checkDevices(ctx context.Context) error {
	stream, err := s.deps.Devices.Stream(ctx, streams.StreamMQTT)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamMQTT, err)
	}
	if subjects := stream.CachedInfo().Config.Subjects; slices.Contains(subjects, streams.MQTTAll) {
		return fmt.Errorf("stream %s was not made by this version of Headwater: it takes in all that devices publish", streams.StreamMQTT)
	}
	return nil
}

// limits is what a payload may be.
func (c Config) limits() decode.Limits {
	l := decode.DefaultLimits()
	l.Payload, l.Past, l.Future = streams.MaxDevicePayload, c.MaxAge, c.MaxAhead
	return l
}

// status is why the bridge does not work, or nil.
type status struct {
	mu  sync.Mutex
	err error
}

// set says whether that is news.
func (s *status) set(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := err == nil && s.err == nil || err != nil && s.err != nil && err.Error() == s.err.Error()
	s.err = err
	return !same
}

func (s *status) get() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// pause waits and says whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
