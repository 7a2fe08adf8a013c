package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"headwater/web/overview"
	"headwater/web/view"
)

// nothing answers all that is asked of the history: it holds nothing.
func nothing(f *Fleet) {
	for missing := f.Missing(10); len(missing) > 0; missing = f.Missing(10) {
		for _, m := range missing {
			f.Recall([]Past{{Missing: m}})
		}
	}
}

// know makes a device known by the registry.
func know(f *Fleet, device string, kinds ...view.Kind) {
	var series []Series
	for _, k := range kinds {
		series = append(series, Series{"s", device, "m", "°C", k})
	}
	f.Know("s", device, t0.Add(-30*24*time.Hour), series)
}

// minutes are arrivals, so many, as far apart, up to a moment.
func minutes(last time.Time, apart time.Duration, count int) (out []int64) {
	for i := range count {
		out = append(out, last.Add(-time.Duration(i)*apart).Truncate(time.Minute).UnixNano())
	}
	return out
}

func TestRecallReturnsTheLastValueAndItsArrival(t *testing.T) {
	f := New("")
	know(f, "d", view.KindNumber)
	missing := f.Missing(10)
	if len(missing) != 1 || len(missing[0].Series) != 1 || !missing[0].Arrivals || f.Waiting() != 1 {
		t.Fatalf("missing is %+v", missing)
	}
	week := t0.Add(-7*24*time.Hour + 20*time.Second)
	f.Recall([]Past{{
		Missing:  missing[0],
		Readings: []Reading{{0, week.Add(-time.Hour).UnixNano(), view.Number(20)}, {0, week.UnixNano(), view.Number(21.5)}},
		Arrivals: minutes(week, time.Hour, 30),
	}})
	d := only(t, f, "d", t0)
	m := d.Metrics[0]
	if m.Value != view.Number(21.5) || !m.Time.Equal(week) || m.Unit != "°C" || !d.LastSeen.Equal(week) || d.Waiting || f.Waiting() != 0 {
		t.Errorf("%+v", d)
	}
	if again := f.Missing(10); len(again) != 0 {
		t.Errorf("asked again: %+v", again)
	}
	know(f, "d", view.KindNumber) // the registry is read again now and then
	if again := f.Missing(10); len(again) != 0 {
		t.Errorf("asked again: %+v", again)
	}
	know(f, "d", view.KindNumber, view.KindText)
	if again := f.Missing(10); len(again) != 1 || len(again[0].Series) != 1 || again[0].Series[0].Kind != view.KindText {
		t.Errorf("of a new kind is asked: %+v", again)
	}
}

func TestRecallNeverReplacesWhatIsNewer(t *testing.T) {
	f := New("")
	know(f, "d", view.KindNumber)
	know(f, "gone", view.KindNumber)
	missing := f.Missing(10)
	say(f, "d", "m", t0, view.Number(2)) // while the history is asked
	f.Forget("s", "gone", t0)
	var past []Past
	for _, m := range missing {
		past = append(past, Past{
			Missing: m, Readings: []Reading{{0, t0.Add(-time.Hour).UnixNano(), view.Number(1)}}, Arrivals: minutes(t0.Add(-time.Hour), time.Hour, 3),
		})
	}
	f.Recall(past)
	d := only(t, f, "d", t0)
	if m := d.Metrics[0]; m.Value != view.Number(2) || !m.Time.Equal(t0) || !d.LastSeen.Equal(t0) {
		t.Errorf("%+v", d)
	}
	if _, ok := f.Device("s", "gone", t0); ok {
		t.Error("a removed device is back")
	}
}

// TestRecallKeepsTheUsualKind starts again while a sensor of numbers sends a text.
func TestRecallKeepsTheUsualKind(t *testing.T) {
	for name, live := range map[string]int{"the text came before": 0, "the text came since": 5} {
		f := New("")
		for i := range live {
			say(f, "d", "m", t0.Add(time.Duration(i)*time.Second), view.Text("unavailable"))
		}
		know(f, "d", view.KindText, view.KindNumber)
		missing := f.Missing(10)[0]
		past := Past{Missing: missing}
		for i, s := range missing.Series {
			for k := range PastReadings {
				v, at := view.Number(float64(k)), t0.Add(-time.Hour)
				if s.Kind == view.KindText {
					v, at = view.Text("unavailable"), t0.Add(-time.Minute)
				}
				past.Readings = append(past.Readings, Reading{i, at.Add(time.Duration(k) * time.Second).UnixNano(), v})
			}
		}
		f.Recall([]Past{past})
		m := only(t, f, "d", t0).Metrics[0]
		if m.Value != view.Number(PastReadings-1) || m.Odd == nil || m.Odd.Value != view.Text("unavailable") {
			t.Errorf("%s: %+v, odd %+v", name, m, m.Odd)
		}
	}
}

// TestARestartDoesNotChangeTheState holds the state of a device after a restart
// against what it was, for devices of several habits.
func TestARestartDoesNotChangeTheState(t *testing.T) {
	for _, c := range []struct {
		name  string
		every time.Duration
		quiet time.Duration // since the last report, when the dashboard starts
		want  view.State
	}{
		{"hourly, in time", time.Hour, 50 * time.Minute, view.StateOK},
		{"hourly, three missed", time.Hour, 4 * time.Hour, view.StateSilent},
		{"daily, in time", 24 * time.Hour, 23 * time.Hour, view.StateOK},
		{"each minute, stopped a week ago", time.Minute, 7 * 24 * time.Hour, view.StateSilent},
	} {
		f := New("")
		f.Begin(t0.Add(-15 * time.Minute).UnixNano())
		know(f, "d", view.KindNumber)
		tick(f, -15*time.Minute, 0) // the pipeline has run all the time
		if s := only(t, f, "d", t0).State; s != view.StateUnknown {
			t.Errorf("%s: before the history is read it is %s", c.name, s)
		}
		last := t0.Add(-c.quiet)
		f.Recall([]Past{{
			Missing:  f.Missing(1)[0],
			Readings: []Reading{{0, last.UnixNano(), view.Number(1)}},
			// One pause is longer: the pipeline stood still.
			Arrivals: append(minutes(last, c.every, 8), minutes(last.Add(-60*24*time.Hour), c.every, 3)...),
		}})
		if s := only(t, f, "d", t0).State; s != c.want {
			t.Errorf("%s: %s", c.name, s)
		}
	}
}

// TestNoDeviceIsSilentAfterDowntime starts the whole pipeline after it was
// down for a day: no device can be called silent before it had its time.
func TestNoDeviceIsSilentAfterDowntime(t *testing.T) {
	f := New("")
	f.Begin(t0.Add(-15 * time.Minute).UnixNano())
	know(f, "d", view.KindNumber)
	last := t0.Add(-24 * time.Hour)
	past := func() {
		f.Recall([]Past{{
			Missing: f.Missing(1)[0], Readings: []Reading{{0, last.UnixNano(), view.Number(1)}}, Arrivals: minutes(last, 5*time.Minute, 32),
		}})
	}
	past()
	state := func() view.State { return only(t, f, "d", t0).State }
	if s := state(); s != view.StateUnknown {
		t.Errorf("before the clock ticks: %s", s)
	}
	clock := tick(f, 0, 14*time.Minute)
	if s := state(); s != view.StateUnknown {
		t.Errorf("after 14 min: %s", s)
	}
	clock = tick(f, clock, 16*time.Minute)
	if s := state(); s != view.StateSilent {
		t.Errorf("after 16 min: %s", s)
	}
	say(f, "d", "m", t0.Add(clock), view.Number(2))
	if s := state(); s != view.StateOK {
		t.Errorf("after a report: %s", s)
	}
	// The day in which Headwater did not listen is no habit of the device.
	clock = tick(f, clock, clock+50*time.Minute)
	if s := state(); s != view.StateSilent {
		t.Errorf("50 min after the report: %s", s)
	}
	// Nor does a standstill of the pipeline let a device fall silent.
	say(f, "d", "m", t0.Add(clock), view.Number(2))
	tick(f, clock+3*time.Hour, clock+3*time.Hour+5*time.Second)
	if s := state(); s != view.StateUnknown {
		t.Errorf("after a standstill: %s", s)
	}
}

func TestMissingIsBoundedAndOfOneSite(t *testing.T) {
	f := New("")
	for i := range 10_000 {
		f.Know(fmt.Sprint("site-", i%3), fmt.Sprint("d", i), t0, []Series{{"s", "", "a", "", view.KindNumber}, {"s", "", "b", "", view.KindNumber}})
	}
	told := 0
	for missing := f.Missing(50); len(missing) > 0; missing = f.Missing(50) {
		series := 0
		for _, m := range missing {
			series += len(m.Series)
			if m.Site != missing[0].Site {
				t.Fatalf("a question about %s and %s", m.Site, missing[0].Site)
			}
			f.Recall([]Past{{Missing: m, Readings: []Reading{{1, t0.UnixNano(), view.Number(7)}}}})
		}
		if len(missing) > 50 || series > 51 {
			t.Fatalf("a question about %d devices and %d series", len(missing), series)
		}
		told += len(missing)
	}
	if told != 10_000 || f.Waiting() != 0 {
		t.Errorf("%d told, %d wait", told, f.Waiting())
	}
	if d := f.Devices(overview.Query{Page: 200, Size: 50}, t0); len(d.Items) != 50 || slices.ContainsFunc(d.Items, func(d view.Device) bool { return d.Metrics[1].Value != view.Number(7) }) {
		t.Errorf("%+v", d.Items[0])
	}
}
