package device

import (
	"fmt"
	"testing"
	"time"
)

// TestStatesOverTime makes spans and days of changes: cut by the range and by now, and counted
// by the days of a zone, one of which has 25 hours.
func TestStatesOverTime(t *testing.T) {
	t.Parallel()
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour int) time.Time { return time.Date(2025, 10, day, hour, 0, 0, 0, vienna) } // the clocks go back on the 26th
	for _, c := range []struct {
		name          string
		changes       []Change
		from, to, now time.Time
		spans, days   string
	}{
		{"nothing", nil, at(25, 0), at(26, 0), at(30, 0), "", ""},
		{"one state from before", []Change{{at(20, 0), "off"}}, at(25, 6), at(25, 12), at(30, 0), "off 6h0m0s", "2025-10-25 off 0 6h0m0s"},
		{"up to now", []Change{{at(25, 1), "off"}, {at(25, 2), "on"}}, at(25, 0), at(25, 12), at(25, 5), "off 1h0m0s, on 3h0m0s", "2025-10-25 off 1 1h0m0s, 2025-10-25 on 1 3h0m0s"},
		{
			"over midnight and the longer day",
			[]Change{{at(25, 0), "off"}, {at(25, 22), "on"}, {at(27, 2), "off"}},
			at(25, 0), at(27, 3), at(30, 0),
			"off 22h0m0s, on 29h0m0s, off 1h0m0s",
			"2025-10-27 off 1 1h0m0s, 2025-10-27 on 0 2h0m0s, 2025-10-26 on 0 25h0m0s, 2025-10-25 off 0 22h0m0s, 2025-10-25 on 1 2h0m0s",
		},
		{"of the future", []Change{{at(29, 0), "on"}}, at(25, 0), at(30, 0), at(28, 0), "", ""},
	} {
		all := spans(c.changes, c.from, c.to, c.now)
		got, join := "", ""
		for _, s := range all {
			got += join + s.Value + " " + (time.Duration(s.ToMS-s.FromMS) * time.Millisecond).String()
			join = ", "
		}
		if got != c.spans {
			t.Errorf("%s: spans %s; want %s", c.name, got, c.spans)
		}
		got, join = "", ""
		for _, d := range days(all, c.from, vienna) {
			got += join + fmt.Sprintf("%s %s %d %s", d.Day, d.Value, d.Count, time.Duration(d.MS)*time.Millisecond)
			join = ", "
		}
		if got != c.days {
			t.Errorf("%s: days %s; want %s", c.name, got, c.days)
		}
	}
}
