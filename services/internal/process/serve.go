package process

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
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
	Admin        string `help:"Address of /livez, /readyz, /metrics and /debug/pprof." default:"127.0.0.1:9464"`
	Mode         Mode   `enum:"dev,production" default:"dev" env:"HEADWATER_MODE"`
	MetricsToken string `name:"metrics-token-file" type:"existingfile"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (AdminConfig) FlagHelp() map[string]string {
	return map[string]string{
		"Mode": "dev starts with everything and warns; production does not start with what would let strangers in, and says what " +
			"to do, keeps /metrics from other machines that have no token, and has the dashboard ask for a log-in from its first start.",
		"MetricsToken": "File of the token with which other machines read /metrics and /debug/pprof, as Authorization: Bearer. " +
			"Without it nobody else reads the profiles, and in production nobody else the metrics.",
	}
}

// Refuse returns ErrUnsafe if the mode does not permit a start with the dangers. Otherwise it
// logs them.
func (c AdminConfig) Refuse(log *slog.Logger, dangers ...Danger) error {
	return ModeConfig{Mode: c.Mode}.Refuse(log, false, dangers...)
}

// HealthAddress is where the process answers for its health.
func (c AdminConfig) HealthAddress() string { return c.Admin }

// Admin returns the part that serves health, metrics and profiles on the
// address. It must be the first part of its process, and so the last to stop.
func (p *Process) Admin(cfg AdminConfig) (Part, error) {
	token := ""
	if cfg.MetricsToken != "" {
		var err error
		if token, err = ReadSecret(cfg.MetricsToken); err != nil {
			return Part{}, err
		}
		if len(token) < leastToken {
			return Part{}, fmt.Errorf("metrics-token-file: %s holds fewer than %d characters: put there the output of openssl rand -hex 16", cfg.MetricsToken, leastToken)
		}
	}
	l, err := p.Listen(cfg.Admin)
	if err != nil {
		return Part{}, err
	}
	open := token == "" && cfg.Mode != ModeProduction
	mux := p.adminMux(token, open)
	if open {
		WarnExposed(p.Log, Open{"metrics", l.Addr().String()})
	}
	return Part{Name: "admin", Run: func(ctx context.Context) error {
		return Serve(ctx, l, mux, p.Log, time.Second)
	}}, nil
}

// leastToken is the fewest characters of a token of /metrics, which is random.
const leastToken = 16

// adminMux serves health to all, metrics and profiles to this machine and to those with the
// token, and metrics to all if they are open.
func (p *Process) adminMux(token string, open bool) http.Handler {
	mux, profiles := http.NewServeMux(), http.NewServeMux()
	p.Health.MountProbes(mux)
	MountProfiles(profiles)
	mux.Handle("GET /metrics", forOperators(token, open, Metrics(p.Metrics)))
	mux.Handle("/debug/pprof/", forOperators(token, false, profiles))
	return mux
}

// forOperators serves this machine, and those with the token, which may be empty for none; or
// everybody.
func forOperators(token string, everybody bool, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given)))
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch here := err == nil && from.Addr().Unmap().IsLoopback(); {
		case everybody, here, token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1:
			next.ServeHTTP(w, r)
		case token == "":
			http.Error(w, "Only this machine may read this: give others a token with --metrics-token-file.", http.StatusForbidden)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
			http.Error(w, "The token of --metrics-token-file is needed, as Authorization: Bearer.", http.StatusUnauthorized)
		}
	})
}
