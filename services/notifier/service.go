package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/config"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/influx"
	"headwater/services/internal/lane"
	"headwater/services/internal/lease"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/services/internal/publicurl"
	"headwater/services/notifier/channel"
	"headwater/services/notifier/watch"
	"headwater/streams"
)

// lane0 is the notifier's one lane.
const lane0 = 0

// Config of the notifier.
type Config struct {
	Secrets string        `name:"notifier-secrets" type:"path" placeholder:"FOLDER"`
	Timeout time.Duration `name:"notifier-timeout" help:"How long one attempt to send a message may take." default:"10s"`
	// PublicURL is where people reach the dashboard. Standalone guesses it.
	PublicURL string        `name:"public-url" placeholder:"URL"`
	Heartbeat string        `name:"notifier-heartbeat-file" type:"path" placeholder:"FILE"`
	GiveUp    time.Duration `name:"notifier-give-up" help:"How long a message is tried to be sent before it becomes a dead letter." default:"24h"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Secrets": "Folder where the url_file of channels is looked up; the working folder without it.",
		"Heartbeat": "File with a URL that is called every minute while readings flow from the bridge to the notifier, for " +
			"healthchecks.io and others that raise an alarm when the calls end.",
		"PublicURL": "Where people reach the dashboard, like https://headwater.example.org: notifications link to it. " +
			"Standalone guesses it from --http.",
	}
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate returns all that is wrong with the configuration, joined.
func (c Config) Validate() error {
	errs := []error{publicurl.Check(c.PublicURL)}
	if c.Timeout <= 0 || c.Timeout > time.Minute {
		errs = append(errs, fmt.Errorf("--notifier-timeout must be longer than 0s and at most 1m, not %v", c.Timeout))
	}
	if c.GiveUp <= 0 {
		errs = append(errs, fmt.Errorf("--notifier-give-up must be longer than 0s, not %v", c.GiveUp))
	}
	return errors.Join(errs...)
}

// Deps are what the notifier works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS jetstream.JetStream
	// Past has the history, for the charts of mail; nil for none.
	Past *influx.Client
	// Disk returns the room on the disk of the data folder; nil if the notifier has none.
	Disk    func() (watch.Disk, error)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service is the notifier. Any number may run: one owns the lane and sends, the
// others stand by.
type Service struct {
	cfg         Config
	js          jetstream.JetStream
	log         *slog.Logger
	metrics     *metrics
	laneMetrics *lane.Metrics
	deadLetters *deadletter.Publisher
	report      *problems.Reporter
	open        func(config.Channel) target
	pictures    *pictures
	// healthEvery is how often the parts of Headwater are looked at.
	healthEvery time.Duration
	// disk is that of Deps.
	disk func() (watch.Disk, error)
	// preview is the morning report as it is now; nil if there is none.
	preview atomic.Pointer[reportText]

	mu sync.Mutex
	// ready returns why the service is not ready, or nil; guarded by mu.
	ready func() error
}

// prepareWait is the pause between two attempts to prepare a dispatcher.
const prepareWait = time.Second

// New returns a notifier. It does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log := deps.Log
	s := &Service{
		cfg: cfg, js: deps.JS, log: log,
		metrics:     newMetrics(deps.Metrics),
		laneMetrics: lane.NewMetrics(deps.Metrics, streams.ServiceNotifier),
		deadLetters: deadletter.New(deps.JS, log, deps.Metrics),
		report:      problems.New(deps.JS, streams.ServiceNotifier, log),
		pictures:    &pictures{deps.Past},
		healthEvery: healthEvery, disk: deps.Disk,
	}
	s.open = func(ch config.Channel) target {
		if ch.Type == config.WebPush {
			return &phones{js: deps.JS, log: log.With("channel", ch.Name), client: channel.NewPushClient()}
		}
		return &remote{cfg: ch, secrets: cfg.Secrets}
	}
	s.setReady(reason(errors.New("not started")))
	return s, nil
}

func reason(err error) func() error { return func() error { return err } }

// Ready returns nil while alerts are decided on and sent, here or by another
// notifier that this one stands by for; else the reason why not. A channel that does
// not answer is not a reason.
func (s *Service) Ready() error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	return ready()
}

func (s *Service) setReady(ready func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = ready
}

// Run works until ctx ends, the state of the lane is stored and every sender has
// recorded the outcome of its last message.
func (s *Service) Run(ctx context.Context) error {
	defer s.setReady(reason(errors.New("stopped")))
	_, err := process.AwaitStreams(ctx, s.js, s.log, func(err error) { s.setReady(reason(err)) })
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	var reports sync.WaitGroup
	reporting, stop := context.WithCancel(ctx)
	reports.Go(func() { s.report.Run(reporting) })
	defer reports.Wait()
	defer stop()
	keeper := lease.New(streams.ServiceNotifier, []int{lane0},
		lease.Deps{JS: s.js, Log: s.log, Metrics: s.laneMetrics.Leases})
	status := lane.NewStatus()
	ready := func() error {
		if err := keeper.Ready(); err != nil || len(keeper.Held()) == 0 {
			return err
		}
		return status.Ready()
	}
	s.setReady(ready)
	return keeper.Run(ctx, func(ctx context.Context, _ int) error {
		d := s.prepare(ctx)
		s.setReady(ready)
		if d == nil {
			return nil
		}
		return s.own(ctx, d, status, ready)
	})
}

// own decides on alerts and sends, for as long as this process owns the lane.
func (s *Service) own(ctx context.Context, d *dispatcher, status *lane.Status, ready func() error) error {
	// The last commits of the lane may come too late for the dispatcher. The next
	// owner sends and reflects them.
	var dispatching sync.WaitGroup
	dispatching.Go(func() {
		for d != nil && d.run(ctx) != nil {
			d = s.prepare(ctx)
			s.setReady(ready)
		}
	})
	defer dispatching.Wait()
	defer s.testing(ctx)()
	defer s.watching(ctx)()
	beat := &heartbeat{file: s.cfg.Heartbeat, timeout: s.cfg.Timeout, log: s.log}
	defer beat.beating(ctx)()
	return lane.Run(ctx, laneConfig(),
		lane.Deps{JS: s.js, DeadLetter: s.deadLetter, Log: s.log, Metrics: s.laneMetrics},
		func() lane.Machine {
			m := newMachine(s.metrics.observe)
			m.gathered, m.heard, m.duty.hushed = s.metrics.gathered, beat.heard, s.metrics.hushed
			m.morning.preview = &s.preview
			return m
		}, status)
}

// prepare returns a dispatcher that is prepared, or nil when ctx ends first.
func (s *Service) prepare(ctx context.Context) *dispatcher {
	for {
		d := &dispatcher{
			cfg: s.cfg, js: s.js, log: s.log, metrics: s.metrics, report: s.report, reach: newReach(s.report), deadLetters: s.deadLetters,
			open: s.open, senders: map[string]*running{}, names: &names{js: s.js}, pictures: s.pictures,
		}
		err := d.prepare(ctx)
		if err == nil {
			return d
		}
		d.stop()
		s.setReady(reason(fmt.Errorf("preparing to send: %w", err)))
		if !process.Sleep(ctx, prepareWait) {
			return nil
		}
	}
}

func laneConfig() lane.Config {
	return lane.Config{
		Service: streams.ServiceNotifier, Lane: lane0,
		InputStream: streams.StreamDerived, InputFilters: []string{streams.DerivedAll},
		OutputStream: streams.StreamAlerting, OutputSubject: streams.AlertingSubject(lane0),
		ExtraBucket: streams.BucketSilences,
		Format:      snapshotFormat, ReadCommit: readCommit,
	}
}

// readCommit returns the input position of a commit, and the configuration that it
// carries, if any.
func readCommit(body []byte) (lane.Position, *lane.ConfigChange, error) {
	c, err := streams.DecodeAlerting(body)
	if err != nil {
		return lane.Position{}, nil, err
	}
	pos := lane.Position{
		Incarnation: time.Unix(0, c.GetInput().GetIncarnation()), Sequence: c.GetInput().GetSequence(), Stored: c.GetInput().GetStored(),
	}
	if change := c.GetSilences(); change != nil {
		return pos, &lane.ConfigChange{Revision: change.GetRevision(), Content: change.GetContent(), Extra: streams.SilencesKey}, nil
	}
	if change := c.GetOverrides(); change != nil {
		return pos, &lane.ConfigChange{Revision: change.GetRevision(), Content: change.GetContent(), Extra: streams.OverridesKey}, nil
	}
	if change := c.GetHealth(); change != nil {
		return pos, &lane.ConfigChange{Revision: change.GetRevision(), Content: change.GetContent(), Extra: streams.HealthKey}, nil
	}
	if h := c.GetHandling(); h != nil {
		return pos, &lane.ConfigChange{Revision: h.GetChange().GetRevision(), Content: h.GetChange().GetContent(), Extra: streams.HandlingKey(h.GetAlert())}, nil
	}
	if c.GetConfig() == nil {
		return pos, nil, nil
	}
	return pos, &lane.ConfigChange{Revision: c.GetConfig().GetRevision(), Content: c.GetConfig().GetContent()}, nil
}

// deadLetter stores a message of DERIVED that is not a commit.
func (s *Service) deadLetter(ctx context.Context, in lane.Input, cause error) error {
	return s.deadLetters.Publish(ctx, streams.DeadLetter{
		Service: streams.ServiceNotifier, Reason: streams.ReasonMalformed, Detail: cause.Error(),
		Origin: in.Subject, Arrived: in.Stored, Payload: in.Data,
	})
}

// channelOf returns the channel whose sender reads from the consumer of that name.
func channelOf(consumer string) (channel string, ok bool) {
	return strings.CutPrefix(consumer, streams.SenderConsumer(""))
}
