package ui

import (
	"math"
	"strings"
	"testing"
	"time"

	"headwater/web/view"
)

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 200 << 20: "200 MiB", 3 << 40: "3.0 TiB", math.MaxUint64: "16.0 EiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestUnit(t *testing.T) {
	if got := Unit(strings.Repeat("x", 50)); got != "\u00a0xxxxxxxxxxxxxxxx…" {
		t.Errorf("a long unit is %q", got)
	}
}

func TestSparklineKeepsSpikes(t *testing.T) {
	start := time.Unix(1_700_000_010, 0)
	var slots []view.Slot
	for i := range 4 {
		slots = append(slots, view.Slot{Start: start.Add(time.Duration(i) * view.SlotWidth), Min: 1, Max: 1, Last: 1})
	}
	slots[2].Max = 9
	c := sparkline("temperature", "°C", slots)
	if !strings.Contains(c.Band, " 3.0") { // the top of the drawing
		t.Errorf("the spike is not in %s", c.Band)
	}
	if want := "temperature, last 15 minutes: 1 to 9\u00a0°C"; c.Label != want {
		t.Errorf("the label is %q, want %q", c.Label, want)
	}
	if c := sparkline("x", "", nil); c.Line != "" {
		t.Errorf("nothing is drawn as %q", c.Line)
	}
}
