package process

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// handshakeTimeout bounds how long a new connection may take for its first byte, and then
// for its TLS handshake.
const handshakeTimeout = 10 * time.Second

// firstOfTLS is the first byte of every TLS connection. No method of HTTP and no packet of
// MQTT that opens a connection begins with it.
const firstOfTLS = 0x16

// Secure returns a listener that takes connections with TLS and without it on one port. A
// connection with TLS is handed over as a *tls.Conn when its handshake is done. Refused is
// called for every handshake that fails, from any goroutine. Closing it closes l.
func Secure(l net.Listener, config *tls.Config, refused func(error)) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	s := &secured{
		Listener: l, config: config, refused: refused, ctx: ctx, cancel: cancel,
		ready: make(chan net.Conn), failed: make(chan error),
	}
	s.running.Go(s.run)
	return s
}

// secured is the listener of Secure.
type secured struct {
	net.Listener
	config  *tls.Config
	refused func(error)

	ctx     context.Context // ends when it is closed
	cancel  context.CancelFunc
	ready   chan net.Conn
	failed  chan error
	running sync.WaitGroup
}

// run accepts connections until the listener is closed.
func (s *secured) run() {
	for {
		c, err := s.Listener.Accept()
		if err == nil {
			s.running.Go(func() { s.begin(c) })
			continue
		}
		// Accept returns the error. Its caller decides how long to wait.
		select {
		case s.failed <- err:
		case <-s.ctx.Done():
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// begin hands over a connection as soon as it is known what it is.
func (s *secured) begin(c net.Conn) {
	stop := context.AfterFunc(s.ctx, func() { _ = c.Close() })
	conn, err := s.greet(c)
	if !stop() || err != nil {
		if err != nil && s.ctx.Err() == nil {
			s.refused(err)
		}
		_ = c.Close() // An error means that it is closed.
		return
	}
	select {
	case s.ready <- conn:
	case <-s.ctx.Done():
		_ = conn.Close()
	}
}

// greet reads the first byte and, if it is that of TLS, does the handshake.
func (s *secured) greet(c net.Conn) (net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	conn, err := Greet(s.ctx, c, s.config)
	if err != nil {
		return nil, err
	}
	return conn, c.SetDeadline(time.Time{})
}

// Greet reads the first byte of a connection and, if it is that of TLS, does the
// handshake. Then it returns a *tls.Conn. The caller sets a deadline.
func Greet(ctx context.Context, c net.Conn, config *tls.Config) (net.Conn, error) {
	first := make([]byte, 1)
	if _, err := c.Read(first); err != nil {
		return nil, err
	}
	conn := &peeked{Conn: c, first: first}
	if first[0] != firstOfTLS {
		return conn, nil
	}
	secure := tls.Server(conn, config)
	return secure, secure.HandshakeContext(ctx)
}

// Accept returns the next connection.
func (s *secured) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case err := <-s.failed:
		return nil, err
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener and the connections that were not handed over yet.
func (s *secured) Close() error {
	s.cancel()
	err := s.Listener.Close()
	s.running.Wait()
	return err
}

// peeked is a connection whose first bytes were read already.
type peeked struct {
	net.Conn
	first []byte
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.first) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.first)
	p.first = p.first[n:]
	return n, nil
}

// CloseWrite ends the direction to the other side.
func (p *peeked) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// RedirectPlain answers requests that came without TLS: pages lead to the same address
// with https, and everything else is refused, because a client that followed would have
// sent its secrets in the clear before. Probes and the paths for which open returns true
// are answered either way.
func RedirectPlain(next http.Handler, open func(path string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil || r.URL.Path == "/livez" || r.URL.Path == "/readyz" || open != nil && open(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Host != "" {
			http.Redirect(w, r, "https://"+r.Host+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		http.Error(w, "This port speaks HTTPS: begin the address with https://. Nothing was done.", http.StatusForbidden)
	})
}
