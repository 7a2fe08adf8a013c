package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// beats is how often a lease is renewed in the time that it lasts.
	beats = 4
	// marginPart of that time is the margin by which a worker believes its lease
	// to end earlier than it does: for clocks that differ in pace, and for the
	// step that is being worked on.
	marginPart = 8
)

// errLost is returned when a lease is somebody else's, or nobody's.
var errLost = errors.New("the lease is lost")

// hold is one lease of this worker, from when it was taken until it was given
// back.
type hold struct {
	lane   int
	worker string
	leases jetstream.KeyValue
	key    string
	ttl    time.Duration
	log    *slog.Logger
	// lost is called once when the lease is lost.
	lost func()

	// ctx is that of the work in the lane; giveUp ends it.
	ctx    context.Context
	giveUp context.CancelFunc
	// revision of the lease. For the goroutine that renews it; then for the one
	// that gives it back.
	revision uint64
	// until is when the lease ends for certain if it is not renewed any more.
	until atomic.Pointer[time.Time]
	// err is what the work returned; it is there when the hold has ended.
	err error
}

// work runs own for as long as the lease is held, and gives the lease back when
// own has returned. Asked is when the lease was asked for: from then on it lasts
// on the server.
func (h *hold) work(asked time.Time, own Own) error {
	// The timer, not a failure to renew, ends the work: whatever blocks, it ends
	// before the lease can have run out on the server.
	expiry := time.AfterFunc(time.Until(h.end(asked)), func() {
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
	h.certain(time.Time{})
	h.giveUp()
	if err := h.release(); err != nil {
		h.log.Warn("the lease could not be given back; it runs out by itself", "err", err)
	}
	return err
}

// end is until when a lease that was asked for at a time is certain.
func (h *hold) end(asked time.Time) time.Time { return asked.Add(h.ttl - h.ttl/marginPart) }

// certain notes until when the lease is certain.
func (h *hold) certain(until time.Time) { h.until.Store(&until) }

// renew renews the lease until the work is done, also while it drains.
func (h *hold) renew(done <-chan struct{}, expiry *time.Timer) {
	tick := time.NewTicker(h.ttl / beats)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		asked := time.Now()
		err := h.extend()
		if errors.Is(err, errLost) {
			if expiry.Stop() {
				h.log.Error("another worker has the lease, or it has run out", "err", err)
				h.certain(time.Time{})
				h.lost()
				h.giveUp()
			}
			return
		}
		if err != nil {
			h.log.Warn("the lease was not renewed; it is tried again", "err", err)
			continue
		}
		if !expiry.Stop() {
			// The work was told to end meanwhile, and what ended is not taken back.
			return
		}
		h.certain(h.end(asked))
		expiry.Reset(time.Until(h.end(asked)))
	}
}

// extend renews the lease once.
func (h *hold) extend() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), h.ttl/beats)
	defer cancel()
	revision, err := h.leases.Update(ctx, h.key, []byte(h.worker), h.revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		// An earlier renewal may have been stored though its answer was lost.
		if err = h.reread(ctx); err == nil {
			revision, err = h.leases.Update(ctx, h.key, []byte(h.worker), h.revision)
		}
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", h.key, err)
	}
	h.revision = revision
	return nil
}

// reread takes the revision of the lease from the server, or returns errLost.
func (h *hold) reread(ctx context.Context) error {
	entry, err := h.leases.Get(ctx, h.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		// Its time has not run out, or the work would have ended: the server has
		// forgotten it. Whoever is first has it.
		h.revision, err = h.leases.Create(ctx, h.key, []byte(h.worker))
		if refused(err) {
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
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		if err = h.reread(ctx); err == nil {
			err = h.leases.Delete(ctx, h.key, jetstream.LastRevision(h.revision))
		}
	}
	if errors.Is(err, errLost) {
		// There is nothing to give back.
		return nil
	}
	return err
}
