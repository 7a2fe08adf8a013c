// Package quota bounds what a sender may have stored. It is pure: the time is an argument.
package quota

import (
	"sync"
	"time"
)

// Device names a device in a quota.
type Device struct{ Site, Device string }

// most bounds the senders that a rate remembers.
const most = 20_000

// Rate bounds how many readings each sender may have stored: so many a second on average,
// and before that a burst of burstSeconds times as many. A sender that has used up its
// burst must wait until it has paid for what it sent. So a batch of any size is taken as a
// whole, and what follows waits the longer. Any number of goroutines may use it.
type Rate[K comparable] struct {
	rate float64 // readings a second; 0 sets no bound

	mu sync.Mutex
	// paid is the time at which a sender has its whole burst again.
	paid map[K]time.Time // guarded by mu
}

// burstSeconds is how many seconds of its rate a sender may send at once. Devices that
// were away send what they kept.
const burstSeconds = 20

// NewRate returns a bound of that many readings a second; 0 sets none.
func NewRate[K comparable](rate int) *Rate[K] {
	return &Rate[K]{rate: float64(rate), paid: make(map[K]time.Time)}
}

// PerSecond returns the readings a second, 0 if there is no bound.
func (q *Rate[K]) PerSecond() float64 { return q.rate }

// Wait returns how long the sender must wait before it may send again; 0 if it need not.
func (q *Rate[K]) Wait(sender K, now time.Time) time.Duration {
	if q.rate == 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(0, q.paid[sender].Add(-burstSeconds*time.Second).Sub(now))
}

// Charge counts readings of a sender.
func (q *Rate[K]) Charge(sender K, readings int, now time.Time) {
	if q.rate == 0 || readings == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	paid, known := q.paid[sender]
	if paid.Before(now) {
		paid = now
	}
	if !known {
		q.makeRoom(now)
	}
	q.paid[sender] = paid.Add(time.Duration(float64(readings) / q.rate * float64(time.Second)))
}

// makeRoom forgets the senders that have their whole burst, and if those are few, others:
// enough of them that it is not called for each new one. The caller holds the lock.
func (q *Rate[K]) makeRoom(now time.Time) {
	if len(q.paid) < most {
		return
	}
	for s, paid := range q.paid {
		if !paid.After(now) {
			delete(q.paid, s)
		}
	}
	for s := range q.paid {
		if len(q.paid) < most/4*3 {
			return
		}
		delete(q.paid, s)
	}
}
