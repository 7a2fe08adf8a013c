package quota

import (
	"testing"
	"time"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestRate has a device send as much as it may over an hour, in messages of one reading
// and in large batches: on average it gets its rate and one burst.
func TestRate(t *testing.T) {
	for _, batch := range []int{1, 100, 5000} {
		q := NewRate[string](10)
		now, taken := midnight, 0
		for now.Before(midnight.Add(time.Hour)) {
			if wait := q.Wait("a", now); wait > 0 {
				now = now.Add(wait)
				continue
			}
			q.Charge("a", batch, now)
			taken += batch
		}
		if limit := 10 * (3600 + burstSeconds); taken < limit-batch || taken > limit+2*batch {
			t.Errorf("in batches of %d it got %d readings in, want about %d", batch, taken, limit)
		}
		if wait := q.Wait("b", now); wait != 0 {
			t.Errorf("another one must wait %s", wait)
		}
	}
}

func TestRateWithoutABound(t *testing.T) {
	q := NewRate[string](0)
	q.Charge("a", 1_000_000, midnight)
	if q.Wait("a", midnight) != 0 || len(q.paid) != 0 {
		t.Error("there is a bound")
	}
}

// TestRateIsBounded has more senders than are remembered. Those that have waited make
// room first.
func TestRateIsBounded(t *testing.T) {
	q := NewRate[int](10)
	for i := range 3 * most {
		q.Charge(i, 1, midnight)
	}
	if len(q.paid) > most {
		t.Errorf("%d senders are remembered", len(q.paid))
	}
	for i := range most {
		q.Charge(-1-i, 1, midnight.Add(time.Hour))
	}
	for sender := range q.paid {
		if sender >= 0 {
			t.Fatal("a sender that has waited is remembered, and another one forgotten for it")
		}
	}
}
