package influxd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headwater/services/standalone/influxd"
)

// TestDamagedIndexIsMadeAnew empties a list of index files, as a kill in the
// middle of writing it does: every point must still be found by its tags.
func TestDamagedIndexIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s, err := influxd.Start(influxd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	ensure(t, c, raw)
	now := time.Now().UnixNano()
	const devices, each = 40, 25
	write := func(from int) {
		t.Helper()
		var lines strings.Builder
		for i := range devices * each {
			fmt.Fprintf(&lines, "temperature,site=hall,device=d%d value=%d %d\n", i%devices, i, now+int64(from+i))
		}
		if err := c.Write(t.Context(), raw.Name(), lines.String()); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob(filepath.Join(dir, "data", "headwater", "raw", "*", "index", "*", "MANIFEST"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("lists of index files: %v, %v", lists, err)
	}
	if err := os.Truncate(lists[0], 0); err != nil {
		t.Fatal(err)
	}
	s, err = influxd.Start(influxd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c = connect(t, s)
	write(devices * each)
	series, err := c.Query(t.Context(), "headwater", "raw", `SELECT count("value") FROM "temperature" WHERE "site" = 'hall' GROUP BY "device"`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != devices {
		t.Fatalf("%d devices are found, want %d", len(series), devices)
	}
	for _, one := range series {
		if n := one.Floats("count"); len(n) != 1 || n[0] != 2*each {
			t.Errorf("device %s has %v points, want %d", one.Tags["device"], n, 2*each)
		}
	}
}
