package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/web/view"
)

// TestUnitsStayApart: the latest number has its own unit, nothing of another unit
// is drawn beside it, and each live point says its unit as the metric spelled it
// first.
func TestUnitsStayApart(t *testing.T) {
	f := New("demo")
	feed := f.Follow("hall", "baro-1")
	now := time.Date(2026, 3, 14, 15, 9, 0, 0, time.UTC)
	add := func(after time.Duration, unit string, v float64) {
		at := now.Add(after).UnixNano()
		f.Add(at, []Series{{Site: "hall", Device: "baro-1", Metric: "pressure", Unit: unit, Kind: view.KindNumber}}, func(yield func(Reading) bool) {
			yield(Reading{Time: at, Value: view.Number(v)})
		})
	}
	add(0, "hPa", 1010)
	add(time.Second, "mbar", 1011)
	add(2*time.Second, "", 1012)
	device := func() view.Metric {
		d, _ := f.Device("hall", "baro-1", now.Add(time.Minute))
		return d.Metrics[0]
	}
	if m := device(); m.Unit != "hPa" || m.Units != nil || len(m.Spark) != 1 || m.Spark[0].Max != 1012 {
		t.Fatalf("in one unit: %+v", m)
	}
	add(3*time.Second, "Pa", 101300)
	add(1500*time.Millisecond, "hPa", 1009) // late
	m := device()
	if diff := cmp.Diff([]string{"hPa", "Pa"}, m.Units); diff != "" || m.Unit != "Pa" || m.Value.Number != 101300 {
		t.Errorf("in two: %+v\n%s", m, diff)
	}
	if len(m.Spark) != 1 || m.Spark[0].Min != 101300 {
		t.Errorf("the sparkline has two units: %+v", m.Spark)
	}
	var units []string
	for _, p := range feed.Take() {
		units = append(units, p.Unit)
	}
	if diff := cmp.Diff([]string{"hPa", "hPa", "hPa", "Pa", "hPa"}, units); diff != "" {
		t.Errorf("live points are in %v", units)
	}
	// After a restart the registry and the history tell the same.
	f = New("demo")
	f.Know("hall", "baro-1", now, []Series{
		{Site: "hall", Device: "baro-1", Metric: "pressure", Unit: "hPa", Kind: view.KindNumber},
		{Site: "hall", Device: "baro-1", Metric: "pressure", Unit: "Pa", Kind: view.KindNumber},
	})
	missing := f.Missing(10)
	f.Recall([]Past{{Missing: missing[0], Readings: []Reading{
		{Time: now.UnixNano(), Value: view.Number(1010)},
		{Time: now.Add(time.Second).UnixNano(), Value: view.Number(101300)},
	}, Units: []string{"hPa", "Pa"}}})
	if m := device(); m.Unit != "Pa" || m.Value.Number != 101300 || !cmp.Equal(m.Units, []string{"hPa", "Pa"}) {
		t.Errorf("after a restart: %+v", m)
	}
}

// TestClashesAreCountedForADay counts by the hour of arrival.
func TestClashesAreCountedForADay(t *testing.T) {
	f := New("demo")
	now := time.Date(2026, 3, 14, 15, 9, 0, 0, time.UTC)
	f.Know("hall", "door-1", now, nil)
	f.Clash("hall", "door-1", now.Add(-25*time.Hour).UnixNano(), 100)
	f.Clash("hall", "door-1", now.Add(-23*time.Hour).UnixNano(), 2)
	f.Clash("hall", "door-1", now.UnixNano(), 3)
	f.Clash("hall", "door-2", now.UnixNano(), 7)
	f.Clash("hall", "door-1", now.Add(-24*time.Hour).UnixNano(), 1000) // of an hour that another has the place of
	for i := range maxClashing {
		f.Clash("hall", fmt.Sprintf("many-%d", i), now.UnixNano(), 2)
	}
	if got := f.DroppedClashes(); got != 4 { // of two devices
		t.Errorf("%d clashes are dropped, want 4", got)
	}
	for after, want := range map[time.Duration]uint64{0: 5, 10 * time.Hour: 3, 24 * time.Hour: 0} {
		if d, _ := f.Device("hall", "door-1", now.Add(after)); d.Clashes != want {
			t.Errorf("after %v there are %d, want %d", after, d.Clashes, want)
		}
	}
}
