// Package bridge carries what devices publish over MQTT into TELEMETRY.
//
// What devices send with QoS 1 or 2 is stored exactly once: nats-server
// acknowledges it when it is in its own stream, the bridge's durable consumer
// keeps it there, and the bridge lets go of it when every reading is stored in
// its lane or, with a reason, among the dead letters. QoS 0 is carried at best
// effort, and what is lost on the way is counted as far as it is seen.
//
// The bridge also answers the log-ins of devices, redrives its dead letters when
// it is asked to, and moves the clock of the lanes. One bridge reads at a time,
// the one that holds the account's lease; any number may stand by, and answer
// log-ins and redrive meanwhile.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	"headwater/services/internal/registry"
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
	// Refuse, if not nil, says why no message with QoS 0 may be taken now, or nil.
	// It is asked for each and must answer at once.
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
	login    *login.Responder
	keeper   *lease.Keeper
	status   status
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
	s := &Service{
		cfg: cfg, deps: deps, topics: topics,
		metrics:  newMetrics(deps.Metrics),
		dead:     deadletter.New(deps.JS, deps.Log, deps.Metrics),
		registry: registry.New(deps.JS, deps.Log, deps.Metrics),
		keeper: lease.New(streams.ServiceBridge, []int{account},
			lease.Deps{JS: deps.JS, Log: deps.Log, Metrics: lease.NewMetrics(deps.Metrics, streams.ServiceBridge)}),
		status: status{err: errors.New("not started")},
	}
	if deps.Auth != nil {
		s.login, err = login.New(login.Deps{IssuerSeed: deps.IssuerSeed, Log: deps.Log, Metrics: deps.Metrics})
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
		return nil //nolint:nilerr // it was told to stop, so nothing is wrong
	}
	if err != nil {
		return err
	}
	s.status.set(errNoLease)
	// The registry outlives the readers, so that it hears of their last batch.
	registryCtx, stopRegistry := context.WithCancel(context.WithoutCancel(ctx))
	var background errgroup.Group
	background.Go(func() error { return s.registry.Run(registryCtx) })
	work, ctx := errgroup.WithContext(ctx)
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
	defer s.status.set(errNoLease)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return newReader(s, s.deps.Devices.Conn(), lanes).run(ctx) })
	work.Go(func() error { return newLossy(s, lanes).run(ctx) })
	if s.deps.System != nil {
		work.Go(func() error { return s.countClosed(ctx, s.deps.System) })
	}
	return work.Wait()
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

// waitForStreams returns when the streams of both accounts and the durable
// consumer are there. The bridge does not make them.
func (s *Service) waitForStreams(ctx context.Context) (streams.Topology, error) {
	for {
		topology, err := streams.Check(ctx, s.deps.JS)
		if errors.Is(err, streams.ErrLanes) {
			return streams.Topology{}, err
		}
		if err == nil {
			if err = s.checkDurable(ctx); err == nil {
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

func (s *Service) checkDurable(ctx context.Context) error {
	consumer, err := s.deps.Devices.Consumer(ctx, streams.StreamMQTT, streams.ConsumerBridge)
	if err != nil {
		return fmt.Errorf("look up consumer %s of %s: %w", streams.ConsumerBridge, streams.StreamMQTT, err)
	}
	if policy := consumer.CachedInfo().Config.AckPolicy; policy != jetstream.AckAllPolicy {
		return fmt.Errorf("consumer %s of %s was not made by Headwater: its acks are %s", streams.ConsumerBridge, streams.StreamMQTT, policy)
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
