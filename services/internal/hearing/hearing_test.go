package hearing_test

import (
	"testing"
	"time"

	"headwater/services/internal/hearing"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
)

// ticked is a clock that ticked every second up to a time, except in the gaps.
func ticked(until int64, gaps ...hearing.Gap) *hearing.Clock {
	c := hearing.New()
	for now := int64(0); now <= until; now += second {
		for _, g := range gaps {
			if now > g.From && now < g.To {
				now = g.To
			}
		}
		c.Tick(now)
	}
	return &c
}

func TestSince(t *testing.T) {
	t.Parallel()
	night := hearing.Gap{From: hour, To: 9 * hour}
	upgrade := hearing.Gap{From: 10 * hour, To: 10*hour + 50*second}
	for _, test := range []struct {
		name     string
		gaps     []hearing.Gap
		until    int64
		from, to int64
		want     int64
	}{
		{"somebody always listened", nil, 2 * hour, minute, hour, minute},
		{"after a long gap the wait begins again", []hearing.Gap{night}, 10 * hour, hour - 10*minute, 9*hour + minute, 9 * hour},
		{"and before it nothing is forgiven", []hearing.Gap{night}, 10 * hour, hour - 10*minute, hour - minute, hour - 10*minute},
		{"in a gap nothing counts", []hearing.Gap{night}, 10 * hour, hour - 10*second, 3 * hour, 3 * hour},
		{"from within a gap", []hearing.Gap{night}, 10 * hour, 3 * hour, 9*hour + minute, 9 * hour},
		{"a short gap takes four times its length", []hearing.Gap{upgrade}, 11 * hour, 10*hour - 10*minute, 10*hour + 50*second, 10*hour + 50*second - (600-200)*second},
		{"two gaps", []hearing.Gap{night, upgrade}, 11 * hour, 0, 10*hour + 60*second, 10*hour + 60*second - (3600-200+10)*second},
		{"the clock has stood still since", nil, hour, hour - minute, hour + minute, hour + minute},
		{"the clock ticks a little late", nil, hour, hour - minute, hour + 2*second, hour - minute},
	} {
		if got := ticked(test.until, test.gaps...).Since(test.from, test.to); got != test.want {
			t.Errorf("%s: since %v, want %v", test.name, time.Duration(got), time.Duration(test.want))
		}
	}
	before := hearing.New()
	if got := before.Since(minute, hour); got != minute {
		t.Errorf("before the first tick it counts since %v", time.Duration(got))
	}
}

// TestSlowClock has the clock tick every eight seconds for a long time, as
// under load: that is not a gap.
func TestSlowClock(t *testing.T) {
	t.Parallel()
	c := ticked(minute)
	for now := minute; now < hour; now += 8 * second {
		c.Tick(now)
	}
	if listened := c.Listened(2*minute, hour); listened < 57*minute {
		t.Errorf("listened for %v of 58 minutes", time.Duration(listened))
	}
}

// TestStumbles has the clock stand still for four seconds of each minute: a
// wait of minutes still ends.
func TestStumbles(t *testing.T) {
	t.Parallel()
	var gaps []hearing.Gap
	for at := minute; at < 2*hour; at += minute {
		gaps = append(gaps, hearing.Gap{From: at, To: at + 4*second})
	}
	c := ticked(2*hour, gaps...)
	if len(c.Gaps) > hearing.MaxGaps {
		t.Errorf("%d gaps are kept", len(c.Gaps))
	}
	if wait := 2*hour - c.Since(hour, 2*hour); wait < 30*minute {
		t.Errorf("of an hour %v count", time.Duration(wait))
	}
	if c.Gaps[len(c.Gaps)-1].To < 2*hour-2*minute {
		t.Error("the newest gap is forgotten")
	}
}

// TestLongGapsAreKept has short gaps follow a night in which Headwater did not listen.
func TestLongGapsAreKept(t *testing.T) {
	t.Parallel()
	gaps := []hearing.Gap{{From: hour, To: 9 * hour}}
	for i := range int64(40) {
		at := 9*hour + (i+1)*minute
		gaps = append(gaps, hearing.Gap{From: at, To: at + 5*second})
	}
	c := ticked(10*hour, gaps...)
	if listened := c.Listened(0, 10*hour); listened > 2*hour {
		t.Errorf("listened for %v", time.Duration(listened))
	}
}
