package watch

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// steps shows facts to a watch every half minute, and returns the problems that count after
// each change, with the second at which it came.
func steps(w *Watch, n int, facts func(i int, now time.Time) Facts) []string {
	var out []string
	for i := range n {
		now := noon.Add(time.Duration(i) * 30 * time.Second)
		s, changed := w.See(now, facts(i, now))
		if !changed {
			continue
		}
		words := now.Format("04:05")
		for _, p := range s.Problems {
			words += " " + p.Part
			if p.Critical {
				words += "!"
			}
		}
		out = append(out, words)
	}
	return out
}

func well(now time.Time) Facts {
	return Facts{Telemetry: now.Add(-time.Second), Derived: now.Add(-10 * time.Second), Full: map[string]float64{"TELEMETRY": 0.8}}
}

func TestWatch(t *testing.T) {
	bad := func(spoil func(f *Facts, i int, now time.Time)) func(int, time.Time) Facts {
		return func(i int, now time.Time) Facts {
			f := well(now)
			spoil(&f, i, now)
			return f
		}
	}
	during := func(i, from, to int) bool { return i >= from && i < to }
	for name, c := range map[string]struct {
		facts func(i int, now time.Time) Facts
		want  []string
	}{
		"all is well":     {bad(func(*Facts, int, time.Time) {}), nil},
		"nothing is seen": {func(int, time.Time) Facts { return Facts{} }, nil},
		"the bridge stands still": {
			bad(func(f *Facts, _ int, _ time.Time) { f.Telemetry, f.Derived = noon, noon }),
			[]string{"03:30 bridge!"},
		},
		"the processor stands still, and runs again": {bad(func(f *Facts, i int, _ time.Time) {
			if i < 20 {
				f.Derived = noon
			}
		}), []string{"03:30 processor!", "12:00"}},
		"a short pause": {bad(func(f *Facts, i int, _ time.Time) {
			if during(i, 4, 7) {
				f.Influx = "connection refused"
			}
		}), nil},
		"InfluxDB is away": {bad(func(f *Facts, i int, _ time.Time) {
			if during(i, 4, 14) && i != 10 { // one answer is not the end
				f.Influx = "connection refused"
			}
		}), []string{"04:00 influxdb", "09:00"}},
		"there is no InfluxDB": {bad(func(f *Facts, _ int, _ time.Time) { f.Influx = "connection refused" }), nil},
		"the writer is behind": {bad(func(f *Facts, _ int, _ time.Time) { f.Waiting = 30_000 }), []string{"02:00 writer"}},
		"a stream fills up":    {bad(func(f *Facts, _ int, _ time.Time) { f.Full["DERIVED"] = 0.93 }), []string{"02:00 streams!"}},
		"the disk is nearly full, and has room again": {bad(func(f *Facts, i int, _ time.Time) {
			f.Disk = Disk{Free: 2_000, Reserve: 1_000, Total: 100_000}
			if i < 10 {
				f.Disk.Free = 1_999
			}
		}), []string{"02:00 disk!", "07:00"}},
		"few dead letters": {bad(func(f *Facts, i int, _ time.Time) { f.Buried = uint64(5 * i) }), nil},
		"many dead letters at once": {bad(func(f *Facts, i int, _ time.Time) {
			f.Buried = 7_000
			if i > 2 {
				f.Buried = 7_200
			}
		}), []string{"01:30 dead-letters", "13:30"}},
		"the dead letters were recreated": {bad(func(f *Facts, i int, _ time.Time) {
			f.Buried = 7_000
			if i > 2 {
				f.Buried = 50
			}
		}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := steps(From(State{}), 40, c.facts); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestWatchContinues stores what is wrong and continues elsewhere: nothing is raised twice,
// and what is over ends.
func TestWatchContinues(t *testing.T) {
	w := From(State{})
	away := func(_ int, now time.Time) Facts {
		f := well(now)
		if now.After(noon) {
			f.Influx = "connection refused"
		}
		return f
	}
	steps(w, 10, away)
	s, _ := w.See(noon.Add(5*time.Minute), away(0, noon.Add(5*time.Minute)))
	if len(s.Problems) != 1 || !s.Problems[0].Since.Equal(noon.Add(30*time.Second)) || !strings.Contains(s.Problems[0].Text, "InfluxDB does not answer (connection refused)") {
		t.Fatalf("wrong is %+v", s)
	}
	body, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(body)
	if err != nil || !reflect.DeepEqual(again, s) {
		t.Fatalf("stored %+v, %v", again, err)
	}
	if got := steps(From(again), 10, away); got != nil {
		t.Errorf("raised again: %q", got)
	}
	if got := steps(From(again), 10, func(_ int, now time.Time) Facts { return well(now) }); !reflect.DeepEqual(got, []string{"02:00"}) {
		t.Errorf("ended: %q", got)
	}
	for _, bad := range []string{"", "[]", `{"problems":[` + strings.Repeat(`{},`, maxProblems) + `{}]}`} {
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("decoded %q", bad)
		}
	}
}
