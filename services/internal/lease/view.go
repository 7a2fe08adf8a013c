package lease

import (
	"maps"
	"slices"
	"time"
)

// view is what a worker has seen of the leases and workers of its service. A key that it
// does not see renewed for ttl counts as expired. The worker sees a renewal after the
// server has stored it, so by then its time has passed on the server as well. If the owner
// has renewed it and the worker has not seen that yet, the server refuses the attempt to
// take the lane.
type view struct {
	ttl     time.Duration
	leases  map[int]seen
	workers map[string]seen
}

// seen is the last sight of a key.
type seen struct {
	revision uint64
	until    time.Time
}

func newView(ttl time.Duration) *view {
	return &view{ttl: ttl, leases: make(map[int]seen), workers: make(map[string]seen)}
}

// seeLease records a revision of the lease of a lane.
func (v *view) seeLease(lane int, revision uint64, now time.Time) {
	v.leases[lane] = v.next(v.leases[lane], revision, now)
}

// seeWorker records a revision of the key of a worker.
func (v *view) seeWorker(worker string, revision uint64, now time.Time) {
	v.workers[worker] = v.next(v.workers[worker], revision, now)
}

func (v *view) next(before seen, revision uint64, now time.Time) seen {
	if revision == before.revision {
		return before // seen again, and not renewed
	}
	return seen{revision, now.Add(v.ttl)}
}

// leased reports whether any worker has the lane.
func (v *view) leased(lane int, now time.Time) bool { return v.leases[lane].until.After(now) }

// alive returns the live workers, sorted.
func (v *view) alive(now time.Time) []string {
	maps.DeleteFunc(v.workers, func(_ string, s seen) bool { return !s.until.After(now) })
	return slices.Sorted(maps.Keys(v.workers))
}

// nextEnd returns when the first key expires if none is seen again, but not later than
// latest.
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
