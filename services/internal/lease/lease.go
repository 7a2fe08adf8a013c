// Package lease shares the lanes of a service among its live workers. Every lane has
// one owner at a time, and every worker at most its fair share.
//
//  1. A worker announces itself with a key in the bucket of workers, and watches both
//     buckets. From the live workers it computes its share.
//  2. It takes a lane by creating a key in the bucket of leases: of several workers that
//     try, the server lets one succeed.
//  3. It renews its keys several times before they expire. A key that is not renewed
//     expires on the server, and another worker takes the lane.
//  4. A worker with more than its share gives lanes up: it finishes its work, then
//     deletes the key. The others see that at once.
//  5. A worker that stops deletes its own key first, so that the others count without it,
//     and then gives up its lanes.
//
// A lease is a promise, not a fence. A process that was suspended may continue for a
// moment with a lane that has another owner by now. Everything that an owner stores must
// therefore be fenced by a compare-and-set, as in lane.Run.
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

	"headwater/services/internal/process"
	"headwater/streams"
)

// Own works on a lane until ctx ends, finishes its current step, and returns. Until it
// returns, the lane belongs to this worker, unless the lease is lost. An error stops the
// keeper.
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
	// worker is the name of this worker. Every keeper has a new one.
	worker string

	mu sync.Mutex
	// err is the reason why not every lane has an owner, as far as this worker knows.
	// held are the leases that it had and was not giving up when it last checked, in
	// the order of the lanes. Both are guarded by mu.
	err  error
	held []*hold
	// current are all leases of this worker by lane, until own has returned; guarded
	// by mu.
	current map[int]*hold
}

// New returns a keeper for the lanes of a service. All workers of the service must have
// the same lanes. It does no I/O.
func New(service string, lanes []int, deps Deps) *Keeper {
	return &Keeper{
		deps: deps, service: service, lanes: slices.Sorted(slices.Values(lanes)), worker: rand.Text(),
		err: errors.New("waiting for its share of the lanes"), current: make(map[int]*hold),
	}
}

// Ready returns nil while every lane has an owner, here or elsewhere, or else the reason
// why not. It may be called by several goroutines at once.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Held returns the lanes that this worker works on and is not giving up, in order. It may
// be called by several goroutines at once.
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

// Until returns until when the lane certainly belongs to this worker if the lease is not
// renewed again, by the clock of this process. It returns the zero time if the lane does
// not belong to it.
//
// A caller that stores something where it can't be fenced must ask directly before that: a
// process that was suspended has no other way to learn in time that its lease is lost. It
// may be called by several goroutines at once.
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
	// firstRetry and lastRetry bound the pause after a failure. A lane whose lease
	// expires in the meantime waits until the pause is over.
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// Run takes lanes and calls own for each, in a goroutine of its own. It returns after ctx
// has ended, this worker's key is deleted, and every lane is given back. The only errors
// that it returns are those of own.
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
		k.deps.Log.Warn("the watch of the leases failed; it starts again", "err", err, "wait", wait)
		process.Sleep(ctx, wait)
	}
	cancel()
	if err := r.leave(context.WithoutCancel(ctx)); err != nil {
		k.deps.Log.Warn("the other workers don't know that this one stops; they will notice when its key expires", "err", err)
	}
	r.wait.Wait()
	close(r.ended)
	for h := range r.ended {
		r.failure = errors.Join(r.failure, h.err)
	}
	k.deps.Metrics.held.Set(0)
	return r.failure
}

// report sets what Ready and Held return.
func (k *Keeper) report(err error, held []*hold) {
	k.deps.Metrics.held.Set(float64(len(held)))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.held = err, held
}

// run is one call of Keeper.Run. It is for one goroutine.
type run struct {
	*Keeper
	own Own
	// leases, workers and view belong to the session, which lasts from opening both
	// buckets until something fails. Holds outlive it.
	leases, workers jetstream.KeyValue
	view            *view
	// created is when the bucket of leases was created. A bucket that was recreated is
	// empty, while owners still rely on their leases. No lane is taken before takeFrom;
	// by then they have renewed them.
	created, takeFrom time.Time

	holds map[int]*hold
	// ended receives each hold whose lane was given back. It has room for all.
	ended chan *hold
	wait  sync.WaitGroup
	// failure joins the errors of own.
	failure error
}

// session takes and gives up lanes until ctx ends or something fails. It calls progress
// whenever it has seen both buckets and done what was due.
func (r *run) session(ctx context.Context, progress func()) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	ttl := r.view.ttl
	if err := r.announce(ctx); err != nil {
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
	announce := time.NewTicker(ttl / renewals)
	defer announce.Stop()
	wake := time.NewTimer(ttl)
	defer wake.Stop()
	// No lane is taken or given up before the content of both buckets is known. A watch
	// sends a nil entry when it has sent all that was there.
	for unknown := 2; ; {
		open, known := true, true
		var entry jetstream.KeyValueEntry
		select {
		case <-ctx.Done():
			return nil
		case h := <-r.ended:
			r.end(h)
			if r.failure != nil {
				return r.failure
			}
		case entry, open = <-leases.Updates():
			known = entry != nil
			r.seeLease(entry)
		case entry, open = <-workers.Updates():
			known = entry != nil
			r.seeWorker(entry)
		case <-announce.C:
			if err := r.announce(ctx); err != nil {
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

// open opens the buckets, and recreates them if a server has lost them in a restart.
func (r *run) open(ctx context.Context) error {
	var err error
	for _, open := range []struct {
		name string
		kv   *jetstream.KeyValue
	}{{streams.BucketLeases, &r.leases}, {streams.BucketWorkers, &r.workers}} {
		*open.kv, err = streams.LookUpBucket(ctx, r.deps.JS, open.name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			err = streams.EnsureLeases(ctx, r.deps.JS)
			if err == nil {
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
	created, err := streams.BucketCreated(status)
	if err != nil {
		return err
	}
	if !created.Equal(r.created) {
		if !r.created.IsZero() {
			r.takeFrom = time.Now().Add(ttl)
		}
		r.created = created
	}
	r.view = newView(ttl)
	return nil
}

// minTTL is the shortest time that a lease may last. It is renewed several times in it.
const minTTL = 200 * time.Millisecond

// announce writes this worker's key, which says that it is alive.
func (r *run) announce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.view.ttl/renewals)
	defer cancel()
	if _, err := r.workers.Put(ctx, streams.WorkerKey(r.service, r.worker), nil); err != nil {
		return fmt.Errorf("write the key of this worker into bucket %s: %w", streams.BucketWorkers, err)
	}
	return nil
}

// leave deletes this worker's key. That must come before its lanes are free: otherwise the
// others would count this worker and leave the lanes to it.
func (r *run) leave(ctx context.Context) error {
	if r.workers == nil || r.view == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.view.ttl/renewals)
	defer cancel()
	return r.workers.Delete(ctx, streams.WorkerKey(r.service, r.worker))
}

// seeLease updates the view with an entry of the bucket of leases.
func (r *run) seeLease(entry jetstream.KeyValueEntry) {
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

// seeWorker updates the view with an entry of the bucket of workers.
func (r *run) seeWorker(entry jetstream.KeyValueEntry) {
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

// errNoUpdates is returned if this worker does not see its own key renewed.
var errNoUpdates = errors.New("the watch of the workers brings no updates")

// balance gives up and takes the lanes that are due.
func (r *run) balance(ctx context.Context) error {
	now := time.Now()
	alive := r.view.alive(now)
	if !slices.Contains(alive, r.worker) {
		return errNoUpdates
	}
	giveUp, take := decide(r.worker, alive, r.owners(now))
	if len(giveUp) > 0 {
		r.deps.Log.Info("giving up lanes", "lanes", giveUp, "workers", len(alive))
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

// owners returns the owner of each lane.
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

// ownerless returns an error that names the first lane without an owner.
func (r *run) ownerless() error {
	for _, l := range r.owners(time.Now()) {
		if l.owner == nobody {
			return fmt.Errorf("lane %d has no owner", l.number)
		}
	}
	return nil
}

// working returns the leases of the lanes that this worker has and is not giving up.
func (r *run) working() []*hold {
	var held []*hold
	for _, number := range r.lanes {
		if h := r.holds[number]; h != nil && h.ctx.Err() == nil {
			held = append(held, h)
		}
	}
	return held
}

// take tries to take a lane, and reports whether it belongs to this worker now.
func (r *run) take(ctx context.Context, number int) (bool, error) {
	// Even if this worker is stopping it must learn whether it has the lease, or else
	// nobody would give it back.
	request, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.view.ttl/renewals)
	defer cancel()
	key := streams.LeaseKey(r.service, number)
	requested := time.Now()
	revision, err := r.leases.Create(request, key, []byte(r.worker))
	if streams.IsConflict(err) {
		revision, err = r.replace(request, number, key)
	}
	if errors.Is(err, errLost) {
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
	h.certainUntil(h.end(requested))
	r.holds[number] = h
	r.mu.Lock()
	r.current[number] = h
	r.mu.Unlock()
	r.deps.Metrics.taken.Inc()
	r.wait.Go(func() {
		h.err = h.work(requested, r.own)
		r.ended <- h
	})
	return true, nil
}

// replace takes a lease that the server still has, though its time has passed: the
// server looks for such keys only now and then. The compare-and-set fails if the owner
// has renewed the lease meanwhile. It returns errLost when another worker has it.
func (r *run) replace(ctx context.Context, number int, key string) (revision uint64, err error) {
	entry, err := r.leases.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		revision, err = r.leases.Create(ctx, key, []byte(r.worker))
	case err != nil:
		return 0, fmt.Errorf("read lease: %w", err)
	case entry.Revision() != r.view.leases[number].revision:
		r.seeLease(entry)
		return 0, errLost
	default:
		revision, err = r.leases.Update(ctx, key, []byte(r.worker), entry.Revision())
	}
	if streams.IsConflict(err) {
		return 0, errLost
	}
	return revision, err
}

// end removes a lane that was given back.
func (r *run) end(h *hold) {
	delete(r.holds, h.lane)
	r.mu.Lock()
	delete(r.current, h.lane)
	r.mu.Unlock()
	r.failure = errors.Join(r.failure, h.err)
}
