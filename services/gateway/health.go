package gateway

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"headwater/streams"
)

// suspicion is how long a failed commit makes the gateway unready. It must end by itself:
// a load balancer sends nothing to an unready gateway, which then could not find out that
// the stream stores readings again.
const suspicion = 15 * time.Second

// health is whether the gateway can store readings. Any number of goroutines may use it.
type health struct {
	mu sync.Mutex
	// lasting is a reason that holds until set is called again.
	lasting error
	// failure is the error of the last commit; nil when it was stored.
	failure  error
	at       time.Time
	failures int
}

func (h *health) set(lasting error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lasting = lasting
}

// fail notes a failed commit. It reports whether the previous one was stored.
func (h *health) fail(err error, now time.Time) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure, h.at = err, now
	h.failures++
	return h.failures == 1
}

// succeed notes a commit that was stored and returns how many failed before it.
func (h *health) succeed() (failures int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	failures, h.failure, h.failures = h.failures, nil, 0
	return failures
}

// unanswered reports whether the last commit got no answer.
func (h *health) unanswered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Is(h.failure, streams.ErrNoAnswer)
}

func (h *health) ready(now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.lasting != nil:
		return h.lasting
	case h.failure != nil && now.Sub(h.at) < suspicion:
		return fmt.Errorf("the last readings could not be stored: %w", h.failure)
	}
	return nil
}
