package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"

	"headwater/services/internal/process"
)

// ACMEConfig says which public authority issues the certificate, and for which name.
type ACMEConfig struct {
	Name      string `name:"acme-name" placeholder:"NAME"`
	Email     string `name:"acme-email" help:"Address at which the authority of --tls acme may reach you." placeholder:"ADDRESS"`
	Directory string `name:"acme-directory" help:"Directory of that authority." default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL"`
	CA        string `name:"acme-ca" help:"File of who vouches for that directory, in PEM, if nobody public does." type:"path" placeholder:"FILE"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (ACMEConfig) FlagHelp() map[string]string {
	return map[string]string{
		"Name": "Public name of this machine for --tls acme, with which you accept the terms of the authority. It must reach the " +
			"port of --http as port 443 or 80 of that name.",
	}
}

// problems are those of the flags while they are in use.
func (c ACMEConfig) problems() (errs []error) {
	if !public(c.Name) {
		errs = append(errs, fmt.Errorf("--tls acme needs --acme-name with a public name such as headwater.example.org, not %q", c.Name))
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		errs = append(errs, fmt.Errorf("--acme-directory: %q is no address that begins with https://", c.Directory))
	}
	if strings.ContainsAny(c.Email, " ,?\r\n") || c.Email != "" && !strings.Contains(c.Email, "@") {
		errs = append(errs, fmt.Errorf("--acme-email: %q is no address", c.Email))
	}
	return errs
}

// public reports whether a text can be a name in the public DNS. It becomes part of the name of
// a file.
func public(name string) bool {
	if len(name) > 253 || !strings.Contains(name, ".") || net.ParseIP(name) != nil {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

const (
	// acmeFile begins the names of its files in Folder.
	acmeFile = "acme-"
	// challengePath is where an authority asks over HTTP.
	challengePath = "/.well-known/acme-challenge/"
	// issueWithin bounds one attempt to get a certificate.
	issueWithin = 5 * time.Minute
	// firstPause is after a first failure, longestPause after many: authorities lock out who
	// asks too often.
	firstPause   = 15 * time.Minute
	longestPause = 6 * time.Hour
)

// issuer gets certificates from a public authority.
type issuer struct {
	cfg    ACMEConfig
	folder string
	client *acme.Client
	log    *slog.Logger
	pause  time.Duration

	// standIn is in use while there is no certificate; nil if there was one at the start.
	standIn *tls.Certificate
	// failure is why the last attempt failed; nil if it did not.
	failure atomic.Pointer[string]

	mu sync.Mutex // guards what follows
	// proof is what the authority is shown over TLS, answers over HTTP by path.
	proof   *tls.Certificate
	answers map[string]string
}

// FromACME returns the certificate that a public authority issues, kept in a data folder and
// renewed by itself. Until there is one it is a self-signed one. Metrics may be nil.
func FromACME(cfg ACMEConfig, data string, devices Devices, log *slog.Logger, metrics prometheus.Registerer) (*Source, error) {
	a, err := newIssuer(cfg, data, log)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	s := newSource(a.next, devices, log, metrics)
	s.issuer = a
	if err := s.open(time.Now()); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return s, nil
}

func newIssuer(cfg ACMEConfig, data string, log *slog.Logger) (*issuer, error) {
	a := &issuer{cfg: cfg, folder: filepath.Join(data, Folder), log: log, pause: firstPause, answers: make(map[string]string)}
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		return nil, err
	}
	key, err := a.key(acmeFile + "account.key")
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.CA != "" {
		text, err := readLimited(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("who vouches for the directory: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("who vouches for the directory: %s holds no certificate in PEM", cfg.CA)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	a.client = &acme.Client{Key: key, DirectoryURL: cfg.Directory, UserAgent: "headwater", HTTPClient: &http.Client{Transport: transport, Timeout: time.Minute}}
	return a, nil
}

// key returns the key in a file, and makes it if there is none.
func (a *issuer) key(name string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(a.folder, name)
	text, err := process.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		made, err := marshalKey(key)
		if err != nil {
			return nil, err
		}
		return key, replace(path, made)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	own, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of another kind", path)
	}
	return own, nil
}

// kept is the file of the certificate and its key.
func (a *issuer) kept() string { return filepath.Join(a.folder, acmeFile+a.cfg.Name+".pem") }

// next returns the certificate that is kept, or a self-signed one. Later run brings the new ones.
func (a *issuer) next(now time.Time, current *x509.Certificate) (*tls.Certificate, error) {
	if current != nil {
		return nil, nil
	}
	text, err := process.ReadSecret(a.kept())
	if err == nil {
		var pair tls.Certificate
		pair, err = tls.X509KeyPair([]byte(text), []byte(text))
		if err == nil && now.Before(pair.Leaf.NotAfter) && pair.Leaf.VerifyHostname(a.cfg.Name) == nil {
			return &pair, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the certificate that is kept cannot be used; another one is asked for", "err", err)
	}
	a.standIn, err = standIn(a.cfg.Name, now)
	return a.standIn, err
}

// standIn returns a certificate that nobody trusts, for a name.
func standIn(name string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject("no certificate yet"), DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// run asks for certificates until ctx ends, and hands them to use: at once while there is none,
// else when a third of the time of the current one is left.
func (a *issuer) run(ctx context.Context, leaf *x509.Certificate, use func(*tls.Certificate)) {
	wait, pause := time.Duration(0), a.pause
	if a.standIn == nil {
		wait = untilRenewal(leaf)
	}
	for process.Sleep(ctx, wait) {
		cert, err := a.try(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.failure.Store(new(strings.ReplaceAll(err.Error(), "\n", "; ")))
			a.log.Error("no certificate was issued", "name", a.cfg.Name, "err", err, "again", pause)
			wait, pause = pause, min(2*pause, longestPause)
		default:
			use(cert)
			a.failure.Store(nil)
			wait, pause = max(a.pause, untilRenewal(cert.Leaf)), a.pause
		}
	}
}

// untilRenewal returns for how long a certificate needs no renewal.
func untilRenewal(leaf *x509.Certificate) time.Duration {
	return time.Until(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3))
}

// try asks for a certificate, with one proof of the name after the other.
func (a *issuer) try(ctx context.Context) (*tls.Certificate, error) {
	var errs []error
	for _, kind := range []string{"tls-alpn-01", "http-01"} {
		cert, err := a.issue(ctx, kind)
		if err == nil {
			return cert, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", kind, err))
	}
	return nil, errors.Join(errs...)
}

// issue gets a certificate, proving by one kind of challenge who this is.
func (a *issuer) issue(ctx context.Context, kind string) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, issueWithin)
	defer cancel()
	account := &acme.Account{}
	if a.cfg.Email != "" {
		account.Contact = []string{"mailto:" + a.cfg.Email}
	}
	if _, err := a.client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("open an account: %w", err)
	}
	order, err := a.client.AuthorizeOrder(ctx, acme.DomainIDs(a.cfg.Name))
	if err != nil {
		return nil, fmt.Errorf("order a certificate: %w", err)
	}
	for _, address := range order.AuthzURLs {
		if err := a.prove(ctx, address, kind); err != nil {
			return nil, err
		}
	}
	if order, err = a.client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("order a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{a.cfg.Name}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := a.client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("get the certificate: %w", err)
	}
	text, err := marshalKey(key)
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("the certificate that was issued: %w", err)
	}
	if err := pair.Leaf.VerifyHostname(a.cfg.Name); err != nil {
		return nil, fmt.Errorf("the certificate that was issued: %w", err)
	}
	return &pair, replace(a.kept(), text)
}

// prove shows the authority that this machine has the name.
func (a *issuer) prove(ctx context.Context, address, kind string) error {
	z, err := a.client.GetAuthorization(ctx, address)
	if err != nil {
		return fmt.Errorf("prove the name: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	i := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if i < 0 {
		return errors.New("the authority does not offer this way to prove the name")
	}
	c := z.Challenges[i]
	if err := a.show(c); err != nil {
		return fmt.Errorf("prove the name: %w", err)
	}
	defer a.hide()
	if _, err := a.client.Accept(ctx, c); err != nil {
		return fmt.Errorf("prove the name: %w", err)
	}
	if _, err := a.client.WaitAuthorization(ctx, z.URI); err != nil {
		return fmt.Errorf("prove the name: %w", err)
	}
	return nil
}

// show has this machine answer a challenge.
func (a *issuer) show(c *acme.Challenge) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Type == "http-01" {
		answer, err := a.client.HTTP01ChallengeResponse(c.Token)
		a.answers[a.client.HTTP01ChallengePath(c.Token)] = answer
		return err
	}
	proof, err := a.client.TLSALPN01ChallengeCert(c.Token, a.cfg.Name)
	a.proof = &proof
	return err
}

func (a *issuer) hide() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proof = nil
	clear(a.answers)
}

// certificate returns what the authority is shown over TLS, or nil for other clients.
func (a *issuer) certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	if !slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.proof
}

// problem says why there is no new certificate; empty if none is due.
func (a *issuer) problem(leaf *x509.Certificate) string {
	why := a.failure.Load()
	authority := a.cfg.Directory
	if u, err := url.Parse(authority); err == nil {
		authority = u.Host
	}
	switch {
	case a.standIn != nil && leaf.Equal(a.standIn.Leaf):
		text := "There is no certificate for " + a.cfg.Name + " yet, so browsers and devices refuse this one: "
		if why == nil {
			return text + authority + " is asked for one."
		}
		return text + authority + " issued none. " + *why
	case why != nil:
		return "The certificate could not be renewed: " + authority + " issued none. " + *why
	}
	return ""
}

// Challenges answers what a public authority asks over HTTP. Everything else goes to next.
func (s *Source) Challenges(next http.Handler) http.Handler {
	if s == nil || s.issuer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, challengePath) {
			next.ServeHTTP(w, r)
			return
		}
		s.issuer.mu.Lock()
		answer, known := s.issuer.answers[r.URL.Path]
		s.issuer.mu.Unlock()
		if !known {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(answer)) // an error means that the client is gone
	})
}
