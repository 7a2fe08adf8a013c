package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"headwater/services/internal/process"
	"headwater/streams/streamtest"
)

const publicName = "headwater.example.org"

// pebble is Let's Encrypt's own server for tests. It looks for the public name on this machine.
type pebble struct {
	*httptest.Server
	trusted signer
}

// newPebble starts one that proves names on two ports.
func newPebble(t *testing.T, httpPort, tlsPort int, blocked ...string) pebble {
	t.Helper()
	nothing := slog.NewLogLogger(quiet.Handler(), slog.LevelDebug)
	store := db.NewMemoryStore()
	for _, name := range blocked {
		if err := store.AddBlockedDomain(name); err != nil {
			t.Fatal(err)
		}
	}
	signs := ca.New(nothing, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 86_400}})
	looks := va.New(nothing, httpPort, tlsPort, true, nameServer(t), store)
	front := wfe.New(nothing, store, looks, signs, nil, true, false, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	return pebble{server, signer{cert: signs.GetRootCert(0).Cert}}
}

// nameServer answers every question for an address with 127.0.0.1.
func nameServer(t *testing.T) string {
	t.Helper()
	l := listen(t)
	up := make(chan struct{})
	server := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = append(answer.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(answer) // an error means that the client is gone
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-up
	t.Cleanup(func() {
		if err := errors.Join(server.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// atOnce asks again without a pause.
func atOnce(int, *http.Request, *http.Response) time.Duration { return time.Millisecond }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// config is for --tls acme.
func (p pebble) config(t *testing.T) ACMEConfig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "directory.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ACMEConfig{Name: publicName, Email: "anna@example.org", Directory: p.URL + "/dir", CA: file}
}

// publicMachine serves HTTP with the certificate of an authority.
type publicMachine struct {
	*Source
	t       *testing.T
	address string
}

// onInternet starts a machine with a data folder.
func onInternet(t *testing.T, l net.Listener, cfg ACMEConfig, data string) publicMachine {
	t.Helper()
	s, err := FromACME(cfg, data, Devices{}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.issuer.pause = time.Hour
	s.issuer.client.RetryBackoff = atOnce
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	running.Go(func() {
		_ = process.Serve(ctx, process.Secure(l, s.HTTP(), s.Refused), s.Challenges(process.RedirectPlain(page, nil)), quiet, time.Second)
	})
	running.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return publicMachine{s, t, l.Addr().String()}
}

// dial connects as who trusts an authority.
func (m publicMachine) dial(trusted signer) (*tls.Conn, error) {
	return tls.Dial("tcp", m.address, &tls.Config{ServerName: publicName, RootCAs: trusted.pool(), NextProtos: []string{"http/1.1"}})
}

// trusted waits until who trusts an authority can connect.
func (m publicMachine) trusted(by signer) {
	m.t.Helper()
	streamtest.Eventually(m.t, "the certificate is in use", func() bool {
		c, err := m.dial(by)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// TestPublicAuthority gets certificates from Let's Encrypt's own server for tests: with a proof
// over TLS, and over HTTP where TLS does not reach this machine. It renews one that ends soon
// while a connection stays, and a restart asks for nothing.
func TestPublicAuthority(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "20") // clients must cope with that
	t.Run("TLS", func(t *testing.T) {
		t.Parallel() // the time goes into pauses between questions
		l, data := listen(t), t.TempDir()
		p := newPebble(t, 1, portOf(l)) // nothing listens on port 1
		m := onInternet(t, l, p.config(t), data)
		m.trusted(p.trusted)
		streamtest.Eventually(t, "nothing is wrong", func() bool { return m.Problem(time.Now()) == "" })
		for _, name := range []string{"acme-account.key", "acme-" + publicName + ".pem"} {
			info, err := os.Stat(filepath.Join(data, Folder, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		// After a restart the authority is not needed.
		p.Close()
		again := onInternet(t, listen(t), p.config(t), data)
		if c, err := again.dial(p.trusted); err != nil {
			t.Error(err)
		} else {
			_ = c.Close()
		}
	})
	t.Run("HTTP", func(t *testing.T) {
		t.Parallel()
		l, data := listen(t), t.TempDir()
		p := newPebble(t, portOf(l), 1)
		// The certificate of before ends within a third of its time.
		before := newSigner(t)
		cert, key := before.pair(t, time.Now().Add(time.Hour), "", publicName)
		if err := os.MkdirAll(filepath.Join(data, Folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, Folder, "acme-"+publicName+".pem"), append(key, cert...), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := FromACME(p.config(t), data, Devices{}, quiet, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.issuer.client.RetryBackoff = atOnce
		if _, err := s.Leaf().Verify(verifyOptions(before)); err != nil {
			t.Errorf("the certificate of before is not in use: %v", err)
		}
		// A connection that was made with it.
		server, client := net.Pipe()
		defer server.Close()
		defer client.Close()
		secure := tls.Server(server, s.HTTP())
		open := tls.Client(client, &tls.Config{ServerName: publicName, RootCAs: before.pool()})
		var echo sync.WaitGroup
		echo.Go(func() { _, _ = io.Copy(secure, secure) })
		if err := open.Handshake(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			_ = process.Serve(ctx, process.Secure(l, s.HTTP(), s.Refused), s.Challenges(http.NotFoundHandler()), quiet, time.Second)
		})
		running.Go(func() { _ = s.Run(ctx) })
		publicMachine{s, t, l.Addr().String()}.trusted(p.trusted)
		if _, err := fmt.Fprint(open, "still here"); err != nil {
			t.Error(err)
		}
		text := make([]byte, len("still here"))
		if _, err := io.ReadFull(open, text); err != nil || string(text) != "still here" {
			t.Errorf("the connection of before: %q, %v", text, err)
		}
		_ = client.Close()
		echo.Wait()
		cancel()
		running.Wait()
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		l := listen(t)
		p := newPebble(t, portOf(l), portOf(l), publicName)
		m := onInternet(t, l, p.config(t), t.TempDir())
		streamtest.Eventually(t, "the reason is said", func() bool { return strings.Contains(m.Problem(time.Now()), "policy") })
		// The page is there all the same, for who looks after it.
		c, err := tls.Dial("tcp", m.address, &tls.Config{ServerName: publicName, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	})
}

func TestACMEFlags(t *testing.T) {
	const directory = "https://acme.example/dir"
	for name, test := range map[string]struct {
		cfg  ACMEConfig
		want string
	}{
		"right":         {ACMEConfig{Name: "a.example.org", Directory: directory, Email: "a@b.example"}, ""},
		"no name":       {ACMEConfig{Directory: directory}, "--acme-name"},
		"no dot":        {ACMEConfig{Name: "nuc", Directory: directory}, "--acme-name"},
		"address":       {ACMEConfig{Name: "192.0.2.1", Directory: directory}, "--acme-name"},
		"path":          {ACMEConfig{Name: "../a.b", Directory: directory}, "--acme-name"},
		"wildcard":      {ACMEConfig{Name: "*.example.org", Directory: directory}, "--acme-name"},
		"no encryption": {ACMEConfig{Name: "a.example.org", Directory: "http://acme.example/dir"}, "--acme-directory"},
		"no e-mail":     {ACMEConfig{Name: "a.example.org", Directory: directory, Email: "anna"}, "--acme-email"},
	} {
		err := Config{Mode: ACME, ACMEConfig: test.cfg}.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func verifyOptions(trusted signer) x509.VerifyOptions {
	return x509.VerifyOptions{Roots: trusted.pool(), DNSName: publicName}
}
