package streams

import (
	"testing"
	"time"
)

func TestWeekNeedsADayOfReadings(t *testing.T) {
	to := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		result ReplayResult
		want   string
	}{
		"a day":                  {ReplayResult{From: to.Add(-24 * time.Hour), To: to}, "14.3"},
		"ten minutes":            {ReplayResult{From: to.Add(-10 * time.Minute), To: to}, "too little history to say"},
		"readings of 11 minutes": {ReplayResult{From: to.Add(-24 * time.Hour), To: to, Since: to.Add(-11 * time.Minute)}, "too little history to say"},
		"older readings":         {ReplayResult{From: to.Add(-48 * time.Hour), To: to, Since: to.Add(-72 * time.Hour)}, "14.3"},
	} {
		if got := c.result.Week(14.26); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
