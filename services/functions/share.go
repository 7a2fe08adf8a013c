package functions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/services/internal/process"
	"headwater/streams"
)

// catalogue follows what people deploy.
type catalogue struct {
	s *Service

	mu      sync.Mutex
	known   bool                         // guarded by mu
	err     error                        // why it cannot be followed; guarded by mu
	all     map[string]function.Function // guarded by mu
	changed chan struct{}                // closed at each change; guarded by mu
}

func newCatalogue(s *Service) *catalogue {
	return &catalogue{s: s, err: errors.New("waiting for the list of functions"), all: make(map[string]function.Function), changed: make(chan struct{})}
}

func (c *catalogue) problem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// current returns all functions, whether they are known, and what is closed when they change.
func (c *catalogue) current() (all map[string]function.Function, known bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.all), c.known, c.changed
}

// circles refuses outputs that would trigger a function on summaries, anomalies or alerts. It
// is asked for those of such functions.
func (c *catalogue) circles(outputs []contract.Reading) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, f := range c.all {
		v, live := f.Version(f.Live)
		if !live || !v.Trigger().Derived() {
			continue
		}
		for i := range outputs {
			if o := &outputs[i]; v.Matches(o.Site, o.Device, o.Metric) {
				return fmt.Errorf("%w: %s/%s/%s would trigger function %s, and so could run in a circle", contract.ErrOutput, o.Site, o.Device, o.Metric, name)
			}
		}
	}
	return nil
}

// set replaces all functions.
func (c *catalogue) set(all map[string]function.Function) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all, c.known, c.err = maps.Clone(all), true, nil
	close(c.changed)
	c.changed = make(chan struct{})
}

// run follows the bucket until ctx ends.
func (c *catalogue) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		c.s.log.Warn("the list of functions cannot be followed; trying again", "err", err)
		process.Sleep(ctx, retryAfter)
	}
}

func (c *catalogue) follow(ctx context.Context) error {
	bucket, err := c.s.store.Bucket(ctx)
	if err != nil {
		return err
	}
	watch, err := bucket.Watch(ctx, streams.FunctionsDeclared)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketFunctions, err)
	}
	defer func() { _ = watch.Stop() }() // it may have ended by itself
	all, complete := make(map[string]function.Function), false
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watch.Updates():
			if !ok {
				return errors.New("the watch of the functions ended")
			}
			if entry == nil {
				complete = true
			} else {
				c.see(all, entry)
			}
			if complete {
				c.set(all)
			}
		}
	}
}

func (c *catalogue) see(all map[string]function.Function, entry jetstream.KeyValueEntry) {
	name, _ := streams.ParseFunctionKey(entry.Key())
	if entry.Operation() != jetstream.KeyValuePut {
		delete(all, name)
		return
	}
	var f function.Function
	if err := json.Unmarshal(entry.Value(), &f); err != nil {
		c.s.log.Error("a function cannot be read; it stays as it was", "function", name, "err", err)
		return
	}
	all[name] = f
}

// share runs the functions of one slot. A slot is to functions what a lane is to devices.
type share struct {
	s           *Service
	all         *catalogue
	slot, lanes int
	running     map[string]*running
}

// running is one version that runs.
type running struct {
	version int
	beside  int
	cancel  context.CancelFunc
	done    chan struct{}
}

// stop ends it and waits for its step.
func (r *running) stop() {
	r.cancel()
	<-r.done
}

// mine reports whether a function belongs to the slot.
func (p *share) mine(name string) bool {
	return streams.Lane(streams.ServiceFunctions, name, p.lanes) == p.slot
}

// run starts and stops functions until ctx ends.
func (p *share) run(ctx context.Context) {
	defer func() {
		for _, r := range p.running {
			r.cancel()
		}
		for _, r := range p.running {
			<-r.done
		}
	}()
	for {
		all, known, changed := p.all.current()
		var retry bool
		if known {
			p.apply(ctx, all)
			if err := p.sweep(ctx, all); err != nil && ctx.Err() == nil {
				p.s.log.Warn("what removed functions left behind cannot be removed; trying again", "err", err)
				retry = true
			}
		}
		if retry {
			if !process.Sleep(ctx, retryAfter) {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// apply makes what runs equal to what is declared.
func (p *share) apply(ctx context.Context, all map[string]function.Function) {
	want := make(map[string]function.Function)
	for name, f := range all {
		if !p.mine(name) {
			continue
		}
		if f.Live != 0 {
			want[streams.FunctionConsumer(name)] = f
		}
		if f.Shadow != 0 {
			want[streams.ShadowConsumer(name)] = f
		}
	}
	for durable, r := range p.running {
		f, still := want[durable]
		live, shadow := numbers(f, durable)
		if still && r.version == live && r.beside == shadow {
			continue
		}
		r.stop()
		delete(p.running, durable)
	}
	for durable, f := range want {
		if p.running[durable] != nil || ctx.Err() != nil {
			continue
		}
		live, shadow := numbers(f, durable)
		within, cancel := context.WithCancel(ctx)
		r := &running{version: live, beside: shadow, cancel: cancel, done: make(chan struct{})}
		p.running[durable] = r
		go func() {
			defer close(r.done)
			newRunner(p.s, f, durable, p.lanes).run(within)
		}()
	}
}

// numbers returns the versions that run with a durable: the live one, and the shadow if it is
// that of a shadow.
func numbers(f function.Function, durable string) (live, shadow int) {
	if _, isShadow, _ := streams.ParseFunctionConsumer(durable); isShadow {
		return f.Live, f.Shadow
	}
	return f.Live, 0
}

// sweep removes the consumers of functions that have no version that runs, and the state of
// those that are gone.
func (p *share) sweep(ctx context.Context, all map[string]function.Function) error {
	for _, stream := range streams.FunctionStreams() {
		if err := p.sweepConsumers(ctx, stream, all); err != nil {
			return err
		}
	}
	bucket, err := p.s.store.Bucket(ctx)
	if err != nil {
		return err
	}
	keys, err := bucket.ListKeysFiltered(ctx, streams.FunctionRecords, streams.FunctionStates)
	if err != nil {
		return fmt.Errorf("list the keys of bucket %s: %w", streams.BucketFunctions, err)
	}
	defer func() { _ = keys.Stop() }() // it may have ended by itself
	for key := range keys.Keys() {
		name, ok := streams.FunctionOfKey(key)
		if _, declared := all[name]; !ok || declared || !p.mine(name) {
			continue
		}
		if err := bucket.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete %s of bucket %s: %w", key, streams.BucketFunctions, err)
		}
	}
	return nil
}

func (p *share) sweepConsumers(ctx context.Context, of string, all map[string]function.Function) error {
	stream, err := p.s.js.Stream(ctx, of)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", of, err)
	}
	names := stream.ConsumerNames(ctx)
	for durable := range names.Name() {
		name, shadow, ok := streams.ParseFunctionConsumer(durable)
		f := all[name]
		if !ok || !p.mine(name) || f.Trigger().Stream() == of && (!shadow && f.Live != 0 || shadow && f.Shadow != 0) {
			continue
		}
		if err := stream.DeleteConsumer(ctx, durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("delete consumer %s: %w", durable, err)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the consumers of %s: %w", of, err)
	}
	return nil
}
