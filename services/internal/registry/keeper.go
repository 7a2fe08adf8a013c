package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/process"
	"headwater/streams"
)

// maxDevices bounds the devices that one process remembers, and so its memory.
const maxDevices = 100_000

// Registry writes to the bucket what See reports. Any number of processes may
// write the same devices. See is safe for concurrent use.
type Registry struct {
	js      jetstream.JetStream
	log     *slog.Logger
	writes  prometheus.Counter
	dropped *prometheus.CounterVec
	wake    chan struct{}

	mu sync.Mutex
	// known holds what this process has seen, so that it looks up each device
	// once.
	known map[device]map[sight]struct{}
	// pending is what the bucket may not contain yet.
	pending map[device]news
}

type device struct{ site, name string }

func (d device) clone() device { return device{strings.Clone(d.site), strings.Clone(d.name)} }

// sight is a metric as a batch has it.
type sight struct{ name, unit, kind string }

func (s sight) clone() sight { return sight{strings.Clone(s.name), strings.Clone(s.unit), s.kind} }

// news is what was seen of one device for the first time.
type news struct {
	first   time.Time
	metrics []Metric
}

// New returns a Registry in the account of the services. Nothing is written
// before Run.
func New(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) *Registry {
	factory := promauto.With(metrics)
	return &Registry{
		js: js, log: log, wake: make(chan struct{}, 1),
		known: make(map[device]map[sight]struct{}), pending: make(map[device]news),
		writes: factory.NewCounter(prometheus.CounterOpts{
			Name: "headwater_registry_writes_total", Help: "Entries of the device registry written.",
		}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_registry_dropped_total", Help: "Series left out of the device registry because there are too many, by reason.",
		}, []string{"reason"}),
	}
}

// See takes note of the series of a stored batch. It returns at once.
func (r *Registry) See(batch *telemetryv1.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := false
	for _, s := range batch.Dictionary() {
		d := device{s.Site, s.Device}
		m := sight{s.Metric, s.Unit, kindNames[s.Kind]}
		metrics, ok := r.known[d]
		if _, seen := metrics[m]; seen {
			continue
		}
		switch {
		case !ok && len(r.known) >= maxDevices:
			r.dropped.WithLabelValues("devices").Inc()
			continue
		case len(metrics) >= maxMetrics:
			r.dropped.WithLabelValues("metrics").Inc()
			continue
		}
		// The names are parts of a text that holds the names of the whole batch.
		d, m = d.clone(), m.clone()
		if !ok {
			metrics = make(map[sight]struct{})
			r.known[d] = metrics
		}
		metrics[m] = struct{}{}
		r.put(d, news{first: time.Unix(0, batch.GetArrival()).UTC(), metrics: []Metric{{Name: m.name, Unit: m.unit, Kind: m.kind}}})
		found = true
	}
	if found {
		r.rouse()
	}
}

// put adds to what is pending. The caller holds the lock.
func (r *Registry) put(d device, n news) {
	p, ok := r.pending[d]
	if !ok || n.first.Before(p.first) {
		p.first = n.first
	}
	p.metrics = append(p.metrics, n.metrics...)
	r.pending[d] = p
}

func (r *Registry) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

const (
	// flushTimeout bounds the last attempt to write when Run ends.
	flushTimeout = 5 * time.Second
	// firstRetry and lastRetry bound the pause after a failure, which doubles.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Run writes what See reports until ctx ends, and then the rest. It retries
// forever while the bucket cannot be reached; Run always returns nil.
func (r *Registry) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.forgetDeleted(ctx) })
	retry := newBackoff()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			if err := r.flush(last); err != nil {
				r.log.Warn("the device registry may be missing the devices seen last", "err", err)
			}
			return nil
		case <-r.wake:
		}
		err := r.flush(ctx)
		if err == nil || ctx.Err() != nil {
			retry = newBackoff()
			continue
		}
		if retry.wait == firstRetry {
			r.log.Warn("cannot write the device registry; retrying", "err", err)
		}
		retry.pause(ctx)
		r.rouse()
	}
}

// flush writes everything that is pending. What could not be written is pending
// again.
func (r *Registry) flush(ctx context.Context) error {
	r.mu.Lock()
	pending := r.pending
	r.pending = make(map[device]news)
	r.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	kv, err := r.js.KeyValue(ctx, streams.BucketDevices)
	if err != nil {
		err = fmt.Errorf("open bucket %s: %w", streams.BucketDevices, err)
	}
	for d, n := range pending {
		if err == nil {
			err = r.write(ctx, kv, d, n)
		}
		if err != nil {
			r.mu.Lock()
			r.put(d, n)
			r.mu.Unlock()
		}
	}
	return err
}

// maxConflicts is how often another writer may win before write gives up for
// now.
const maxConflicts = 20

// write merges news of one device into its entry.
func (r *Registry) write(ctx context.Context, kv jetstream.KeyValue, d device, n news) error {
	_, changed, unreadable, err := merged(ctx, kv, d.site, d.name, n)
	if unreadable != nil {
		r.log.Warn("a registry entry is unreadable; replacing it", "device", Key(d.site, d.name), "err", unreadable)
	}
	if changed && err == nil {
		r.writes.Inc()
	}
	return err
}

// merged merges news of one device into its entry, however many others write it. It returns
// the entry and whether it was changed. Unreadable is why an entry that was there says nothing.
func merged(ctx context.Context, kv jetstream.KeyValue, site, name string, n news) (now Device, changed bool, unreadable, err error) {
	key := Key(site, name)
	for range maxConflicts {
		entry, err := kv.Get(ctx, key)
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return now, false, unreadable, fmt.Errorf("read registry entry %s: %w", key, err)
		}
		have, revision := Device{Site: site, Device: name}, uint64(0)
		if err == nil {
			revision = entry.Revision()
			if unreadable = json.Unmarshal(entry.Value(), &have); unreadable != nil {
				have = Device{Site: site, Device: name}
			}
		}
		now, changed = have.merge(n)
		if !changed {
			return now, false, unreadable, nil
		}
		value, err := json.Marshal(now)
		if err != nil {
			return now, false, unreadable, fmt.Errorf("encode registry entry %s: %w", key, err)
		}
		if revision == 0 {
			// Create also replaces the marker of a deletion.
			_, err = kv.Create(ctx, key, value)
		} else {
			_, err = kv.Update(ctx, key, value, revision)
		}
		switch {
		case err == nil:
			return now, true, unreadable, nil
		case !streams.IsConflict(err):
			return now, false, unreadable, fmt.Errorf("write registry entry %s: %w", key, err)
		}
	}
	return now, false, unreadable, fmt.Errorf("write registry entry %s: another writer was first %d times", key, maxConflicts)
}

// forgetDeleted treats devices that people deleted from the bucket as new when
// they send again.
func (r *Registry) forgetDeleted(ctx context.Context) {
	retry := newBackoff()
	for ctx.Err() == nil {
		kv, err := r.js.KeyValue(ctx, streams.BucketDevices)
		if err == nil {
			var watcher jetstream.KeyWatcher
			watcher, err = kv.WatchAll(ctx, jetstream.UpdatesOnly(), jetstream.MetaOnly())
			if err == nil {
				retry = newBackoff()
				r.follow(ctx, watcher)
				continue
			}
		}
		r.log.Debug("cannot watch the device registry", "err", err)
		retry.pause(ctx)
	}
}

func (r *Registry) follow(ctx context.Context, watcher jetstream.KeyWatcher) {
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case entry, ok := <-watcher.Updates():
			if !ok {
				return
			}
			if entry == nil || entry.Operation() == jetstream.KeyValuePut {
				continue
			}
			site, name, _ := strings.Cut(entry.Key(), ".")
			r.mu.Lock()
			delete(r.known, device{site, name})
			r.mu.Unlock()
		}
	}
}

// backoff is a pause that grows.
type backoff struct{ wait time.Duration }

func newBackoff() *backoff { return &backoff{firstRetry} }

func (b *backoff) pause(ctx context.Context) {
	process.Sleep(ctx, b.wait)
	b.wait = min(2*b.wait, lastRetry)
}
