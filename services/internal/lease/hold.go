package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

const (
	// renewals is how often a lease is renewed in the time that it lasts.
	renewals = 4
	// marginPart is the margin, as a part of that time, by which a worker treats its
	// lease as ending early: clocks may run at different speeds, and a step under way
	// needs time to finish.
	marginPart = 8
)

// errLost is returned if a lease belongs to another worker, or to none.
var errLost = errors.New("the lease is lost")

// hold is one lease of this worker, from taking it until giving it back.
type hold struct {
	lane   int
	worker string
	leases jetstream.KeyValue
	key    string
	ttl    time.Duration
	log    *slog.Logger
	// lost is called once when the lease is lost.
	lost func()

	// ctx is the context of the work in the lane; giveUp ends it.
	ctx    context.Context
	giveUp context.CancelFunc
	// revision is that of the key. Only the goroutine that renews the lease uses it,
	// and after that the one that gives it back.
	revision uint64
	// until is until when this worker certainly has the lease if it is not renewed again;
	// zero after that.
	until atomic.Pointer[time.Time]
	// err is the error of own. It is set once the hold is in run.ended.
	err error
}

// work calls own while the lease is held, and gives the lease back after own has returned.
// Requested is when the lease was requested: on the server it lasts from then on at least.
func (h *hold) work(requested time.Time, own Own) error {
	// A timer ends the work, not a failed renewal: even if a renewal blocks, the work ends
	// before the lease can expire on the server.
	expiry := time.AfterFunc(time.Until(h.end(requested)), func() {
		h.log.Error("the lease was not renewed in time; another worker will take the lane")
		h.lost()
		h.giveUp()
	})
	done, renewed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(renewed)
		h.renew(done, expiry)
	}()
	err := own(h.ctx, h.lane)
	close(done)
	<-renewed
	expiry.Stop()
	h.certainUntil(time.Time{})
	h.giveUp()
	if err := h.release(); err != nil {
		h.log.Warn("the lease could not be given back; it expires by itself", "err", err)
	}
	return err
}

// end returns until when a lease is certain that was requested at that time.
func (h *hold) end(requested time.Time) time.Time { return requested.Add(h.ttl - h.ttl/marginPart) }

// certainUntil sets until when the lease is certain.
func (h *hold) certainUntil(until time.Time) { h.until.Store(&until) }

// renew renews the lease until own has returned, also while own finishes its last step.
func (h *hold) renew(done <-chan struct{}, expiry *time.Timer) {
	tick := time.NewTicker(h.ttl / renewals)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		requested := time.Now()
		err := h.extend()
		if errors.Is(err, errLost) {
			if expiry.Stop() {
				h.log.Error("another worker has the lease, or it has expired", "err", err)
				h.certainUntil(time.Time{})
				h.lost()
				h.giveUp()
			}
			return
		}
		if err != nil {
			h.log.Warn("the lease was not renewed; the next attempt follows", "err", err)
			continue
		}
		if !expiry.Stop() {
			// The timer has ended the work in the meantime, and that can't be undone.
			return
		}
		h.certainUntil(h.end(requested))
		expiry.Reset(time.Until(h.end(requested)))
	}
}

// extend renews the lease once.
func (h *hold) extend() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), h.ttl/renewals)
	defer cancel()
	revision, err := h.leases.Update(ctx, h.key, []byte(h.worker), h.revision)
	if streams.IsConflict(err) {
		// An earlier renewal may have been stored although its answer was lost.
		err = h.reread(ctx)
		if err == nil {
			revision, err = h.leases.Update(ctx, h.key, []byte(h.worker), h.revision)
		}
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", h.key, err)
	}
	h.revision = revision
	return nil
}

// reread reads the revision of the lease from the server. It returns errLost if the lease
// belongs to another worker.
func (h *hold) reread(ctx context.Context) error {
	entry, err := h.leases.Get(ctx, h.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		// The lease can't have expired, because the work would have ended before that.
		// So the server has lost the key, and the first worker to create it has the lane.
		h.revision, err = h.leases.Create(ctx, h.key, []byte(h.worker))
		if streams.IsConflict(err) {
			return errLost
		}
		return err
	}
	if err != nil {
		return err
	}
	if string(entry.Value()) != h.worker {
		return errLost
	}
	h.revision = entry.Revision()
	return nil
}

// release gives the lease back, so that another worker can take it at once.
func (h *hold) release() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), h.ttl)
	defer cancel()
	err := h.leases.Delete(ctx, h.key, jetstream.LastRevision(h.revision))
	if streams.IsConflict(err) {
		err = h.reread(ctx)
		if err == nil {
			err = h.leases.Delete(ctx, h.key, jetstream.LastRevision(h.revision))
		}
	}
	if errors.Is(err, errLost) {
		// There is nothing to give back.
		return nil
	}
	return err
}
