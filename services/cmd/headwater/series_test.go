package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	want := time.Date(2026, 1, 31, 14, 0, 0, 0, time.UTC)
	for _, s := range []string{
		"2026-01-31 14:00:00", "2026-01-31T14:00:00Z", "2026-01-31T15:00:00+01:00", "2026-01-31 14:00", "2026-01-31T14:00",
		"2026-01-31 14:00:00.000000", "2026-01-31T14:00:00.000Z", "2026-01-31 15:00:00+01:00", "2026-01-31 15:00:00 +01:00",
		"2026-01-31T15:00:00+0100", "2026-01-31 14:00:00 +0000 UTC", "2026-01-31 14:00:00 UTC", "2026-01-31T14:00Z",
		"2026/01/31 14:00:00", "2026/01/31 14:00", "20260131T140000Z", "Sat, 31 Jan 2026 14:00:00 GMT",
		"Sat, 31 Jan 2026 15:00:00 +0100", "Sat Jan 31 14:00:00 2026", " 1769868000 ", "1769868000.0", "1769868000000",
		"1769868000000000", "1769868000000000000",
	} {
		if got, err := parseTime(s, time.UTC); err != nil || got != want.UnixNano() {
			t.Errorf("%q is read as %v, %v", s, time.Unix(0, got).UTC(), err)
		}
	}
	for s, want := range map[string]string{
		"2026-01-31 14:00:00": "2026-01-31T13:00:00Z", "2026-07-31 14:00:00": "2026-07-31T12:00:00Z", "2026-07-31": "2026-07-30T22:00:00Z",
		"2026-01-31 14:00:00 UTC": "2026-01-31T14:00:00Z", "2026-01-31T14:00:00Z": "2026-01-31T14:00:00Z",
	} {
		if got, err := parseTime(s, berlin); err != nil || time.Unix(0, got).UTC().Format(time.RFC3339) != want {
			t.Errorf("%q is read in Berlin as %v, %v", s, time.Unix(0, got).UTC(), err)
		}
	}
	for _, s := range []string{"", "yesterday", "2026-13-01 00:00:00", "2026-01-31 14:00:00 CET", "31.01.2026 14:00", "NaN", "1e300", "0001-01-01", "90000000000"} {
		if got, err := parseTime(s, time.UTC); err == nil {
			t.Errorf("%q is read as %v", s, time.Unix(0, got).UTC())
		}
	}
}

// FuzzRows reads anything as CSV. The reported number of rows must be right, errors must
// name file and line, and no reported text may contain a line break.
func FuzzRows(f *testing.F) {
	f.Add("timestamp,value\n2026-01-31 14:00:00,3\n2026-01-31 14:05:00,\n")
	f.Add("\ufefftimestamp,value,more\r\n1769868000,3,\"a\nb\"\r\n")
	f.Add("value,timestamp\n-1e400,1769868000000\n")
	f.Add("timestamp,value\n\"2026-01-31 14:00:00,3\n")
	f.Add("timestamp\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		c := columns{TimeColumn: "timestamp", ValueColumn: "value"}
		err := c.read("x.csv", strings.NewReader(text), time.UTC, func(r row) error {
			n++
			if math.IsInf(r.value, 0) && !strings.Contains(strings.ToLower(r.number), "inf") {
				t.Fatalf("%q is read as %v", r.number, r.value)
			}
			return nil
		})
		if n > strings.Count(text, "\n")+strings.Count(text, "\r")+1 {
			t.Fatalf("%d rows in %q", n, text)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "x.csv:") || strings.ContainsAny(err.Error(), "\n\r\x1b")) {
			t.Fatalf("the error is %q", err)
		}
	})
}
