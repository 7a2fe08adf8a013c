package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Listen opens an address for Serve; the error says which address is taken. One client
// cannot have so many connections that others get none.
func (p *Process) Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w", address, err)
	}
	return newCrowd(l, maxConnections, p.crowded), nil
}

// maxHeaderBytes bounds the header of a request.
const maxHeaderBytes = 64 << 10

// Serve answers HTTP on the listener until ctx ends, then lets requests in
// flight finish for at most grace. Requests carry a context that ends with ctx,
// so that streams of events end as well.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger, grace time.Duration) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := Stopper(server)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := stop(stopCtx)
	if err != nil {
		err = fmt.Errorf("stop HTTP on %s: %w", l.Addr(), err)
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Stopper returns a function that stops the server, which must not serve yet: it
// lets requests in flight finish until its context ends, then cuts them off and
// returns an error. It is http.Server.Shutdown, which waits 5 s for connections
// that have sent nothing, such as those that browsers open in advance; here these
// are closed at once.
func Stopper(server *http.Server) func(ctx context.Context) error {
	var mu sync.Mutex
	unused, stopping := map[net.Conn]bool{}, false
	server.ConnState = func(c net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case state != http.StateNew:
			delete(unused, c)
		case stopping:
			_ = c.Close() // An error means that it is closed.
		default:
			unused[c] = true
		}
	}
	return func(ctx context.Context) error {
		mu.Lock()
		stopping = true
		for c := range unused {
			_ = c.Close() // An error means that it is closed.
		}
		mu.Unlock()
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	}
}

// AdminConfig is where a service that has no pages of its own answers for its
// health.
type AdminConfig struct {
	Admin string `help:"Address of /livez, /readyz, /metrics and /debug/pprof." default:"127.0.0.1:9464"`
}

// HealthAddress is where the process answers for its health.
func (c AdminConfig) HealthAddress() string { return c.Admin }

// Admin returns the part that serves health, metrics and profiles on the
// address. It must be the first part of its process, and so the last to stop.
func (p *Process) Admin(cfg AdminConfig) (Part, error) {
	l, err := p.Listen(cfg.Admin)
	if err != nil {
		return Part{}, err
	}
	mux := http.NewServeMux()
	p.Health.Mount(mux, p.Metrics)
	MountProfiles(mux)
	WarnExposed(p.Log, Open{"metrics and profiles", l.Addr().String()})
	return Part{Name: "admin", Run: func(ctx context.Context) error {
		return Serve(ctx, l, mux, p.Log, time.Second)
	}}, nil
}
