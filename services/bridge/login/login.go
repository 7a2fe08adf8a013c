// Package login answers nats-server's auth callout: it decides which clients may
// connect, and what they may publish and subscribe to. Replicas share the requests.
// While none answers, no client can connect.
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/proto/figure"
	"headwater/services/internal/brake"
)

// Subject is where nats-server asks. It equals server.AuthCalloutSubject; importing
// nats-server for that would put the whole server into every bridge.
const Subject = "$SYS.REQ.USER.AUTH"

// queue is the group in which replicas share the requests.
const queue = "bridge"

// account is the account of the clients.
const account = "DEVICES"

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

// Deps is what a Responder needs.
type Deps struct {
	// IssuerSeed is the seed of the account key that signs the answers. The server's
	// configuration has its public half as the issuer.
	IssuerSeed []byte
	// Refused, if not nil, is called with each refusal. It must return at once.
	Refused func(Refusal, Device)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Responder answers requests to log in. It may run once.
type Responder struct {
	key      nkeys.KeyPair
	onRefuse func(Refusal, Device)
	log      *slog.Logger
	admitted prometheus.Counter
	refused  *prometheus.CounterVec
	brake    *brake.Brake // of the goroutine that answers

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
	metrics := promauto.With(deps.Metrics)
	r := &Responder{
		key: key, onRefuse: deps.Refused, log: deps.Log, brake: brake.New(guesses, guessPause), silent: make(map[Refusal]*silence),
		admitted: metrics.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_logins_total", Help: "Connections of clients that were admitted.",
		}),
		refused: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_bridge_refused_logins_total", Help: "Connections that were refused, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []Refusal{RefusalMalformed, RefusalProtocol, RefusalAnonymous, RefusalPassword, RefusalThrottled} {
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
	}
	response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	response.Audience = request.Server.ID
	role, refusal := r.judge(policy, d, time.Now())
	if refusal != "" {
		r.refuse(refusal, d)
		response.Error = refusal.String()
	} else if response.Jwt, err = claims(request.UserNkey, role, d.ClientID).Encode(r.key); err != nil {
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

// judge returns what the client is admitted as, or why it is refused. While a sender
// must wait before its next password, its password is not compared.
func (r *Responder) judge(policy Policy, d Device, now time.Time) (Role, Refusal) {
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
func claims(user string, role Role, clientID string) *jwt.UserClaims {
	c := jwt.NewUserClaims(user)
	c.Name = clientID
	c.Audience = account
	c.AllowedConnectionTypes.Add(jwt.ConnectionTypeMqtt, jwt.ConnectionTypeMqttWS)
	grant(c, role, clientID)
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
