package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/about"
	"headwater/streams"
)

// Gone is a device that people deleted, or that another one continues.
type Gone struct {
	// At is when. What arrived earlier is gone with a device that was deleted.
	At time.Time `json:"at"`
	// Site and Device are the one that continues it; empty if it was deleted.
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
}

// Deleted reports whether no other device continues it.
func (g Gone) Deleted() bool { return g.Device == "" }

// DecodeGone returns what an entry of the bucket says.
func DecodeGone(stored []byte) (g Gone, err error) {
	err = json.Unmarshal(stored, &g)
	if err == nil && (g.At.IsZero() || !g.Deleted() && !(streams.ValidToken(g.Site) && streams.ValidToken(g.Device))) {
		err = errors.New("a time or a name is missing")
	}
	if err != nil {
		return Gone{}, fmt.Errorf("decode what became of a device: %w", err)
	}
	return g, nil
}

// Remove takes a device out of the registry, with what people say about it, and remembers
// what became of it. A reading that comes later makes it known again. Both names must be valid
// tokens.
func Remove(ctx context.Context, js jetstream.JetStream, site, device string, g Gone) error {
	value, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode what became of %s/%s: %w", site, device, err)
	}
	// What became of it is stored first: whatever fails afterwards can be repeated.
	for _, step := range []struct {
		bucket string
		do     func(jetstream.KeyValue) error
	}{
		{streams.BucketAbout, func(kv jetstream.KeyValue) error {
			_, err := kv.Put(ctx, streams.GoneKey(site, device), value)
			return err
		}},
		{streams.BucketAbout, func(kv jetstream.KeyValue) error { return kv.Delete(ctx, streams.AboutKey(site, device)) }},
		{streams.BucketDevices, func(kv jetstream.KeyValue) error { return kv.Delete(ctx, Key(site, device)) }},
	} {
		kv, err := js.KeyValue(ctx, step.bucket)
		if err == nil {
			err = step.do(kv)
		}
		if err != nil {
			return fmt.Errorf("remove %s/%s from bucket %s: %w", site, device, step.bucket, err)
		}
	}
	return nil
}

// Continue has one device continue another: it gets its metrics and what people say about it,
// as far as nothing else is said, and the other is removed. It returns its entry. All names must be valid tokens.
func Continue(ctx context.Context, js jetstream.JetStream, site, device string, by Gone) (now Device, err error) {
	kv, err := js.KeyValue(ctx, streams.BucketDevices)
	if err != nil {
		return now, fmt.Errorf("open bucket %s: %w", streams.BucketDevices, err)
	}
	known := Device{FirstSeen: by.At}
	entry, err := kv.Get(ctx, Key(site, device))
	if err == nil {
		err = json.Unmarshal(entry.Value(), &known)
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return now, fmt.Errorf("read registry entry %s: %w", Key(site, device), err)
	}
	now, _, _, err = merged(ctx, kv, by.Site, by.Device, news{known.FirstSeen, known.Metrics})
	if err != nil {
		return now, err
	}
	said, err := About(ctx, js, site, device)
	if err == nil && !said.Empty() {
		_, err = SetAbout(ctx, js, by.Site, by.Device, func(own about.About) (about.About, error) { return said.Under(own), nil })
	}
	if err != nil {
		return now, err
	}
	return now, Remove(ctx, js, site, device, by)
}
