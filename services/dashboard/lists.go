package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/listed"
	"headwater/streams"
	"headwater/web/view"
)

// list follows a list that is one entry of the bucket of the silences, and changes it. Any
// number of goroutines may use it.
type list[T listed.Item] struct {
	js  jetstream.JetStream
	log *slog.Logger
	// key is that of the entry.
	key    string
	decode func([]byte) ([]T, error)

	mu      sync.Mutex // guards what follows
	all     []T
	counted uint64
}

// on applies an entry of the bucket.
func (l *list[T]) on(key string, value []byte, _ time.Time) {
	if key != l.key {
		return
	}
	var all []T
	if value != nil {
		var err error
		all, err = l.decode(value)
		if err != nil {
			l.log.Error("a list of the bucket cannot be read", "key", key, "err", err)
			return
		}
	}
	l.put(all)
}

// put replaces what pages show.
func (l *list[T]) put(all []T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = all
	l.counted++
}

// known returns the list, which must not be changed.
func (l *list[T]) known() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// version changes with the list.
func (l *list[T]) version() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counted
}

// update changes the list by compare-and-set. Pages show the new one at once, before the watch
// delivers it.
func (l *list[T]) update(ctx context.Context, change func([]T) ([]T, error)) error {
	bucket, err := l.js.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return fmt.Errorf("%w: bucket %s", view.ErrUnavailable, streams.BucketSilences)
	}
	for range saveAttempts {
		var all []T
		var revision uint64
		entry, err := bucket.Get(ctx, l.key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil:
			return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		default:
			revision = entry.Revision()
			all, err = l.decode(entry.Value())
			if err != nil {
				return err
			}
		}
		all, err = change(all)
		if err != nil {
			return err
		}
		body, err := listed.Encode(all)
		if err != nil {
			return fmt.Errorf("encode the list %s: %w", l.key, err)
		}
		_, err = bucket.Update(ctx, l.key, body, revision)
		if err == nil {
			l.put(all)
			return nil
		}
		if !streams.IsConflict(err) {
			return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		}
	}
	return view.ErrConflict
}
