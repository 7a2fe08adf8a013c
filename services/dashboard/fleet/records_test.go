package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/dashboard/fleet"
	"headwater/web/view"
)

// TestStats counts episodes of every kind, each told more than once and out of order.
func TestStats(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	r := fleet.NewRecords()
	n := 0
	put := func(rule string, ago, lasted time.Duration, change func(*view.Alert)) {
		n++
		a := view.Alert{Episode: fmt.Sprint(n), Rule: rule, State: view.AlertFiring, Started: now.Add(-ago), Opened: now.Add(-ago), Learned: now.Add(-ago), Version: 1}
		r.Put(a)
		before := a
		if lasted > 0 {
			a.State, a.Ended, a.End, a.Learned = view.AlertResolved, a.Started.Add(lasted), view.AlertRecovered, a.Started.Add(lasted)
		}
		a.Version = 2
		change(&a)
		r.Put(a)
		r.Put(before)
	}
	const day = 24 * time.Hour
	none := func(*view.Alert) {}
	put("warm", day, 10*time.Minute, none)
	put("warm", 2*day, 20*time.Minute, func(a *view.Alert) { a.Acknowledged = &view.Note{Author: "ann", At: a.Opened.Add(3 * time.Minute)} })
	put("warm", 3*day, time.Hour, func(a *view.Alert) { a.End = view.AlertNoData })
	put("warm", time.Hour, 0, func(a *view.Alert) {
		a.State, a.Acknowledged = view.AlertAcknowledged, &view.Note{Author: "ann", At: a.Opened.Add(5 * time.Minute)}
	})
	put("warm", 4*day, 30*time.Minute, func(a *view.Alert) { a.Comments = []view.Note{{Author: "bob"}} })
	put("warm", 20*day, 2*time.Hour, none)
	put("warm", 40*day, time.Minute, none)
	put("cold", day, time.Minute, none)
	r.Put(view.Alert{Episode: "p", Rule: "warm", State: view.AlertPending, Started: now})
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	for days, want := range map[int]view.RuleStats{
		7:  {Days: 7, Alerts: 5, Ongoing: 1, LastedMS: ms(30 * time.Minute), LongestMS: ms(time.Hour), Acknowledged: 2, AcknowledgedAfterMS: ms(5 * time.Minute), NeverActed: 2, NoData: 1},
		30: {Days: 30, Alerts: 6, Ongoing: 1, LastedMS: ms(30 * time.Minute), LongestMS: ms(2 * time.Hour), Acknowledged: 2, AcknowledgedAfterMS: ms(5 * time.Minute), NeverActed: 3, NoData: 1},
	} {
		if d := cmp.Diff(want, r.Stats("warm", now, days)); d != "" {
			t.Errorf("%d days: %s", days, d)
		}
	}
	if d := cmp.Diff(view.RuleStats{Days: 7}, r.Stats("other", now, 7)); d != "" {
		t.Error(d)
	}
}
