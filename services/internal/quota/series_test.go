package quota

import (
	"strconv"
	"testing"
	"time"
)

// TestSeries has a device invent metrics: it gets its number of them a day, and what it has
// begun continues. Other devices have a count of their own.
func TestSeries(t *testing.T) {
	s := NewSeries(10)
	inventor, honest := Device{"hall", "a"}, Device{"hall", "b"}
	now, next := midnight, 0
	for day := range 3 {
		taken := 0
		for range 100 {
			if s.Begin(inventor, strconv.Itoa(next), now) {
				taken++
			}
			next++
			now = now.Add(time.Minute)
		}
		if taken != 10 {
			t.Errorf("day %d: it began %d metrics, want 10", day, taken)
		}
		for _, metric := range []string{"0", "9"} {
			if !s.Begin(inventor, metric, now) {
				t.Errorf("day %d: it may not go on with metric %s", day, metric)
			}
		}
		for i := range 10 {
			if !s.Begin(honest, strconv.Itoa(i), now) {
				t.Errorf("day %d: a device with 10 metrics is refused", day)
			}
		}
		now = now.Add(period)
	}
	if !NewSeries(0).Begin(inventor, "x", now) {
		t.Error("there is a bound")
	}
}

// TestSeriesIsBounded has more metrics than are remembered. Nobody is refused because others
// were forgotten.
func TestSeriesIsBounded(t *testing.T) {
	s := NewSeries(3)
	s.limit = 50
	for round := range 5 {
		for device := range 40 {
			for metric := range 3 {
				if !s.Begin(Device{"hall", strconv.Itoa(device)}, strconv.Itoa(metric), midnight) {
					t.Fatalf("round %d: device %d is refused", round, device)
				}
			}
		}
	}
	if len(s.known) > s.limit || len(s.begun) > s.limit {
		t.Errorf("%d metrics of %d devices are remembered", len(s.known), len(s.begun))
	}
}
