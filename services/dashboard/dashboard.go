package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/proto/cost"
	"headwater/services/dashboard/fleet"
	"headwater/services/internal/accounts"
	"headwater/services/internal/audit"
	"headwater/services/internal/edges"
	"headwater/services/internal/function"
	"headwater/services/internal/influx"
	"headwater/services/internal/oidc"
	"headwater/services/internal/oncall"
	"headwater/services/internal/problems"
	"headwater/services/internal/silence"
	"headwater/streams"
	"headwater/web"
	"headwater/web/view"
)

// demoSite is the site of the simulated devices of the demo.
const demoSite = "demo"

// memory is how far back the live state reaches when a dashboard starts.
const memory = view.SlotCount * view.SlotWidth

// Deps are what a dashboard works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS jetstream.JetStream
	// DevicesJS is JetStream in the account of the devices, for the state of
	// their stream; nil leaves that out.
	DevicesJS jetstream.JetStream
	// Problems, if not nil, returns what is wrong with the machine. It must answer at
	// once.
	Problems func() []view.Problem
	// Announce, if not nil, is called with a link with which the person who started the process
	// becomes an administrator. It must show the link to nobody else.
	Announce func(link string)
	Log      *slog.Logger
	Metrics  prometheus.Registerer
}

// Service is a dashboard.
type Service struct {
	log    *slog.Logger
	js     jetstream.JetStream
	fleet  *fleet.Fleet
	book   *fleet.Book
	survey *survey
	// problems are the problems of the machine.
	problems    func() []view.Problem
	past        *history
	recall      *recall
	ledger      *ledgerSource
	balance     *balance
	rules       *ruleSource
	credentials *credentialSource
	silences    *silenceSource
	duty        *dutySource
	handlings   *handlings
	told        *fleet.Notices
	records     *fleet.Records
	registry    *registrySource
	health      *healthSource
	boards      *boardSource
	annotations *annotationSource
	access      accessSource
	cfg         Config
	announce    func(link string)
	web         *web.Server

	// board holds the problems that services report.
	board    *problems.Board
	arrivals *arrivals
	// deliveries are the latest outcomes of each channel.
	deliveries *deliveryLog

	telemetry, derived, alerting *streamReader
	refused                      *streamReader
	devices, alerts, lost, muted *watcher
	described, arranged, written *watcher
	reports                      *watcher
}

// New returns a dashboard; it does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := influx.New(cfg.Influx)
	if err != nil {
		return nil, err
	}
	s := &Service{
		log: deps.Log, js: deps.JS, fleet: fleet.New(demoSite), book: fleet.NewBook(),
		past: newHistory(client), board: problems.NewBoard(), deliveries: &deliveryLog{},
	}
	s.problems = deps.Problems
	if s.problems == nil {
		s.problems = func() []view.Problem { return nil }
	}
	s.survey = newSurvey(deps.JS, deps.DevicesJS, client)
	s.ledger = newLedger(deps.JS, client)
	found := &losses{log: deps.Log}
	s.lost = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketManifests, keys: streams.LossKeys, handle: found.on}
	s.survey.losses, s.ledger.losses = found, found
	changes := recorder{audit.New(deps.JS, streams.ServiceDashboard, deps.Log, deps.Metrics)}
	letters := &deadLetters{js: deps.JS, log: deps.Log, changes: changes}
	s.registry = newRegistry(newDeparted(deps.JS, client, s.fleet, deps.Log, changes, s.know))
	s.past.former = s.registry.former
	s.described = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketAbout, entry: s.registry.onEntry}
	s.boards = newBoards(deps.JS, s.fleet, changes, s.alertSource)
	s.arranged = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketBoards, entry: s.boards.onEntry}
	s.annotations = newAnnotations(deps.JS, s.fleet, s.registry.former, changes)
	s.written = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketAnnotations, entry: s.annotations.onEntry}
	s.credentials = newCredentials(deps.JS, deps.Log, changes, letters)
	s.rules = newRules(deps.JS, deps.Log, s.fleet, s.book, changes)
	letters.config = s.rules.current
	replayed := &replays{js: deps.JS, book: s.book}
	s.rules.coach = newCoach(deps.Log, s.rules, replayed)
	s.rules.took, s.rules.tags = s.registry.onConfig, s.registry.tags
	s.telemetry = &streamReader{
		js: deps.JS, log: deps.Log, stream: streams.StreamTelemetry, filters: []string{streams.TelemetryAll},
		back: memory, handle: s.onTelemetry, began: func(t time.Time) { s.fleet.Begin(t.UnixNano()) },
	}
	s.ledger.telemetry = s.telemetry
	s.health = newHealth(s.fleet, s.book, s.rules)
	s.refused = &streamReader{
		js: deps.JS, log: deps.Log, stream: streams.StreamDeadLetters, filters: []string{streams.DeadLettersAll},
		back: lettersBack, most: mostLetters, handle: s.health.onLetter,
	}
	s.derived = &streamReader{
		js: deps.JS, log: deps.Log, stream: streams.StreamDerived, filters: []string{streams.DerivedAll},
		back: streams.AgeDerived, most: maxReplay, handle: s.onDerived,
	}
	s.alerting = &streamReader{
		js: deps.JS, log: deps.Log, stream: streams.StreamAlerting, filters: []string{streams.AlertingAll, streams.DeliveriesAll},
		back: streams.AgeAlerting, most: maxReplay, handle: s.onAlerting,
	}
	s.devices = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketDevices, handle: s.onDevice}
	s.alerts = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketAlerts, handle: s.onAlert}
	s.recall = &recall{client: client, fleet: s.fleet, log: deps.Log, ready: func() bool {
		return s.telemetry.ready() == nil && s.devices.ready() == nil
	}}
	s.silences = &silenceSource{
		log: deps.Log, book: s.book, current: s.alerts.ready, zone: s.rules.place, tags: s.registry.tags, changes: changes,
		list: list[silence.Silence]{js: deps.JS, log: deps.Log, key: streams.SilencesKey, decode: silence.Decode},
	}
	s.rules.silences = s.silences.SilencesOfRule
	s.told, s.records = fleet.NewNotices(), fleet.NewRecords()
	s.rules.stats = s.records.Stats
	s.handlings = &handlings{js: deps.JS, log: deps.Log, book: s.book, changes: changes, show: s.showAlert}
	s.muted = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketSilences, handle: func(key string, value []byte, at time.Time) {
		s.silences.list.on(key, value, at)
		s.duty.list.on(key, value, at)
	}}
	s.duty = &dutySource{
		log: deps.Log, rules: s.rules, changes: changes,
		list: list[oncall.Override]{js: deps.JS, log: deps.Log, key: streams.OverridesKey, decode: oncall.Decode},
	}
	s.arrivals = &arrivals{js: deps.JS, fleet: s.fleet, board: s.board}
	s.reports = &watcher{js: deps.JS, log: deps.Log, bucket: streams.BucketProblems, handle: s.arrivals.onReport}
	s.cfg, s.announce = cfg, deps.Announce
	provider, err := oidc.New(cfg.OIDC)
	if err != nil {
		return nil, err
	}
	s.access = accessSource{
		provider: provider, accounts: accounts.New(deps.JS, time.Now), changes: changes, log: deps.Log, guarded: cfg.Exposed != "" || cfg.RequireLogIn, required: cfg.RequireLogIn,
	}
	s.web, err = web.New(web.Config{MQTT: cfg.PublicMQTT, Exposed: cfg.Exposed, StreamsPerAddress: cfg.StreamsPerAddress}, web.Sources{
		Access:      s.access,
		Shell:       s,
		Overview:    overviewSource{s.alertSource(), s.fleet},
		Explore:     exploreSource{s.fleet},
		Device:      deviceSource{s.alertSource(), s.fleet, s.past, s.rules, s.health, s.board, s.annotations},
		Alerts:      s.alertSource(),
		Silences:    s.silences,
		Rules:       s.rules,
		Replay:      replayed,
		Pipeline:    s,
		Ledger:      s.ledger,
		DeadLetters: letters,
		Audit:       auditSource{deps.JS},
		Trust:       trustSource{cfg.Authority},
		Credentials: s.credentials,
		Registry:    s.registry,
		Health:      s.health,
		Boards:      s.boards,
		Annotations: s.annotations,
		Connect:     s.arrivals,
		Edges:       edgeSource{store: edges.Store{JS: deps.JS}, past: client, made: changes, address: cfg.Address, authority: cfg.Authority},
		Functions:   functionSource{store: function.Store{JS: deps.JS}, made: changes},
		Channels:    channelSource{js: deps.JS, rules: s.rules, deliveries: s.deliveries, changes: changes, alerts: s.alertSource()},
		OnCall:      s.duty,
		Cost:        costSource{cost.Default()},
		Consumption: meterSource{s.rules, s.past},
	}, deps.Log)
	if err != nil {
		return nil, fmt.Errorf("set up the pages: %w", err)
	}
	s.balance = newBalance(s.ledger, deps.Log, deps.Metrics)
	s.register(deps.Metrics)
	return s, nil
}

func (s *Service) register(registry prometheus.Registerer) {
	factory := promauto.With(registry)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_dashboard_live_clients", Help: "Open live streams.",
	}, func() float64 { return float64(s.web.Clients()) })
	for reason, count := range map[string]func() uint64{
		"slow-client": s.web.Dropped, "too-many-series": s.fleet.Dropped, "too-many-clashing": s.fleet.DroppedClashes,
	} {
		factory.NewCounterFunc(prometheus.CounterOpts{
			Name: "headwater_dashboard_dropped_total", Help: "Dropped live streams, readings and counts of clashes, by reason.",
			ConstLabels: prometheus.Labels{"reason": reason},
		}, func() float64 { return float64(count()) })
	}
}

// Handler serves the pages, their live updates and the API. It may be used before
// Run; the pages then show that nothing is known yet.
func (s *Service) Handler() http.Handler { return withAddress(s.web.Handler()) }

// Protect serves what is no page to those who have the role and are not limited to sites.
// While no log-in is required, everybody has it.
func (s *Service) Protect(role view.Role, next http.Handler) http.Handler {
	return s.web.Protect(role, next)
}

// Run follows the streams until ctx ends; then it ends all live streams of the
// pages. It keeps running while NATS or InfluxDB is unavailable, which the pages
// show.
func (s *Service) Run(ctx context.Context) error {
	s.log.Info("dashboard started", "url", s.past.client.URL())
	var parts sync.WaitGroup
	for _, run := range []func(context.Context){
		s.telemetry.run, s.derived.run, s.alerting.run, s.refused.run, s.health.run, s.devices.run, s.alerts.run, s.lost.run, s.muted.run, s.described.run, s.registry.run, s.arranged.run, s.written.run, s.silences.run, s.handlings.run, s.reports.run,
		s.survey.runStreams, s.survey.runInflux, s.recall.run, s.balance.run, s.rules.run, s.rules.coach.run, s.credentials.set.Run, s.arrivals.run, s.web.Run,
	} {
		parts.Go(func() { run(ctx) })
	}
	parts.Go(func() { s.registry.runTags(ctx, s.described.ready, s.silences) })
	parts.Go(func() { s.access.invite(ctx, s.cfg.SetUpLink, s.cfg.Address, s.announce) })
	parts.Wait()
	s.past.client.Close()
	s.log.Info("dashboard stopped")
	return nil
}

// Ready returns nil if the live state is up to date, else why not. It does not depend
// on InfluxDB, because the pages work without the history.
func (s *Service) Ready() error {
	return errors.Join(s.telemetry.ready(), s.devices.ready(), s.alerts.ready())
}

// alertSource returns the alerts with their silences and rules.
func (s *Service) alertSource() alertSource {
	return alertSource{s.book, s.silences, s.handlings, s.told, s.rules, s.fleet}
}
