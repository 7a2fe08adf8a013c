package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// A session is the name of its user, a dot and a random code; the bucket has only the
// hash of the code.

// sessionKey returns the key of a session, and whose it is.
func sessionKey(session string) (key, user string, ok bool) {
	user, code, found := strings.Cut(session, ".")
	if !found || !userName.MatchString(user) || len(code) != len(rand.Text()) {
		return "", "", false
	}
	return streams.SessionKey(user, fingerprint(code)), user, true
}

func (s *Store) openSessions(ctx context.Context) (jetstream.KeyValue, error) {
	if s.js.Conn().Status() != nats.CONNECTED {
		return nil, fmt.Errorf("read bucket %s: %w", streams.BucketSessions, nats.ErrDisconnected)
	}
	kv, err := s.js.KeyValue(ctx, streams.BucketSessions)
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", streams.BucketSessions, err)
	}
	return kv, nil
}

// begin returns a new session of a user. The oldest ones end if there are too many.
func (s *Store) begin(ctx context.Context, u User) (session string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	kv, err := s.openSessions(ctx)
	if err != nil {
		return "", err
	}
	if err := s.makeRoom(ctx, kv, u); err != nil {
		return "", err
	}
	session = u.Name + "." + rand.Text()
	key, _, _ := sessionKey(session)
	now := s.now().UTC()
	begun := Session{Epoch: u.Epoch, Created: now, Used: now}
	body, err := json.Marshal(begun)
	if err != nil {
		return "", fmt.Errorf("encode a session: %w", err)
	}
	revision, err := kv.Create(ctx, key, body)
	if err != nil {
		return "", fmt.Errorf("store a session: %w", err)
	}
	s.note(key, known{Session: begun, revision: revision, read: now})
	return session, nil
}

// makeRoom removes the sessions of a user that have ended, and the oldest ones beyond
// userSessions.
func (s *Store) makeRoom(ctx context.Context, kv jetstream.KeyValue, u User) error {
	keys, err := kv.ListKeysFiltered(ctx, streams.SessionKey(u.Name, "*"))
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	type stored struct {
		key string
		Session
	}
	var open []stored
	for key := range keys.Keys() {
		entry, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read a session: %w", err)
		}
		// A session that cannot be read is the oldest.
		one := stored{key: key}
		_ = json.Unmarshal(entry.Value(), &one.Session)
		open = append(open, one)
	}
	slices.SortFunc(open, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), a.Created.Compare(b.Created))
	})
	for i, one := range open {
		if one.Epoch == u.Epoch && !one.ended(s.now()) && len(open)-i < userSessions {
			break
		}
		if err := s.end(ctx, kv, one.key); err != nil {
			return err
		}
	}
	return nil
}

// end removes a session. What remains of it is gone soon, too.
func (s *Store) end(ctx context.Context, kv jetstream.KeyValue, key string) error {
	s.mu.Lock()
	delete(s.sessions, key)
	s.mu.Unlock()
	if err := kv.Purge(ctx, key, jetstream.PurgeTTL(streams.SessionMarkerTTL)); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// LogOut ends a session everywhere. A session that is over already is what was asked for.
func (s *Store) LogOut(ctx context.Context, session string) error {
	key, _, ok := sessionKey(session)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	kv, err := s.openSessions(ctx)
	if err != nil {
		return err
	}
	return s.end(ctx, kv, key)
}

// LogOutEverywhere ends all sessions of a user.
func (s *Store) LogOutEverywhere(ctx context.Context, name string) error {
	return s.update(ctx, func(b *book) error {
		u := b.user(name)
		if u == nil {
			return ErrUnknown
		}
		u.Epoch = b.nextEpoch()
		return nil
	})
}

// Session returns whose session it is, or ErrNobody. Use reports whether the person does
// something; a page that only stays open lets its session expire.
func (s *Store) Session(ctx context.Context, session string, use bool) (User, error) {
	key, name, ok := sessionKey(session)
	if !ok {
		return User{}, ErrNobody
	}
	b, err := s.current(ctx)
	if err != nil {
		return User{}, err
	}
	u := b.user(name)
	if u == nil || !u.Active() {
		return User{}, ErrNobody
	}
	one, err := s.session(ctx, key)
	if err != nil {
		return User{}, err
	}
	now := s.now()
	if one.Epoch != u.Epoch || one.ended(now) || u.Hash == "" && now.Sub(one.Created) >= externalFor {
		return User{}, ErrNobody
	}
	if use && now.Sub(one.Used) >= noteEvery {
		s.used(ctx, key, one)
	}
	return *u, nil
}

// session returns a session as it was at most some seconds ago, or longer while NATS is
// away.
func (s *Store) session(ctx context.Context, key string) (known, error) {
	s.mu.Lock()
	one, found := s.sessions[key]
	s.mu.Unlock()
	if found && s.now().Sub(one.read) < fresh {
		return one, nil
	}
	latest, err := s.readSession(ctx, key)
	switch {
	case errors.Is(err, ErrNobody):
		s.mu.Lock()
		delete(s.sessions, key)
		s.mu.Unlock()
		return known{}, err
	case err == nil:
		one = latest
	case !found:
		return known{}, err
	default:
		one.read = s.now()
	}
	s.note(key, one)
	return one, nil
}

func (s *Store) readSession(ctx context.Context, key string) (known, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	kv, err := s.openSessions(ctx)
	if err != nil {
		return known{}, err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return known{}, ErrNobody
	}
	if err != nil {
		return known{}, fmt.Errorf("read a session: %w", err)
	}
	one := known{revision: entry.Revision(), read: s.now()}
	if err := json.Unmarshal(entry.Value(), &one.Session); err != nil {
		return known{}, ErrNobody
	}
	return one, nil
}

// note remembers a session.
func (s *Store) note(key string, one known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.sessions {
		if len(s.sessions) < maxSessions {
			break
		}
		delete(s.sessions, other)
	}
	s.sessions[key] = one
}

// used stores that a session is in use. If another dashboard does so at the same time, or
// NATS is away, the next request does it.
func (s *Store) used(ctx context.Context, key string, one known) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	one.Used = s.now().UTC()
	body, err := json.Marshal(one.Session)
	if err != nil {
		return
	}
	kv, err := s.openSessions(ctx)
	if err != nil {
		return
	}
	if revision, err := kv.Update(ctx, key, body, one.revision); err == nil {
		one.revision = revision
		s.note(key, one)
	}
}
