// Package login answers nats-server's auth callout: it decides which clients may
// connect, and what they may publish and subscribe to. Replicas share the requests.
// While none answers, no client can connect.
package login

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/proto/figure"
	"headwater/services/bridge/escape"
	"headwater/services/internal/brake"
	"headwater/services/internal/credentials"
	"headwater/streams"
)

// Subject is where nats-server asks. It equals server.AuthCalloutSubject; importing
// nats-server for that would put the whole server into every bridge.
const Subject = "$SYS.REQ.USER.AUTH"

// queue is the group in which replicas share the requests.
const queue = "bridge"

// Account is the account of the clients.
const Account = "DEVICES"

// logInterval is the pause between two log lines about refusals for one reason.
const logInterval = 10 * time.Second

// maxLogged bounds what a stranger can write into the log, in bytes; slog
// escapes the rest.
const maxLogged = 128

// An address may send that many wrong passwords at once, then one after each pause.
const (
	guesses    = 10
	guessPause = time.Second
)

// Topics knows the subjects of nats-server of the topics on which devices send.
type Topics interface {
	// Grants returns those on which a device of a site may send; "*" means all.
	Grants(site, device string) []string
	// Guards returns those on which nobody else may, if a device has a credential.
	Guards(site, device string) []string
}

// Deps is what a Responder needs.
type Deps struct {
	// IssuerSeed is the seed of the account key that signs the answers. The server's
	// configuration has its public half as the issuer.
	IssuerSeed []byte
	// Refused, if not nil, is called with each refusal. It must return at once.
	Refused func(Refusal, Device)
	// Credentials are those of single devices, and Topics their topics. Without Credentials
	// there are none.
	Credentials *credentials.Set
	Topics      Topics
	Log         *slog.Logger
	Metrics     prometheus.Registerer
}

// Responder answers requests to log in. It may run once.
type Responder struct {
	key         nkeys.KeyPair
	seal        Seal
	onRefuse    func(Refusal, Device)
	credentials *credentials.Set
	topics      Topics
	log         *slog.Logger
	admitted    prometheus.Counter
	refused     *prometheus.CounterVec
	brake       *brake.Brake // of the goroutine that answers

	mu     sync.Mutex
	silent map[Refusal]*silence
}

// silence counts the refusals since the last line about their reason.
type silence struct {
	until time.Time
	count int
}

// New returns a Responder that answers nobody until Run.
func New(deps Deps) (*Responder, error) {
	key, err := nkeys.FromSeed(deps.IssuerSeed)
	if err != nil {
		return nil, fmt.Errorf("read the key that signs log-ins: %w", err)
	}
	if public, err := key.PublicKey(); err != nil || !nkeys.IsValidPublicAccountKey(public) {
		return nil, errors.New("the key that signs log-ins is not the key of an account (its seed begins with SA)")
	}
	if deps.Credentials == nil {
		deps.Credentials = credentials.NewSet(nil, deps.Log, nil)
	}
	metrics := promauto.With(deps.Metrics)
	r := &Responder{
		key: key, seal: NewSeal(deps.IssuerSeed), onRefuse: deps.Refused, credentials: deps.Credentials, topics: deps.Topics, log: deps.Log, brake: brake.New(guesses, guessPause), silent: make(map[Refusal]*silence),
		admitted: metrics.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_logins_total", Help: "Connections of clients that were admitted.",
		}),
		refused: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_bridge_refused_logins_total", Help: "Connections that were refused, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []Refusal{
		RefusalMalformed, RefusalProtocol, RefusalAnonymous, RefusalPassword, RefusalRevoked, RefusalClientID, RefusalUnknown, RefusalThrottled,
		RefusalForged,
	} {
		r.refused.WithLabelValues(string(reason))
	}
	return r, nil
}

// Run answers by the policy on nc, a connection to the account of the auth callout,
// until ctx ends and the requests that have arrived are answered.
func (r *Responder) Run(ctx context.Context, nc *nats.Conn, policy Policy) error {
	if err := policy.Validate(); err != nil {
		return err
	}
	sub, err := nc.QueueSubscribe(Subject, queue, func(m *nats.Msg) { r.answer(m, policy) })
	if err != nil {
		return fmt.Errorf("listen for log-ins: %w", err)
	}
	closed := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(closed) })
	r.flush(ctx, nc)
	<-ctx.Done()
	if sub.Drain() != nil {
		return nil //nolint:nilerr // the connection is gone, and the subscription with it
	}
	select {
	case <-closed:
	case <-time.After(patience):
	}
	return nil
}

// patience bounds the waits for the connection.
const patience = 5 * time.Second

// flush returns when the server knows of the subscription. It does not wait while
// the connection is down: nats.go subscribes again by itself.
func (r *Responder) flush(ctx context.Context, nc *nats.Conn) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("devices cannot log in yet", "err", err)
	}
}

// answer judges one request. One goroutine of the connection calls it.
func (r *Responder) answer(m *nats.Msg, policy Policy) {
	request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
	if err != nil {
		// Without a request there is nobody to answer.
		r.refuse(RefusalMalformed, Device{})
		return
	}
	d := Device{
		Protocol: request.ClientInformation.Type, Host: request.ClientInformation.Host,
		ClientID: request.ClientInformation.MQTT,
		User:     request.ConnectOptions.Username, Password: request.ConnectOptions.Password,
		Certificate: certificate(request.TLS),
	}
	response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	response.Audience = request.Server.ID
	now := time.Now()
	var admitted admission
	refusal := r.originate(&d, now)
	if refusal == "" {
		admitted, refusal = r.judge(policy, d, now, func(p Policy, d Device) (Role, Refusal) { return r.shared(p, d, now) })
	}
	if refusal != "" {
		r.refuse(refusal, d)
		response.Error = refusal.String()
	} else if response.Jwt, err = r.claims(request.UserNkey, admitted, d.ClientID).Encode(r.key); err != nil {
		r.log.Error("cannot sign a log-in", "device", d.ClientID, "err", err)
		return
	} else {
		r.admitted.Inc()
	}
	token, err := response.Encode(r.key)
	if err == nil {
		err = m.Respond([]byte(token))
	}
	if err != nil {
		r.log.Error("cannot answer a log-in", "device", d.ClientID, "err", err)
	}
}

// originate replaces the address and the user of a client that comes through a front by
// those that the front has seen. Only a front can have sealed them.
func (r *Responder) originate(d *Device, now time.Time) Refusal {
	if d.Protocol != ProtocolMQTT || !Sealed(d.User) {
		return ""
	}
	o, err := r.seal.Open(d.User, d.ClientID)
	if err != nil || !o.fresh(now) {
		d.User = ""
		return RefusalForged
	}
	d.Host, d.User, d.Certificate = o.Host, o.User, o.Certificate
	d.ClientID = escape.Shown(d.ClientID)
	return ""
}

// certificate returns the certificate that nats-server has verified, if there is one.
func certificate(t *jwt.ClientTLS) Certificate {
	if t == nil || len(t.VerifiedChains) == 0 || len(t.VerifiedChains[0]) == 0 {
		return Certificate{}
	}
	block, _ := pem.Decode([]byte(t.VerifiedChains[0][0]))
	if block == nil {
		return Certificate{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Certificate{}
	}
	sum := sha256.Sum256(cert.Raw)
	c := Certificate{Fingerprint: hex.EncodeToString(sum[:])}
	for _, uri := range cert.URIs {
		c.URIs = append(c.URIs, uri.String())
	}
	return c
}

// admission is what a client is admitted as. The credential is that of RoleOwner; until is
// when it ends, zero for never.
type admission struct {
	role       Role
	credential credentials.Credential
	until      time.Time
}

// MayPublish returns whether a client that nats-server has admitted by the policy may publish
// on a subject; nil if it would not be admitted any more. Any number of goroutines may use it.
func (r *Responder) MayPublish(policy Policy, d Device) func(subject string) bool {
	admitted, refusal := r.judge(policy, d, time.Now(), Policy.Judge)
	if refusal != "" {
		return nil
	}
	return func(subject string) bool {
		covers := func(filter string) bool { return streams.Matches(filter, subject) }
		var c jwt.UserClaims
		r.grant(&c, admitted, d.ClientID)
		return slices.ContainsFunc(c.Pub.Allow, covers) && !slices.ContainsFunc(c.Pub.Deny, covers)
	}
}

// judge returns what the client is admitted as, or why it is refused. Without a credential of
// its own, shared judges it. The tokens of single devices are too long to be guessed, so
// nobody waits for those.
func (r *Responder) judge(policy Policy, d Device, now time.Time, shared func(Policy, Device) (Role, Refusal)) (admission, Refusal) {
	if c, until, proven := r.credential(policy, d, now); c.Name != "" {
		switch {
		case !proven:
			return admission{}, RefusalPassword
		case c.State == credentials.StateRevoked:
			return admission{}, RefusalRevoked
		case !r.mayUse(d.ClientID, c.Name):
			return admission{}, RefusalClientID
		}
		return admission{RoleOwner, c, until}, ""
	}
	role, refusal := shared(policy, d)
	switch {
	case refusal != "":
	case r.credentials.Owner(d.ClientID) != "":
		refusal = RefusalClientID
	case role == RoleDevice && r.credentials.RefusesUnknown():
		refusal = RefusalUnknown
	}
	return admission{role: role}, refusal
}

// credential returns the credential that a client claims to have, if any, and whether it
// proves that.
func (r *Responder) credential(policy Policy, d Device, now time.Time) (c credentials.Credential, until time.Time, proven bool) {
	if d.Protocol != ProtocolMQTT {
		return c, until, false
	}
	c, found := r.credentials.ByCertificate(d.Certificate.URIs, d.Certificate.Fingerprint)
	if found && (d.User == "" || d.User == c.Name) {
		return c, until, true
	}
	if policy.names(d.User) {
		return credentials.Credential{}, until, false
	}
	if c, found = r.credentials.Named(d.User); !found || !c.Proves() {
		return credentials.Credential{}, until, false
	}
	until, proven = c.Accepts(d.Password, now)
	return c, until, proven
}

// generated is the length of a client id that nats-server makes for a client that sends
// none. Nobody can guess it.
const generated = 22

// mayUse reports whether a credential may use a client id, so that nobody else is thrown
// out by it: one of its own, or none.
func (r *Responder) mayUse(clientID, credential string) bool {
	owner := r.credentials.Owner(clientID)
	if owner == "" && len(clientID) == generated {
		return !strings.ContainsFunc(clientID, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
		})
	}
	return owner == credential
}

// shared judges a client without a credential of its own. While a sender must wait before its
// next password, its password is not compared.
func (r *Responder) shared(policy Policy, d Device, now time.Time) (Role, Refusal) {
	if !policy.byPassword(d) {
		return policy.Judge(d)
	}
	s := r.brake.Sender(d.Host, d.ClientID)
	if r.brake.Holds(s, now) {
		return 0, RefusalThrottled
	}
	role, refusal := policy.Judge(d)
	if refusal == "" {
		r.brake.Right(d.Host, d.ClientID)
	} else {
		r.brake.Wrong(s, now)
	}
	return role, refusal
}

// claims is the answer that admits a client.
func (r *Responder) claims(user string, a admission, clientID string) *jwt.UserClaims {
	c := jwt.NewUserClaims(user)
	// Nats-server takes the name for the user: of the connection, and of the retained
	// messages that come by it.
	c.Name = cmp.Or(a.credential.Name, clientID)
	c.Audience = Account
	c.AllowedConnectionTypes.Add(jwt.ConnectionTypeMqtt, jwt.ConnectionTypeMqttWS)
	r.grant(c, a, clientID)
	return c
}

// refuse counts a refusal. It logs the first of a reason, then at most one line in
// logInterval.
func (r *Responder) refuse(reason Refusal, d Device) {
	r.refused.WithLabelValues(string(reason)).Inc()
	if r.onRefuse != nil {
		r.onRefuse(reason, d)
	}
	r.mu.Lock()
	s := r.silent[reason]
	if s == nil {
		s = new(silence)
		r.silent[reason] = s
	}
	now := time.Now()
	if now.Before(s.until) {
		s.count++
		r.mu.Unlock()
		return
	}
	unsaid := s.count
	*s = silence{until: now.Add(logInterval)}
	r.mu.Unlock()
	r.log.Warn("refused a device", "reason", reason.String(), "device", figure.Clip(d.ClientID, maxLogged), "host", figure.Clip(d.Host, maxLogged), "more", unsaid)
}
