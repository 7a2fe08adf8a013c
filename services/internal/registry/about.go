package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/about"
	"headwater/streams"
)

// DecodeAbout returns what an entry of the bucket says about a device.
func DecodeAbout(stored []byte) (a about.About, err error) {
	err = json.Unmarshal(stored, &a)
	if err == nil {
		err = a.Validate()
	}
	if err != nil {
		return about.About{}, fmt.Errorf("decode what is said about a device: %w", err)
	}
	return a, nil
}

// About returns what people say about a device on its page; nothing if they say nothing.
func About(ctx context.Context, js jetstream.JetStream, site, device string) (about.About, error) {
	kv, err := js.KeyValue(ctx, streams.BucketAbout)
	if err != nil {
		return about.About{}, fmt.Errorf("open bucket %s: %w", streams.BucketAbout, err)
	}
	a, _, err := read(ctx, kv, streams.AboutKey(site, device))
	return a, err
}

// read returns an entry and its revision; 0 if there is none. An entry that cannot be
// decoded says nothing, so that the next change replaces it.
func read(ctx context.Context, kv jetstream.KeyValue, key string) (about.About, uint64, error) {
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return about.About{}, 0, nil
	}
	if err != nil {
		return about.About{}, 0, fmt.Errorf("read key %s of bucket %s: %w", key, streams.BucketAbout, err)
	}
	if a, err := DecodeAbout(entry.Value()); err == nil {
		return a, entry.Revision(), nil
	}
	return about.About{}, entry.Revision(), nil
}

// Said is what came of a change of what people say about a device.
type Said struct {
	Before, After about.About
	// Revision is that of After in the bucket.
	Revision uint64
}

// SetAbout changes what people say about a device. Change gets what is said and returns what
// is to be said; its errors are returned. Nothing is written when that is the same. Both
// names must be valid tokens.
func SetAbout(ctx context.Context, js jetstream.JetStream, site, device string, change func(about.About) (about.About, error)) (said Said, err error) {
	kv, err := js.KeyValue(ctx, streams.BucketAbout)
	if err != nil {
		return said, fmt.Errorf("open bucket %s: %w", streams.BucketAbout, err)
	}
	key := streams.AboutKey(site, device)
	for range maxConflicts {
		said.Before, said.Revision, err = read(ctx, kv, key)
		if err != nil {
			return said, err
		}
		said.After, err = change(said.Before)
		if err == nil {
			err = said.After.Validate()
		}
		if err != nil || said.After.Equal(said.Before) {
			return said, err
		}
		revision := said.Revision
		said.Revision, err = put(ctx, kv, key, said.After, revision)
		if err == nil || !streams.IsConflict(err) {
			return said, err
		}
	}
	return said, fmt.Errorf("write key %s of bucket %s: another writer was first %d times", key, streams.BucketAbout, maxConflicts)
}

// put writes an entry if its revision is still the given one, and returns the new one. Nothing
// is said by an entry too, so that every change has a revision.
func put(ctx context.Context, kv jetstream.KeyValue, key string, a about.About, revision uint64) (uint64, error) {
	value, err := json.Marshal(a)
	if err != nil {
		return 0, fmt.Errorf("encode what is said about %s: %w", key, err)
	}
	if revision == 0 {
		revision, err = kv.Create(ctx, key, value)
	} else {
		revision, err = kv.Update(ctx, key, value, revision)
	}
	if err != nil {
		return 0, fmt.Errorf("write key %s of bucket %s: %w", key, streams.BucketAbout, err)
	}
	return revision, nil
}
