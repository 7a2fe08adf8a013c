package gateway

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"headwater/services/decode"
	"headwater/services/internal/credentials"
)

// Reasons why an item of a sender is refused.
const (
	// reasonForeign is for a device that the credential of the sender does not cover, or
	// that needs one of its own.
	reasonForeign     = "foreign"
	reasonQuarantined = "quarantined"
	reasonUnwanted    = "unwanted"
)

// sender returns the credential that a request proves, without a name for a sender that
// has none, or why it is refused.
func (s *Service) sender(r *http.Request) (credentials.Credential, *fault) {
	select {
	case <-s.credentials.Known():
	default:
		return credentials.Credential{}, unavailable("the gateway has not read the credentials yet")
	}
	c, token, claimed := s.claim(r)
	if claimed {
		_, ok := c.Accepts(token, time.Now())
		switch {
		case !ok:
			return c, unauthorized("the credential is unknown, or its token wrong")
		case c.State == credentials.StateRevoked:
			return c, unauthorized("the credential is revoked")
		}
		return c, nil
	}
	if s.cfg.Anonymous == AnonymousNone || s.cfg.Anonymous == AnonymousLoopback && !loopback(r.RemoteAddr) {
		return c, unauthorized("a sender at this address needs a credential: send its token as Authorization: Bearer, or its name and token as Basic")
	}
	return c, nil
}

func unauthorized(why string) *fault {
	return &fault{status: http.StatusUnauthorized, Error: why}
}

// claim returns the credential that a request names, with the token that it sent: as
// Bearer, as Basic, or as clients of InfluxDB send it. A token that is not of a credential
// is a wrong one. A user that is not a credential is none: it may be meant for a proxy in
// front.
func (s *Service) claim(r *http.Request) (c credentials.Credential, token string, claimed bool) {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Token") && strings.Contains(value, ":"):
		name, token, _ := strings.Cut(value, ":")
		return s.named(name, token)
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "Token") && value != "":
		c, _ = s.credentials.ByToken(value)
		return c, value, true
	}
	name, token, ok := r.BasicAuth()
	if !ok && r.URL.Path == PathWrite1 {
		name, token = r.URL.Query().Get("u"), r.URL.Query().Get("p")
	}
	return s.named(name, token)
}

// named returns the credential of a name, if it has one.
func (s *Service) named(name, token string) (credentials.Credential, string, bool) {
	c, known := s.credentials.Named(name)
	return c, token, known && c.Proves()
}

func loopback(remote string) bool {
	address, err := netip.ParseAddrPort(remote)
	return err == nil && address.Addr().Unmap().IsLoopback()
}

// check returns why a sender may not send a reading of a device, or nil.
func (s *Service) check(from credentials.Credential, site, device string) *decode.Error {
	switch {
	case from.Name != "" && !from.Covers(site, device):
		return &decode.Error{Reason: reasonForeign, Field: "device", Detail: "the credential " + from.Name + " is not for " + site + "/" + device}
	case from.Name == "" && s.credentials.Owned(site, device):
		return &decode.Error{Reason: reasonForeign, Field: "device", Detail: site + "/" + device + " has a credential of its own: send it with the request"}
	}
	switch s.credentials.Standing(site, device) {
	case credentials.StandingQuarantined:
		return &decode.Error{Reason: reasonQuarantined, Field: "device", Detail: "nobody has approved " + site + "/" + device + " yet"}
	case credentials.StandingRefused:
		return &decode.Error{Reason: reasonUnwanted, Field: "device", Detail: site + "/" + device + " is refused, or its credential is revoked"}
	}
	return nil
}
