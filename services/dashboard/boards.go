package dashboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/audit"
	"headwater/streams"
	"headwater/web/boards"
	"headwater/web/view"
)

// boardSource implements boards.Source: a board is one entry of its bucket, which is changed by
// compare-and-set.
type boardSource struct {
	alertSource func() alertSource
	js          jetstream.JetStream
	fleet       *fleet.Fleet
	changes     recorder

	mu  sync.Mutex
	all map[string]boards.Board // guarded by mu; the boards are never changed
	// deleted are the revisions at which boards were deleted, guarded by mu.
	deleted map[string]uint64
}

// onEntry applies an entry of the bucket. One that cannot be read is no board.
func (s *boardSource) onEntry(entry jetstream.KeyValueEntry) {
	id, ok := streams.ParseBoardKey(entry.Key())
	if !ok {
		return
	}
	if entry.Operation() == jetstream.KeyValuePut {
		if b, err := decodeBoard(id, entry); err == nil {
			s.put(b)
		}
		return
	}
	s.drop(id, entry.Revision())
}

func decodeBoard(id string, entry jetstream.KeyValueEntry) (boards.Board, error) {
	var b boards.Board
	if err := json.Unmarshal(entry.Value(), &b); err != nil {
		return b, fmt.Errorf("decode board %s: %w", id, err)
	}
	b.ID, b.Revision = id, entry.Revision()
	return b, b.Validate()
}

// put shows a board unless something newer is known of it.
func (s *boardSource) put(b boards.Board) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Revision > max(s.all[b.ID].Revision, s.deleted[b.ID]) {
		s.all[b.ID] = b
	}
}

// drop forgets a board that was deleted at a revision.
func (s *boardSource) drop(id string, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[id].Revision > revision {
		return
	}
	delete(s.all, id)
	if s.deleted == nil || len(s.deleted) > 10*boards.MaxBoards {
		s.deleted = make(map[string]uint64)
	}
	s.deleted[id] = max(s.deleted[id], revision)
}

// Boards implements boards.Source.
func (s *boardSource) Boards() []boards.Board {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.all), func(a, b boards.Board) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title)), cmp.Compare(a.ID, b.ID))
	})
}

// Board implements boards.Source.
func (s *boardSource) Board(id string) (boards.Board, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.all[id]
	return b, ok
}

// CreateBoard implements boards.Source.
func (s *boardSource) CreateBoard(ctx context.Context, b boards.Board) (boards.Board, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	b.ID, b.Revision = strings.ToLower(rand.Text()[:12]), 0
	if err := b.Validate(); err != nil {
		return b, err
	}
	if len(s.Boards()) >= boards.MaxBoards {
		return b, fmt.Errorf("%w: there are %d boards already", boards.ErrDraft, boards.MaxBoards)
	}
	b, err := s.write(ctx, b, 0)
	s.record(ctx, audit.BoardSave, b, "created", err)
	return b, err
}

// write stores a board if the last revision is still the given one, and shows it at once,
// before the watch delivers it.
func (s *boardSource) write(ctx context.Context, b boards.Board, revision uint64) (boards.Board, error) {
	bucket, err := s.js.KeyValue(ctx, streams.BucketBoards)
	if err != nil {
		return b, fmt.Errorf("%w: bucket %s", view.ErrUnavailable, streams.BucketBoards)
	}
	b.Revision = 0 // it is that of the entry
	body, err := json.Marshal(b)
	if err != nil {
		return b, fmt.Errorf("encode board %s: %w", b.ID, err)
	}
	if len(body) > streams.MaxBoard {
		return b, fmt.Errorf("%w: the board is larger than %d bytes", boards.ErrDraft, streams.MaxBoard)
	}
	b.Revision, err = bucket.Update(ctx, streams.BoardKey(b.ID), body, revision)
	switch {
	case err == nil:
		s.put(b)
		return b, nil
	case streams.IsConflict(err):
		return b, view.ErrConflict
	}
	return b, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}

// ChangeBoard implements boards.Source.
func (s *boardSource) ChangeBoard(ctx context.Context, id, what string, change func(boards.Board) (boards.Board, error)) (boards.Board, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var b boards.Board
	err := view.ErrConflict
	for range saveAttempts {
		var now boards.Board
		now, err = s.read(ctx, id)
		if err != nil {
			break
		}
		b, err = change(now.Clone())
		if err != nil {
			return b, err
		}
		b.ID = id
		if err = b.Validate(); err != nil {
			return b, err
		}
		b, err = s.write(ctx, b, now.Revision)
		if !errors.Is(err, view.ErrConflict) {
			break
		}
	}
	s.record(ctx, audit.BoardSave, b, what, err)
	return b, err
}

// read returns a board as it is stored.
func (s *boardSource) read(ctx context.Context, id string) (boards.Board, error) {
	bucket, err := s.js.KeyValue(ctx, streams.BucketBoards)
	if err != nil {
		return boards.Board{}, fmt.Errorf("%w: bucket %s", view.ErrUnavailable, streams.BucketBoards)
	}
	entry, err := bucket.Get(ctx, streams.BoardKey(id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return boards.Board{}, view.ErrNotFound
	case err != nil:
		return boards.Board{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return decodeBoard(id, entry)
}

// DeleteBoard implements boards.Source.
func (s *boardSource) DeleteBoard(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	b, err := s.read(ctx, id)
	if err == nil {
		var bucket jetstream.KeyValue
		bucket, err = s.js.KeyValue(ctx, streams.BucketBoards)
		if err == nil {
			err = bucket.Delete(ctx, streams.BoardKey(id), jetstream.LastRevision(b.Revision))
		}
		switch {
		case err == nil:
			s.drop(id, b.Revision)
		case streams.IsConflict(err):
			err = view.ErrConflict
		default:
			err = fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		}
	}
	s.record(ctx, audit.BoardDelete, b, "", err)
	return err
}

// record notes a change in the audit.
func (s *boardSource) record(ctx context.Context, action audit.Action, b boards.Board, what string, err error) {
	s.changes.record(ctx, audit.Entry{Action: action, Object: strings.TrimSpace(b.Title + " " + b.ID), After: what}, err)
}

// Device implements boards.Source.
func (s *boardSource) Device(site, dev string) (view.Device, bool) {
	return s.fleet.Device(site, dev, time.Now())
}

// Matching implements boards.Source.
func (s *boardSource) Matching(text string, most int) []view.Device {
	return s.fleet.After(text, nil, "", "", most, time.Now())
}

// Alerts implements boards.Source.
func (s *boardSource) Alerts(resolved int) view.Alerts { return s.alertSource().Alerts(resolved) }
