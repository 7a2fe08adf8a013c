package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/processor/window"
)

// rollups is what InfluxDB holds of one series: its readings and its roll-ups.
type rollups struct {
	readings map[int64]float64
	rows     map[string]rollupRow
}

// rollupRow is enough of a summary to show which readings are in it.
type rollupRow struct {
	Count         uint64
	Min, Max, Sum float64
}

// row returns the roll-up of the readings in [from, to).
func (h *rollups) row(name string, from, to int64) {
	var row rollupRow
	for t, v := range h.readings {
		if t < from || t >= to {
			continue
		}
		if row.Count == 0 {
			row.Min, row.Max = v, v
		}
		row = rollupRow{row.Count + 1, min(row.Min, v), max(row.Max, v), row.Sum + v}
	}
	if row.Count > 0 {
		h.rows[fmt.Sprintf("%s %d", name, from)] = row
	}
}

// TestStaleRollupsAreBackfilled has readings of any lateness, and a writer that recomputes
// the roll-ups that the machine emits as stale: in the end the minutes, hours and days are
// those of all readings.
func TestStaleRollupsAreBackfilled(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, "rules: []\nauto: false\nlateness: 2m\ntime_zone: Europe/Berlin\n")
		h := &rollups{readings: make(map[int64]float64), rows: make(map[string]rollupRow)}
		take := func() {
			c := r.take()
			for _, s := range c.Summaries {
				h.rows[fmt.Sprintf("%s %d", s.Window, s.Start)] = rollupRow{s.Count, s.Min, s.Max, s.Mean * float64(s.Count)}
			}
			for _, d := range c.Mends {
				for at := d.From; at < d.To; at += d.Width {
					h.row(d.Window, at, at+d.Width)
				}
			}
		}
		now := int64(0)
		lag := rapid.SampledFrom([]int64{0, 7200}).Draw(t, "lag")
		step := rapid.SampledFrom([]int64{5, 100, 2000}).Draw(t, "step")
		for range rapid.IntRange(1, 120).Draw(t, "n") {
			now += rapid.Int64Range(0, step).Draw(t, "dt")
			back := rapid.SampledFrom([]int64{0, 0, 0, 100, 200, 900, 5000, 90_000, 300_000}).Draw(t, "back")
			at, v := (now-back-lag)*second, float64(rapid.IntRange(0, 9).Draw(t, "value"))
			if _, there := h.readings[epoch+at]; !there {
				h.readings[epoch+at] = v
				r.read(thermometer, at, v)
			}
			if rapid.IntRange(0, 2).Draw(t, "tick") == 0 {
				r.tick(now * second)
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				r.send(now * second)
				take()
				r.reload()
			}
		}
		for range 6 {
			now += 10 * 3600
			r.tick(now * second)
			take()
		}
		want := &rollups{readings: h.readings, rows: make(map[string]rollupRow)}
		calendar := window.NewCalendar(berlin)
		for at := range h.readings {
			start := window.Start(at, time.Minute)
			want.row(window.NameMinute, start, start+minute)
			start, end := calendar.Hour(at)
			want.row(window.NameHour, start, end)
			start, end = calendar.Day(at)
			want.row(window.NameDay, start, end)
		}
		near := cmp.Comparer(func(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 })
		if diff := cmp.Diff(want.rows, h.rows, near); diff != "" {
			t.Fatalf("roll-ups (-want +got):\n%s", diff)
		}
	})
}

func TestMissedSpansAreBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var x staleRollups
		var all []int64
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			at := rapid.Int64Range(0, 50).Draw(t, "minute") * minute
			all = append(all, at)
			x.add(at)
		}
		if len(x.spans) > maxSpans {
			t.Fatalf("%d spans", len(x.spans))
		}
		for i, a := range x.spans {
			if a.from >= a.to || i > 0 && a.from <= x.spans[i-1].to {
				t.Fatalf("spans %v", x.spans)
			}
		}
		for _, at := range all {
			covered := false
			for _, a := range x.spans {
				covered = covered || at >= a.from && at+minute <= a.to
			}
			if !covered {
				t.Fatalf("the minute %d is in none of %v", at/minute, x.spans)
			}
		}
	})
}
