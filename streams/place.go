package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Place is a reader's position in a stream. It is stored apart from the stream, so after a
// power cut it may be ahead of it: the end of the stream is gone, and new messages get the
// sequences of those that were read. So a place is more than a sequence. Every place that
// outlives its process is checked with Resume before it is used, and so is the place of
// every reader that keeps running while nats-server restarts.
type Place struct {
	// Incarnation is when the stream was created, in nanoseconds since the Unix epoch; 0 if
	// unknown.
	Incarnation int64
	// Sequence is the sequence of the last message that was read; 0 for none.
	Sequence uint64
	// Stored is when the stream stored that message, in nanoseconds since the Unix epoch; 0
	// if unknown.
	Stored int64
}

// Loss is what is missing from a stream although it was read from it.
type Loss struct {
	Stream string `json:"stream"`
	// Recreated is set when the stream was deleted and created again.
	Recreated bool `json:"recreated,omitempty"`
	// Kept is the last sequence that is unchanged, Until the last one that was read.
	Kept  uint64 `json:"kept"`
	Until uint64 `json:"until"`
	// After and Before are when these were stored; zero if unknown.
	After  time.Time `json:"after,omitzero"`
	Before time.Time `json:"before,omitzero"`
	// Noticed is when the loss was found.
	Noticed time.Time `json:"noticed"`
}

// Resume returns the place from which to continue in the stream. It is p unless there is a
// loss. No new message lies before it.
//
//  1. While the stream is shorter than p, its last sequence shows that the end is gone.
//  2. When it has grown again, the message at p's sequence has another time of storage.
//  3. The new messages begin with the first one that was stored later than the one at p.
//
// Limits: nats-server's clock must not have been set back across the cut. If the message
// at p was removed, the stream is taken for unchanged; the janitor removes only what was
// read.
func (p Place) Resume(ctx context.Context, stream jetstream.Stream) (Place, *Loss, error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return p, nil, fmt.Errorf("look at stream %s: %w", stream.CachedInfo().Config.Name, err)
	}
	state, incarnation := info.State, info.Created.UnixNano()
	start := Place{Incarnation: incarnation}
	if p.Sequence == 0 {
		return start, nil, nil
	}
	loss := &Loss{Stream: info.Config.Name, Until: p.Sequence, Noticed: time.Now()}
	if p.Stored != 0 {
		loss.Before = time.Unix(0, p.Stored)
	}
	if p.Incarnation != 0 && p.Incarnation != incarnation {
		loss.Recreated = true
		return start, loss, nil
	}
	if p.Sequence <= state.LastSeq {
		if p.Stored == 0 {
			return Place{incarnation, p.Sequence, 0}, nil, nil
		}
		msg, err := stream.GetMsg(ctx, p.Sequence)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return Place{incarnation, p.Sequence, p.Stored}, nil, nil
		case err != nil:
			return p, nil, fmt.Errorf("read message %d of stream %s: %w", p.Sequence, info.Config.Name, err)
		case msg.Time.UnixNano() == p.Stored:
			return Place{incarnation, p.Sequence, p.Stored}, nil, nil
		case msg.Time.UnixNano() < p.Stored:
			// It is another message, and the clock was set back: the beginning of the new
			// ones is unknown.
			return start, loss, nil
		}
	}
	if p.Stored == 0 {
		return start, loss, nil
	}
	begin := state.LastSeq + 1
	if state.Msgs > 0 && state.LastTime.UnixNano() > p.Stored {
		begin, err = firstSince(ctx, stream, state, time.Unix(0, p.Stored+1))
		if err != nil {
			return p, nil, fmt.Errorf("look for what is new in stream %s: %w", info.Config.Name, err)
		}
	}
	loss.Kept = min(begin-min(begin, 1), p.Sequence-1)
	now := Place{Incarnation: incarnation, Sequence: loss.Kept}
	if msg, err := stream.GetMsg(ctx, loss.Kept); err == nil {
		now.Stored, loss.After = msg.Time.UnixNano(), msg.Time
	} else if !errors.Is(err, jetstream.ErrMsgNotFound) && loss.Kept > 0 {
		return p, nil, fmt.Errorf("read message %d of stream %s: %w", loss.Kept, info.Config.Name, err)
	}
	return now, loss, nil
}

// ErrLost is returned by Place.Check when the stream no longer holds what was read, and
// ErrRecreated, which is an ErrLost, when that is because the stream was deleted and
// created again.
var (
	ErrLost      = errors.New("what was read is no longer there")
	ErrRecreated = fmt.Errorf("%w: the stream was recreated", ErrLost)
)

// Check returns nil if the stream still holds what was read.
func (p Place) Check(ctx context.Context, js jetstream.JetStream, name string) error {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	if p.Incarnation != 0 && stream.CachedInfo().Created.UnixNano() != p.Incarnation {
		return fmt.Errorf("stream %s: %w", name, ErrRecreated)
	}
	if p.Sequence == 0 {
		return nil
	}
	switch _, loss, err := p.Resume(ctx, stream); {
	case err != nil:
		return err
	case loss != nil:
		return fmt.Errorf("%w: %s", ErrLost, loss)
	}
	return nil
}

// BucketCreated returns when a bucket was created, which distinguishes it from one of the same
// name that was deleted before.
func BucketCreated(status jetstream.KeyValueStatus) (time.Time, error) {
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return time.Time{}, fmt.Errorf("bucket %s: its status does not say when it was created", status.Bucket())
	}
	return bucket.StreamInfo().Created, nil
}

// String returns what is gone as a sentence.
func (l *Loss) String() string {
	if l.Recreated {
		return l.Stream + " was recreated: what it held is gone"
	}
	s := fmt.Sprintf("%s has lost its end: messages %d to %d, which had been read, are gone", l.Stream, l.Kept+1, l.Until)
	const layout = "2006-01-02 15:04:05.000"
	if !l.Before.IsZero() && !l.After.IsZero() {
		s += fmt.Sprintf(" (stored after %s until %s UTC)", l.After.UTC().Format(layout), l.Before.UTC().Format(layout))
	}
	return s
}

// lossToken is part of the keys of BucketManifests under which losses are recorded.
const lossToken = "lost"

// LossKeys matches the keys of all losses in BucketManifests.
const LossKeys = "*." + lossToken + ".*"

// lossKey is the key of the last loss that a service found in a stream.
func lossKey(service, stream string) string { return service + "." + lossToken + "." + stream }

// IsLossKey reports whether a key of BucketManifests is the key of a loss.
func IsLossKey(key string) bool {
	parts := strings.Split(key, ".")
	return len(parts) == 3 && parts[1] == lossToken
}

// lossTries bounds the attempts to record a loss while others write the same key.
const lossTries = 10

// Record stores the loss for the dashboard. Losses of the same cut are merged.
func (l *Loss) Record(ctx context.Context, js jetstream.JetStream, service string) error {
	key := lossKey(service, l.Stream)
	fail := func(err error) error {
		return fmt.Errorf("record a loss under key %s of bucket %s: %w", key, BucketManifests, err)
	}
	bucket, err := js.KeyValue(ctx, BucketManifests)
	if err != nil {
		return fail(err)
	}
	for range lossTries {
		var revision uint64
		var before Loss
		entry, found := bucket.Get(ctx, key)
		switch {
		case errors.Is(found, jetstream.ErrKeyNotFound):
		case found != nil:
			return fail(found)
		default:
			revision = entry.Revision()
			// An entry that does not decode is replaced.
			_ = json.Unmarshal(entry.Value(), &before)
		}
		body, err := json.Marshal(l.with(before))
		if err != nil {
			return fail(err)
		}
		if revision == 0 {
			_, err = bucket.Create(ctx, key, body)
		} else {
			_, err = bucket.Update(ctx, key, body, revision)
		}
		if err == nil {
			return nil
		}
		if !IsConflict(err) {
			return fail(err)
		}
	}
	return fail(errors.New("others keep changing it"))
}

// with returns the loss merged with an earlier one, if that is of the same cut.
func (l *Loss) with(before Loss) Loss {
	merged := *l
	if before.Recreated != l.Recreated || before.Kept != l.Kept || before.Noticed.IsZero() {
		return merged
	}
	if before.Until > merged.Until {
		merged.Until, merged.Before = before.Until, before.Before
	}
	merged.Noticed = before.Noticed
	return merged
}

// DecodeLoss reads what Record wrote.
func DecodeLoss(data []byte) (Loss, error) {
	var l Loss
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("decode loss: %w", err)
	}
	return l, nil
}
