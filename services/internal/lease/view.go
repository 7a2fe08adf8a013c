package lease

import (
	"maps"
	"slices"
	"time"
)

// view is what a worker has heard of the leases and the workers of its service.
// What is not heard of again for ttl is taken to be gone. One hears of a lease
// after it was renewed, so it has run out on the server as well by then; should
// it not have, the server refuses that it is taken.
type view struct {
	ttl     time.Duration
	leases  map[int]sign
	workers map[string]sign
}

// sign is one sign of life.
type sign struct {
	revision uint64
	until    time.Time
}

func newView(ttl time.Duration) *view {
	return &view{ttl: ttl, leases: make(map[int]sign), workers: make(map[string]sign)}
}

// seeLease notes that the lease of a lane was heard of.
func (v *view) seeLease(lane int, revision uint64, now time.Time) {
	v.leases[lane] = v.next(v.leases[lane], revision, now)
}

func (v *view) seeWorker(worker string, revision uint64, now time.Time) {
	v.workers[worker] = v.next(v.workers[worker], revision, now)
}

func (v *view) next(before sign, revision uint64, now time.Time) sign {
	if revision == before.revision {
		// The server still has what should have run out: look again soon.
		return sign{revision, now.Add(v.ttl / beats)}
	}
	return sign{revision, now.Add(v.ttl)}
}

// leased says whether anybody has the lane.
func (v *view) leased(lane int, now time.Time) bool { return v.leases[lane].until.After(now) }

// alive returns the live workers in order.
func (v *view) alive(now time.Time) []string {
	maps.DeleteFunc(v.workers, func(_ string, s sign) bool { return !s.until.After(now) })
	return slices.Sorted(maps.Keys(v.workers))
}

// nextEnd returns when the first thing that is known runs out if it is not heard
// of again, at the latest the time given.
func (v *view) nextEnd(now, latest time.Time) time.Time {
	for _, s := range v.leases {
		if s.until.After(now) && s.until.Before(latest) {
			latest = s.until
		}
	}
	for _, s := range v.workers {
		if s.until.After(now) && s.until.Before(latest) {
			latest = s.until
		}
	}
	return latest
}
