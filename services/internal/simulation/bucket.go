package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A bucket is a stream, as on a server; its subjects are the simulation's own.
func bucketStream(bucket string) string       { return "KV_" + bucket }
func bucketSubject(bucket, key string) string { return "bucket." + bucket + "." + key }

// headerOperation marks a key as deleted.
const headerOperation = "KV-Operation"

// CreateKeyValue creates a bucket unless it exists.
func (c *Client) CreateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	if kv, err := c.KeyValue(ctx, cfg.Bucket); !errors.Is(err, jetstream.ErrBucketNotFound) {
		if err != nil {
			return nil, err
		}
		in := &jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeStreamNameInUse, Description: "stream name already in use"}
		return kv, fmt.Errorf("%w: %w", jetstream.ErrBucketExists, in)
	}
	return c.CreateOrUpdateKeyValue(ctx, cfg)
}

// CreateOrUpdateKeyValue creates or updates a bucket.
func (c *Client) CreateOrUpdateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	c.cluster.ensure(jetstream.StreamConfig{
		Name: bucketStream(cfg.Bucket), Subjects: []string{bucketSubject(cfg.Bucket, ">")},
		MaxMsgsPerSubject: max(int64(cfg.History), 1), MaxAge: cfg.TTL, Discard: jetstream.DiscardNew,
	})
	return c.KeyValue(ctx, cfg.Bucket)
}

// KeyValue looks up a bucket.
func (c *Client) KeyValue(ctx context.Context, name string) (jetstream.KeyValue, error) {
	_, err := c.streamInfo(ctx, kindBucket+name, bucketStream(name))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = jetstream.ErrBucketNotFound
	}
	if err != nil {
		return nil, err
	}
	return &bucket{client: c, name: name}, nil
}

type bucket struct {
	jetstream.KeyValue

	client *Client
	name   string
}

func (b *bucket) kind() string { return kindBucket + b.name }

// entry is a revision of a key.
type entry struct {
	jetstream.KeyValueEntry

	bucket, key string
	*message
}

func (e *entry) Bucket() string     { return e.bucket }
func (e *entry) Key() string        { return e.key }
func (e *entry) Value() []byte      { return e.data }
func (e *entry) Revision() uint64   { return e.sequence }
func (e *entry) Created() time.Time { return e.stored }
func (e *entry) Operation() jetstream.KeyValueOp {
	if e.header.Get(headerOperation) != "" {
		return jetstream.KeyValueDelete
	}
	return jetstream.KeyValuePut
}

func (b *bucket) entry(m *message) *entry {
	return &entry{bucket: b.name, key: strings.TrimPrefix(m.subject, bucketSubject(b.name, "")), message: m}
}

// write stores a revision of a key. Expected is the previous revision, 0 for
// none; less than 0 means any.
func (b *bucket) write(ctx context.Context, key string, value []byte, expected int64, header nats.Header) (uint64, error) {
	m := &nats.Msg{Subject: bucketSubject(b.name, key), Data: value, Header: nats.Header{}}
	maps.Copy(m.Header, header)
	if expected >= 0 {
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatInt(expected, 10))
	}
	ack, err := call(ctx, b.client.process, b.kind(), func() (*jetstream.PubAck, error) { return b.client.cluster.store(m) })
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (b *bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.write(ctx, key, value, -1, nil)
}

func (b *bucket) PutString(ctx context.Context, key, value string) (uint64, error) {
	return b.Put(ctx, key, []byte(value))
}

// Create writes a key that does not exist or was deleted, in the steps and with
// the errors of nats.go.
func (b *bucket) Create(ctx context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	revision, err := b.write(ctx, key, value, 0, nil)
	if err == nil {
		return revision, nil
	}
	if m, getErr := b.last(ctx, key); getErr == nil && b.entry(m).Operation() != jetstream.KeyValuePut {
		return b.write(ctx, key, value, int64(m.sequence), nil)
	}
	if wrongLast(err) {
		return 0, fmt.Errorf("%w: key exists", err)
	}
	return 0, err
}

func wrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeWrongLast
}

func mismatch(err error) error {
	if wrongLast(err) {
		return fmt.Errorf("%w: %w", err, jetstream.ErrKeyRevisionMismatch)
	}
	return err
}

func (b *bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	revision, err := b.write(ctx, key, value, int64(revision), nil)
	return revision, mismatch(err)
}

func (b *bucket) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	expected := int64(-1)
	for _, opt := range opts {
		if v, ok := option(opt, "revision"); ok {
			expected = int64(v.Uint())
		}
	}
	_, err := b.write(ctx, key, nil, expected, nats.Header{headerOperation: {"DEL"}})
	return mismatch(err)
}

// last returns the newest revision of a key, deleted or not.
func (b *bucket) last(ctx context.Context, key string) (*message, error) {
	c := b.client.cluster
	return call(ctx, b.client.process, b.kind(), func() (*message, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s, err := c.find(bucketStream(b.name))
		if err != nil {
			return nil, err
		}
		m := s.lastMessage(bucketSubject(b.name, key))
		if m == nil {
			return nil, jetstream.ErrKeyNotFound
		}
		return m, nil
	})
}

func (b *bucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	m, err := b.last(ctx, key)
	if err != nil {
		return nil, err
	}
	e := b.entry(m)
	if e.Operation() != jetstream.KeyValuePut {
		return nil, jetstream.ErrKeyNotFound
	}
	return e, nil
}

func (b *bucket) History(ctx context.Context, key string, _ ...jetstream.WatchOpt) ([]jetstream.KeyValueEntry, error) {
	c := b.client.cluster
	return call(ctx, b.client.process, b.kind(), func() ([]jetstream.KeyValueEntry, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s, err := c.find(bucketStream(b.name))
		if err != nil {
			return nil, err
		}
		var all []jetstream.KeyValueEntry
		for _, m := range s.messages {
			if m.subject == bucketSubject(b.name, key) {
				all = append(all, b.entry(m))
			}
		}
		if len(all) == 0 {
			return nil, jetstream.ErrKeyNotFound
		}
		return all, nil
	})
}

func (b *bucket) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	info, err := b.client.streamInfo(ctx, b.kind(), bucketStream(b.name))
	if err != nil {
		return nil, err
	}
	status := new(jetstream.KeyValueBucketStatus)
	// The field is private to nats.go, and leases look for this very type.
	field := reflect.ValueOf(status).Elem().FieldByName("info")
	*(**jetstream.StreamInfo)(field.Addr().UnsafePointer()) = info
	return status, nil
}

// Watch delivers the current keys, then nil, then every change until it is
// stopped.
func (b *bucket) Watch(ctx context.Context, keys string, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	if _, err := b.client.streamInfo(ctx, b.kind(), bucketStream(b.name)); err != nil {
		return nil, err
	}
	withoutDeletes := false
	for _, opt := range opts {
		if _, ok := option(opt, "ignoreDeletes"); ok {
			withoutDeletes = true
		}
	}
	w := &watcher{withoutDeletes: withoutDeletes, bucket: b, filter: bucketSubject(b.name, keys), updates: make(chan jetstream.KeyValueEntry, 256), quit: make(chan struct{})}
	go w.run(ctx)
	return w, nil
}

// WatchAll watches all keys.
func (b *bucket) WatchAll(ctx context.Context, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	return b.Watch(ctx, jetstream.AllKeys, opts...)
}

// WatchFiltered watches the keys that a pattern covers; only one is known here.
func (b *bucket) WatchFiltered(ctx context.Context, patterns []string, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	if len(patterns) != 1 {
		return nil, fmt.Errorf("watch %d patterns: only one is possible", len(patterns))
	}
	return b.Watch(ctx, patterns[0], opts...)
}

// Bucket returns the name.
func (b *bucket) Bucket() string { return b.name }

type watcher struct {
	*bucket
	withoutDeletes bool

	filter  string
	updates chan jetstream.KeyValueEntry
	quit    chan struct{}
	once    sync.Once
}

func (w *watcher) Updates() <-chan jetstream.KeyValueEntry { return w.updates }

func (w *watcher) Stop() error {
	w.once.Do(func() { close(w.quit) })
	return nil
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.updates)
	seen := uint64(0)
	first := true
	for {
		rng, _ := w.client.process.draw("watch " + w.name)
		messages, changed := w.news(seen, first)
		if (first || len(messages) > 0) && sleep(ctx, travel(rng)) != nil {
			return
		}
		for _, m := range messages {
			seen = m.sequence
			e := w.entry(m)
			if w.client.process.isDeaf(w.kind()) || w.withoutDeletes && e.Operation() != jetstream.KeyValuePut {
				continue
			}
			if !w.tell(ctx, e) {
				return
			}
		}
		if first {
			if !w.tell(ctx, nil) {
				return
			}
			first = false
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-w.quit:
			return
		}
	}
}

func (w *watcher) tell(ctx context.Context, e *entry) bool {
	var update jetstream.KeyValueEntry
	if e != nil {
		update = e
	}
	select {
	case w.updates <- update:
		return true
	case <-ctx.Done():
	case <-w.quit:
	}
	return false
}

// news returns what was written after the sequence, at first only the last
// revision of each key, and a channel that is closed when there is more.
func (w *watcher) news(after uint64, first bool) ([]*message, <-chan struct{}) {
	c := w.client.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(bucketStream(w.name))
	if err != nil {
		return nil, c.created
	}
	var found []*message
	for m := s.next(after+1, []string{w.filter}); m != nil; m = s.next(m.sequence+1, []string{w.filter}) {
		if !first || s.lastOf(m.subject) == m.sequence {
			found = append(found, m)
		}
	}
	return found, s.changed
}

// CreateOrUpdateObjectStore creates an object store.
func (c *Client) CreateOrUpdateObjectStore(ctx context.Context, cfg jetstream.ObjectStoreConfig) (jetstream.ObjectStore, error) {
	c.cluster.mu.Lock()
	if c.cluster.objects[cfg.Bucket] == nil {
		c.cluster.objects[cfg.Bucket] = make(map[string][]byte)
	}
	c.cluster.mu.Unlock()
	return c.ObjectStore(ctx, cfg.Bucket)
}

// ObjectStore looks up an object store.
func (c *Client) ObjectStore(ctx context.Context, name string) (jetstream.ObjectStore, error) {
	o := &objectStore{client: c, bucket: name}
	_, err := o.do(ctx, func(objects map[string][]byte) ([]byte, error) {
		if objects == nil {
			return nil, jetstream.ErrBucketNotFound
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

type objectStore struct {
	jetstream.ObjectStore

	client *Client
	bucket string
}

func (o *objectStore) do(ctx context.Context, work func(map[string][]byte) ([]byte, error)) ([]byte, error) {
	c := o.client.cluster
	return call(ctx, o.client.process, kindObject, func() ([]byte, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return work(c.objects[o.bucket])
	})
}

func (o *objectStore) PutBytes(ctx context.Context, name string, data []byte) (*jetstream.ObjectInfo, error) {
	_, err := o.do(ctx, func(objects map[string][]byte) ([]byte, error) {
		objects[name] = slices.Clone(data)
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &jetstream.ObjectInfo{ObjectMeta: jetstream.ObjectMeta{Name: name}, Bucket: o.bucket, Size: uint64(len(data))}, nil
}

func (o *objectStore) GetBytes(ctx context.Context, name string, _ ...jetstream.GetObjectOpt) ([]byte, error) {
	return o.do(ctx, func(objects map[string][]byte) ([]byte, error) {
		data, ok := objects[name]
		if !ok {
			return nil, jetstream.ErrObjectNotFound
		}
		return slices.Clone(data), nil
	})
}

func (o *objectStore) Delete(ctx context.Context, name string) error {
	_, err := o.do(ctx, func(objects map[string][]byte) ([]byte, error) {
		if _, ok := objects[name]; !ok {
			return nil, jetstream.ErrObjectNotFound
		}
		delete(objects, name)
		return nil, nil
	})
	return err
}
