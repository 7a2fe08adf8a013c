// Package edges keeps, at the centre, the edges that may send readings and anomalies, and
// what is known of each. They are in a bucket, each under its name. A process looks an edge
// up for each request, so a revoked one is refused at once.
package edges

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/credentials"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

// InviteValid is how long the secret of an invitation is good.
const InviteValid = 7 * 24 * time.Hour

// maxSites bounds the sites of an edge.
const maxSites = 64

// Errors, worded for people.
var (
	// ErrNone is returned for an edge that does not exist.
	ErrNone = errors.New("there is no edge of that name")
	// ErrSecret is returned for a secret or a token that is not the edge's.
	ErrSecret = errors.New("the edge is unknown, or its token wrong")
	// ErrRevoked is returned for an edge that is revoked.
	ErrRevoked = errors.New("the edge is revoked")
	// ErrDraft is returned for an edge that cannot be; the details say why.
	ErrDraft = errors.New("it does not fit")
)

// Edge is who may send up.
type Edge struct {
	Name string `json:"name"`
	// Sites are those whose readings it may send; empty for all.
	Sites []string `json:"sites,omitempty"`
	// Invite is good once. Token is the edge's own, of which only the hash is kept.
	Invite  credentials.Claim `json:"invite,omitzero"`
	Token   credentials.Token `json:"token,omitzero"`
	Revoked bool              `json:"revoked,omitempty"`
	Policy  uplink.Policy     `json:"policy"`
	Created time.Time         `json:"created"`
	Changed time.Time         `json:"changed"`
	Joined  time.Time         `json:"joined,omitzero"`
	// Repair is the last one that it was asked for, at RepairAsked; nil if there was none.
	Repair      *uplink.Repair `json:"repair,omitempty"`
	RepairAsked time.Time      `json:"repair_asked,omitzero"`
}

// Validate returns what is wrong with the edge, or nil.
func (e Edge) Validate() error {
	if !streams.ValidToken(e.Name) {
		return fmt.Errorf("%w: a name is 1 to 64 letters, digits, hyphens or underscores", ErrDraft)
	}
	if len(e.Sites) > maxSites {
		return fmt.Errorf("%w: %d sites, at most %d", ErrDraft, len(e.Sites), maxSites)
	}
	for _, site := range e.Sites {
		if !streams.ValidToken(site) {
			return fmt.Errorf("%w: a site is 1 to 64 letters, digits, hyphens or underscores", ErrDraft)
		}
	}
	err := e.Policy.Validate()
	if err == nil && e.Repair != nil {
		err = e.Repair.Validate()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDraft, err)
	}
	return nil
}

// Speaks reports whether the edge may send readings of a site.
func (e Edge) Speaks(site string) bool { return len(e.Sites) == 0 || slices.Contains(e.Sites, site) }

// Status is what the centre knows of an edge.
type Status struct {
	uplink.Contact
	// Seen is when the edge was last in contact.
	Seen time.Time `json:"seen,omitzero"`
	// Stored are the places of the last frames whose parts are all stored.
	StoredReadings  uplink.Place `json:"stored_readings"`
	StoredAlerts    uplink.Place `json:"stored_alerts"`
	StoredSummaries uplink.Place `json:"stored_summaries,omitzero"`
	// Refused counts readings and anomalies that the edge may not send.
	Refused uint64 `json:"refused,omitempty"`
}

// Store is the bucket of the edges. Any number of goroutines may use it.
type Store struct{ JS jetstream.JetStream }

func (s Store) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	bucket, err := s.JS.KeyValue(ctx, streams.BucketEdges)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketEdges, err)
	}
	return bucket, nil
}

// read reads a value into v and returns its revision, 0 if there is none.
func (s Store) read(ctx context.Context, bucket jetstream.KeyValue, key string, v any) (uint64, error) {
	entry, err := bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s of bucket %s: %w", key, streams.BucketEdges, err)
	}
	if err := json.Unmarshal(entry.Value(), v); err != nil {
		return 0, fmt.Errorf("decode %s of bucket %s: %w", key, streams.BucketEdges, err)
	}
	return entry.Revision(), nil
}

// changeAttempts is how often a change is tried while others change the same edge.
const changeAttempts = 5

// Change changes an edge, which is new if it has no name, and returns what it is then.
func (s Store) Change(ctx context.Context, name string, change func(*Edge) error) (Edge, error) {
	if !streams.ValidToken(name) {
		return Edge{}, Edge{Name: name}.Validate()
	}
	bucket, err := s.bucket(ctx)
	if err != nil {
		return Edge{}, err
	}
	for range changeAttempts {
		var e Edge
		revision, err := s.read(ctx, bucket, streams.EdgeKey(name), &e)
		if err == nil {
			err = change(&e)
		}
		if err == nil {
			err = e.Validate()
		}
		if err != nil {
			return Edge{}, err
		}
		body, err := json.Marshal(e)
		if err != nil {
			return Edge{}, fmt.Errorf("encode edge %s: %w", name, err)
		}
		if _, err = bucket.Update(ctx, streams.EdgeKey(name), body, revision); err == nil {
			return e, nil
		}
		if !streams.IsConflict(err) {
			return Edge{}, fmt.Errorf("store edge %s: %w", name, err)
		}
	}
	return Edge{}, fmt.Errorf("edge %s is being changed by others", name)
}

// Invite makes an edge, or gives one that there is a new invitation, and returns its secret.
// An edge that joined stays in until the invitation is used.
func (s Store) Invite(ctx context.Context, name string, now time.Time, draft func(*Edge)) (Edge, string, error) {
	secret, claim := credentials.NewClaim(now.Add(InviteValid))
	e, err := s.Change(ctx, name, func(e *Edge) error {
		if e.Name == "" {
			*e = Edge{Name: name, Created: now}
		}
		if e.Revoked {
			e.Revoked, e.Token = false, credentials.Token{}
		}
		e.Invite, e.Changed = claim, now
		draft(e)
		return nil
	})
	return e, secret, err
}

// SetPolicy changes what an edge is to send.
func (s Store) SetPolicy(ctx context.Context, name string, now time.Time, p uplink.Policy) (Edge, error) {
	return s.known(ctx, name, func(e *Edge) error {
		e.Policy, e.Changed = p, now
		return nil
	})
}

// AskRepair asks an edge for pieces once more, of which there may be uplink.MaxPieces.
func (s Store) AskRepair(ctx context.Context, name string, now time.Time, pieces []uplink.Piece) (Edge, error) {
	return s.known(ctx, name, func(e *Edge) error {
		if e.Revoked {
			return ErrRevoked
		}
		e.Repair, e.RepairAsked = &uplink.Repair{ID: rand.Text(), Pieces: pieces}, now
		return nil
	})
}

// Revoke lets an edge in no more.
func (s Store) Revoke(ctx context.Context, name string, now time.Time) (Edge, error) {
	return s.known(ctx, name, func(e *Edge) error {
		e.Revoked, e.Invite, e.Changed = true, credentials.Claim{}, now
		return nil
	})
}

func (s Store) known(ctx context.Context, name string, change func(*Edge) error) (Edge, error) {
	return s.Change(ctx, name, func(e *Edge) error {
		if e.Name == "" {
			return fmt.Errorf("%w: %s", ErrNone, name)
		}
		return change(e)
	})
}

// Join exchanges the secret of an invitation for a token that the edge has made. It may be
// repeated with the same token.
func (s Store) Join(ctx context.Context, name, secret, token string, now time.Time) (Edge, error) {
	if len(token) < 20 || len(token) > 128 {
		return Edge{}, ErrSecret
	}
	return s.Change(ctx, name, func(e *Edge) error {
		switch {
		case e.Name == "":
			return ErrSecret
		case e.Revoked:
			return ErrRevoked
		case e.Token.Is(token):
			return nil
		case !e.Invite.Accepts(secret, now):
			return ErrSecret
		}
		e.Token, e.Invite, e.Joined = credentials.TokenOf(token), credentials.Claim{}, now
		return nil
	})
}

// Authenticate returns the edge whose token that is.
func (s Store) Authenticate(ctx context.Context, name, token string) (Edge, error) {
	var e Edge
	if !streams.ValidToken(name) {
		return e, ErrSecret
	}
	bucket, err := s.bucket(ctx)
	if err != nil {
		return e, err
	}
	if _, err := s.read(ctx, bucket, streams.EdgeKey(name), &e); err != nil {
		return e, err
	}
	switch {
	case e.Name != name || !e.Token.Is(token):
		return Edge{}, ErrSecret
	case e.Revoked:
		return Edge{}, ErrRevoked
	}
	return e, nil
}

// Edge returns an edge with what is known of it. It returns ErrNone if there is none.
func (s Store) Edge(ctx context.Context, name string) (Listed, error) {
	var l Listed
	if !streams.ValidToken(name) {
		return l, fmt.Errorf("%w: %.64q", ErrNone, name)
	}
	bucket, err := s.bucket(ctx)
	if err != nil {
		return l, err
	}
	revision, err := s.read(ctx, bucket, streams.EdgeKey(name), &l.Edge)
	if err == nil && revision == 0 {
		err = fmt.Errorf("%w: %s", ErrNone, name)
	}
	if err != nil {
		return l, err
	}
	_, err = s.read(ctx, bucket, streams.EdgeStatusKey(name), &l.Status)
	return l, err
}

// Holdings returns what an edge holds, and when it was reported; the zero time if it was not.
func (s Store) Holdings(ctx context.Context, name string) (h uplink.Holdings, at time.Time, err error) {
	bucket, err := s.bucket(ctx)
	if err != nil {
		return h, at, err
	}
	entry, err := bucket.Get(ctx, streams.EdgeHoldingsKey(name))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return h, at, nil
	}
	if err != nil {
		return h, at, fmt.Errorf("read what edge %s holds: %w", name, err)
	}
	h, err = uplink.UnpackHoldings(entry.Value())
	return h, entry.Created(), err
}

// PutHoldings stores what an edge holds, packed.
func (s Store) PutHoldings(ctx context.Context, name string, packed []byte) error {
	bucket, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	if _, err := bucket.Put(ctx, streams.EdgeHoldingsKey(name), packed); err != nil {
		return fmt.Errorf("store what edge %s holds: %w", name, err)
	}
	return nil
}

// Status returns what is known of an edge.
func (s Store) Status(ctx context.Context, name string) (st Status, err error) {
	bucket, err := s.bucket(ctx)
	if err != nil {
		return st, err
	}
	_, err = s.read(ctx, bucket, streams.EdgeStatusKey(name), &st)
	return st, err
}

// PutStatus stores what is known of an edge.
func (s Store) PutStatus(ctx context.Context, name string, st Status) error {
	bucket, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	body, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("encode the status of edge %s: %w", name, err)
	}
	if _, err := bucket.Put(ctx, streams.EdgeStatusKey(name), body); err != nil {
		return fmt.Errorf("store the status of edge %s: %w", name, err)
	}
	return nil
}

// Listed is an edge with what is known of it.
type Listed struct {
	Edge
	Status
}

// All returns all edges by name, up to streams.MaxEdges.
func (s Store) All(ctx context.Context) ([]Listed, error) {
	bucket, err := s.bucket(ctx)
	if err != nil {
		return nil, err
	}
	found, known := make(map[string]Edge), make(map[string]Status)
	err = streams.ReadBucket(ctx, bucket, []string{streams.EdgeKeys, streams.EdgeStatusKeys}, func(entry jetstream.KeyValueEntry) {
		name, isEdge := streams.ParseEdgeKey(entry.Key())
		if isEdge {
			var one Edge
			if json.Unmarshal(entry.Value(), &one) == nil {
				found[name] = one
			}
			return
		}
		var st Status
		if json.Unmarshal(entry.Value(), &st) == nil {
			known[name] = st
		}
	}, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	all := make([]Listed, 0, len(found))
	for name, e := range found {
		all = append(all, Listed{e, known[name]})
	}
	slices.SortFunc(all, func(a, b Listed) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
