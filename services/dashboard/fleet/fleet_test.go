package fleet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/web/overview"
	"headwater/web/view"
)

// t0 is the start of a slot.
var t0 = time.Unix(1_700_000_010, 0)

func say(f *Fleet, device, metric string, at time.Time, v view.Value) {
	f.Add(at.UnixNano(), []Series{{"s", device, metric, "°C", v.Kind}}, slices.Values([]Reading{{0, at.UnixNano(), v}}))
}

func only(t *testing.T, f *Fleet, device string, now time.Time) view.Device {
	t.Helper()
	d, ok := f.Device("s", device, now)
	if !ok {
		t.Fatalf("device %s is not known", device)
	}
	return d
}

func TestLatestIsTheLatestByEventTime(t *testing.T) {
	f := New("")
	say(f, "d", "m", t0.Add(2*time.Second), view.Number(2))
	say(f, "d", "m", t0.Add(time.Second), view.Number(1)) // late
	d := only(t, f, "d", t0)
	if m := d.Metrics[0]; m.Value != view.Number(2) || !m.Time.Equal(t0.Add(2*time.Second)) || m.Unit != "°C" {
		t.Errorf("the latest is %+v", m)
	}
}

// TestAnOddKindStandsBesideTheUsualOne has series in which a reading of another
// kind comes: it replaces the value only when the kind has become usual.
func TestAnOddKindStandsBesideTheUsualOne(t *testing.T) {
	n, x, y := view.Number(21.5), view.Text("abc"), view.Flag(true)
	const second, day = time.Second, 24 * time.Hour
	type reading struct {
		after time.Duration
		value view.Value
	}
	many := func(v view.Value, count int, after time.Duration) (out []reading) {
		for i := range count {
			out = append(out, reading{after + time.Duration(i)*second, v})
		}
		return out
	}
	for name, c := range map[string]struct {
		readings []reading
		value    view.Value
		odd      view.Value
	}{
		"one number, one text":            {[]reading{{0, n}, {second, x}}, n, x},
		"numbers, then many texts":        {append(many(n, 5, 0), many(x, 500, 10*second)...), n, x},
		"a text that came before":         {[]reading{{0, x}, {second, n}}, n, view.Value{}},
		"numbers, a text, a number":       {append(many(n, 3, 0), reading{5 * second, x}, reading{6 * second, n}), n, view.Value{}},
		"texts, and one number":           {append(many(x, 5, 0), reading{10 * second, n}), x, n},
		"texts, then numbers":             {append(many(x, 5, 0), many(n, 3, 10*second)...), n, view.Value{}},
		"numbers, a day later texts":      {append(many(n, 5, 0), many(x, 1, day+10*second)...), x, view.Value{}},
		"flags, and a text":               {append(many(y, 3, 0), reading{5 * second, x}), y, x},
		"numbers, and a flag":             {append(many(n, 3, 0), reading{5 * second, y}), n, y},
		"nothing but texts":               {many(x, 2, 0), x, view.Value{}},
		"numbers of a day ago, one again": {append(many(n, 5, 0), reading{day + second, x}, reading{day + 2*second, n}), n, view.Value{}},
	} {
		orders := map[string][]reading{"in order": c.readings, "backwards": slices.Clone(c.readings)}
		slices.Reverse(orders["backwards"])
		for order, readings := range orders {
			f := New("")
			for _, r := range readings {
				say(f, "d", "m", t0.Add(r.after), r.value)
			}
			m := only(t, f, "d", t0).Metrics[0]
			odd := view.Value{}
			if m.Odd != nil {
				odd = m.Odd.Value
			}
			if m.Value != c.value || m.Kind != c.value.Kind || odd != c.odd {
				t.Errorf("%s, %s: %v (%s), beside it %v", name, order, m.Value, m.Kind, odd)
			}
		}
	}
}

// TestKindsInOneBatch has a metric change its kind twice in one batch, whose
// dictionary names each kind once.
func TestKindsInOneBatch(t *testing.T) {
	f := New("")
	at := t0.UnixNano()
	f.Add(at, []Series{{"s", "d", "m", "", view.KindNumber}, {"s", "d", "m", "", view.KindText}}, slices.Values([]Reading{
		{0, at, view.Number(5)}, {1, at + 1, view.Text("unavailable")}, {0, at + 2, view.Number(6)},
	}))
	if m := only(t, f, "d", t0).Metrics[0]; m.Value != view.Number(6) || m.Kind != view.KindNumber {
		t.Errorf("the latest is %+v", m)
	}
}

// TestSlotsDoNotDependOnTheOrder holds slots made of readings in any order
// against those of the sorted ones.
func TestSlotsDoNotDependOnTheOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var readings []Reading
	for range 300 {
		at := t0.Add(time.Duration(random.IntN(840)) * time.Second)
		readings = append(readings, Reading{0, at.UnixNano() + int64(len(readings)), view.Number(random.Float64())})
	}
	batch := []Series{{"s", "d", "m", "", view.KindNumber}}
	slots := func(readings []Reading) []view.Slot {
		f := New("")
		f.Add(t0.UnixNano(), batch, slices.Values(readings))
		return only(t, f, "d", t0.Add(view.SlotCount*view.SlotWidth)).Metrics[0].Spark
	}
	sorted := slices.SortedFunc(slices.Values(readings), func(a, b Reading) int { return int(a.Time - b.Time) })
	if diff := cmp.Diff(slots(sorted), slots(readings)); diff != "" {
		t.Error(diff)
	}
	if n := len(slots(readings)); n > view.SlotCount {
		t.Errorf("%d slots", n)
	}
}

func TestSlotsAreBounded(t *testing.T) {
	f := New("")
	for i := range 1000 {
		say(f, "d", "m", t0.Add(time.Duration(i)*view.SlotWidth), view.Number(float64(i)))
	}
	say(f, "d", "m", t0, view.Number(-1)) // far too late
	end := t0.Add(1000 * view.SlotWidth)
	m := only(t, f, "d", end).Metrics[0]
	if len(m.Spark) != view.SlotCount || m.Spark[0].Last != 940 {
		t.Errorf("%d slots from %v", len(m.Spark), m.Spark[0].Last)
	}
	if spark := only(t, f, "d", end.Add(time.Hour)).Metrics[0].Spark; len(spark) != 0 {
		t.Errorf("an hour later %d slots are shown", len(spark))
	}
}

func TestSilence(t *testing.T) {
	f := New("")
	clock := time.Duration(0)
	state := func(after time.Duration) view.State {
		clock = tick(f, clock, after)
		return only(t, f, "d", t0).State
	}
	say(f, "d", "m", t0, view.Number(1))
	if s := state(14 * time.Minute); s != view.StateOK {
		t.Errorf("one reading, 14 min later: %s", s)
	}
	if s := state(16 * time.Minute); s != view.StateSilent {
		t.Errorf("one reading, 16 min later: %s", s)
	}
	// Three metrics at once every five minutes: the burst is not the interval.
	last := time.Duration(0)
	for i := range 5 {
		last = 20*time.Minute + time.Duration(i)*5*time.Minute
		state(last)
		for k := range 3 {
			say(f, "d", fmt.Sprint("m", k), t0.Add(last+time.Duration(k)*time.Millisecond), view.Number(1))
		}
	}
	if s := state(last + 12*time.Minute); s != view.StateOK {
		t.Errorf("every five minutes, 12 min later: %s", s)
	}
	// Once a second for a while: the pause of before is forgotten.
	last += 20 * time.Minute
	state(last)
	for i := range 300 {
		last += time.Second
		say(f, "d", "m", t0.Add(last+time.Duration(i)), view.Number(1))
	}
	if s := state(last + 30*time.Second); s != view.StateOK {
		t.Errorf("once a second, 30 s later: %s", s)
	}
	if s := state(last + 3*time.Minute); s != view.StateSilent {
		t.Errorf("once a second, 3 min later: %s", s)
	}
	f.SetFiring("s", "d", []view.Alert{{ID: "a"}})
	if s := only(t, f, "d", t0).State; s != view.StateFiring {
		t.Errorf("with a firing alert: %s", s)
	}
	f.SetFiring("s", "d", nil)
	if s := only(t, f, "d", t0).State; s != view.StateSilent {
		t.Errorf("without one: %s", s)
	}
}

// TestNoDeviceIsSilentWhileTheClockStalls has a device report once a second, and then
// a pipeline that gets through only now and then: Headwater did not listen in between, by the
// same measure as in the processor.
func TestNoDeviceIsSilentWhileTheClockStalls(t *testing.T) {
	f := New("")
	last := time.Duration(0)
	for ; last < 5*time.Minute; last += time.Second {
		say(f, "d", "m", t0.Add(last), view.Number(1))
	}
	for at := last; at <= last+10*time.Minute; at += 30 * time.Second {
		f.Clock(t0.Add(at).UnixNano())
	}
	if s := only(t, f, "d", t0).State; s != view.StateUnknown {
		t.Errorf("ten minutes of a clock that ticks twice a minute: %s", s)
	}
	tick(f, last+10*time.Minute, last+13*time.Minute)
	if s := only(t, f, "d", t0).State; s != view.StateSilent {
		t.Errorf("three minutes of a clock that ticks again: %s", s)
	}
}

// tick lets the clock run on as the bridge does.
func tick(f *Fleet, from, to time.Duration) time.Duration {
	for at := from; at < to; at += time.Second {
		f.Clock(t0.Add(at).UnixNano())
	}
	f.Clock(t0.Add(to).UnixNano())
	return max(from, to)
}

func TestADeviceThatWasNeverHeardIsSilentAndMayFire(t *testing.T) {
	f := New("")
	tick(f, 0, 20*time.Minute)
	f.SetFiring("s", "d", []view.Alert{{ID: "a"}}) // before the device is known
	f.Know("s", "d", t0, []Series{{"s", "d", "m", "%", view.KindFlag}})
	f.Know("s", "e", t0, nil)
	if e := only(t, f, "e", t0); e.State != view.StateUnknown || !e.Waiting {
		t.Errorf("before the history is asked: %+v", e)
	}
	nothing(f)
	d, e := only(t, f, "d", t0), only(t, f, "e", t0)
	if d.State != view.StateFiring || e.State != view.StateSilent || !d.LastSeen.IsZero() || d.Metrics[0].Kind != view.KindFlag || d.Metrics[0].Unit != "%" {
		t.Errorf("%+v %+v", d, e)
	}
	f.Forget("s", "d", t0)
	if _, ok := f.Device("s", "d", t0); ok {
		t.Error("a removed device is known")
	}
	say(f, "d", "m", t0.Add(-time.Second), view.Number(1)) // the stream is read from before
	if _, ok := f.Device("s", "d", t0); ok || f.Dropped() != 0 {
		t.Error("what a removed device said makes it known again")
	}
	say(f, "d", "m", t0.Add(time.Second), view.Number(1))
	f.Forget("s", "d", t0) // told late
	only(t, f, "d", t0)
}

func TestDevicesAreOrderedAndPaged(t *testing.T) {
	f := New("")
	f.Know("s", "quiet", t0.Add(-time.Hour), nil)
	nothing(f)
	tick(f, -20*time.Minute, 0)
	for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(30) {
		say(f, fmt.Sprint("door-", i+1), "temperature", t0, view.Number(1))
	}
	f.SetFiring("s", "door-20", []view.Alert{{ID: "a"}})
	names := func(q overview.Query) string {
		var out []string
		for _, d := range f.Devices(q, t0).Items {
			out = append(out, d.Device)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		query overview.Query
		want  string
	}{
		{overview.Query{Page: 1, Size: 5}, "door-20 quiet door-1 door-2 door-3"},
		{overview.Query{Page: 2, Size: 5}, "door-4 door-5 door-6 door-7 door-8"},
		{overview.Query{Page: 7, Size: 5}, "door-30"},
		{overview.Query{Page: 8, Size: 5}, ""},
		{overview.Query{Page: 1, Size: 5, Text: "S/Door-2", State: view.StateOK}, "door-2 door-21 door-22 door-23 door-24"},
		{overview.Query{Page: 1, Size: 5, Text: "temperature", State: view.StateFiring}, "door-20"},
		{overview.Query{Page: 1, Size: 5, Text: "no such"}, ""},
	} {
		if got := names(c.query); got != c.want {
			t.Errorf("%+v: %s, want %s", c.query, got, c.want)
		}
	}
	if d := f.Devices(overview.Query{Page: 1, Size: 5, Text: "door-3"}, t0); d.Total != 31 || d.Matching != 2 || d.Firing != 1 || d.Silent != 1 {
		t.Errorf("%d devices, %d match, %d fire, %d are silent", d.Total, d.Matching, d.Firing, d.Silent)
	}
}

func TestNaturalIsAnOrder(t *testing.T) {
	names := []string{"", "a", "a1", "a01", "a2", "a10", "a10b", "a10b2", "b", "10", "9", "007", "7", "a-1", "a_1"}
	for _, a := range names {
		for _, b := range names {
			x, y := natural(a, b), natural(b, a)
			if x != -y || (x == 0) != (a == b) {
				t.Errorf("%q and %q: %d and %d", a, b, x, y)
			}
			for _, c := range names {
				if natural(a, b) <= 0 && natural(b, c) <= 0 && natural(a, c) > 0 {
					t.Errorf("%q, %q, %q are not in order", a, b, c)
				}
			}
		}
	}
}

func TestRates(t *testing.T) {
	f := New("demo")
	for i := range 100 {
		at := t0.Add(time.Duration(i) * time.Second)
		for range 3 {
			say(f, "d", "m", at, view.Number(1))
		}
	}
	rate, rates := f.Rates(t0.Add(100 * time.Second))
	if rate != 3 || len(rates) != 60 || rates[0] != 3 || rates[59] != 3 {
		t.Errorf("%v a second, %v", rate, rates)
	}
	if rate, _ := f.Rates(t0.Add(105 * time.Second)); rate != 1.5 {
		t.Errorf("five seconds later %v a second", rate)
	}
	if rate, _ := f.Rates(t0.Add(time.Hour)); rate != 0 {
		t.Errorf("an hour later %v a second", rate)
	}
	if f.Demo() {
		t.Error("a site is taken for the demo")
	}
}

func TestFeedKeepsTheExtremes(t *testing.T) {
	f := New("")
	feed := f.Follow("s", "d")
	say(f, "other", "m", t0, view.Number(7))
	for i := range 20_000 {
		v := math.Sin(float64(i))
		switch i {
		case 7_777:
			v = 99
		case 12_345:
			v = -99
		}
		say(f, "d", "m", t0.Add(time.Duration(i)*time.Millisecond), view.Number(v))
	}
	points := feed.Take()
	low, high := math.Inf(1), math.Inf(-1)
	for i, p := range points {
		low, high = min(low, p.Value), max(high, p.Value)
		if i > 0 && p.TimeMS <= points[i-1].TimeMS {
			t.Fatalf("point %d is out of order", i)
		}
	}
	if len(points) > feedKept || low != -99 || high != 99 {
		t.Errorf("%d points from %v to %v", len(points), low, high)
	}
	if again := feed.Take(); len(again) != 0 {
		t.Errorf("%d points twice", len(again))
	}
	if n := len(feed.Recent()); n != recentKept {
		t.Errorf("%d recent points", n)
	}
	say(f, "d", "open", t0, view.Flag(true))
	say(f, "d", "mode", t0, view.Text("x"))
	if got := feed.Take(); len(got) != 1 || got[0].Value != 1 {
		t.Errorf("a flag and a text are %+v", got)
	}
	feed.Close()
	feed.Close()
	say(f, "d", "m", t0, view.Number(1))
	if got := feed.Take(); len(got) != 0 || len(f.feeds) != 0 {
		t.Errorf("after the end: %v", got)
	}
}

func TestTooManyMetricsAreCounted(t *testing.T) {
	f := New("")
	for i := range maxMetrics + 3 {
		say(f, "d", fmt.Sprint("m", i), t0, view.Number(1))
	}
	if n := len(only(t, f, "d", t0).Metrics); n != maxMetrics || f.Dropped() != 3 {
		t.Errorf("%d metrics, %d dropped", n, f.Dropped())
	}
}

func BenchmarkAdd(b *testing.B) {
	f := New("")
	batch := make([]Series, 100)
	readings := make([]Reading, 1000)
	for i := range batch {
		batch[i] = Series{"s", fmt.Sprint("d", i), "m", "°C", view.KindNumber}
	}
	for i := range readings {
		readings[i] = Reading{i % len(batch), t0.UnixNano(), view.Number(float64(i))}
	}
	at := t0.UnixNano()
	for b.Loop() {
		at += int64(time.Millisecond)
		for i := range readings {
			readings[i].Time = at
		}
		f.Add(at, batch, slices.Values(readings))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(readings)), "ns/reading")
}

func BenchmarkDevices5000(b *testing.B) {
	f := New("")
	for i := range 5000 {
		say(f, fmt.Sprint("device-", i), "m", t0, view.Number(1))
	}
	for b.Loop() {
		f.Devices(overview.Query{Page: 1, Size: 50, Text: "9"}, t0)
	}
}
