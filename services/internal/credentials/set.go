package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/process"
	"headwater/streams"
)

// Set is all credentials, in memory. Run keeps it up to date. Any number of goroutines may
// use it; none of its methods waits for the bucket. Who changes what it returned must clone
// the parts.
type Set struct {
	js      jetstream.JetStream
	log     *slog.Logger
	changed func(before, after *Credential)
	known   chan struct{}
	// restricts is set when a standing other than allowed is possible.
	restricts atomic.Bool

	mu      sync.RWMutex // guards what follows
	byName  map[string]*Credential
	devices map[Pattern][]*Credential
	tokens  map[string]*Credential
	uris    map[string]*Credential
	prints  map[string]*Credential
	ids     map[string]*Credential
	unknown Unknown
}

// NewSet returns an empty set. Changed, if not nil, is called with each credential that
// changes after Run has read what was there, and for every revoked one that was there. It
// must return at once; before is nil for a new credential.
func NewSet(js jetstream.JetStream, log *slog.Logger, changed func(before, after *Credential)) *Set {
	if changed == nil {
		changed = func(_, _ *Credential) {}
	}
	return &Set{
		js: js, log: log, changed: changed, known: make(chan struct{}),
		byName: make(map[string]*Credential), devices: make(map[Pattern][]*Credential), tokens: make(map[string]*Credential),
		uris: make(map[string]*Credential), prints: make(map[string]*Credential), ids: make(map[string]*Credential),
	}
}

// Known is closed as soon as the bucket has been read.
func (s *Set) Known() <-chan struct{} { return s.known }

// retryEvery is the pause after a failed attempt to watch the bucket.
const retryEvery = time.Second

const (
	// openWithin bounds one request to open the bucket.
	openWithin = 5 * time.Second
	// rewatchEvery bounds how long a watch that gets nothing any more goes unnoticed.
	rewatchEvery = time.Minute
)

// Run follows the bucket until ctx ends. While it cannot be reached, the last copy counts.
func (s *Set) Run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		err := s.follow(ctx, func() { failing = false })
		if err == nil || ctx.Err() != nil {
			continue
		}
		if !failing {
			s.log.Warn("cannot follow the credentials of devices; retrying", "bucket", streams.BucketCredentials, "err", err)
		}
		failing = true
		process.Sleep(ctx, retryEvery)
	}
}

func (s *Set) follow(ctx context.Context, began func()) error {
	opening, cancel := context.WithTimeout(ctx, openWithin)
	bucket, err := s.js.KeyValue(opening, streams.BucketCredentials)
	cancel()
	if err != nil {
		return fmt.Errorf("open bucket: %w", err)
	}
	ctx, cancel = context.WithTimeout(ctx, rewatchEvery)
	defer cancel()
	watch, err := bucket.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer func() { _ = watch.Stop() }() // it may have ended by itself
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watch.Updates():
			switch {
			case !ok:
				return errors.New("the watch ended")
			case entry != nil:
				s.take(entry)
			default:
				began()
				select {
				case <-s.known:
				default:
					close(s.known)
				}
			}
		}
	}
}

// take is called from one goroutine.
func (s *Set) take(entry jetstream.KeyValueEntry) {
	put := entry.Operation() == jetstream.KeyValuePut
	if entry.Key() == streams.UnknownKey {
		var unknown Unknown
		if put {
			if err := json.Unmarshal(entry.Value(), &unknown); err != nil || unknown.Validate() != nil {
				s.log.Error("the rules for unknown devices cannot be read; the last ones stay", "err", err)
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unknown = unknown
		s.restrict()
		return
	}
	name, ok := streams.ParseCredentialKey(entry.Key())
	if !ok {
		return
	}
	var c *Credential
	if put {
		decoded, err := Decode(entry.Value())
		if err != nil || decoded.Name != name {
			s.log.Error("a credential cannot be read; the last one stays", "credential", name, "err", err)
			return
		}
		decoded.revision = entry.Revision()
		c = &decoded
	}
	before := s.put(name, c)
	if before != nil && c != nil && before.revision == c.revision {
		return // it was read again
	}
	select {
	case <-s.known:
		s.changed(before, c)
	default:
		if c != nil && c.State == StateRevoked {
			s.changed(nil, c)
		}
	}
}

// put replaces a credential, or removes it, and returns what it was.
func (s *Set) put(name string, c *Credential) (before *Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before = s.byName[name]; before != nil {
		delete(s.byName, name)
		for _, p := range before.Devices {
			s.devices[p] = slices.DeleteFunc(s.devices[p], func(o *Credential) bool { return o == before })
			if len(s.devices[p]) == 0 {
				delete(s.devices, p)
			}
		}
		for key, of := range s.indexes(before) {
			if of[key] == before {
				delete(of, key)
			}
		}
	}
	if c != nil {
		s.byName[name] = c
		for _, p := range c.Devices {
			s.devices[p] = append(s.devices[p], c)
		}
		for key, of := range s.indexes(c) {
			of[key] = c
		}
	}
	s.restrict()
	return before
}

// indexes returns the keys of a credential, each with its index.
func (s *Set) indexes(c *Credential) iter.Seq2[string, map[string]*Credential] {
	return func(yield func(string, map[string]*Credential) bool) {
		for _, t := range c.Tokens {
			if !yield(t.Hash, s.tokens) {
				return
			}
		}
		for _, id := range c.ClientIDs {
			if !yield(id, s.ids) {
				return
			}
		}
		if c.Identity.URI != "" && !yield(c.Identity.URI, s.uris) {
			return
		}
		if c.Identity.Fingerprint != "" {
			yield(c.Identity.Fingerprint, s.prints)
		}
	}
}

// restrict must be called under the lock.
func (s *Set) restrict() {
	s.restricts.Store(len(s.unknown) > 0 || len(s.byName) > 0)
}

// Len returns the number of credentials.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byName)
}

// All returns the credentials by name, in order.
func (s *Set) All() []Credential {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Credential, 0, len(s.byName))
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		all = append(all, *s.byName[name])
	}
	return all
}

// Unknown returns the rules for unknown devices.
func (s *Set) Unknown() Unknown {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.unknown)
}

// Named returns the credential of a name.
func (s *Set) Named(name string) (Credential, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.byName[name])
}

// ByToken returns the credential of a token, which may be revoked or the token over: ask
// Accepts.
func (s *Set) ByToken(token string) (Credential, bool) {
	hashed := hash(token)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.tokens[hashed])
}

// ByCertificate returns the credential of a certificate, whose chain TLS has verified. Of
// several URIs only one may belong to a credential.
func (s *Set) ByCertificate(uris []string, fingerprint string) (Credential, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.prints[fingerprint]
	for _, uri := range uris {
		if of := s.uris[uri]; of != nil {
			if c != nil && c != of {
				return Credential{}, false
			}
			c = of
		}
	}
	return found(c)
}

func found(c *Credential) (Credential, bool) {
	if c == nil {
		return Credential{}, false
	}
	return *c, true
}

// Owner returns the name of the credential that alone may use a client id of MQTT, see
// Uses. A credential that lists it comes first. Empty means that there is none.
func (s *Set) Owner(clientID string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.ids[clientID]; c != nil {
		return c.Name
	}
	if c := s.byName[owner(clientID)]; c != nil && c.Proves() {
		return c.Name
	}
	return ""
}

// Standing returns what becomes of the readings of a device, whatever sends them.
func (s *Set) Standing(site, device string) Standing {
	if !s.restricts.Load() {
		return StandingAllowed
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	revoked := false
	for _, c := range s.devices[Pattern{site, device}] {
		if c.Kind == KindDevice && c.State == StateAllowed {
			return StandingAllowed
		}
		revoked = revoked || c.Kind == KindDevice
	}
	if revoked {
		return StandingRefused
	}
	for _, p := range [...]Pattern{{site, device}, {site, Any}, {Any, device}, {Any, Any}} {
		for _, c := range s.devices[p] {
			if c.State == StateAllowed {
				return StandingAllowed
			}
		}
	}
	return s.unknown.of(site, device)
}

// Owned reports whether a credential with a token or a certificate names exactly this
// device, so that nobody else speaks for it.
func (s *Set) Owned(site, device string) bool {
	if !s.restricts.Load() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.ContainsFunc(s.devices[Pattern{site, device}], func(c *Credential) bool { return c.Proves() })
}

// Protected returns the devices that nobody but their own credentials speaks for, or nil
// when they are more than most.
func (s *Set) Protected(most int) []Pattern {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []Pattern
	for p, of := range s.devices {
		if !p.Exact() || !slices.ContainsFunc(of, func(c *Credential) bool { return c.Proves() }) {
			continue
		}
		if len(all) == most {
			return nil
		}
		all = append(all, p)
	}
	return all
}

// RefusesUnknown reports whether a client without a credential could have nothing stored, so
// that it need not connect: all unknown devices are refused, and each known one has
// a credential of its own.
func (s *Set) RefusesUnknown() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.unknown.refusesAll() {
		return false
	}
	for _, c := range s.byName {
		if !c.Proves() && c.State == StateAllowed {
			return false
		}
	}
	return true
}
