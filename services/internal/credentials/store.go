package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Errors of the store, worded for people.
var (
	// ErrExists is returned for a name that is taken.
	ErrExists = errors.New("there is a credential of that name already")
	// ErrNone is returned for a credential that does not exist.
	ErrNone = errors.New("there is no credential of that name")
)

// Create stores a new credential.
func Create(ctx context.Context, js jetstream.JetStream, c Credential) error {
	body, err := c.Encode()
	if err != nil {
		return err
	}
	bucket, err := open(ctx, js)
	if err != nil {
		return err
	}
	_, err = bucket.Create(ctx, streams.CredentialKey(c.Name), body)
	switch {
	case streams.IsConflict(err), errors.Is(err, jetstream.ErrKeyExists):
		return fmt.Errorf("%w: %s", ErrExists, c.Name)
	case err != nil:
		return fmt.Errorf("store credential %s: %w", c.Name, err)
	}
	return nil
}

// changeAttempts is how often a change is tried while others change the same credential.
const changeAttempts = 5

// Change changes a credential and returns what it is then.
func Change(ctx context.Context, js jetstream.JetStream, name string, change func(*Credential) error) (Credential, error) {
	bucket, err := open(ctx, js)
	if err != nil {
		return Credential{}, err
	}
	for range changeAttempts {
		entry, err := bucket.Get(ctx, streams.CredentialKey(name))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return Credential{}, fmt.Errorf("%w: %s", ErrNone, name)
		}
		if err != nil {
			return Credential{}, fmt.Errorf("read credential %s: %w", name, err)
		}
		c, err := Decode(entry.Value())
		if err == nil {
			err = change(&c)
		}
		if err != nil {
			return Credential{}, err
		}
		body, err := c.Encode()
		if err != nil {
			return Credential{}, err
		}
		if _, err = bucket.Update(ctx, streams.CredentialKey(name), body, entry.Revision()); err == nil {
			return c, nil
		}
		if !streams.IsConflict(err) {
			return Credential{}, fmt.Errorf("store credential %s: %w", name, err)
		}
	}
	return Credential{}, fmt.Errorf("credential %s is being changed by others", name)
}

// SetUnknown stores what becomes of unknown devices.
func SetUnknown(ctx context.Context, js jetstream.JetStream, u Unknown) error {
	if err := u.Validate(); err != nil {
		return err
	}
	bucket, err := open(ctx, js)
	if err != nil {
		return err
	}
	body, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("encode the rules for unknown devices: %w", err)
	}
	if _, err := bucket.Put(ctx, streams.UnknownKey, body); err != nil {
		return fmt.Errorf("store the rules for unknown devices: %w", err)
	}
	return nil
}

func open(ctx context.Context, js jetstream.JetStream) (jetstream.KeyValue, error) {
	bucket, err := js.KeyValue(ctx, streams.BucketCredentials)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketCredentials, err)
	}
	return bucket, nil
}
