package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/bridge"
	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/services/configfile"
	"headwater/services/dashboard"
	"headwater/services/edge"
	"headwater/services/functions"
	"headwater/services/gateway"
	"headwater/services/internal/certs"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/internal/publicurl"
	"headwater/services/notifier"
	"headwater/services/processor"
	"headwater/services/simulator"
	"headwater/services/standalone/influxd"
	"headwater/services/writer"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/web/trust"
	"headwater/web/ui"
	"headwater/web/view"
)

// Run runs everything until ctx ends and all work in flight is stored. Sinks start
// before their sources and stop after them, so nothing enters that has nowhere to go.
func Run(ctx context.Context, p *process.Process, cfg Config) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s := &standalone{cfg: cfg, process: p}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	parts, err := s.parts()
	if err != nil {
		return err
	}
	s.announce(ctx)
	return p.Run(ctx, parts...)
}

// standalone holds the servers, the data folder and the listeners that the services
// use.
type standalone struct {
	cfg     Config
	process *process.Process

	folder *folder
	// certs is nil without TLS, and authority unless it is Headwater's own.
	certs     *certs.Source
	authority *certs.Authority

	http net.Listener
	// mqtt is the listener of the front, or nil.
	mqtt    net.Listener
	nats    *natsd.Server
	influx  *database
	guard   *supervisor
	dangers []process.Danger
	// asks reports whether the dashboard asks for a log-in.
	asks func(context.Context) bool
	// demo is nil without the demo.
	demo    *demoState
	endDemo bool
	// link is the centre that this Headwater sends to, or nil.
	link    *edge.Link
	closers []func() error
}

// onClose registers f to be called after everything has stopped, in reverse order.
func (s *standalone) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *standalone) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// open locks the data folder, listens, and starts the servers.
func (s *standalone) open(ctx context.Context) (err error) {
	s.folder, err = openFolder(s.cfg.folder(), s.log("disk"))
	if err != nil {
		return err
	}
	s.onClose(s.folder.close)
	if err := s.refuseUnsafe(); err != nil {
		return err
	}
	if s.link, err = edge.Open(s.folder.path, s.cfg.Join); err != nil {
		return err
	}
	if err := s.openTLS(); err != nil {
		return err
	}
	s.http, err = s.process.Listen(s.cfg.HTTP)
	if err != nil {
		return fmt.Errorf("%w (--http names another address)", err)
	}
	if s.certs != nil {
		s.http = process.Secure(s.http, s.certs.HTTP(), s.certs.Refused)
	}
	// Once it serves, the server closes the listener itself.
	s.onClose(func() error { _ = s.http.Close(); return nil })
	if err := s.openNATS(ctx); err != nil {
		return err
	}
	if s.cfg.Writer.Influx.URL == "" {
		token, err := s.folder.influxToken()
		if err != nil {
			return err
		}
		s.influx, err = openDatabase(ctx, influxd.Config{Dir: s.folder.influx(), Token: token, Log: s.log("influxdb")})
		if err != nil {
			return err
		}
		s.onClose(s.influx.close)
		to := &s.cfg.Writer.Influx
		to.URL, to.Token, to.TokenFile = s.influx.url(), influx.Secret(token), ""
		s.guard.influxFolder = s.folder.influx()
		s.guard.watch("InfluxDB", s.influx.health, s.influx.restart, fmt.Sprintf(
			"Stop Headwater and restore the folder %s from a backup, or move it away, which gives up the history; then start Headwater again", s.folder.influx()))
	}
	return s.forgetDemo(ctx)
}

// refuseUnsafe returns an error if the mode does not permit a start like this. Otherwise
// every page shows the dangers.
func (s *standalone) refuseUnsafe() error {
	dangers, err := s.cfg.dangers()
	if err != nil {
		return err
	}
	s.dangers = dangers
	return s.cfg.Refuse(s.process.Log, s.folder.strict, dangers...)
}

// unsafe lists the dangers that the mode permits, for the dashboard.
func (s *standalone) unsafe() []view.Problem {
	var out []view.Problem
	for _, d := range s.dangers {
		out = append(out, view.Problem{Part: "Security", Text: ui.UpperFirst(d.What) + ". To be safe: " + d.Do + "."})
	}
	return out
}

func (s *standalone) log(service string) *slog.Logger {
	return s.process.Log.With("service", service)
}

// openNATS starts nats-server and creates the streams. Its MQTT listener is open from
// the start, but no device can log in before the bridge answers, and the bridge answers
// only when the streams exist.
func (s *standalone) openNATS(ctx context.Context) (err error) {
	disk, err := s.folder.diskBytes()
	if err != nil {
		return err
	}
	budget := s.cfg.budget(s.folder.path, disk)
	options := streams.Options{Lanes: s.cfg.Lanes, MaxBytes: budget.streams}
	secure, plain := s.cfg.TLS.MQTTListener(s.certs)
	server := natsd.Config{
		Dir: s.folder.nats(), Sync: s.cfg.sync(), MaxBytes: options.MaxBytes, Log: s.log("nats"),
		MQTT: s.cfg.MQTT, TLS: secure, PlainToo: plain, Refused: s.refused(),
	}
	if s.cfg.Front == frontOn {
		if s.mqtt, err = net.Listen("tcp", s.cfg.MQTT); err != nil {
			return fmt.Errorf("listen for MQTT on %s: %w (--mqtt names another address)", s.cfg.MQTT, err)
		}
		// Once it serves, the front closes the listener itself.
		s.onClose(func() error { _ = s.mqtt.Close(); return nil })
		server.MQTT, server.TLS, server.Refused = "127.0.0.1:0", nil, nil
	}
	s.nats, err = natsd.Start(ctx, server)
	if errors.Is(err, natsd.ErrAddressInUse) {
		return fmt.Errorf("listen for MQTT on %s: %w (--mqtt names another address)", s.cfg.MQTT, err)
	}
	if err != nil {
		return err
	}
	s.onClose(func() error { s.nats.Shutdown(); return nil })
	_, core, err := s.connect(natsd.UserOf(streams.ServiceProvision), "provision")
	if err != nil {
		return err
	}
	if _, err := streams.Ensure(ctx, core, options); err != nil {
		return err
	}
	_, devices, err := s.connect(natsd.UserDevices, "provision")
	if err != nil {
		return err
	}
	if err := streams.EnsureDevices(ctx, devices, streams.DeviceOptions{MaxBytes: streams.DeviceBytes(options.MaxBytes)}); err != nil {
		return err
	}
	promauto.With(s.process.Metrics).NewCounterFunc(prometheus.CounterOpts{
		Namespace: "headwater", Subsystem: "standalone", Name: "denied_publishes_total",
		Help: "Messages that nats-server dropped because the sender may not publish on that topic. It acknowledges them all the same.",
	}, func() float64 { return float64(s.nats.Denied()) })
	s.supervise(budget)
	if s.cfg.Durability == Fast || s.cfg.Unsafe {
		if err := syncTree(s.folder.nats()); err != nil {
			return fmt.Errorf("force the new streams to the disk: %w", err)
		}
	}
	// No service may remove devices, or write what another one found lost.
	_, all, err := s.connect(natsd.UserCore, "start")
	if err != nil {
		return err
	}
	for _, loss := range s.nats.TakeLosses() {
		s.log("nats").Error("a consumer has read more than its stream has", "loss", loss.String())
		if err := loss.Record(ctx, all, streams.ServiceProvision); err != nil {
			return err
		}
	}
	return s.settleDemo(ctx, all)
}

// supervise creates the supervisor. It does nothing until it runs.
func (s *standalone) supervise(budget diskBudget) {
	s.guard = newSupervisor(s.log("disk"), budget, s.process.Metrics)
	s.guard.free = s.folder.freeBytes
	s.guard.watch("nats-server", s.nats.Health, s.nats.Restart, fmt.Sprintf(
		"Stop Headwater and restore the folder %s from a backup, or move away the folder of the named stream below it, which gives up what the stream holds; then start Headwater again", s.folder.nats()))
}

// connect opens a connection for a service. It is closed when everything has stopped.
func (s *standalone) connect(user natsd.User, service string) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := s.nats.Connect(user, process.NATSOptions(service, s.log(service))...)
	if err != nil {
		return nil, nil, err
	}
	s.onClose(func() error { nc.Close(); return nil })
	js, err := process.JetStream(nc)
	return nc, js, err
}

// builder creates the services. After the first error it does nothing.
type builder struct {
	*standalone
	parts  []process.Part
	bridge *bridge.Service
	err    error
}

// service is what every service package provides.
type service interface {
	Run(ctx context.Context) error
	Ready() error
}

// construct creates one service with what every service needs.
type construct func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error)

// add creates a service with a connection and a registry of its own.
func (b *builder) add(name string, build construct) {
	if b.err != nil {
		return
	}
	_, js, err := b.connect(userOf(name), name)
	if err != nil {
		b.err = err
		return
	}
	svc, err := build(js, b.log(name), prometheus.WrapRegistererWith(prometheus.Labels{"service": name}, b.process.Metrics))
	if err != nil {
		b.err = fmt.Errorf("%s: %w", name, err)
		return
	}
	b.parts = append(b.parts, process.Part{Name: name, Run: svc.Run, Ready: svc.Ready})
}

// userOf returns the user as which a part connects to nats-server.
func userOf(part string) natsd.User {
	if _, isService := streams.ServicePermissions(part); isService {
		return natsd.UserOf(part)
	}
	return natsd.UserOf(streams.ServiceProvision)
}

// parts creates the services in the order in which they start.
func (s *standalone) parts() ([]process.Part, error) {
	b := &builder{standalone: s, parts: []process.Part{{Name: "disk", Run: s.guard.run, Ready: s.guard.refuses}}}
	cfg := s.cfg
	if cfg.Durability == Fast {
		b.parts = append(b.parts, process.Part{Name: "firstsync", Run: newFirstSync(s.folder.nats(), s.log("disk")).run})
	}
	var intake *gateway.Service
	var pages *dashboard.Service
	b.add("writer", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error) {
		return writer.New(cfg.Writer, writer.Deps{JS: js, Log: log, Metrics: metrics})
	})
	b.add("configfile", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error) {
		return configfile.New(cfg.File, configfile.Deps{JS: js, Log: log, Metrics: metrics})
	})
	b.add("notifier", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error) {
		if cfg.Notifier.Secrets == "" {
			cfg.Notifier.Secrets = cfg.File.Folder()
		}
		if cfg.Notifier.PublicURL == "" {
			cfg.Notifier.PublicURL = publicurl.Guess(s.http.Addr(), s.certs != nil)
		}
		log.Info("notifications link to the dashboard", "url", cfg.Notifier.PublicURL)
		past, err := influx.New(cfg.Writer.Influx)
		if err != nil {
			return nil, err
		}
		s.onClose(func() error { past.Close(); return nil })
		return notifier.New(cfg.Notifier, notifier.Deps{JS: js, Past: past, Disk: s.guard.room, Log: log, Metrics: metrics})
	})
	b.add("processor", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error) {
		past, err := influx.New(cfg.Writer.Influx)
		if err != nil {
			return nil, err
		}
		s.onClose(func() error { past.Close(); return nil })
		return processor.New(cfg.Processor, processor.Deps{JS: js, Past: past, Log: log, Metrics: metrics})
	})
	b.add("functions", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error) {
		return functions.New(functions.Deps{JS: js, Log: log, Metrics: metrics}), nil
	})
	b.add("gateway", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (_ service, err error) {
		intake, err = gateway.New(cfg.Gateway, gateway.Deps{JS: js, Refuse: s.guard.refuses, Log: log, Metrics: metrics})
		return intake, err
	})
	b.add("dashboard", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (_ service, err error) {
		_, devices, err := s.connect(natsd.UserDevices, "dashboard")
		if err != nil {
			return nil, err
		}
		look := dashboard.Config{
			Influx: cfg.Writer.Influx, PublicMQTT: s.publicMQTT(), StreamsPerAddress: cfg.StreamsPerAddress,
			Authority: s.trusted(), SetUpLink: cfg.SetUpLink, OIDC: cfg.OIDC, Address: cfg.Notifier.PublicURL,
		}
		if look.Address == "" {
			look.Address = publicurl.Guess(s.http.Addr(), s.certs != nil)
		}
		announce := cfg.Announce
		if announce == nil {
			announce = dashboard.PrintLink(os.Stderr)
		}
		if at := s.http.Addr().String(); process.Exposed(at) {
			look.Exposed = process.Reach(at)
			look.RequireLogIn = cfg.Mode == process.ModeProduction || cfg.Mode == process.ModeAuto && s.folder.strict
		}
		s.asks = func(ctx context.Context) bool { return dashboard.LogInRequired(ctx, look, js) }
		pages, err = dashboard.New(look,
			dashboard.Deps{JS: js, DevicesJS: devices, Problems: s.problems, Announce: announce, Log: log, Metrics: metrics})
		return pages, err
	})
	if s.link != nil {
		b.add("edge", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (service, error) {
			past, err := influx.New(cfg.Writer.Influx)
			if err != nil {
				return nil, err
			}
			s.onClose(func() error { past.Close(); return nil })
			return edge.New(cfg.Edge, s.link, edge.Deps{JS: js, Disk: s.folder.room, Past: past, Log: log, Metrics: metrics})
		})
	}
	if b.err != nil {
		return nil, b.err
	}
	_, core, err := s.connect(natsd.UserOf(streams.ServiceProvision), "janitor")
	if err != nil {
		return nil, err
	}
	janitor := streams.Janitor{JS: core, Log: s.log("janitor")}
	if s.certs != nil {
		b.parts = append(b.parts, process.Part{Name: "certificates", Run: s.certs.Run})
	}
	b.parts = append(b.parts,
		process.Part{Name: "janitor", Run: janitor.Run},
		process.Part{Name: "http", Run: func(ctx context.Context) error {
			return process.Serve(ctx, s.http, s.mux(intake, pages), s.log("http"), httpGrace)
		}},
	)
	b.addBridge()
	b.parts = append(b.parts, s.started())
	if s.demo != nil && b.err == nil {
		b.addDemo()
	}
	return b.parts, b.err
}

// httpGrace is how long requests in flight may take to finish at shutdown.
const httpGrace = 5 * time.Second

func (s *standalone) mux(intake *gateway.Service, pages *dashboard.Service) http.Handler {
	mux := http.NewServeMux()
	s.process.Health.MountProbes(mux)
	// Where others than this machine may come, they log in for these as well.
	guard := pages.Protect
	if !process.Exposed(s.http.Addr().String()) && s.cfg.Notifier.PublicURL == "" {
		guard = func(_ view.Role, next http.Handler) http.Handler { return next }
	}
	mux.Handle("GET /metrics", guard(view.RoleViewer, process.Metrics(s.process.Metrics)))
	if s.cfg.Profiles {
		profiles := http.NewServeMux()
		process.MountProfiles(profiles)
		mux.Handle("/debug/pprof/", guard(view.RoleAdministrator, profiles))
	}
	for _, path := range gateway.Paths() {
		mux.Handle(path, intake.Handler())
	}
	mux.Handle("/", pages.Handler())
	return s.certs.Challenges(s.hosts().Guard(s.cfg.Notifier.PublicURL, s.redirect(mux)))
}

func (b *builder) addBridge() {
	seed, err := b.nats.IssuerSeed()
	_, devices, err1 := b.connect(natsd.UserDevices, "bridge")
	devices0, _, err2 := b.connect(natsd.UserDevices0, "bridge")
	auth, _, err3 := b.connect(natsd.UserAuth, "bridge")
	system, _, err4 := b.connect(natsd.UserSystem, "bridge")
	direct, _, err5 := b.connect(natsd.UserDevices, "front")
	b.err = errors.Join(err, err1, err2, err3, err4, err5)
	if b.err != nil {
		return
	}
	b.add("bridge", func(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) (_ service, err error) {
		b.bridge, err = bridge.New(b.cfg.Bridge, bridge.Deps{
			JS: js, Devices: devices, Devices0: devices0, Front: direct, Auth: auth, IssuerSeed: seed, Refuse: b.guard.refuses, System: system, Log: log, Metrics: metrics,
		})
		return b.bridge, err
	})
	if b.mqtt == nil || b.err != nil {
		return
	}
	secure, plain := b.cfg.TLS.MQTTListener(b.certs)
	front, err := b.bridge.NewFront(b.nats.MQTT(), front.TLS{Config: secure, PlainToo: plain, Refused: b.refused()})
	if err != nil {
		b.err = fmt.Errorf("front: %w", err)
		return
	}
	// It stops before the bridge, which still acknowledges what devices have sent.
	b.parts = append(b.parts, process.Part{Name: "front", Run: func(ctx context.Context) error { return front.Run(ctx, b.mqtt) }})
}

// mqttAddress is where devices connect.
func (s *standalone) mqttAddress() string {
	if s.mqtt != nil {
		return s.mqtt.Addr().String()
	}
	return s.nats.MQTT()
}

// addDemo creates the fleet of the demo, which reports over MQTT like any device.
func (b *builder) addDemo() {
	broker, trust := b.demoBroker()
	cfg := simulator.Demo(broker, b.demo.Began)
	cfg.Backlog = !b.demo.Began.IsZero() && !b.demo.Filled
	fleet, err := simulator.New(cfg, simulator.Deps{
		TLS: trust, Log: b.log("demo"), Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"service": "demo"}, b.process.Metrics),
	})
	if err != nil {
		b.err = errors.Join(b.err, err)
		return
	}
	ready := b.bridge.Ready
	b.parts = append(b.parts, process.Part{Name: "demo", Run: func(ctx context.Context) error {
		// No device can log in before the bridge answers.
		if !await(ctx, func() bool { return ready() == nil }) {
			return nil
		}
		return fleet.Run(ctx)
	}})
	if cfg.Backlog {
		b.addPast()
	}
}

// addPast gives the demo its past.
func (b *builder) addPast() {
	_, js, err := b.connect(natsd.UserCore, "past")
	if err != nil {
		b.err = errors.Join(b.err, err)
		return
	}
	b.parts = append(b.parts, process.Part{Name: "past", Run: func(ctx context.Context) error {
		b.fillPast(ctx, js)
		<-ctx.Done()
		return nil
	}})
}

// await checks every 20 ms whether cond holds. It returns false when ctx ends first.
func await(ctx context.Context, cond func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// started is the part that reports when everything runs.
func (s *standalone) started() process.Part {
	return process.Part{Name: "start", Run: func(ctx context.Context) error {
		begin := time.Now()
		if !await(ctx, func() bool { ready, _ := s.process.Health.Status(); return ready }) {
			return nil
		}
		s.process.Log.Info("everything runs", "took", time.Since(begin).Round(time.Millisecond))
		if s.cfg.Started != nil {
			s.cfg.Started(s.addresses())
		}
		<-ctx.Done()
		return nil
	}}
}

func (s *standalone) addresses() Addresses {
	at := Addresses{HTTP: s.scheme("http") + s.http.Addr().String(), MQTT: s.mqttAddress(), Influx: s.cfg.Writer.Influx.URL}
	if s.influx != nil {
		at.Influx = s.influx.urlWithToken()
	}
	return at
}

// announce logs the addresses and the data folder.
func (s *standalone) announce(ctx context.Context) {
	at := s.addresses()
	data, err := filepath.Abs(s.folder.path)
	if err != nil {
		data = s.folder.path
	}
	s.process.Log.Info("Headwater starts", "dashboard", at.HTTP, "mqtt", s.publicMQTT(), "influxdb", s.cfg.Writer.Influx.URL,
		"data", data, "durability", s.cfg.Durability, "demo", s.demo != nil)
	if t := s.trusted(); t.Address != "" {
		s.process.Log.Info("phones, computers and devices have to trust the certificate once", "how", "http://"+t.Address+trust.Path, "sha256", t.Fingerprint)
	}
	s.warnExposed(ctx)
}

// warnExposed logs what is open to other machines without a log-in.
func (s *standalone) warnExposed(ctx context.Context) {
	served := "the dashboard with its API, metrics"
	if s.cfg.Profiles {
		served += ", profiles"
	}
	var open []process.Open
	if !s.asks(ctx) {
		open = append(open, process.Open{What: served, Address: s.http.Addr().String()})
	}
	if s.cfg.Bridge.Anonymous == login.AnonymousAny {
		open = append(open, process.Open{What: "MQTT without a password", Address: s.mqttAddress()})
	}
	process.WarnExposed(s.process.Log, open...)
}
