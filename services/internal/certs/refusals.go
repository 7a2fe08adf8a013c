package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons for which a handshake fails.
const (
	reasonPlain       = "plain"
	reasonVersion     = "version"
	reasonCertificate = "client-certificate"
	reasonDistrust    = "distrust"
	reasonTimeout     = "timeout"
	reasonClosed      = "closed"
	reasonOther       = "other"
)

// refusals counts handshakes that failed, by reason.
type refusals struct{ total *prometheus.CounterVec }

func newRefusals(metrics prometheus.Registerer) refusals {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "headwater", Subsystem: "tls", Name: "refused_total",
		Help: "TLS handshakes that failed, by reason; distrust: the client did not accept the certificate.",
	}, []string{"reason"})
	if metrics != nil {
		metrics.MustRegister(total)
	}
	for _, reason := range []string{reasonPlain, reasonVersion, reasonCertificate, reasonDistrust, reasonTimeout, reasonClosed, reasonOther} {
		total.WithLabelValues(reason)
	}
	return refusals{total}
}

// Refused counts a handshake that failed.
func (s *Source) Refused(err error) { s.refused.total.WithLabelValues(reason(err)).Inc() }

// reason tells from the error of a handshake why it failed.
func reason(err error) string {
	var verification *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	switch text := err.Error(); {
	case errors.As(err, new(tls.RecordHeaderError)):
		return reasonPlain
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reasonTimeout
	case errors.As(err, &verification), errors.As(err, &unknown), errors.As(err, &invalid), strings.Contains(text, "client didn't provide a certificate"):
		return reasonCertificate
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "protocol version"):
		return reasonVersion
	case errors.As(err, &alert), strings.Contains(text, "remote error"):
		// The client ended the handshake. Nearly always it does not know the authority.
		return reasonDistrust
	case errors.Is(err, net.ErrClosed), strings.Contains(text, "EOF"), strings.Contains(text, "connection reset"):
		return reasonClosed
	}
	return reasonOther
}
