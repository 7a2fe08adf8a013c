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

// TestDamagedIndexIsRebuilt empties a list of index files, as a kill in the
// middle of writing it does: every point must still be found by its tags.
func TestDamagedIndexIsRebuilt(t *testing.T) {
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

// TestTornLogLosesNothing leaves half an entry at the end of the write-ahead log,
// as a full disk and a power cut do: what was written before it and, above all,
// after it must be there in the end.
func TestTornLogLosesNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		tear func(t *testing.T, path string, size int64) error
	}{
		{"half an entry", func(_ *testing.T, path string, size int64) error { return os.Truncate(path, size-7) }},
		{"half a header", func(t *testing.T, path string, _ int64) error { return appendTo(t, path, "\x01\x00\x00") }},
		{"zeros", func(_ *testing.T, path string, size int64) error { return os.Truncate(path, size+4096) }},
		{"garbage", func(t *testing.T, path string, _ int64) error { return appendTo(t, path, "\x01\x00\x00\x00\x04abcd") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			now := time.Now().UnixNano()
			written := 0
			// during writes that many points, while InfluxDB runs.
			during := func(points int) {
				t.Helper()
				s, err := influxd.Start(influxd.Config{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}()
				c := connect(t, s)
				ensure(t, c, raw)
				for range points {
					line := fmt.Sprintf("temperature,site=hall value=%d %d\n", written, now+int64(written))
					if err := c.Write(t.Context(), raw.Name(), line); err != nil {
						t.Fatal(err)
					}
					written++
				}
				series, err := c.Query(t.Context(), "headwater", "raw", `SELECT count("value") FROM "temperature"`, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(series) != 1 || len(series[0].Floats("count")) != 1 || series[0].Floats("count")[0] != float64(written) {
					t.Fatalf("InfluxDB has %v, want %d points", series, written)
				}
			}
			during(20)
			logs, err := filepath.Glob(filepath.Join(dir, "wal", "headwater", "raw", "*", "_*.wal"))
			if err != nil || len(logs) != 1 {
				t.Fatalf("write-ahead logs: %v, %v", logs, err)
			}
			info, err := os.Stat(logs[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := test.tear(t, logs[0], info.Size()); err != nil {
				t.Fatal(err)
			}
			if test.name == "half an entry" {
				written-- // the torn one was never acknowledged
			}
			during(20)
			during(1)
		})
	}
}

func appendTo(t *testing.T, path, text string) error {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(text)
	return err
}
