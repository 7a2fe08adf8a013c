package webpush

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// MaxDevices is the greatest number of browsers that are notified.
const MaxDevices = 200

// maxName bounds the names of a device and of its owner, in bytes.
const maxName = 80

// ErrFull is returned when MaxDevices are notified already.
var ErrFull = fmt.Errorf("%d devices are notified already; remove one first", MaxDevices)

// Device is a browser that is notified.
type Device struct {
	// ID is made of the endpoint: a browser that subscribes again stays one device.
	ID string `json:"id"`
	Subscription
	// Name is what its owner calls it, Who is the owner; either may be empty.
	Name    string    `json:"name"`
	Who     string    `json:"who,omitempty"`
	Created time.Time `json:"created"`
}

// Check returns what is wrong with the device.
func (d Device) Check() error {
	if len(d.Name) > maxName || len(d.Who) > maxName {
		return fmt.Errorf("the name must have at most %d bytes", maxName)
	}
	return d.Subscription.Check()
}

// IDOf returns the id of the browser with an endpoint.
func IDOf(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return hex.EncodeToString(sum[:8])
}

// Store keeps the keys and the devices. It has no state of its own; several goroutines and
// processes may use it at once.
type Store struct{ kv jetstream.KeyValue }

// Open returns the store. The bucket must be there.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	kv, err := js.KeyValue(ctx, streams.BucketPush)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketPush, err)
	}
	return &Store{kv}, nil
}

// Keys returns the keys of this Headwater. The first caller makes them.
func (s *Store) Keys(ctx context.Context) (*Keys, error) {
	data, err := s.once(ctx, streams.PushKeysKey, func() ([]byte, error) {
		k, err := NewKeys()
		if err != nil {
			return nil, err
		}
		return k.Marshal()
	})
	if err != nil {
		return nil, err
	}
	return ParseKeys(data)
}

// once returns a value of the bucket, and makes it if it is not there.
func (s *Store) once(ctx context.Context, key string, make func() ([]byte, error)) ([]byte, error) {
	for {
		entry, err := s.kv.Get(ctx, key)
		if err == nil {
			return entry.Value(), nil
		}
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, fmt.Errorf("read key %s of bucket %s: %w", key, streams.BucketPush, err)
		}
		value, err := make()
		if err != nil {
			return nil, err
		}
		if _, err := s.kv.Create(ctx, key, value); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, fmt.Errorf("write key %s of bucket %s: %w", key, streams.BucketPush, err)
		}
	}
}

// Devices returns the devices, by name.
func (s *Store) Devices(ctx context.Context) ([]Device, error) {
	var all []Device
	err := streams.ReadBucket(ctx, s.kv, []string{streams.PushDeviceKey("*")}, func(entry jetstream.KeyValueEntry) {
		var d Device
		if err := json.Unmarshal(entry.Value(), &d); err == nil && streams.PushDeviceKey(d.ID) == entry.Key() {
			all = append(all, d)
		}
	}, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Device) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Save adds a device, or replaces the one of the same browser. It sets id and time.
func (s *Store) Save(ctx context.Context, d Device) (Device, error) {
	d.ID, d.Created = IDOf(d.Endpoint), time.Now().UTC()
	if err := d.Check(); err != nil {
		return Device{}, err
	}
	all, err := s.Devices(ctx)
	if err != nil {
		return Device{}, err
	}
	if len(all) >= MaxDevices && !slices.ContainsFunc(all, func(o Device) bool { return o.ID == d.ID }) {
		return Device{}, ErrFull
	}
	value, err := json.Marshal(d)
	if err != nil {
		return Device{}, fmt.Errorf("encode a device: %w", err)
	}
	if _, err := s.kv.Put(ctx, streams.PushDeviceKey(d.ID), value); err != nil {
		return Device{}, fmt.Errorf("write bucket %s: %w", streams.BucketPush, err)
	}
	return d, nil
}

// Delete removes a device; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, id string) error {
	if !streams.ValidToken(id) {
		return errors.New("that is not the id of a device")
	}
	if err := s.kv.Purge(ctx, streams.PushDeviceKey(id)); err != nil {
		return fmt.Errorf("write bucket %s: %w", streams.BucketPush, err)
	}
	return nil
}

// ErrUsed is returned for a link that was used before.
var ErrUsed = errors.New("this link was used already")

// Use notes that a link, by its id, is used; it is remembered for that long. Errors: ErrUsed.
func (s *Store) Use(ctx context.Context, id string, remember time.Duration) error {
	_, err := s.kv.Create(ctx, streams.PushUsedKey(id), nil, jetstream.KeyTTL(max(remember, time.Second)))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return ErrUsed
	}
	if err != nil {
		return fmt.Errorf("write bucket %s: %w", streams.BucketPush, err)
	}
	return nil
}

// Unuse makes a link work again: what it was for did not happen.
func (s *Store) Unuse(ctx context.Context, id string) error {
	if err := s.kv.Purge(ctx, streams.PushUsedKey(id)); err != nil {
		return fmt.Errorf("write bucket %s: %w", streams.BucketPush, err)
	}
	return nil
}

// LinkKey returns the key that links of messages are signed with. It is made once, like
// Keys.
func (s *Store) LinkKey(ctx context.Context) ([]byte, error) {
	return s.once(ctx, streams.PushLinksKey, func() ([]byte, error) {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		return key, err
	})
}
