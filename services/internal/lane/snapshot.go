package lane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// manifest lists where the state of a lane is stored. It is kept as JSON in the bucket of
// manifests; the chunks are in objects, several in one object.
type manifest struct {
	// Format is the machine's version of its chunks.
	Format int `json:"format"`
	// Holding has the input position of the state, and the sequence of the lane's last
	// commit at that time. All outputs up to that position are committed.
	streams.Holding
	// Revision is that of the configuration in force.
	Revision uint64              `json:"revision"`
	Chunks   map[string]chunkRef `json:"chunks"`
	Written  time.Time           `json:"written"`
}

// chunkRef is where a chunk is stored: a part of an object.
type chunkRef struct {
	Object string `json:"object"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
	// Hash is SHA-256 of the chunk, in hexadecimal.
	Hash string `json:"hash"`
}

// configChunk holds the content of the configuration in force. Machines don't
// use IDs that begin with a dot.
const configChunk = ".config"

// maxObjects bounds the objects that a manifest refers to. Beyond it all chunks are
// written again, so old objects do not pile up for a few old chunks.
const maxObjects = 8

// errNoSnapshot is returned by store.load if there is none, or all are damaged.
var errNoSnapshot = errors.New("no snapshot")

// errDamaged is wrapped by store.chunks if a snapshot is incomplete, or has another
// format. Reading it again does not help.
var errDamaged = errors.New("damaged")

// errLost is returned by store.write if the lane has another owner.
var errLost = errors.New("the lane has another owner")

// store keeps the snapshots of one lane.
type store struct {
	key       string
	manifests jetstream.KeyValue
	objects   jetstream.ObjectStore
	format    int

	// current is the manifest last loaded or written, previous the one before it.
	current  *manifest
	previous *manifest
	// revision is the revision of current in the bucket. The next manifest is written
	// with a compare-and-set on it, which fences off an owner that has lost the lane.
	revision uint64
	// incomplete is set while it is unknown which chunks have changed since current,
	// because a snapshot could not be written.
	incomplete bool
}

func openStore(ctx context.Context, js jetstream.JetStream, service string, lane, format int) (*store, error) {
	manifests, err := js.KeyValue(ctx, streams.BucketManifests)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketManifests, err)
	}
	objects, err := js.ObjectStore(ctx, streams.BucketSnapshots)
	if err != nil {
		return nil, fmt.Errorf("open object store %s: %w", streams.BucketSnapshots, err)
	}
	return &store{key: streams.ManifestKey(service, lane), manifests: manifests, objects: objects, format: format}, nil
}

// load returns the newest snapshot that is complete. Skipped joins the reasons why newer
// ones were skipped. The error is errNoSnapshot if none is complete. After any other error
// it is not known whether there is one, so the caller must try again: skipping a snapshot
// because a server did not answer would lose what only that snapshot holds.
func (s *store) load(ctx context.Context) (m *manifest, chunks []Chunk, skipped error, err error) {
	entries, revision, err := s.history(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	s.current, s.previous, s.revision = nil, nil, revision
	for _, entry := range slices.Backward(entries) {
		if entry.Operation() != jetstream.KeyValuePut {
			continue
		}
		m := new(manifest)
		if err := json.Unmarshal(entry.Value(), m); err != nil {
			skipped = errors.Join(skipped, fmt.Errorf("manifest %d of %s: %w", entry.Revision(), s.key, err))
			continue
		}
		if s.current != nil {
			s.previous = m
			break
		}
		restored, err := s.chunks(ctx, m)
		if err != nil && !errors.Is(err, errDamaged) {
			return nil, nil, skipped, fmt.Errorf("read snapshot %d of %s: %w", entry.Revision(), s.key, err)
		}
		if err != nil {
			skipped = errors.Join(skipped, fmt.Errorf("snapshot %d of %s: %w", entry.Revision(), s.key, err))
			continue
		}
		s.current, chunks = m, restored
	}
	if s.current == nil {
		return nil, nil, skipped, errNoSnapshot
	}
	return s.current, chunks, skipped, nil
}

// chunks reads the chunks of a manifest. The error wraps errDamaged if they are not there
// as they were written.
func (s *store) chunks(ctx context.Context, m *manifest) ([]Chunk, error) {
	if m.Format != s.format {
		return nil, fmt.Errorf("%w: format %d, this program reads %d", errDamaged, m.Format, s.format)
	}
	objects := make(map[string][]byte)
	var chunks []Chunk
	for _, id := range slices.Sorted(maps.Keys(m.Chunks)) {
		ref := m.Chunks[id]
		object, ok := objects[ref.Object]
		if !ok {
			var err error
			object, err = s.objects.GetBytes(ctx, ref.Object)
			if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) || errors.Is(err, jetstream.ErrBadObjectMeta) {
				return nil, fmt.Errorf("%w: read object %s: %w", errDamaged, ref.Object, err)
			}
			if err != nil {
				return nil, fmt.Errorf("read object %s: %w", ref.Object, err)
			}
			objects[ref.Object] = object
		}
		if ref.Offset < 0 || ref.Length < 0 || ref.Offset+ref.Length > len(object) {
			return nil, fmt.Errorf("%w: chunk %s is outside of object %s", errDamaged, id, ref.Object)
		}
		data := object[ref.Offset : ref.Offset+ref.Length]
		if hash(data) != ref.Hash {
			return nil, fmt.Errorf("%w: chunk %s in object %s has another hash", errDamaged, id, ref.Object)
		}
		chunks = append(chunks, Chunk{ID: id, Data: data})
	}
	return chunks, nil
}

// errOvertaken is returned if another owner has written a snapshot since this one was
// loaded.
var errOvertaken = errors.New("there is a newer snapshot by now")

// unchanged returns nil if the snapshot that was loaded is still the newest. If there is a
// newer one, the janitor may have removed the input that it covers, and a replay at that
// time may have missed the middle of its input.
func (s *store) unchanged(ctx context.Context) error {
	_, revision, err := s.history(ctx)
	if err == nil && revision != s.revision {
		err = fmt.Errorf("%w: manifest of %s", errOvertaken, s.key)
	}
	return err
}

// history returns the manifests in the bucket, oldest first, and the revision of the last.
func (s *store) history(ctx context.Context) (entries []jetstream.KeyValueEntry, revision uint64, err error) {
	entries, err = s.manifests.History(ctx, s.key)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, fmt.Errorf("read manifests of %s: %w", s.key, err)
	}
	if len(entries) > 0 {
		revision = entries[len(entries)-1].Revision()
	}
	return entries, revision, nil
}

// needsAll reports whether the next snapshot must hold every chunk.
func (s *store) needsAll() bool {
	return s.current == nil || s.incomplete || len(objectsOf(s.current)) >= maxObjects
}

// write stores the changed chunks and then the manifest. For all other chunks the manifest
// refers to what is stored already; if all is set there are none. The error is errLost if
// another owner of the lane has written since. After any other error the previous snapshot
// is still valid.
func (s *store) write(ctx context.Context, m manifest, changed []Chunk, all bool) (size int, err error) {
	s.incomplete = true
	m.Format = s.format
	m.Chunks = make(map[string]chunkRef)
	if !all {
		maps.Copy(m.Chunks, s.current.Chunks)
	}
	object := fmt.Sprintf("%s/%d-%d", s.key, m.Written.UnixNano(), m.InputSequence)
	var data []byte
	for _, chunk := range changed {
		m.Chunks[chunk.ID] = chunkRef{Object: object, Offset: len(data), Length: len(chunk.Data), Hash: hash(chunk.Data)}
		data = append(data, chunk.Data...)
	}
	if len(changed) > 0 {
		if _, err := s.objects.PutBytes(ctx, object, data); err != nil {
			return 0, fmt.Errorf("write object %s: %w", object, err)
		}
	}
	value, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	var revision uint64
	if s.revision == 0 {
		revision, err = s.manifests.Create(ctx, s.key, value)
	} else {
		revision, err = s.manifests.Update(ctx, s.key, value, s.revision)
	}
	if streams.IsConflict(err) {
		return 0, fmt.Errorf("%w: manifest of %s: %w", errLost, s.key, err)
	}
	if err != nil {
		return 0, fmt.Errorf("write manifest of %s: %w", s.key, err)
	}
	dropped := s.previous
	s.previous, s.current, s.revision, s.incomplete = s.current, &m, revision, false
	return len(data), s.deleteUnused(ctx, dropped)
}

// deleteUnused deletes the objects of a manifest that has left the bucket's history, except
// those that the two newest manifests refer to.
func (s *store) deleteUnused(ctx context.Context, dropped *manifest) error {
	if dropped == nil {
		return nil
	}
	used := objectsOf(s.current)
	maps.Copy(used, objectsOf(s.previous))
	var errs []error
	for object := range objectsOf(dropped) {
		if used[object] {
			continue
		}
		if err := s.objects.Delete(ctx, object); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			errs = append(errs, fmt.Errorf("delete object %s: %w", object, err))
		}
	}
	return errors.Join(errs...)
}

func objectsOf(m *manifest) map[string]bool {
	objects := make(map[string]bool)
	if m != nil {
		for _, ref := range m.Chunks {
			objects[ref.Object] = true
		}
	}
	return objects
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
