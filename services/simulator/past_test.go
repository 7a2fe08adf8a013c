package simulator

import (
	"math"
	"slices"
	"testing"
	"time"
)

// TestDemoPast checks that the demo's past leads into what its devices send: the same
// values, one sensor that drifts, one that is silent, and no gap.
func TestDemoPast(t *testing.T) {
	began := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	past, err := DemoPast(began)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Demo("tcp://127.0.0.1:1883", began)
	cfg.Backlog = true
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	live, err := fleet(cfg, began.UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	if len(past) != 20 || len(live) != 19 || cfg.Connections != 19 {
		t.Fatalf("%d devices had a past, %d report over %d connections", len(past), len(live), cfg.Connections)
	}
	calm := Demo("", time.Time{})
	calm.LeftOpenAfter, calm.LeftOpenEvery, calm.LeftOpenFor = 0, openEvery, openFor
	well, err := sensors(calm, began.UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, p := range past {
		total += len(p.Measurements)
		first, last := time.Unix(0, p.Measurements[0].Time), time.Unix(0, p.Measurements[len(p.Measurements)-1].Time)
		end := began.Add(-backlog)
		if p.Silent {
			end = began.Add(-silentFor)
		}
		if first.After(began.Add(-29*24*time.Hour)) || last.After(end) || last.Before(end.Add(-time.Minute)) {
			t.Errorf("%s: from %v to %v", p.Device, first, last)
		}
		if !slices.IsSortedFunc(p.Measurements, func(a, b Measurement) int { return int(max(-1, min(1, a.Time-b.Time))) }) {
			t.Errorf("%s is not in order", p.Device)
		}
		plain := well(i).value
		for _, age := range []time.Duration{29 * 24 * time.Hour, 6 * time.Hour} {
			k := slices.IndexFunc(p.Measurements, func(m Measurement) bool { return m.Time >= began.Add(-age).UnixNano() })
			if k < 0 {
				t.Fatalf("%s measured nothing in the last %v", p.Device, age)
			}
			m, want := p.Measurements[k], 0.0
			if i == drifting && age < driftFor {
				want = 2.5
			}
			if got := m.Value - plain(m.Time); math.Abs(got-want) > 0.2 {
				t.Errorf("%s is %.2f degrees too warm %v before, want %v", p.Device, got, age, want)
			}
		}
	}
	if total < 80_000 || total > 200_000 {
		t.Errorf("%d measurements", total)
	}
	// A device sends its backlog first, and then what it measures.
	d := live[0]
	at, sent := began.UnixNano(), 0
	for d.due < at {
		if n := d.skip(at, time.Second); n != 0 {
			t.Fatalf("%d readings are skipped", n)
		}
		d.next(at)
		sent++
	}
	if sent < 55 || sent > 65 {
		t.Errorf("the backlog has %d readings", sent)
	}
	if d.due-at > int64(d.interval) {
		t.Errorf("the next reading is %v after the start", time.Duration(d.due-at))
	}
}
