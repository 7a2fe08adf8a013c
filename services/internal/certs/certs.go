// Package certs provides the certificate of TLS listeners: from files, from a private
// authority in the data folder, or from a public authority. A certificate is replaced while the process runs, and no
// connection is dropped for it.
package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
)

const (
	// checkEvery is the pause between two looks for a new certificate.
	checkEvery = 2 * time.Second
	// soon is how long before its end a certificate is reported.
	soon = 14 * 24 * time.Hour
)

// Source is the certificate of this process, the newest that is valid. Any number of
// goroutines may use it.
type Source struct {
	log *slog.Logger
	// next returns a new certificate, or nil when the current one is to stay.
	next func(now time.Time, current *x509.Certificate) (*tls.Certificate, error)

	// issuer asks a public authority for certificates; nil without one.
	issuer *issuer

	current atomic.Pointer[tls.Certificate]
	clients clients
	refused refusals

	// complaint is the last error that was logged. Only Run uses it.
	complaint string
}

// newSource returns a source that has no certificate yet.
func newSource(next func(time.Time, *x509.Certificate) (*tls.Certificate, error), devices Devices, log *slog.Logger, metrics prometheus.Registerer) *Source {
	s := &Source{log: log, next: next, clients: clients{file: devices.File, required: devices.Required}, refused: newRefusals(metrics)}
	if devices.File == "" && devices.Authority != nil {
		pool := x509.NewCertPool()
		pool.AddCert(devices.Authority.cert)
		s.clients.pool.Store(pool)
	}
	return s
}

// open gets the first certificate.
func (s *Source) open(now time.Time) error {
	cert, err := s.next(now, nil)
	if err != nil {
		return err
	}
	s.current.Store(cert)
	return s.clients.read()
}

// Run looks for a new certificate every few seconds until ctx ends. If a new one cannot
// be used, it is logged and the current one stays.
func (s *Source) Run(ctx context.Context) error {
	if s.issuer != nil {
		var asking sync.WaitGroup
		asking.Go(func() { s.issuer.run(ctx, s.Leaf(), s.use) })
		defer asking.Wait()
	}
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.check(now)
		}
	}
}

// check replaces the certificate if there is a new one.
func (s *Source) check(now time.Time) {
	cert, err := s.next(now, s.Leaf())
	if cert != nil {
		s.use(cert)
	}
	err = errors.Join(err, s.clients.read())
	switch {
	case err == nil:
		s.complaint = ""
	case err.Error() != s.complaint:
		s.complaint = err.Error()
		s.log.Error("the new certificate cannot be used; the current one stays", "err", err)
	}
}

// use replaces the certificate.
func (s *Source) use(cert *tls.Certificate) {
	s.current.Store(cert)
	s.log.Info("a new certificate is in use", "names", Describe(cert.Leaf), "until", cert.Leaf.NotAfter)
}

// Leaf is the certificate in use.
func (s *Source) Leaf() *x509.Certificate { return s.current.Load().Leaf }

// Problem says that the certificate ends soon or has ended, or that there is none yet; empty if
// nothing is wrong.
func (s *Source) Problem(now time.Time) string {
	if s.issuer != nil {
		return s.issuer.problem(s.Leaf())
	}
	end := s.Leaf().NotAfter
	switch left := end.Sub(now); {
	case left <= 0:
		return "The certificate ended on " + end.UTC().Format(time.DateOnly) + ": browsers and devices refuse it. Replace its files; a restart is not needed."
	case left < soon:
		return "The certificate ends on " + end.UTC().Format(time.DateOnly) + ". Replace its files; a restart is not needed."
	}
	return ""
}

// config is what all listeners have in common.
func (s *Source) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if s.issuer != nil {
				if proof := s.issuer.certificate(hello); proof != nil {
					return proof, nil
				}
			}
			return s.current.Load(), nil
		},
	}
}

// HTTP returns the configuration of a listener for HTTP/2 and HTTP/1.1.
func (s *Source) HTTP() *tls.Config {
	c := s.config()
	c.NextProtos = []string{"h2", "http/1.1"}
	if s.issuer != nil {
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	}
	return c
}

// MQTT returns the configuration of a listener for devices. With authorities for their
// certificates it asks each device for one, and verifies it.
func (s *Source) MQTT() *tls.Config {
	c := s.config()
	if s.clients.pool.Load() == nil {
		return c
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if s.clients.required {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	base := c.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := base.Clone()
		current.ClientCAs = s.clients.pool.Load()
		return current, nil
	}
	return c
}

// Client returns the configuration of a client within this process. It trusts the
// certificate in use and no other, whatever its names.
func (s *Source) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// The connection is verified below.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, s.Leaf().Raw) {
				return errors.New("the certificate is not the one of this process")
			}
			return nil
		},
	}
}

// clients are the authorities that may have signed the certificate of a device. Without a
// file they do not change.
type clients struct {
	file     string
	required bool
	pool     atomic.Pointer[x509.CertPool]
	// text is what the file held when it was last read. Only one goroutine uses it.
	text []byte
}

// read reads the file again if it has changed.
func (c *clients) read() error {
	if c.file == "" {
		return nil
	}
	text, err := readLimited(c.file)
	if err != nil {
		return fmt.Errorf("authorities of the devices: %w", err)
	}
	if bytes.Equal(text, c.text) {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("authorities of the devices: %s holds no certificate in PEM", c.file)
	}
	c.text = text
	c.pool.Store(pool)
	return nil
}

// maxFile bounds a file of certificates, in bytes.
const maxFile = 1 << 20

func readLimited(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}
