package main

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"headwater/services/internal/certs"
	"headwater/services/internal/process"
	"headwater/services/internal/publicurl"
	"headwater/web/trust"
	"headwater/web/view"
)

// openTLS gets the certificate, if TLS is on. With --tls auto it makes the authorities
// in a new data folder.
func (s *standalone) openTLS() (err error) {
	cfg := s.cfg.TLS
	switch {
	case !cfg.On():
		return nil
	case cfg.IsACME():
		if s.cfg.Notifier.PublicURL == "" {
			s.cfg.Notifier.PublicURL = "https://" + cfg.Name
		}
		s.certs, err = certs.FromACME(cfg.ACMEConfig, s.folder.path, cfg.Devices(), s.log("tls"), s.process.Metrics)
		return err
	case !cfg.IsAuto():
		s.certs, err = certs.FromFiles(cfg.FileConfig, cfg.Devices(), s.log("tls"), s.process.Metrics)
		return err
	}
	names, err := s.names()
	if err != nil {
		return err
	}
	s.authority, err = certs.EnsureAuthority(s.folder.path, names, time.Now())
	if err != nil {
		return err
	}
	devices := cfg.Devices()
	devices.Authority, err = certs.EnsureDeviceAuthority(s.folder.path, time.Now())
	if err != nil {
		return err
	}
	s.certs, err = s.authority.Source(s.names, devices, s.log("tls"), s.process.Metrics)
	return err
}

// names are what people and devices may reach this machine under.
func (s *standalone) names() (certs.Names, error) {
	further := s.cfg.Hosts.AllowedHosts
	if public, err := url.Parse(s.cfg.Notifier.PublicURL); err == nil && public.Hostname() != "" {
		further = append(slices.Clip(further), public.Hostname())
	}
	return certs.OfThisMachine(further...)
}

// hosts are the names that the pages answer to: with an authority also the one that its
// certificates have on every machine.
func (s *standalone) hosts() process.HostConfig {
	hosts := s.cfg.Hosts
	if s.authority != nil {
		hosts.AllowedHosts = append(slices.Clip(hosts.AllowedHosts), certs.LocalName)
	}
	return hosts
}

// redirect leads browsers that came without TLS to https.
func (s *standalone) redirect(next http.Handler) http.Handler {
	if s.certs == nil {
		return next
	}
	return process.RedirectPlain(next, trust.ServedPlain)
}

// trusted is what the page /trust shows; empty without an authority.
func (s *standalone) trusted() trust.Authority {
	if s.authority == nil {
		return trust.Authority{}
	}
	cert := s.authority.Certificate()
	return trust.Authority{
		PEM: s.authority.PEM, Name: cert.Subject.CommonName, Fingerprint: certs.Fingerprint(cert), Until: cert.NotAfter,
		Address: strings.TrimPrefix(publicurl.Guess(s.http.Addr(), false), "http://"),
	}
}

// refused counts failed handshakes of devices; nil without TLS.
func (s *standalone) refused() func(error) {
	if s.certs == nil {
		return nil
	}
	return s.certs.Refused
}

// scheme returns how addresses of a protocol begin.
func (s *standalone) scheme(protocol string) string {
	if s.certs == nil || protocol == "mqtt" && s.cfg.TLS.MQTT == certs.MQTTOff {
		return protocol + "://"
	}
	return protocol + "s://"
}

// publicMQTT is where devices connect: host:port, after mqtts:// if it takes TLS.
func (s *standalone) publicMQTT() string {
	if scheme := s.scheme("mqtt"); scheme == "mqtts://" {
		return scheme + s.mqttAddress()
	}
	return s.mqttAddress()
}

// demoBroker is where the devices of the demo report, and how they check the certificate.
func (s *standalone) demoBroker() (broker string, trust *tls.Config) {
	if s.scheme("mqtt") == "mqtts://" && s.cfg.TLS.MQTT == certs.MQTTRequired {
		return "ssl://" + s.mqttAddress(), s.certs.Client()
	}
	return "tcp://" + s.mqttAddress(), nil
}

// problems lists what is wrong with the disk and the certificate, and what is unsafe, for
// the dashboard.
func (s *standalone) problems() []view.Problem {
	out := append(s.guard.problems(), s.unsafe()...)
	if s.certs != nil {
		if text := s.certs.Problem(time.Now()); text != "" {
			out = append(out, view.Problem{Part: "TLS", Text: text})
		}
	}
	return out
}
