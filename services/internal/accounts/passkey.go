package accounts

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"headwater/services/internal/passkey"
)

const (
	// maxPasskeys bounds the passkeys of one user.
	maxPasskeys = 5
	// maxLabel bounds the name of a passkey, in bytes.
	maxLabel = 64
	// maxAnswered bounds the answers that are remembered.
	maxAnswered = 10_000
)

// Passkey is a key with which a user logs in.
type Passkey struct {
	// Name is what the user calls it, Site the name of the site that it is for.
	Name    string      `json:"name"`
	Site    string      `json:"site"`
	Created time.Time   `json:"created"`
	Key     passkey.Key `json:"key"`
}

// owner returns the user as the owner of the passkeys of a site.
func (u User) owner(site passkey.Site) passkey.Owner {
	o := passkey.Owner{Handle: []byte(u.Handle), Name: u.Name}
	for _, k := range u.Passkeys {
		if k.Site == site.ID {
			o.Keys = append(o.Keys, k.Key)
		}
	}
	return o
}

// HasPasskeys reports whether anybody logs in at a site with a passkey.
func (s *Store) HasPasskeys(ctx context.Context, site passkey.Site) (bool, error) {
	b, err := s.current(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(b.Users, func(u User) bool { return u.Active() && len(u.owner(site).Keys) > 0 }), nil
}

// Passkeys returns the passkeys of a user.
func (s *Store) Passkeys(ctx context.Context, name string) ([]Passkey, error) {
	b, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	if u := b.user(name); u != nil {
		return slices.Clone(u.Passkeys), nil
	}
	return nil, ErrUnknown
}

// BeginPasskey asks the browser of a user who knows the password for a new passkey: with
// options, and sealed, which it brings back.
func (s *Store) BeginPasskey(ctx context.Context, site passkey.Site, host, name, password string) (options []byte, sealed string, err error) {
	u, err := s.check(ctx, host, name, password)
	if err != nil {
		return nil, "", err
	}
	if len(u.Passkeys) >= maxPasskeys {
		return nil, "", errManyPasskeys
	}
	var key []byte
	if b, err := s.current(ctx); err == nil {
		key = b.Key
	}
	if u.Handle == "" || len(key) == 0 {
		err = s.update(ctx, func(b *book) error {
			now := b.user(name)
			if now == nil || now.Hash != u.Hash {
				return ErrWrong // someone else has reset it meanwhile
			}
			if now.Handle == "" {
				now.Handle = rand.Text()
			}
			if len(b.Key) == 0 {
				b.Key = []byte(rand.Text())
			}
			u, key = *now, b.Key
			return nil
		})
	}
	if err != nil {
		return nil, "", err
	}
	return site.Register(key, u.owner(site), s.now())
}

// errManyPasskeys is returned to a user who has as many passkeys as possible.
var errManyPasskeys = invalid(fmt.Sprintf("there are %d passkeys already: remove one first", maxPasskeys))

// AddPasskey adds the passkey that a browser has answered with.
func (s *Store) AddPasskey(ctx context.Context, site passkey.Site, name, label, sealed, answer string) error {
	label = strings.TrimSpace(label)
	if label == "" || len(label) > maxLabel {
		return invalid(fmt.Sprintf("the name of a passkey must have 1 to %d bytes", maxLabel))
	}
	now := s.now().UTC()
	return s.update(ctx, func(b *book) error {
		u := b.user(name)
		if u == nil || u.Hash == "" {
			return ErrUnknown
		}
		if len(u.Passkeys) >= maxPasskeys {
			return errManyPasskeys
		}
		key, err := site.Registered(b.Key, u.owner(site), sealed, answer, now)
		if err != nil {
			return err
		}
		for _, other := range b.Users {
			if slices.ContainsFunc(other.Passkeys, func(k Passkey) bool { return k.Key.ID() == key.ID() }) {
				return passkey.ErrAnswer
			}
		}
		u.Passkeys = append(u.Passkeys, Passkey{Name: label, Site: site.ID, Created: now, Key: key})
		return nil
	})
}

// RemovePasskey removes a passkey of a user, at once. It returns what it was called.
func (s *Store) RemovePasskey(ctx context.Context, name, id string) (label string, err error) {
	err = s.update(ctx, func(b *book) error {
		u := b.user(name)
		if u == nil {
			return ErrUnknown
		}
		i := slices.IndexFunc(u.Passkeys, func(k Passkey) bool { return k.Key.ID() == id })
		if i < 0 {
			return ErrUnknown
		}
		label = u.Passkeys[i].Name
		u.Passkeys = slices.Delete(u.Passkeys, i, i+1)
		return nil
	})
	return label, err
}

// AskPasskey asks a browser for a passkey to log in with.
func (s *Store) AskPasskey(ctx context.Context, site passkey.Site) (options []byte, sealed string, err error) {
	has, err := s.HasPasskeys(ctx, site)
	if err != nil {
		return nil, "", err
	}
	b, err := s.current(ctx)
	if err != nil {
		return nil, "", err
	}
	if !has || len(b.Key) == 0 {
		return nil, "", ErrNoPasskey
	}
	return site.Ask(b.Key, s.now())
}

// ErrNoPasskey is returned where nobody has a passkey.
var ErrNoPasskey = errors.New("nobody has a passkey for this address: log in with a password, then add one on the page of your account")

// LogInPasskey returns a new session of the user of the passkey that a browser has answered
// with.
func (s *Store) LogInPasskey(ctx context.Context, site passkey.Site, host, sealed, answer string) (session string, u User, with string, err error) {
	forgive, err := s.slow(host, "")
	if err != nil {
		return "", User{}, "", err
	}
	b, err := s.current(ctx)
	if err != nil {
		forgive()
		return "", User{}, "", err
	}
	owner, key, challenge, err := site.Answered(b.Key, sealed, answer, s.now(), func(handle []byte) (passkey.Owner, bool) {
		for _, u := range b.Users {
			if u.Handle != "" && bytes.Equal([]byte(u.Handle), handle) && u.Active() {
				return u.owner(site), true
			}
		}
		return passkey.Owner{}, false
	})
	if err == nil && !s.answer(challenge) {
		err = passkey.ErrAnswer
	}
	if err != nil {
		return "", User{}, "", err
	}
	forgive()
	is := func(k Passkey) bool { return k.Key.ID() == key.ID() }
	u = *b.user(owner.Name)
	i := slices.IndexFunc(u.Passkeys, is)
	if was := u.Passkeys[i].Key; was.Authenticator.SignCount != key.Authenticator.SignCount || was.Flags != key.Flags {
		err = s.update(ctx, func(b *book) error {
			now := b.user(owner.Name)
			if now == nil || !now.Active() || !slices.ContainsFunc(now.Passkeys, is) {
				return passkey.ErrAnswer
			}
			now.Passkeys[slices.IndexFunc(now.Passkeys, is)].Key = key
			u = *now
			return nil
		})
		if err != nil {
			return "", User{}, "", err
		}
	}
	session, err = s.begin(ctx, u)
	return session, u, u.Passkeys[slices.IndexFunc(u.Passkeys, is)].Name, err
}

// answer returns false for a challenge that was answered already at this dashboard.
func (s *Store) answer(challenge string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.answered) >= maxAnswered {
		maps.DeleteFunc(s.answered, func(_ string, until time.Time) bool { return now.After(until) })
	}
	if _, known := s.answered[challenge]; known || len(s.answered) >= maxAnswered {
		return false
	}
	s.answered[challenge] = now.Add(2 * passkey.Valid)
	return true
}
