package writer

import (
	"strings"
	"testing"
	"time"

	"headwater/services/writer/point"
)

// TestImportedPoints looks at what an import writes of one series: the roll-ups of whole
// hours, and entries of the ledger that add up to the readings.
func TestImportedPoints(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	h := History{Series: point.Series{Site: "s", Device: "d", Metric: "m"}}
	for i := range 5 * 60 {
		h.Readings = append(h.Readings, point.Reading{Time: begin.Add(time.Duration(i) * time.Minute).UnixNano(), Value: float64(i)})
	}
	count := func(text []byte, part string) int { return strings.Count(string(text), part) }
	if got := count(appendReadings(nil, h), "m,device=d,site=s value="); got != 300 {
		t.Errorf("%d readings", got)
	}
	if got := count(appendRollUp(nil, h, time.Hour, begin.Add(4*time.Hour+59*time.Minute)), " count=60i,"); got != 4 {
		t.Errorf("%d hours", got)
	}
	if got := appendRollUp(nil, h, 24*time.Hour, begin.Add(5*time.Hour)); len(got) != 0 {
		t.Errorf("a day that is not over: %s", got)
	}
	arrivals := appendArrivals(nil, h)
	hours, minutes := count(arrivals, ",readings=60i,"), count(arrivals, ",readings=1i,")
	rest := count(arrivals, ",readings=59i,")
	if 60*hours+59*rest+minutes != 300 || minutes < 120 {
		t.Errorf("%d hours, %d minutes and %d of 59 in\n%s", hours, minutes, rest, arrivals)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(arrivals)) {
		at := line[strings.LastIndexByte(line, ' '):]
		if seen[at] {
			t.Errorf("two entries at %s", at)
		}
		seen[at] = true
	}
}

func TestEndOfLine(t *testing.T) {
	for _, c := range []struct {
		lines string
		most  int
		want  string
	}{
		{"aa\nbb\n", 10, "aa\nbb\n"}, {"aa\nbb\n", 6, "aa\nbb\n"}, {"aa\nbb\n", 5, "aa\n"}, {"aa\nbb\n", 3, "aa\n"}, {"aa\nbb\n", 1, "aa\n"},
	} {
		if got := c.lines[:endOfLine([]byte(c.lines), c.most)]; got != c.want {
			t.Errorf("%q in %d bytes: %q", c.lines, c.most, got)
		}
	}
}
