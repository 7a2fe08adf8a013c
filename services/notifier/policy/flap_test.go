package policy_test

import (
	"fmt"
	"testing"
	"time"

	"headwater/services/notifier/policy"
)

// TestFlapping has episodes begin at given minutes, learned at once or later, and looks at
// whether the alert flaps then and when it settles.
func TestFlapping(t *testing.T) {
	for name, tc := range map[string]struct {
		begin   []float64
		learned float64
		// since is the minute since which it flaps; below 0 while it does not.
		since, settles float64
	}{
		"once a second":                      {begin: []float64{1, 1.1, 1.2, 1.3, 1.4, 1.5}, since: 1, settles: 11.5},
		"four times":                         {begin: []float64{1, 2, 3, 4}, since: -1},
		"five times within the time":         {begin: []float64{1, 3, 5, 7, 11}, since: 1, settles: 21},
		"five times within a longer time":    {begin: []float64{1, 3, 5, 7, 11.1}, since: -1},
		"it continues":                       {begin: []float64{1, 2, 3, 4, 5, 14, 23}, since: 1, settles: 33},
		"it has settled and begins":          {begin: []float64{1, 2, 3, 4, 5, 16}, since: -1},
		"what a device kept and sends later": {begin: []float64{1, 2, 3, 4, 5}, learned: 60, since: -1},
		"what is still fresh when it comes":  {begin: []float64{51, 52, 53, 54, 55}, learned: 60, since: 51, settles: 65},
		"before the epoch":                   {begin: []float64{-9, -8, -7, -6, -5}, since: -9, settles: 5},
	} {
		t.Run(name, func(t *testing.T) {
			at := func(minutes float64) int64 { return int64(minutes * float64(time.Minute)) }
			var e policy.Entry
			for _, m := range tc.begin {
				for _, phase := range []policy.Phase{policy.Open, policy.Close} {
					e = policy.Decide(e, policy.Transition{Phase: phase, Start: at(m), Now: max(at(m), at(tc.learned))}, policy.Audience{}).Entry
				}
			}
			settles, flaps := e.Settles()
			if want := tc.since >= 0 || tc.settles != 0; flaps != want || flaps && (e.Flap.Since != at(tc.since) || settles != at(tc.settles)) {
				t.Fatalf("flaps %v since %v until %v", flaps, time.Duration(e.Flap.Since), time.Duration(settles))
			}
			if len(e.Flap.Begun) > policy.FlapsAfter {
				t.Errorf("%d starts are kept", len(e.Flap.Begun))
			}
			for now, over := range map[int64]bool{settles - 1: false, settles: flaps} {
				d := policy.Settle(e, now)
				if _, still := d.Entry.Settles(); d.Changed != over || still != (flaps && !over) || (d.Reason == policy.ReasonSettled) != over {
					t.Errorf("at %v: %s", time.Duration(now), fmt.Sprint(d.Reason, d.Changed))
				}
			}
		})
	}
}
