// Package lease shares out the lanes of a service among its live workers: every
// lane has one owner at a time, and every worker at most its fair share.
//
// A worker holds a lane by a key in the bucket of leases, which it renews; a key
// that is not renewed runs out, and another worker takes the lane. Workers say
// that they live by a key of their own, so that each can tell what its share is.
// All watch both buckets: a lane that is given up changes hands at once.
//
// A lease is a promise, not a fence: a process that was stopped in its tracks
// may go on for a moment with a lane that has another owner. Whatever an owner
// stores must therefore be fenced by a compare-and-set, as lane.Run does.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Own works on a lane until ctx ends, finishes what it is about, and returns.
// The lane stays this worker's until then, unless the lease was lost. An error
// stops the keeper.
type Own func(ctx context.Context, lane int) error

// Deps are what a keeper works with.
type Deps struct {
	JS      jetstream.JetStream
	Log     *slog.Logger
	Metrics *Metrics
}

// Keeper holds the share of one worker in the lanes of a service.
type Keeper struct {
	deps    Deps
	service string
	lanes   []int
	// worker is the name of this one, new with every keeper.
	worker string

	mu sync.Mutex
	// err is why not every lane is known to have an owner; held are the leases that
	// this worker had when it last looked, in the order of the lanes. Both are
	// guarded by mu.
	err  error
	held []*hold
	// current are the leases that the lanes are worked on with, by lane; guarded
	// by mu.
	current map[int]*hold
}

// New returns a keeper for the lanes of the service, of which each worker must
// give the same. It does no I/O.
func New(service string, lanes []int, deps Deps) *Keeper {
	return &Keeper{
		deps: deps, service: service, lanes: slices.Sorted(slices.Values(lanes)), worker: rand.Text(),
		err: errors.New("waiting for its share of the lanes"), current: make(map[int]*hold),
	}
}

// Ready returns nil while every lane has an owner, here or elsewhere, else the
// reason why not. It may be called by several goroutines at once.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Held returns the lanes that this worker works on and is not about to give up,
// in order. It may be called by several
// goroutines at once.
func (k *Keeper) Held() []int {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lanes []int
	for _, h := range k.held {
		if h.ctx.Err() == nil {
			lanes = append(lanes, h.lane)
		}
	}
	return lanes
}

// Until returns until when the lane is certainly this worker's if its lease is
// not renewed any more, by this process's clock; the zero time when it is not.
// Whoever stores where nothing can be fenced asks this directly before, for a
// process that was stopped in its tracks learns of a lost lease by nothing else
// in time. It may be called by several goroutines at once.
func (k *Keeper) Until(lane int) time.Time {
	k.mu.Lock()
	h := k.current[lane]
	k.mu.Unlock()
	if h == nil {
		return time.Time{}
	}
	return *h.until.Load()
}

const (
	// firstRetry and lastRetry bound the pause after a failure. A lane that runs
	// out of its lease meanwhile waits for it.
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// Run takes lanes and works on each with own, in a goroutine of its own, until
// ctx ends, every lane has been given back and this worker has said goodbye. It
// fails only with what own returns.
func (k *Keeper) Run(ctx context.Context, own Own) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{Keeper: k, own: own, holds: make(map[int]*hold), ended: make(chan *hold, len(k.lanes))}
	defer k.report(errors.New("stopped"), nil)
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		err := r.session(ctx, retry.Reset)
		if ctx.Err() != nil || r.failure != nil {
			break
		}
		wait := retry.NextBackOff()
		k.report(err, r.working())
		k.deps.Log.Warn("leases are looked at anew", "err", err, "wait", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	cancel()
	if err := r.leave(context.WithoutCancel(ctx)); err != nil {
		k.deps.Log.Warn("other workers are not told that this one leaves", "err", err)
	}
	r.wait.Wait()
	close(r.ended)
	for h := range r.ended {
		r.failure = errors.Join(r.failure, h.err)
	}
	k.deps.Metrics.held.Set(0)
	return r.failure
}

// report notes what Ready and Held return.
func (k *Keeper) report(err error, held []*hold) {
	k.deps.Metrics.held.Set(float64(len(held)))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.held = err, held
}

// run is one call of Keeper.Run. One goroutine only.
type run struct {
	*Keeper
	own Own
	// leases, workers and view are those of the session: from when both buckets
	// were opened until something fails. Holds outlive it.
	leases, workers jetstream.KeyValue
	view            *view
	// created is when the bucket of leases was. One that was made anew lacks the
	// leases that their owners still count on: before takeFrom, when they have
	// renewed them, no lane is taken.
	created, takeFrom time.Time

	holds map[int]*hold
	// ended gets the holds whose lane was given back. There is room for all.
	ended chan *hold
	wait  sync.WaitGroup
	// failure is what own returned.
	failure error
}

// session takes and gives up lanes until ctx ends or something fails.
func (r *run) session(ctx context.Context, progress func()) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	ttl := r.view.ttl
	if err := r.greet(ctx); err != nil {
		return err
	}
	leases, err := r.leases.Watch(ctx, streams.ServiceKeys(r.service))
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketLeases, err)
	}
	defer func() { _ = leases.Stop() }()
	workers, err := r.workers.Watch(ctx, streams.ServiceKeys(r.service))
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketWorkers, err)
	}
	defer func() { _ = workers.Stop() }()
	greeting := time.NewTicker(ttl / beats)
	defer greeting.Stop()
	wake := time.NewTimer(ttl)
	defer wake.Stop()
	// What is there must be known before a lane is taken or given up: each watch
	// says when it is.
	for unknown := 2; ; {
		open, known := true, true
		var entry jetstream.KeyValueEntry
		select {
		case <-ctx.Done():
			return nil
		case h := <-r.ended:
			if r.end(h); r.failure != nil {
				return r.failure
			}
		case entry, open = <-leases.Updates():
			known = entry != nil
			r.hearLease(entry)
		case entry, open = <-workers.Updates():
			known = entry != nil
			r.hearWorker(entry)
		case <-greeting.C:
			if err := r.greet(ctx); err != nil {
				return err
			}
		case <-wake.C:
		}
		if !open {
			return errors.New("a watch of the leases ended")
		}
		if !known {
			unknown--
		}
		if unknown > 0 {
			continue
		}
		if err := r.balance(ctx); err != nil {
			return err
		}
		progress()
		now := time.Now()
		latest := now.Add(ttl)
		if r.takeFrom.After(now) {
			latest = r.takeFrom
		}
		wake.Reset(time.Until(r.view.nextEnd(now, latest)))
	}
}

// open opens the buckets, and makes them if a server that restarted has lost
// them.
func (r *run) open(ctx context.Context) error {
	var err error
	for _, open := range []struct {
		name string
		kv   *jetstream.KeyValue
	}{{streams.BucketLeases, &r.leases}, {streams.BucketWorkers, &r.workers}} {
		*open.kv, err = streams.LookUpBucket(ctx, r.deps.JS, open.name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			if err = streams.EnsureLeases(ctx, r.deps.JS); err == nil {
				*open.kv, err = r.deps.JS.KeyValue(ctx, open.name)
			}
		}
		if err != nil {
			return fmt.Errorf("open bucket %s: %w", open.name, err)
		}
	}
	status, err := r.leases.Status(ctx)
	if err != nil {
		return fmt.Errorf("look at bucket %s: %w", streams.BucketLeases, err)
	}
	ttl := status.TTL()
	if ttl < minTTL {
		return fmt.Errorf("leases in bucket %s last %s, which is less than %s", streams.BucketLeases, ttl, minTTL)
	}
	if bucket, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		if at := bucket.StreamInfo().Created; !at.Equal(r.created) {
			if !r.created.IsZero() {
				r.takeFrom = time.Now().Add(ttl)
			}
			r.created = at
		}
	}
	r.view = newView(ttl)
	return nil
}

// minTTL is the least time that a lease may last: it is renewed several times
// in it.
const minTTL = 200 * time.Millisecond

// greet says that this worker lives.
func (r *run) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.view.ttl/beats)
	defer cancel()
	if _, err := r.workers.Put(ctx, streams.WorkerKey(r.service, r.worker), nil); err != nil {
		return fmt.Errorf("put a sign of life into bucket %s: %w", streams.BucketWorkers, err)
	}
	return nil
}

// leave says that this worker has gone. That comes before its lanes are free,
// else the others would leave them to it.
func (r *run) leave(ctx context.Context) error {
	if r.workers == nil || r.view == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.view.ttl/beats)
	defer cancel()
	return r.workers.Delete(ctx, streams.WorkerKey(r.service, r.worker))
}

func (r *run) hearLease(entry jetstream.KeyValueEntry) {
	if entry == nil {
		return
	}
	number, err := streams.ParseLeaseKey(entry.Key())
	if err != nil {
		return
	}
	if entry.Operation() != jetstream.KeyValuePut {
		delete(r.view.leases, number)
		return
	}
	r.view.seeLease(number, entry.Revision(), time.Now())
}

func (r *run) hearWorker(entry jetstream.KeyValueEntry) {
	if entry == nil {
		return
	}
	worker, err := streams.ParseWorkerKey(entry.Key())
	if err != nil {
		return
	}
	if entry.Operation() != jetstream.KeyValuePut {
		delete(r.view.workers, worker)
		return
	}
	r.view.seeWorker(worker, entry.Revision(), time.Now())
}

// errDeaf is returned when this worker does not hear itself.
var errDeaf = errors.New("the watch of the workers fell silent")

// balance gives up and takes what is due.
func (r *run) balance(ctx context.Context) error {
	now := time.Now()
	alive := r.view.alive(now)
	if !slices.Contains(alive, r.worker) {
		return errDeaf
	}
	giveUp, take := decide(r.worker, alive, r.owners(now))
	if len(giveUp) > 0 {
		r.deps.Log.Info("gives up lanes", "lanes", giveUp, "workers", len(alive))
	}
	for _, number := range giveUp {
		r.holds[number].giveUp()
	}
	if now.Before(r.takeFrom) {
		take = nil
	}
	var taken []int
	for _, number := range take {
		ok, err := r.take(ctx, number)
		if err != nil {
			return err
		}
		if ok {
			taken = append(taken, number)
		}
	}
	if len(taken) > 0 {
		r.deps.Log.Info("took lanes", "lanes", taken, "workers", len(alive))
	}
	r.report(r.ownerless(), r.working())
	return nil
}

// owners says who has which lane.
func (r *run) owners(now time.Time) []lane {
	lanes := make([]lane, len(r.lanes))
	for i, number := range r.lanes {
		lanes[i].number = number
		switch h := r.holds[number]; {
		case h != nil && h.ctx.Err() != nil:
			lanes[i].owner = leaving
		case h != nil:
			lanes[i].owner = self
		case r.view.leased(number, now):
			lanes[i].owner = another
		}
	}
	return lanes
}

// ownerless returns an error that names the first lane that nobody has.
func (r *run) ownerless() error {
	for _, l := range r.owners(time.Now()) {
		if l.owner == nobody {
			return fmt.Errorf("lane %d has no owner", l.number)
		}
	}
	return nil
}

// working returns the leases of the lanes that this worker has and does not give
// up.
func (r *run) working() []*hold {
	var held []*hold
	for _, number := range r.lanes {
		if h := r.holds[number]; h != nil && h.ctx.Err() == nil {
			held = append(held, h)
		}
	}
	return held
}

// take tries to take a lane, and says whether it is this worker's now.
func (r *run) take(ctx context.Context, number int) (bool, error) {
	// A worker that stops meanwhile must still learn what it has got, or nobody
	// would give it back.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.view.ttl/beats)
	defer cancel()
	key := streams.LeaseKey(r.service, number)
	asked := time.Now()
	revision, err := r.leases.Create(asking, key, []byte(r.worker))
	if refused(err) {
		// Somebody was faster, or the lease has not run out yet.
		entry, err := r.leases.Get(asking, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read lease %s: %w", key, err)
		}
		r.hearLease(entry)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take lease %s: %w", key, err)
	}
	h := &hold{
		lane: number, worker: r.worker, leases: r.leases, key: key, ttl: r.view.ttl, revision: revision,
		log: r.deps.Log.With("lane", number), lost: r.deps.Metrics.lost.Inc,
	}
	h.ctx, h.giveUp = context.WithCancel(ctx)
	h.certain(h.end(asked))
	r.holds[number] = h
	r.mu.Lock()
	r.current[number] = h
	r.mu.Unlock()
	r.deps.Metrics.taken.Inc()
	r.wait.Go(func() {
		h.err = h.work(asked, r.own)
		r.ended <- h
	})
	return true, nil
}

// refused says whether the server answered that a key exists.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// end takes note of a lane that was given back.
func (r *run) end(h *hold) {
	delete(r.holds, h.lane)
	r.mu.Lock()
	delete(r.current, h.lane)
	r.mu.Unlock()
	r.failure = errors.Join(r.failure, h.err)
}
