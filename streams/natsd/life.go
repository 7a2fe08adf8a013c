package natsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"headwater/streams"
)

// Server is a running nats-server. It can be restarted; the connections of this process
// find it again. Any number of goroutines may use it.
type Server struct {
	cfg       Config
	text      string
	passwords map[User]string
	issuer    nkeys.KeyPair
	log       *logger

	// restarting serializes Restart and Shutdown.
	restarting sync.Mutex

	mu      sync.Mutex // guards what follows
	server  *server.Server
	options *server.Options
	stopped bool
}

const (
	// startTimeout bounds the recovery of the streams. After kill -9 they are scanned, at
	// about 1.3 s for a million messages.
	startTimeout = 2 * time.Minute
	// readyEvery is the pause between two looks at a server that is starting.
	readyEvery = 100 * time.Millisecond
	// abandonTimeout bounds the wait for the end of a server that did not become ready:
	// nothing interrupts a scan.
	abandonTimeout = 5 * time.Second
	// handshakeTimeout bounds the TLS handshake of a device. A small one takes seconds.
	handshakeTimeout = 10 * time.Second
)

// errShutDown is returned by Restart after Shutdown.
var errShutDown = errors.New("nats-server was shut down")

// Start starts the server and returns when devices and services can connect, or why they
// can't. When ctx ends before that, Start stops the server; after it, the server does not
// depend on ctx.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		return nil, fmt.Errorf("make the key that signs log-ins: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, passwords: make(map[User]string), issuer: issuer, log: &logger{log: cfg.Log, refused: cfg.Refused}}
	for _, user := range Users() {
		s.passwords[user] = rand.Text()
	}
	s.text, err = s.configuration(cfg)
	if err != nil {
		return nil, err
	}
	if err := free(cfg.MQTT); err != nil {
		return nil, err
	}
	if err := s.run(ctx, nil); err != nil {
		return nil, err
	}
	return s, nil
}

// Restart stops the server and starts it again with the same streams, ports, users and
// passwords. Connections of services reconnect by themselves; those of devices are closed.
// After an error, or when ctx ends before the server is ready, no server runs, and Restart
// may be called again.
func (s *Server) Restart(ctx context.Context) error {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	old, options, stopped := s.current()
	if stopped {
		return errShutDown
	}
	old.Shutdown()
	old.WaitForShutdown()
	return s.run(ctx, options)
}

// run starts a server, on the ports of the previous one if there was one.
func (s *Server) run(ctx context.Context, before *server.Options) error {
	options := new(server.Options)
	if err := options.ProcessConfigString(s.text); err != nil {
		return fmt.Errorf("configure nats-server: %w", err)
	}
	options.NoSigs = true
	options.DontListen = s.cfg.NATS == ""
	if s.cfg.TLS != nil {
		options.MQTT.TLSConfig, options.MQTT.TLSTimeout = s.cfg.TLS, handshakeTimeout.Seconds()
		options.AllowNonTLS = s.cfg.PlainToo
	}
	if before != nil {
		options.Port, options.MQTT.Port = before.Port, before.MQTT.Port
	}
	srv, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	s.log.begin()
	srv.SetLoggerV2(s.log, false, false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start() // Recovers the streams, which may take a while.
	}()
	if err := s.awaitReady(ctx, srv); err != nil {
		abandon(srv, started)
		return fmt.Errorf("start nats-server: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.options = srv, options
	return nil
}

// awaitReady returns nil when clients can connect, or why they never will.
func (s *Server) awaitReady(ctx context.Context, srv *server.Server) error {
	for begun := time.Now(); ctx.Err() == nil; {
		if srv.ReadyForConnections(readyEvery) {
			return nil
		}
		if reason := s.log.lastFatal(); reason != "" {
			return errors.New(reason)
		}
		if time.Since(begun) > startTimeout {
			return fmt.Errorf("it was not ready within %s", startTimeout)
		}
	}
	return ctx.Err()
}

// abandon stops a server that did not become ready.
func abandon(srv *server.Server, started <-chan struct{}) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		srv.Shutdown()
		<-started
		srv.WaitForShutdown()
	}()
	select {
	case <-gone:
	case <-time.After(abandonTimeout):
	}
}

// Denied returns how many messages were dropped so far because their sender may not
// publish there. Nats-server acknowledges such a message to its device anyway.
func (s *Server) Denied() uint64 { return s.log.denied.Load() }

// TakeLosses returns what the consumers of the services show to be missing from streams,
// since the last call: a power cut took the end of the stream, and the consumer had read
// further. The streams themselves show nothing of it.
func (s *Server) TakeLosses() []streams.Loss { return s.log.takeLosses() }

func (s *Server) current() (srv *server.Server, options *server.Options, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server, s.options, s.stopped
}

// InProcessConn connects to the current server. A connection made with it finds the next
// server when it reconnects.
func (s *Server) InProcessConn() (net.Conn, error) {
	srv, _, _ := s.current()
	return srv.InProcessConn()
}

// Health returns nil while the server can store, or why it can't. After a failed write a
// store refuses all later ones without an answer until the server is restarted, even when
// the cause is gone.
func (s *Server) Health() error {
	srv, _, _ := s.current()
	if !srv.Running() {
		return errors.New("nats-server does not run")
	}
	health := srv.Healthz(&server.HealthzOptions{})
	switch {
	case health.Error != "":
		return errors.New(health.Error)
	case health.Status != "ok":
		return fmt.Errorf("nats-server is %s", health.Status)
	}
	return nil
}

// MQTT is the address on which devices connect.
func (s *Server) MQTT() string {
	_, options, _ := s.current()
	return net.JoinHostPort(options.MQTT.Host, strconv.Itoa(options.MQTT.Port))
}

// NATS returns the URL for connections by TCP as the user, with its password;
// empty when the server does not listen.
func (s *Server) NATS(user User) string {
	srv, options, _ := s.current()
	if options.DontListen {
		return ""
	}
	return fmt.Sprintf("nats://%s:%s@%s", user, s.passwords[user], srv.Addr())
}

// Shutdown stops the server permanently and returns when everything is on the disk.
func (s *Server) Shutdown() {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	srv, _, _ := s.current()
	srv.Shutdown()
	srv.WaitForShutdown()
}

// Embedded returns the current server, for its statistics.
func (s *Server) Embedded() *server.Server {
	srv, _, _ := s.current()
	return srv
}
