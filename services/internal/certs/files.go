package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/process"
)

// FileConfig names the files of a certificate. TLS is on when both are named.
type FileConfig struct {
	Cert string `name:"tls-cert" type:"path" placeholder:"FILE"`
	Key  string `name:"tls-key" help:"File of its key in PEM, which nobody else may read (chmod 600)." type:"path" placeholder:"FILE"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (FileConfig) FlagHelp() map[string]string {
	return map[string]string{
		"Cert": "File of the certificate in PEM, with the intermediate ones after it. With --tls-key it turns TLS on. Files " +
			"that change are read again within seconds; no connection is dropped.",
	}
}

// On reports whether the files are named.
func (c FileConfig) On() bool { return c.Cert != "" && c.Key != "" }

// Validate returns an error when only one of the two is named.
func (c FileConfig) Validate() error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("--tls-cert and --tls-key belong together")
	}
	return nil
}

// Devices say which certificates of devices are accepted.
type Devices struct {
	// File holds the authorities in PEM; empty for none.
	File string
	// Authority is accepted if there is no file; nil for none.
	Authority *Authority
	// Required refuses devices without a certificate.
	Required bool
}

// FromFiles returns the certificate of two files. It fails when they do not belong
// together, or when others may read the key. Metrics may be nil.
func FromFiles(cfg FileConfig, devices Devices, log *slog.Logger, metrics prometheus.Registerer) (*Source, error) {
	f := &files{FileConfig: cfg}
	s := newSource(f.next, devices, log, metrics)
	if err := s.open(time.Now()); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return s, nil
}

// files are the two files as they were last read. Comparing their content is cheaper than
// it sounds and, unlike the time of their change, never wrong.
type files struct {
	FileConfig
	cert []byte
	key  string
}

func (f *files) next(time.Time, *x509.Certificate) (*tls.Certificate, error) {
	cert, err := readLimited(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	key, err := process.ReadSecret(f.Key)
	if err != nil {
		return nil, fmt.Errorf("key of the certificate: %w", err)
	}
	if bytes.Equal(cert, f.cert) && key == f.key {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(cert, []byte(key))
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	f.cert, f.key = cert, key
	return &pair, nil
}
