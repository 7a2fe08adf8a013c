package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Listen opens an address for Serve; the error says which address is taken.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w", address, err)
	}
	return l, nil
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
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(stopCtx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop HTTP on %s: %w", l.Addr(), err), server.Close())
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// AdminConfig is where a service that has no pages of its own answers for its
// health.
type AdminConfig struct {
	Admin string `help:"Address of /livez, /readyz, /metrics and /debug/pprof." default:"127.0.0.1:9464" env:"HEADWATER_ADMIN"`
}

// HealthAddress is where the process answers for its health.
func (c AdminConfig) HealthAddress() string { return c.Admin }

// Admin returns the part that serves health, metrics and profiles on the
// address. It must be the first part of its process, and so the last to stop.
func (p *Process) Admin(cfg AdminConfig) (Part, error) {
	l, err := Listen(cfg.Admin)
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
