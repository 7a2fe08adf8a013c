package bridge

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/bridge/escape"
	"headwater/services/bridge/login"
	"headwater/services/internal/credentials"
	"headwater/services/internal/process"
	"headwater/streams"
)

const (
	// revokeWithin bounds one attempt to end the connections of changed credentials.
	revokeWithin = 20 * time.Second
	// revokeAttempts and revokePause are for a nats-server that does not answer.
	revokeAttempts = 10
	revokePause    = time.Second
	// connectionsOnPage bounds the connections in one answer of nats-server.
	connectionsOnPage = 4096
	// answersWithin is how long the first nats-server may take to list its connections,
	// answersApart how long each further one of a cluster may take after the previous one.
	answersWithin = 2 * time.Second
	answersApart  = 200 * time.Millisecond
)

// revoker ends the connections of a credential that changes, so that its device has to log
// in again. When the credential is revoked, it also clears what nats-server keeps of the
// device: its sessions, its will and its retained messages. Every bridge does this, and
// none minds that another has done it.
type revoker struct {
	svc  *Service
	wake chan struct{}

	mu  sync.Mutex
	due map[string]credentials.Credential // guarded by mu, by name
}

func newRevoker(svc *Service) *revoker {
	return &revoker{svc: svc, wake: make(chan struct{}, 1), due: make(map[string]credentials.Credential)}
}

// changed takes note of a credential that changed.
func (r *revoker) changed(before, after *credentials.Credential) {
	switch {
	case after == nil:
		// A credential that is gone covers nothing any more.
		before.State = credentials.StateRevoked
		r.add(*before)
	case before != nil && before.SameRights(*after):
	case before != nil || after.State == credentials.StateRevoked:
		r.add(*after)
	}
}

func (r *revoker) add(c credentials.Credential) {
	r.mu.Lock()
	r.due[c.Name] = c
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run ends connections until ctx ends.
func (r *revoker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		r.mu.Lock()
		due := r.due
		r.due = make(map[string]credentials.Credential)
		r.mu.Unlock()
		for attempt := 1; ; attempt++ {
			err := r.end(ctx, due)
			if err == nil || ctx.Err() != nil {
				break
			}
			r.svc.deps.Log.Warn("cannot end the connections of devices whose credentials changed", "credentials", len(due), "err", err)
			if attempt == revokeAttempts || !process.Sleep(ctx, revokePause) {
				break
			}
		}
	}
}

// end ends the connections of credentials, by name.
func (r *revoker) end(ctx context.Context, due map[string]credentials.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, revokeWithin)
	defer cancel()
	open, err := r.connections(ctx, due)
	var errs []error
	errs = append(errs, err)
	for name, c := range due {
		ids := []string{name}
		for _, id := range c.ClientIDs {
			ids = append(ids, string(escape.ID(nil, []byte(id))))
		}
		for _, o := range open {
			if o.credential == name && !slices.Contains(ids, o.MQTT) {
				ids = append(ids, o.MQTT)
			}
		}
		revoked := c.State == credentials.StateRevoked
		if revoked || r.svc.deps.System == nil {
			for _, id := range ids {
				errs = append(errs, r.forget(ctx, id, revoked))
			}
		}
		if revoked {
			errs = append(errs, r.clearRetained(ctx, c))
		}
	}
	for _, o := range open {
		errs = append(errs, r.svc.deps.System.PublishMsg(&nats.Msg{
			// Nats-server ignores a request that wants no answer.
			Subject: streams.KickSubject(o.server), Reply: streams.SystemInbox + ".none", Data: fmt.Appendf(nil, `{"cid":%d}`, o.CID),
		}))
	}
	if len(open) > 0 {
		errs = append(errs, r.svc.deps.System.FlushWithContext(ctx))
		r.svc.deps.Log.Info("closed the connections of devices whose credentials changed", "connections", len(open))
	}
	errs = append(errs, r.forgetAway(ctx, due))
	return errors.Join(errs...)
}

// forgetAway clears the sessions of revoked credentials whose client ids nobody knows
// beforehand: a credential may use any that begins with its name. It reads every session.
func (r *revoker) forgetAway(ctx context.Context, due map[string]credentials.Credential) error {
	revoked := slices.DeleteFunc(slices.Collect(maps.Values(due)), func(c credentials.Credential) bool { return c.State != credentials.StateRevoked })
	if len(revoked) == 0 {
		return nil
	}
	stream, err := r.sessions(ctx)
	if stream == nil {
		return err
	}
	for from := uint64(1); ; {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(streams.SessionsAll))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the sessions of devices: %w", err)
		}
		from = m.Sequence + 1
		id := streams.SessionClient(m.Data)
		shown := escape.Shown(id)
		owner := r.svc.credentials.Owner(shown)
		if slices.ContainsFunc(revoked, func(c credentials.Credential) bool {
			return c.Name == owner || owner == "" && c.Uses(shown)
		}) {
			if err := r.forget(ctx, id, true); err != nil {
				return err
			}
		}
	}
}

// sessions returns the stream of sessions; nil if no device has ever connected.
func (r *revoker) sessions(ctx context.Context) (jetstream.Stream, error) {
	stream, err := r.svc.deps.Devices.Stream(ctx, streams.StreamSessions)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", streams.StreamSessions, err)
	}
	return stream, nil
}

// connection is an open connection of a credential that changed.
type connection struct {
	CID  uint64 `json:"cid"`
	User string `json:"authorized_user"`
	MQTT string `json:"mqtt_client"`

	server, credential string
}

// connections asks every nats-server for the connections of credentials.
func (r *revoker) connections(ctx context.Context, due map[string]credentials.Credential) ([]connection, error) {
	nc := r.svc.deps.System
	if nc == nil {
		return nil, nil
	}
	inbox := streams.SystemInbox + "." + rand.Text()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("listen for the connections of devices: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone
	var open []connection
	for offset, more := 0, true; more; offset += connectionsOnPage {
		body, err := json.Marshal(map[string]any{"auth": true, "acc": login.Account, "limit": connectionsOnPage, "offset": offset})
		if err == nil {
			err = nc.PublishRequest(streams.Connections, inbox, body)
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the connections of devices: %w", err)
		}
		more = false
		for answers := 0; ; answers++ {
			m, err := next(ctx, sub, answers)
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && answers > 0 {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("nats-server does not list the connections of devices; its configuration may be of an earlier version: %w", err)
			}
			var answer struct {
				Server struct {
					ID string `json:"id"`
				} `json:"server"`
				Data struct {
					Total       int          `json:"total"`
					Connections []connection `json:"connections"`
				} `json:"data"`
			}
			if err := json.Unmarshal(m.Data, &answer); err != nil {
				return nil, fmt.Errorf("read the connections of devices: %w", err)
			}
			more = more || offset+connectionsOnPage < answer.Data.Total
			for _, c := range answer.Data.Connections {
				c.server, c.credential = answer.Server.ID, cmp.Or(r.svc.credentials.Owner(escape.Shown(c.MQTT)), login.UserOf(c.User))
				if _, ok := due[c.credential]; ok {
					open = append(open, c)
				}
			}
		}
	}
	return open, nil
}

// next waits for the next answer after some others.
func next(ctx context.Context, sub *nats.Subscription, after int) (*nats.Msg, error) {
	wait := answersWithin
	if after > 0 {
		wait = answersApart
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// forget closes the connection of a client id without its will, and removes its session
// from the stream if wanted.
func (r *revoker) forget(ctx context.Context, clientID string, session bool) error {
	nc := r.svc.deps.Devices.Conn()
	if err := nc.PublishMsg(streams.SessionTaken(clientID)); err != nil {
		return fmt.Errorf("close the connection of %q: %w", clientID, err)
	}
	// Nats-server has read it when it answers.
	if err := nc.FlushWithContext(ctx); err != nil || !session {
		return err
	}
	stream, err := r.sessions(ctx)
	if stream == nil {
		return err
	}
	subject := streams.SessionSubject(clientID)
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the session of %q: %w", clientID, err)
	}
	consumers, err := streams.SessionConsumers(m.Data)
	if err != nil {
		return fmt.Errorf("session of %q: %w", clientID, err)
	}
	for of, names := range consumers {
		for _, name := range names {
			if err := r.svc.deps.Devices.DeleteConsumer(ctx, of, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("clear the session of %q: %w", clientID, err)
			}
		}
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return fmt.Errorf("clear the session of %q: %w", clientID, err)
	}
	return nil
}

// clearRetained clears the retained messages that a credential published, and those of its
// one device.
func (r *revoker) clearRetained(ctx context.Context, c credentials.Credential) error {
	stream, err := r.svc.deps.Devices.Stream(ctx, streams.StreamRetained)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamRetained, err)
	}
	for _, p := range c.Devices {
		for _, pattern := range (topics{r.svc}).Grants(p.Site, p.Device) {
			info, err := stream.Info(ctx, jetstream.WithSubjectFilter(streams.RetainedSubject(pattern)))
			if err != nil {
				return fmt.Errorf("read retained messages: %w", err)
			}
			for subject := range info.State.Subjects {
				m, err := stream.GetLastMsgForSubject(ctx, subject)
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					continue
				}
				if err == nil && len(m.Data) > 0 && (c.Kind == credentials.KindDevice || login.UserOf(streams.RetainedBy(m.Header)) == c.Name) {
					_, err = r.svc.deps.Devices.PublishMsg(ctx, streams.RetainedCleared(subject))
				}
				if err != nil {
					return fmt.Errorf("clear a retained message: %w", err)
				}
			}
		}
	}
	return nil
}
