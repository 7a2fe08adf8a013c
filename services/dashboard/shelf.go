package dashboard

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/web/view"
)

// piece is what people make and keep on a shelf, as JSON.
type piece[T any] interface {
	// Placed returns the piece with its id and the revision of its entry.
	Placed(id string, revision uint64) T
	// Validate returns why it cannot be as it is.
	Validate() error
}

// shelf holds the pieces of one kind in memory. A piece is one entry of a bucket, which is
// changed by compare-and-set. The pieces that it returns are shared and must not be changed.
type shelf[T piece[T]] struct {
	js     jetstream.JetStream
	bucket string
	// key returns the key of an id, and parse the id of a key.
	key   func(id string) string
	parse func(key string) (id string, ok bool)
	// most is the greatest number of pieces, largest the size of one in bytes, and what the
	// word for one.
	most, largest int
	what          string

	mu  sync.Mutex // guards what follows
	all map[string]kept[T]
	// deleted are the revisions at which pieces were deleted.
	deleted map[string]uint64
}

type kept[T any] struct {
	piece    T
	revision uint64
}

// onEntry applies an entry of the bucket. One that cannot be read is no piece.
func (s *shelf[T]) onEntry(entry jetstream.KeyValueEntry) {
	id, ok := s.parse(entry.Key())
	if !ok {
		return
	}
	if entry.Operation() == jetstream.KeyValuePut {
		if p, err := s.decode(id, entry); err == nil {
			s.put(id, p, entry.Revision())
		}
		return
	}
	s.drop(id, entry.Revision())
}

func (s *shelf[T]) decode(id string, entry jetstream.KeyValueEntry) (T, error) {
	var p T
	if err := json.Unmarshal(entry.Value(), &p); err != nil {
		return p, fmt.Errorf("decode %s %s: %w", s.what, id, err)
	}
	p = p.Placed(id, entry.Revision())
	return p, p.Validate()
}

// put shows a piece unless something newer is known of it.
func (s *shelf[T]) put(id string, p T, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision <= max(s.all[id].revision, s.deleted[id]) {
		return
	}
	if s.all == nil {
		s.all = make(map[string]kept[T])
	}
	s.all[id] = kept[T]{p, revision}
}

// drop forgets a piece that was deleted at a revision.
func (s *shelf[T]) drop(id string, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[id].revision > revision {
		return
	}
	delete(s.all, id)
	if s.deleted == nil || len(s.deleted) > 10*s.most {
		s.deleted = make(map[string]uint64)
	}
	s.deleted[id] = max(s.deleted[id], revision)
}

// list returns all pieces in no order.
func (s *shelf[T]) list() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]T, 0, len(s.all))
	for _, k := range s.all {
		out = append(out, k.piece)
	}
	return out
}

// get returns one piece; false when there is none of that id.
func (s *shelf[T]) get(id string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.all[id]
	return k.piece, ok
}

// newID returns an id that no other piece has.
func newID() string { return strings.ToLower(rand.Text()[:12]) }

// create stores a piece under a new id.
func (s *shelf[T]) create(ctx context.Context, p T) (T, error) { return s.add(ctx, newID(), p) }

// add stores a piece under an id that no other has.
func (s *shelf[T]) add(ctx context.Context, id string, p T) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	p = p.Placed(id, 0)
	if err := s.room(p); err != nil {
		return p, err
	}
	return s.write(ctx, id, p, 0)
}

// room returns why one more piece cannot be stored; the error wraps view.ErrDraft.
func (s *shelf[T]) room(p T) error {
	if len(s.list()) >= s.most {
		return fmt.Errorf("%w: there are %d of them already", view.ErrDraft, s.most)
	}
	return s.fits(p)
}

// fits returns why a piece cannot be as it is; the error wraps view.ErrDraft.
func (s *shelf[T]) fits(p T) error {
	if err := p.Validate(); err != nil && !errors.Is(err, view.ErrDraft) {
		return fmt.Errorf("%w: %w", view.ErrDraft, err)
	} else if err != nil {
		return err
	}
	return nil
}

// write stores a piece if the last revision is still the given one, and shows it at once,
// before the watch delivers it.
func (s *shelf[T]) write(ctx context.Context, id string, p T, revision uint64) (T, error) {
	bucket, err := s.js.KeyValue(ctx, s.bucket)
	if err != nil {
		return p, fmt.Errorf("%w: bucket %s", view.ErrUnavailable, s.bucket)
	}
	body, err := json.Marshal(p.Placed(id, 0)) // the revision is that of the entry
	if err != nil {
		return p, fmt.Errorf("encode %s %s: %w", s.what, id, err)
	}
	if len(body) > s.largest {
		return p, fmt.Errorf("%w: the %s is larger than %d bytes", view.ErrDraft, s.what, s.largest)
	}
	now, err := bucket.Update(ctx, s.key(id), body, revision)
	switch {
	case err == nil:
		p = p.Placed(id, now)
		s.put(id, p, now)
		return p, nil
	case streams.IsConflict(err):
		return p, view.ErrConflict
	}
	return p, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}

// change replaces a piece with what change makes of it. If somebody else was first, change is
// called again with the newer one.
func (s *shelf[T]) change(ctx context.Context, id string, change func(T) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var p T
	err := view.ErrConflict
	for range saveAttempts {
		var revision uint64
		p, revision, err = s.read(ctx, id)
		if err != nil {
			break
		}
		if p, err = change(p); err != nil {
			break
		}
		p = p.Placed(id, revision)
		if err = s.fits(p); err != nil {
			break
		}
		if p, err = s.write(ctx, id, p, revision); !errors.Is(err, view.ErrConflict) {
			break
		}
	}
	return p, err
}

// read returns a piece as it is stored, and the revision of its entry.
func (s *shelf[T]) read(ctx context.Context, id string) (p T, revision uint64, err error) {
	bucket, err := s.js.KeyValue(ctx, s.bucket)
	if err != nil {
		return p, 0, fmt.Errorf("%w: bucket %s", view.ErrUnavailable, s.bucket)
	}
	entry, err := bucket.Get(ctx, s.key(id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
		return p, 0, view.ErrNotFound
	case err != nil:
		return p, 0, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	p, err = s.decode(id, entry)
	return p, entry.Revision(), err
}

// remove deletes a piece and returns it as it was.
func (s *shelf[T]) remove(ctx context.Context, id string) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	p, revision, err := s.read(ctx, id)
	if err != nil {
		return p, err
	}
	bucket, err := s.js.KeyValue(ctx, s.bucket)
	if err == nil {
		err = bucket.Delete(ctx, s.key(id), jetstream.LastRevision(revision))
	}
	switch {
	case err == nil:
		s.drop(id, revision)
		return p, nil
	case streams.IsConflict(err):
		return p, view.ErrConflict
	}
	return p, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}

// refused reports whether a change did not fit, or was about what is not there: it is no entry
// of the audit.
func refused(err error) bool {
	return errors.Is(err, view.ErrDraft) || errors.Is(err, view.ErrNotFound)
}
