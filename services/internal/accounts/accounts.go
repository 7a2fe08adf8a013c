// Package accounts keeps who may use the dashboard: people with passwords and sessions,
// and programs with tokens. Secrets are stored as hashes only.
//
// Users, tokens and links are one value of a bucket, which changes by compare-and-set;
// each session is a value of another bucket. A Store keeps what it has read for a few
// seconds, so any number of dashboards may run, and people who have logged in stay logged
// in while NATS is away.
package accounts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/brake"
	"headwater/streams"
)

const (
	// fresh is how long what was read is used before it is read again: how late other
	// dashboards learn of a change.
	fresh = 2 * time.Second
	// readWithin bounds one request to NATS.
	readWithin = 5 * time.Second
	// attempts bounds the tries of a change while others change accounts too.
	attempts = 10
	// maxSessions bounds the sessions that are remembered, userSessions those of one
	// user; beyond it the oldest ends.
	maxSessions  = 10_000
	userSessions = 20
	// idleFor is how long a session lasts without a request.
	idleFor = 7 * 24 * time.Hour
	// externalFor is how long a session of a user lasts who has no password here: the
	// provider of the log-in is asked again then, so that whom it no longer lets in is out.
	externalFor = 24 * time.Hour
	// noteEvery is how often the time of the last request is stored.
	noteEvery = time.Hour
	// guesses and guessPause slow down guesses of passwords, of one account as of
	// one address.
	guesses    = 10
	guessPause = 30 * time.Second
)

// Session is one log-in of a person in one browser.
type Session struct {
	// Epoch is that of the user at the log-in; a session of another epoch has ended.
	Epoch   uint64    `json:"epoch"`
	Created time.Time `json:"created"`
	// Used is the time of the last request, to about an hour.
	Used time.Time `json:"used"`
}

// ended reports whether the session has expired.
func (s Session) ended(now time.Time) bool {
	return now.Sub(s.Created) >= streams.SessionAge || now.Sub(s.Used) >= idleFor
}

// Store is the accounts. Its methods may be called by many goroutines.
type Store struct {
	js   jetstream.JetStream
	now  func() time.Time
	hash *hasher

	reading sync.Mutex // held while the book is read

	mu       sync.Mutex // guards what follows
	book     *book      // nil until it was read; never changed
	read     time.Time  // when it was read
	sessions map[string]known
	byHost   *brake.Brake
	byUser   *brake.Brake
	// answered are the challenges of passkeys that were answered, until when that counts.
	answered map[string]time.Time
}

// known is a session as it was read last.
type known struct {
	Session
	revision uint64
	read     time.Time
}

// New returns a store; it does no I/O.
func New(js jetstream.JetStream, now func() time.Time) *Store {
	return &Store{
		js: js, now: now, hash: newHasher(argonMemory), sessions: make(map[string]known), answered: make(map[string]time.Time),
		byHost: brake.New(guesses, guessPause), byUser: brake.New(guesses, guessPause),
	}
}

// HasAdministrator reports whether there is an administrator who can log in. It reads the
// bucket; without a bucket there is none.
func HasAdministrator(ctx context.Context, js jetstream.JetStream) (bool, error) {
	b, _, err := readBook(ctx, js)
	if err != nil {
		return false, err
	}
	return b.administered(), nil
}

// readBook reads the accounts. Without a bucket there are none: it is created before
// anybody can create an account.
func readBook(ctx context.Context, js jetstream.JetStream) (*book, uint64, error) {
	fail := func(err error) error { return fmt.Errorf("read bucket %s: %w", streams.BucketAccounts, err) }
	if js.Conn().Status() != nats.CONNECTED {
		return nil, 0, fail(nats.ErrDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	kv, err := js.KeyValue(ctx, streams.BucketAccounts)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return new(book), 0, nil
	}
	if err != nil {
		return nil, 0, fail(err)
	}
	entry, err := kv.Get(ctx, streams.AccountsKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return new(book), 0, nil
	}
	if err != nil {
		return nil, 0, fail(err)
	}
	b := new(book)
	if err := json.Unmarshal(entry.Value(), b); err != nil {
		return nil, 0, fail(err)
	}
	return b, entry.Revision(), nil
}

// current returns the accounts as they were at most some seconds ago, or longer while
// NATS is away.
func (s *Store) current(ctx context.Context) (*book, error) {
	b, isFresh := s.remembered()
	if isFresh {
		return b, nil
	}
	if b == nil {
		s.reading.Lock()
	} else if !s.reading.TryLock() {
		return b, nil // someone else is reading
	}
	defer s.reading.Unlock()
	if b, isFresh = s.remembered(); isFresh {
		return b, nil
	}
	latest, _, err := readBook(ctx, s.js)
	switch {
	case err == nil:
		b = latest
	case b == nil:
		return nil, err
	}
	s.remember(b)
	return b, nil
}

func (s *Store) remembered() (b *book, isFresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book, s.book != nil && s.now().Sub(s.read) < fresh
}

func (s *Store) remember(b *book) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book, s.read = b, s.now()
}

// update changes the accounts.
func (s *Store) update(ctx context.Context, change func(*book) error) error {
	for range attempts {
		b, revision, err := readBook(ctx, s.js)
		if err != nil {
			return err
		}
		if err := change(b); err != nil {
			return err
		}
		body, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("encode the accounts: %w", err)
		}
		kv, err := s.js.KeyValue(ctx, streams.BucketAccounts)
		if err == nil {
			_, err = kv.Update(ctx, streams.AccountsKey, body, revision)
		}
		if err == nil {
			s.remember(b)
			return nil
		}
		if !streams.IsConflict(err) {
			return fmt.Errorf("write bucket %s: %w", streams.BucketAccounts, err)
		}
	}
	return errors.New("others keep changing the accounts: try again")
}

// Closed reports whether a log-in is required: somebody has an account with a password.
func (s *Store) Closed(ctx context.Context) (bool, error) {
	b, err := s.current(ctx)
	if err != nil {
		return false, err
	}
	return b.closed(), nil
}

// Users returns all users, without what is kept of their passwords, in the order of their
// creation, and those of them who still have to set a password.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	b, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(b.Users), nil
}

// Tokens returns all tokens, in the order of their creation.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	b, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(b.Tokens), nil
}

// AddUser creates a user and returns the code of a link that sets the password.
func (s *Store) AddUser(ctx context.Context, u User) (code string, err error) {
	now := s.now().UTC()
	u.Name, u.Created, u.Hash = NormalName(u.Name), now, ""
	code = rand.Text()
	return code, s.update(ctx, func(b *book) error {
		if err := b.addUser(u); err != nil {
			return err
		}
		b.addLink(Link{Hash: fingerprint(code), User: u.Name, Expires: now.Add(LinkValid)}, now)
		return nil
	})
}

// ResetUser returns the code of a link with which a user sets a new password. The old
// password and all passkeys end now, and so do all sessions.
func (s *Store) ResetUser(ctx context.Context, name string) (code string, err error) {
	now := s.now().UTC()
	code = rand.Text()
	return code, s.update(ctx, func(b *book) error {
		was := b.administered()
		if err := b.setPassword(name, ""); err != nil {
			return err
		}
		b.user(name).Passkeys = nil
		if was && !b.administered() {
			return ErrLast
		}
		b.addLink(Link{Hash: fingerprint(code), User: name, Expires: now.Add(LinkValid)}, now)
		return nil
	})
}

// ChangeUser gives a user other rights, at once.
func (s *Store) ChangeUser(ctx context.Context, name string, role Role, sites []string) error {
	return s.update(ctx, func(b *book) error { return b.changeUser(name, role, sites) })
}

// RemoveUser removes a user, which ends all sessions of the user.
func (s *Store) RemoveUser(ctx context.Context, name string) error {
	return s.update(ctx, func(b *book) error { return b.removeUser(name) })
}

// NewSetUp returns the code of a link with which a person becomes an administrator. It is
// for the person who starts the process. It returns ErrClosed if there is an administrator,
// unless another one is asked for.
func (s *Store) NewSetUp(ctx context.Context, another bool) (code string, err error) {
	now := s.now().UTC()
	code = rand.Text()
	return code, s.update(ctx, func(b *book) error {
		if b.administered() && !another {
			return ErrClosed
		}
		b.addLink(Link{Hash: fingerprint(code), Expires: now.Add(LinkValid)}, now)
		return nil
	})
}

// Invited returns whose password the link of a code sets; empty if it creates an
// administrator. It returns ErrLink if the link is not valid.
func (s *Store) Invited(ctx context.Context, code string) (user string, err error) {
	b, _, err := readBook(ctx, s.js)
	if err != nil {
		return "", err
	}
	l, err := b.link(code, s.now())
	return l.User, err
}

// SetUp sets the password of the user of a link, and creates the user of that name if the
// link is for a new administrator. It returns a new session.
func (s *Store) SetUp(ctx context.Context, code, name, password string) (session string, err error) {
	invited, err := s.Invited(ctx, code)
	if err != nil {
		return "", err
	}
	if invited != "" {
		name = invited
	}
	return s.enroll(ctx, name, password, func(b *book, name, hash string, now time.Time) (User, error) {
		return b.useLink(code, name, hash, now)
	})
}

// First creates the first administrator without a link. It returns ErrClosed if anybody
// can log in already, else a new session.
func (s *Store) First(ctx context.Context, name, password string) (session string, err error) {
	return s.enroll(ctx, name, password, func(b *book, name, hash string, now time.Time) (User, error) {
		if b.closed() {
			return User{}, ErrClosed
		}
		if err := b.makeAdministrator(name, now); err != nil {
			return User{}, err
		}
		if err := b.setPassword(name, hash); err != nil {
			return User{}, err
		}
		return *b.user(name), nil
	})
}

// enroll stores a first or new password of a person who proves to be that person by
// other means, and returns a new session.
func (s *Store) enroll(ctx context.Context, name, password string, change func(b *book, name, hash string, now time.Time) (User, error)) (string, error) {
	name = NormalName(name)
	if err := errors.Join(checkName(name), checkPassword(name, password)); err != nil {
		return "", err
	}
	hash, err := s.hash.hash(ctx, password)
	if err != nil {
		return "", err
	}
	var user User
	err = s.update(ctx, func(b *book) (err error) {
		user, err = change(b, name, hash, s.now().UTC())
		return err
	})
	if err != nil {
		return "", err
	}
	return s.begin(ctx, user)
}

// LogIn returns a new session of the user of that name and password. The host is where
// the request came from. It returns ErrWrong, ErrThrottled or ErrBusy.
func (s *Store) LogIn(ctx context.Context, host, name, password string) (session string, err error) {
	u, err := s.check(ctx, host, NormalName(name), password)
	if err != nil {
		return "", err
	}
	return s.begin(ctx, u)
}

// External returns a new session of a user whom a provider of log-ins has let in with a role,
// and whom it creates the first time. Before is the role that the user had; empty for a new
// one.
func (s *Store) External(ctx context.Context, subject, name string, role Role) (session string, u User, before Role, err error) {
	now := s.now().UTC()
	b, err := s.current(ctx)
	if err != nil {
		return "", User{}, "", err
	}
	if i := slices.IndexFunc(b.Users, func(u User) bool { return u.Subject == subject }); i >= 0 && b.Users[i].Role == role {
		u, before = b.Users[i], role
	} else if err := s.update(ctx, func(b *book) (err error) {
		u, before, err = b.external(subject, name, role, now)
		return err
	}); err != nil {
		return "", User{}, "", err
	}
	session, err = s.begin(ctx, u)
	return session, u, before, err
}

// Attempt counts an attempt to log in from an address that a provider of log-ins decides
// about. It returns ErrThrottled after too many that failed; forgive takes one back.
func (s *Store) Attempt(host string) (forgive func(), err error) { return s.slow(host, "") }

// ChangePassword sets a new password of a user who knows the old one. All sessions of the
// user end; it returns a new one.
func (s *Store) ChangePassword(ctx context.Context, host, name, old, password string) (session string, err error) {
	if err := checkPassword(name, password); err != nil {
		return "", err
	}
	u, err := s.check(ctx, host, name, old)
	if err != nil {
		return "", err
	}
	return s.enroll(ctx, name, password, func(b *book, name, hash string, _ time.Time) (User, error) {
		if now := b.user(name); now == nil || now.Hash != u.Hash {
			return User{}, ErrWrong // someone else has reset it meanwhile
		}
		if err := b.setPassword(name, hash); err != nil {
			return User{}, err
		}
		return *b.user(name), nil
	})
}

// check returns the user of a name and password. Wrong passwords are slow: those of one
// address together, and those for one user from anywhere. A person who has logged in
// from the same address before has a share of their own.
func (s *Store) check(ctx context.Context, host, name, password string) (User, error) {
	b, err := s.current(ctx)
	if err != nil {
		return User{}, err
	}
	var u User
	if found := b.user(name); found != nil {
		u = *found
	}
	forgive, err := s.slow(host, u.Name)
	if err != nil {
		return User{}, err
	}
	if len(password) > maxPassword {
		return User{}, ErrWrong
	}
	right, err := s.hash.matches(ctx, password, u.Hash)
	switch {
	case err != nil:
		forgive()
		return User{}, err
	case !right:
		return User{}, ErrWrong
	}
	forgive()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byHost.Right(host, u.Name)
	return u, nil
}

// slow counts a password as wrong before it is compared, since many may be compared at
// the same time. Forgive takes that back.
func (s *Store) slow(host, name string) (forgive func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	at := s.byHost.Sender(host, name)
	if s.byHost.Holds(at, now) {
		return nil, ErrThrottled
	}
	if at.Known() || name == "" {
		s.byHost.Wrong(at, now)
		return func() { s.mu.Lock(); defer s.mu.Unlock(); s.byHost.Forgive(at) }, nil
	}
	s.byUser.Right("", name)
	of := s.byUser.Sender("", name)
	if s.byUser.Holds(of, now) {
		return nil, ErrThrottled
	}
	s.byHost.Wrong(at, now)
	s.byUser.Wrong(of, now)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.byHost.Forgive(at)
		s.byUser.Forgive(of)
	}, nil
}

// AddToken creates a token and returns its text, which is not kept.
func (s *Store) AddToken(ctx context.Context, t Token) (text string, err error) {
	secret := rand.Text()
	now := s.now().UTC()
	t.Name, t.ID, t.Hash, t.Created = NormalName(t.Name), strings.ToLower(rand.Text()[:10]), fingerprint(secret), now
	if err := s.update(ctx, func(b *book) error { return b.addToken(t, now) }); err != nil {
		return "", err
	}
	return tokenPrefix + t.ID + "_" + secret, nil
}

// RemoveToken removes the token of a name, at once.
func (s *Store) RemoveToken(ctx context.Context, name string) error {
	return s.update(ctx, func(b *book) error { return b.removeToken(name) })
}

// Token returns the token of a text, or ErrNobody.
func (s *Store) Token(ctx context.Context, text string) (Token, error) {
	b, err := s.current(ctx)
	if err != nil {
		return Token{}, err
	}
	return b.token(text, s.now())
}
