package fleet

import (
	"slices"
	"sync"
	"time"

	"headwater/web/view"
)

// maxRecords bounds the episodes that statistics are made of; the oldest are forgotten.
const maxRecords = 50_000

// Records keep what statistics need of each episode of an alert. They may be used by many
// goroutines.
type Records struct {
	mu  sync.RWMutex // guards what follows
	all map[string]lived
	// order are the episodes as they came.
	order []string
}

// lived is an episode without its texts. Times are nanoseconds since the Unix epoch; 0
// means that it has not happened.
type lived struct {
	rule                           string
	started, ended, opened, marked int64
	end                            view.AlertEnd
	acted                          bool
	learned                        int64
	version                        uint64
}

// NewRecords returns no records.
func NewRecords() *Records { return &Records{all: make(map[string]lived)} }

// Put takes a state of an alert; the same may come twice, and late.
func (r *Records) Put(a view.Alert) {
	if a.State == view.AlertPending {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	have, known := r.all[a.Episode]
	if known && (a.Learned.UnixNano() < have.learned || a.Learned.UnixNano() == have.learned && a.Version < have.version) {
		return
	}
	if !known {
		if len(r.order) >= maxRecords {
			delete(r.all, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, a.Episode)
	}
	nanos := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixNano()
	}
	one := lived{
		rule: a.Rule, started: nanos(a.Started), ended: nanos(a.Ended), opened: nanos(a.Opened), end: a.End,
		acted:   a.Acknowledged != nil || a.Resolved != nil || a.Assignee != "" || len(a.Comments) > 0,
		learned: a.Learned.UnixNano(), version: a.Version,
	}
	if a.Acknowledged != nil {
		one.marked = nanos(a.Acknowledged.At)
	}
	if one.opened == 0 {
		one.opened = one.started
	}
	r.all[a.Episode] = one
}

// Stats returns the statistics of a rule over the last days.
func (r *Records) Stats(rule string, now time.Time, days int) view.RuleStats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := view.RuleStats{Days: days}
	from, until := now.AddDate(0, 0, -days).UnixNano(), now.UnixNano()
	var lasted, marked []int64
	for _, one := range r.all {
		if one.rule != rule || one.started < from || one.started > until {
			continue
		}
		out.Alerts++
		if one.marked != 0 {
			out.Acknowledged++
			marked = append(marked, max(0, one.marked-one.opened))
		}
		if one.ended == 0 {
			out.Ongoing++
			continue
		}
		lasted = append(lasted, max(0, one.ended-one.started))
		if one.end == view.AlertNoData {
			out.NoData++
		}
		if !one.acted {
			out.NeverActed++
		}
	}
	out.LastedMS, out.AcknowledgedAfterMS = median(lasted), median(marked)
	if len(lasted) > 0 {
		out.LongestMS = slices.Max(lasted) / int64(time.Millisecond)
	}
	return out
}

// median returns the median of times in nanoseconds, in milliseconds; 0 of none. Of two in
// the middle it is the higher.
func median(all []int64) int64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2] / int64(time.Millisecond)
}
