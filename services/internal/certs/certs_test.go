package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/services/internal/process"
)

var quiet = slog.New(slog.DiscardHandler)

// signer is an authority of the public web, for tests.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{cert, key}
}

func (s signer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.cert)
	return pool
}

// pair signs a certificate for names, and returns it with its key in PEM.
func (s signer) pair(t *testing.T, until time.Time, uri string, names ...string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-12 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, private.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	key, err = marshalKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// write writes the files of a certificate.
func write(t *testing.T, cfg FileConfig, cert, key []byte) {
	t.Helper()
	for path, text := range map[string][]byte{cfg.Cert: cert, cfg.Key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

// newFiles returns the files of a certificate for 127.0.0.1 and localhost.
func newFiles(t *testing.T, s signer) FileConfig {
	t.Helper()
	dir := t.TempDir()
	cfg := FileConfig{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	cert, key := s.pair(t, tomorrow(), "", "127.0.0.1", "localhost")
	write(t, cfg, cert, key)
	return cfg
}

func TestKeyThatOthersMayRead(t *testing.T) {
	cfg := newFiles(t, newSigner(t))
	if err := os.Chmod(cfg.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FromFiles(cfg, Devices{}, quiet, nil); err == nil || !strings.Contains(err.Error(), "chmod 600 "+cfg.Key) {
		t.Errorf("a key of mode 0644: %v", err)
	}
}

// TestReloadUnderLoad replaces the certificate many times while connections are open and
// new ones come. None may fail, and the open one stays.
func TestReloadUnderLoad(t *testing.T) {
	s := newSigner(t)
	cfg := newFiles(t, s)
	source, err := FromFiles(cfg, Devices{}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int64
	address := serve(t, source, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, "stored")
	}))
	first, err := tls.Dial("tcp", address, &tls.Config{RootCAs: s.pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, stop := context.WithCancel(t.Context())
	var sent atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for ctx.Err() == nil {
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.pool()}, ForceAttemptHTTP2: true}}
				for range 3 {
					res, err := client.Get("https://" + address)
					if err != nil {
						t.Errorf("a request failed: %v", err)
						return
					}
					if text, err := io.ReadAll(res.Body); err != nil || string(text) != "stored" {
						t.Errorf("%q, %v", text, err)
					}
					_ = res.Body.Close()
					sent.Add(1)
				}
				client.CloseIdleConnections()
			}
		})
	}
	for range 10 {
		before := source.Leaf()
		cert, key := s.pair(t, tomorrow(), "", "127.0.0.1", "localhost")
		// Between the two writes the files do not belong together.
		if err := os.WriteFile(cfg.Cert, cert, 0o600); err != nil {
			t.Fatal(err)
		}
		source.check(time.Now())
		if source.Leaf() != before {
			t.Error("a certificate without its key is in use")
		}
		if err := os.WriteFile(cfg.Key, key, 0o600); err != nil {
			t.Fatal(err)
		}
		source.check(time.Now())
		if source.Leaf() == before {
			t.Error("the new certificate is not in use")
		}
		// Each certificate serves some requests.
		for n := sent.Load() + 5; sent.Load() < n && !t.Failed(); {
			if _, err := requestOver(address, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	senders.Wait()
	if _, err := fmt.Fprint(first, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(first); err != nil || !strings.HasSuffix(string(text), "stored") {
		t.Errorf("the connection from before: %q, %v", text, err)
	}
	if got := served.Load(); got < sent.Load() {
		t.Errorf("%d requests were answered, %d served", sent.Load(), got)
	}
}

// requestOver makes one connection and returns the certificate that it met.
func requestOver(address string, s signer) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: s.pool()})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestBadNewFilesAreLoggedOnce(t *testing.T) {
	s := newSigner(t)
	cfg := newFiles(t, s)
	var log bytes.Buffer
	source, err := FromFiles(cfg, Devices{}, slog.New(slog.NewTextHandler(&log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	good := source.Leaf()
	if err := os.WriteFile(cfg.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		source.check(time.Now())
	}
	if source.Leaf() != good || strings.Count(log.String(), "level=ERROR") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

// serve answers HTTPS until the test ends.
func serve(t *testing.T, source *Source, handler http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- process.Serve(ctx, process.Secure(l, source.HTTP(), source.Refused), process.RedirectPlain(handler, nil), quiet, time.Second)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestHandshakesThatMustFail tries what an attacker or a misconfigured client does.
func TestHandshakesThatMustFail(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	ca := filepath.Join(t.TempDir(), "devices.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(by signer, until time.Time) func() []tls.Certificate {
		return func() []tls.Certificate {
			cert, key := by.pair(t, until, DeviceURI("hall", "door"))
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			return []tls.Certificate{pair}
		}
	}
	none := func() []tls.Certificate { return nil }
	for name, test := range map[string]struct {
		names    []string
		until    time.Time
		required bool
		client   *tls.Config
		certs    func() []tls.Certificate
		reason   string // empty: it must succeed
	}{
		"TLS 1.3":                   {},
		"TLS 1.2":                   {client: &tls.Config{MaxVersion: tls.VersionTLS12}},
		"TLS 1.1":                   {client: &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}, reason: reasonVersion},
		"TLS 1.0":                   {client: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, reason: reasonVersion},
		"RC4":                       {client: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}}, reason: reasonOther},
		"another name":              {names: []string{"elsewhere.example"}, reason: reasonDistrust},
		"expired":                   {until: time.Now().Add(-time.Minute), reason: reasonDistrust},
		"unknown authority":         {client: &tls.Config{RootCAs: other.pool()}, reason: reasonDistrust},
		"a device":                  {required: true, certs: client(s, tomorrow())},
		"no certificate":            {required: true, certs: none, reason: reasonCertificate},
		"of another authority":      {required: true, certs: client(other, tomorrow()), reason: reasonCertificate},
		"expired device":            {required: true, certs: client(s, time.Now().Add(-time.Minute)), reason: reasonCertificate},
		"optional, none":            {certs: none},
		"optional, but a wrong one": {certs: client(other, tomorrow()), reason: reasonCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			if test.client == nil {
				test.client = new(tls.Config)
			}
			if test.names == nil {
				test.names = []string{"127.0.0.1"}
			}
			if test.until.IsZero() {
				test.until = tomorrow()
			}
			cfg := newFiles(t, s)
			cert, key := s.pair(t, test.until, "", test.names...)
			write(t, cfg, cert, key)
			devices := Devices{Required: test.required}
			if test.certs != nil {
				devices.File = ca
				// A client of Go leaves out a certificate that no accepted authority signed.
				certs := test.certs()
				test.client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if len(certs) == 0 {
						return new(tls.Certificate), nil
					}
					return &certs[0], nil
				}
			}
			source, err := FromFiles(cfg, devices, quiet, prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			refused := make(chan error, 1)
			secure := process.Secure(l, source.MQTT(), func(err error) { source.Refused(err); refused <- err })
			defer secure.Close()
			accepted := make(chan net.Conn, 1)
			go func() {
				if c, err := secure.Accept(); err == nil {
					accepted <- c
				}
			}()
			if test.client.RootCAs == nil {
				test.client.RootCAs = s.pool()
			}
			conn, err := tls.Dial("tcp", l.Addr().String(), test.client)
			if err == nil {
				defer conn.Close()
			}
			select {
			case c := <-accepted:
				_ = c.Close()
				if test.reason != "" {
					t.Fatal("the handshake succeeded")
				}
			case failure := <-refused:
				if test.reason == "" {
					t.Fatalf("the handshake failed: %v", failure)
				}
				if got := testutil.ToFloat64(source.refused.total.WithLabelValues(test.reason)); got != 1 {
					t.Errorf("%v is not counted as %s", failure, test.reason)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("nothing happened; the client says %v", err)
			}
		})
	}
}

func TestPlainHTTPIsRedirected(t *testing.T) {
	s := newSigner(t)
	source, err := FromFiles(newFiles(t, s), Devices{}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, source, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.URL.Path)
	}))
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, test := range []struct {
		method, url string
		status      int
		location    string
	}{
		{http.MethodGet, "http://" + address + "/alerts?q=a%20b", http.StatusTemporaryRedirect, "https://" + address + "/alerts?q=a%20b"},
		{http.MethodGet, "http://" + address + "//evil.example/", http.StatusTemporaryRedirect, "https://" + address + "//evil.example/"},
		{http.MethodPost, "http://" + address + "/api/v1/telemetry", http.StatusForbidden, ""},
		{http.MethodGet, "http://" + address + "/readyz", http.StatusOK, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != test.status || res.Header.Get("Location") != test.location {
			t.Errorf("%s %s: %d to %q", test.method, test.url, res.StatusCode, res.Header.Get("Location"))
		}
	}
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.pool()}, ForceAttemptHTTP2: true}}
	defer secure.CloseIdleConnections()
	res, err := secure.Get("https://" + address + "/page")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "HTTP/2.0 /page" {
		t.Errorf("%q, %v", text, err)
	}
}

func names(dns []string, addresses ...string) Names {
	n := Names{DNS: dns}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
	}
	return n
}

func newTestAuthority(t *testing.T, n Names, now time.Time) (*Authority, string) {
	t.Helper()
	data := t.TempDir()
	a, err := EnsureAuthority(data, n, now)
	if err != nil {
		t.Fatal(err)
	}
	return a, data
}

func TestAuthorityIsKept(t *testing.T) {
	now := time.Now()
	a, data := newTestAuthority(t, names([]string{"nuc"}, "127.0.0.1"), now)
	again, err := EnsureAuthority(data, names([]string{"other"}), now)
	if err != nil || Fingerprint(again.Certificate()) != Fingerprint(a.Certificate()) {
		t.Errorf("the second start has another authority: %v", err)
	}
	key := filepath.Join(data, Folder, "ca.key")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureAuthority(data, names(nil), now); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := EnsureAuthority(t.TempDir(), names(nil), time.Unix(0, 0)); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("on a machine whose clock was never set: %v", err)
	}
}

// TestCertificateIsRenewed moves the clock and the names of the machine.
func TestCertificateIsRenewed(t *testing.T) {
	now := time.Now()
	machine := names([]string{"headwater.local", "localhost", "nuc"}, "127.0.0.1", "192.168.1.20")
	a, _ := newTestAuthority(t, machine, now)
	source, err := a.Source(func() (Names, error) { return machine, nil }, Devices{}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := source.Leaf()
	if life := first.NotAfter.Sub(first.NotBefore); life > 90*24*time.Hour+time.Hour {
		t.Errorf("it is valid for %s", life)
	}
	source.check(now.Add(59 * 24 * time.Hour))
	if source.Leaf() != first {
		t.Error("it is renewed while more than a third is left")
	}
	source.check(now.Add(61 * 24 * time.Hour))
	second := source.Leaf()
	if second == first || !second.NotAfter.After(first.NotAfter) {
		t.Errorf("it is not renewed: until %s", second.NotAfter)
	}
	machine = names([]string{"headwater.local", "localhost", "nuc"}, "10.0.0.7", "127.0.0.1", "8.8.8.8")
	source.check(now.Add(62 * 24 * time.Hour))
	if got := Describe(source.Leaf()); got != "headwater.local, localhost, nuc, 10.0.0.7, 127.0.0.1" {
		t.Errorf("after the addresses have changed it is for %s", got)
	}
	third := source.Leaf()
	source.check(now.Add(62 * 24 * time.Hour))
	if source.Leaf() != third {
		t.Error("it is renewed again although nothing has changed")
	}
}

// TestAuthorityIsLimited signs for a foreign name with the key of the authority. Clients
// that trust the authority must not accept that.
func TestAuthorityIsLimited(t *testing.T) {
	now := time.Now()
	a, _ := newTestAuthority(t, names([]string{"nuc", "nuc.example.org"}, "127.0.0.1", "203.0.113.9"), now)
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	for name, want := range map[string]bool{
		"headwater.local": true, "nuc": true, "nuc.example.org": true, "pi.lan": true, "192.168.7.1": true, "203.0.113.9": true, "fd00::1": true,
		"bank.example": false, "example.org": false, "localhost.example": false, "8.8.8.8": false, "203.0.113.10": false, "2001:db8::1": false,
	} {
		template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = []net.IP{ip}
		} else {
			template.DNSNames = []string{name}
		}
		cert, err := a.sign(template, now, leafDays)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); (err == nil) != want {
			t.Errorf("a certificate for %s: %v", name, err)
		}
	}
	for _, e := range a.Certificate().Extensions {
		if e.Id.Equal([]int{2, 5, 29, 30}) && e.Critical {
			t.Error("the limits are critical: mbedTLS and BearSSL would refuse the authority")
		}
	}
}

func TestCertificateOfADevice(t *testing.T) {
	a, err := EnsureDeviceAuthority(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := a.ForDevice("hall", "door-01", time.Now(), 30)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool}); err == nil {
		t.Error("it can pass for a server")
	}
	if got := Describe(pair.Leaf); got != "headwater:device:hall/door-01" {
		t.Errorf("it is for %s", got)
	}
	for _, wrong := range [][2]string{{"", "a"}, {"a/b", "c"}, {"a", "*"}, {"a b", "c"}} {
		if _, _, err := a.ForDevice(wrong[0], wrong[1], time.Now(), 30); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

// TestClientOfThisProcess connects to the certificate in use, under a name that it does
// not have, and to a stranger.
func TestClientOfThisProcess(t *testing.T) {
	s := newSigner(t)
	cfg := newFiles(t, s)
	cert, key := s.pair(t, tomorrow(), "", "elsewhere.example")
	write(t, cfg, cert, key)
	source, err := FromFiles(cfg, Devices{}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, source, http.NotFoundHandler())
	conn, err := tls.Dial("tcp", address, source.Client())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	defer stranger.Close()
	if conn, err := tls.Dial("tcp", stranger.Listener.Addr().String(), source.Client()); err == nil {
		_ = conn.Close()
		t.Error("it trusts a stranger")
	}
}

func TestConfig(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"nothing":        {cfg: Config{}},
		"files":          {cfg: Config{FileConfig: FileConfig{"a", "b"}}},
		"auto":           {cfg: Config{Mode: Auto}},
		"files, none":    {cfg: Config{Mode: Files}, want: "--tls files needs"},
		"auto and files": {cfg: Config{Mode: Auto, FileConfig: FileConfig{"a", "b"}}, want: "leave --tls-cert"},
		"no authority":   {cfg: Config{FileConfig: FileConfig{"a", "b"}, ClientNeeded: true}, want: "needs --mqtt-client-ca"},
		"no TLS":         {cfg: Config{ClientCA: "c"}, want: "need TLS"},
		"no TLS of MQTT": {cfg: Config{Mode: Auto, MQTT: MQTTOff, ClientNeeded: true}, want: "need TLS"},
	} {
		err := test.cfg.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNamesOfThisMachine(t *testing.T) {
	n, err := OfThisMachine("Pi.Lan.", "192.0.2.7", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"localhost", LocalName, "pi.lan"} {
		if !slices.Contains(n.DNS, want) {
			t.Errorf("%s is not among %v", want, n.DNS)
		}
	}
	for _, want := range []string{"127.0.0.1", "::1", "192.0.2.7"} {
		if !slices.Contains(n.Addresses, netip.MustParseAddr(want)) {
			t.Errorf("%s is not among %v", want, n.Addresses)
		}
	}
}
