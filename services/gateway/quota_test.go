package gateway

import (
	"testing"
	"time"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestQuota has a device send as much as it may over an hour, in messages of one reading
// and in large batches: on average it gets its rate and one burst.
func TestQuota(t *testing.T) {
	for _, batch := range []int{1, 100, 5000} {
		q := newQuota[string](10)
		now, taken := midnight, 0
		for now.Before(midnight.Add(time.Hour)) {
			if wait := q.wait("a", now); wait > 0 {
				now = now.Add(wait)
				continue
			}
			q.charge("a", batch, now)
			taken += batch
		}
		if most := 10 * (3600 + burstSeconds); taken < most-batch || taken > most+2*batch {
			t.Errorf("in batches of %d it got %d readings in, want about %d", batch, taken, most)
		}
		if wait := q.wait("b", now); wait != 0 {
			t.Errorf("another one must wait %s", wait)
		}
	}
}

func TestQuotaWithoutABound(t *testing.T) {
	q := newQuota[string](0)
	q.charge("a", 1_000_000, midnight)
	if q.wait("a", midnight) != 0 || len(q.paid) != 0 {
		t.Error("there is a bound")
	}
}

// TestQuotaIsBounded has more senders than are remembered. Those that have waited make
// room first.
func TestQuotaIsBounded(t *testing.T) {
	q := newQuota[int](10)
	for i := range 3 * quotaMost {
		q.charge(i, 1, midnight)
	}
	if len(q.paid) > quotaMost {
		t.Errorf("%d senders are remembered", len(q.paid))
	}
	for i := range quotaMost {
		q.charge(-1-i, 1, midnight.Add(time.Hour))
	}
	for sender := range q.paid {
		if sender >= 0 {
			t.Fatal("a sender that has waited is remembered, and another one forgotten for it")
		}
	}
}
