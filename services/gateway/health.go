package gateway

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// suspicion is how long a failed commit makes the gateway unready. Were it
// longer, a load balancer that sends nothing to an unready gateway would never
// let it find out that the stream takes readings again.
const suspicion = 15 * time.Second

// health is whether the gateway can do its work. Any number of goroutines may
// use it.
type health struct {
	mu sync.Mutex
	// lasting is a reason that holds until the gateway says otherwise.
	lasting error
	// failure is that of the last commit, and nil after one that was stored.
	failure  error
	at       time.Time
	failures int
}

func (h *health) set(lasting error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lasting = lasting
}

// fail notes a failed commit and says whether the one before was stored.
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

// unanswered says whether the last commit got no answer.
func (h *health) unanswered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Is(h.failure, errTimeout)
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
