package window_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"headwater/services/processor/codec"
	"headwater/services/processor/window"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	// epoch is the start of a minute.
	epoch = 1_700_000_040 * second
)

// spec returns tumbling windows of the widths, with a lateness of 5 minutes.
func spec(widths ...time.Duration) *window.Spec {
	s := &window.Spec{MaxReadings: 1 << 15}
	for _, width := range widths {
		s.Windows = append(s.Windows, window.Window{Name: width.String(), Width: width, Lateness: 5 * time.Minute})
	}
	return s
}

// delayed returns the same windows with a delay.
func delayed(delay time.Duration, s *window.Spec) *window.Spec {
	for i := range s.Windows {
		s.Windows[i].Delay = delay
	}
	return s
}

// feed is one device with one series under test.
type feed struct {
	spec     *window.Spec
	series   window.Series
	progress window.Progress
	emitted  []window.Summary
	results  map[window.Result]int
}

func newFeed(s *window.Spec) *feed {
	return &feed{
		spec: s, series: window.New(), results: make(map[window.Result]int),
		progress: window.Progress{Watermark: -window.MaxTime, Lane: -window.MaxTime},
	}
}

func (f *feed) add(t int64, v float64) window.Result {
	f.progress.Watermark = max(f.progress.Watermark, t)
	var r window.Result
	r, f.emitted = f.series.Add(f.spec, f.progress, window.Reading{Time: t, Value: v}, f.emitted)
	f.results[r]++
	return r
}

func (f *feed) tick(t int64) {
	f.progress.Lane = max(f.progress.Lane, t)
	f.emitted = f.series.Advance(f.spec, f.progress, f.emitted)
	f.emitted = f.series.Revise(f.spec, f.progress, f.emitted)
}

// reload stores and restores the series.
func (f *feed) reload(tb interface{ Fatalf(string, ...any) }) {
	b := f.series.Append(nil, f.spec, f.progress)
	r := codec.NewReader(b)
	f.series = window.Read(r, f.spec)
	if r.Err() != nil || r.Len() != 0 {
		tb.Fatalf("state of %d bytes: %v, %d bytes left", len(b), r.Err(), r.Len())
	}
	if again := f.series.Append(nil, f.spec, f.progress); !slices.Equal(b, again) {
		tb.Fatalf("the state changed in a snapshot:\n%x\n%x", b, again)
	}
}

// take returns the summaries since the last take.
func (f *feed) take() []window.Summary {
	emitted := f.emitted
	f.emitted = nil
	return emitted
}

func TestStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		t, want int64
		width   time.Duration
	}{
		{"in the middle", 90 * second, minute, time.Minute},
		{"at the start", minute, minute, time.Minute},
		{"last nanosecond", minute - 1, 0, time.Minute},
		{"at the epoch", 0, 0, time.Minute},
		{"before the epoch", -1, -minute, time.Minute},
		{"start before the epoch", -minute, -minute, time.Minute},
		{"width that divides no minute", 20 * second, 14 * second, 7 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := window.Start(test.t, test.width); got != test.want {
				t.Errorf("Start(%d, %v) = %d, want %d", test.t, test.width, got, test.want)
			}
		})
	}
}

// FuzzStart checks that every time lies in exactly one window of a width.
func FuzzStart(f *testing.F) {
	f.Add(int64(0), int64(time.Minute))
	f.Add(int64(-1), int64(7))
	f.Add(int64(window.MaxTime), int64(time.Hour))
	f.Fuzz(func(t *testing.T, at, width int64) {
		if at < -window.MaxTime || at > window.MaxTime || width <= 0 || width > int64(366*24*time.Hour) {
			return // out of the promised range
		}
		start := window.Start(at, time.Duration(width))
		if start > at || at-start >= width || start%width != 0 {
			t.Errorf("Start(%d, %d) = %d", at, width, start)
		}
	})
}

func TestSeries(t *testing.T) {
	t.Parallel()
	type step func(*feed)
	add := func(at int64, v float64) step { return func(f *feed) { f.add(epoch+at*second, v) } }
	other := func(at int64) step { // a reading of another series of the device
		return func(f *feed) {
			f.progress.Watermark = max(f.progress.Watermark, epoch+at*second)
			f.emitted = f.series.Advance(f.spec, f.progress, f.emitted)
		}
	}
	tick := func(at int64) step { return func(f *feed) { f.tick(epoch + at*second) } }
	sum := func(at int64, n uint64, minimum, maximum, mean, first, last, deviation float64, revision uint32) window.Summary {
		return window.Summary{
			Start: epoch + at*second, Width: time.Minute, Count: n, Min: minimum, Max: maximum,
			Mean: mean, First: first, Last: last, Deviation: deviation, Revision: revision,
		}
	}
	one := func(at int64, v float64, revision uint32) window.Summary {
		return sum(at, 1, v, v, v, v, v, 0, revision)
	}
	for _, test := range []struct {
		name  string
		spec  *window.Spec
		steps []step
		want  []window.Summary
	}{
		{
			"the watermark closes", spec(time.Minute),
			[]step{add(0, 2), add(30, 4), add(60, 9)},
			[]window.Summary{sum(0, 2, 2, 4, 3, 2, 4, 1, 1)},
		},
		{"a reading just before the end does not", spec(time.Minute), []step{add(0, 2), add(59, 4)}, nil},
		{
			"another series of the device closes", spec(time.Minute),
			[]step{add(0, 2), other(60)},
			[]window.Summary{one(0, 2, 1)},
		},
		{
			"the clock of the lane closes", spec(time.Minute),
			[]step{add(5, 2), tick(59), tick(60), tick(61)},
			[]window.Summary{one(0, 2, 1)},
		},
		{
			"a window without readings is not emitted", spec(time.Minute),
			[]step{add(0, 2), add(200, 3), tick(240)},
			[]window.Summary{one(0, 2, 1), one(180, 3, 1)},
		},
		{
			"the delay keeps it open", delayed(10*time.Second, spec(time.Minute)),
			[]step{add(0, 2), add(65, 9), add(1, 4), add(69, 9), add(70, 9)},
			[]window.Summary{sum(0, 2, 2, 4, 3, 2, 4, 1, 1)},
		},
		{
			"first and last are by event time", spec(time.Minute),
			[]step{add(20, 2), add(10, 4), add(15, 3), add(60, 0)},
			[]window.Summary{sum(0, 3, 2, 4, 3, 4, 2, math.Sqrt(2.0/3), 1)},
		},
		{
			"a late reading is emitted at the next tick", spec(time.Minute),
			[]step{add(0, 2), add(60, 9), add(30, 4), add(31, 3), tick(65), tick(66)},
			[]window.Summary{one(0, 2, 1), sum(0, 3, 2, 4, 3, 2, 3, math.Sqrt(2.0/3), 2)},
		},
		{
			"a late reading into a window that was empty", spec(time.Minute),
			[]step{add(130, 2), add(30, 4), tick(131)},
			[]window.Summary{one(0, 4, 1)},
		},
		{
			"each late reading raises the revision once a tick", spec(time.Minute),
			[]step{
				add(0, 2), add(60, 9), add(30, 2), tick(65), add(31, 2), add(32, 2), tick(66),
			},
			[]window.Summary{one(0, 2, 1), sum(0, 2, 2, 2, 2, 2, 2, 0, 2), sum(0, 4, 2, 2, 2, 2, 2, 0, 3)},
		},
		{
			"a late reading is emitted before its window is forgotten, without a tick", spec(time.Minute),
			[]step{add(0, 2), add(60, 9), add(30, 4), add(500, 1)},
			[]window.Summary{one(0, 2, 1), one(60, 9, 1), sum(0, 2, 2, 4, 3, 2, 4, 1, 2)},
		},
		{
			"beyond the lateness nothing changes", spec(time.Minute),
			[]step{add(0, 2), add(331, 9), add(30, 4), tick(340)},
			[]window.Summary{one(0, 2, 1)},
		},
		{
			"a device whose clock is behind is emitted twice a window, not at each tick", spec(time.Minute),
			[]step{
				tick(3600), add(0, 1), tick(3601), add(1, 1), tick(3602), add(2, 1), tick(3603), add(60, 1), tick(3604), tick(3605),
			},
			[]window.Summary{one(0, 1, 1), sum(0, 3, 1, 1, 1, 1, 1, 0, 2), one(60, 1, 1)},
		},
		{
			"a device whose clock is behind and that falls silent is emitted after a width", spec(time.Minute),
			[]step{
				tick(3600), add(0, 1), tick(3601), add(1, 1), tick(3602), tick(3660), tick(3661),
			},
			[]window.Summary{one(0, 1, 1), sum(0, 2, 1, 1, 1, 1, 1, 0, 2)},
		},
		{
			"two widths", spec(10*time.Second, time.Minute),
			[]step{add(0, 2), add(12, 4), add(60, 0)},
			[]window.Summary{
				{Start: epoch, Width: 10 * time.Second, Count: 1, Min: 2, Max: 2, Mean: 2, First: 2, Last: 2, Revision: 1},
				{Start: epoch + 10*second, Width: 10 * time.Second, Count: 1, Min: 4, Max: 4, Mean: 4, First: 4, Last: 4, Revision: 1},
				sum(0, 2, 2, 4, 3, 2, 4, 1, 1),
			},
		},
		{
			"great values stay finite", spec(time.Minute),
			[]step{add(0, 1e300), add(1, -1e300), add(60, 0)},
			[]window.Summary{sum(0, 2, -1e300, 1e300, 0, 1e300, -1e300, 1e300, 1)},
		},
		{
			"a great value after small ones", spec(time.Minute),
			[]step{add(0, 1), add(1, 3), add(2, math.MaxFloat64), add(60, 0)},
			[]window.Summary{sum(0, 3, 1, math.MaxFloat64, math.MaxFloat64/3, 1, math.MaxFloat64,
				math.MaxFloat64/3*math.Sqrt2, 1)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if err := test.spec.Validate(); err != nil {
				t.Fatal(err)
			}
			for _, snapshots := range []bool{false, true} {
				f := newFeed(test.spec)
				for _, s := range test.steps {
					s(f)
					if snapshots {
						f.reload(t)
					}
				}
				if diff := cmp.Diff(test.want, f.take(), cmp.Comparer(near), basics); diff != "" {
					t.Errorf("summaries, with snapshots: %v (-want +got):\n%s", snapshots, diff)
				}
			}
		})
	}
}

// basics leaves out what other tests check.
var basics = cmpopts.IgnoreFields(window.Summary{}, "Window", "At", "TimeMean", "Rate", "P50", "P90", "P95", "P99")

func near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-12*max(math.Abs(a), math.Abs(b))
}

func TestRepeats(t *testing.T) {
	t.Parallel()
	f := newFeed(spec(time.Minute))
	for _, step := range []struct {
		at   int64
		v    float64
		want window.Result
	}{
		{0, 1, window.Counted},
		{0, 1, window.Duplicate},
		{0, 2, window.Conflict},
		{30, 3, window.Counted},
		{0, 2, window.Duplicate},
		{90, 4, window.Counted},
		{0, 1, window.Conflict},
		{10, 5, window.Late},
		{10, 5, window.Duplicate},
		{390, 1, window.Counted},
		{90, 4, window.Duplicate},
		{89, 4, window.TooLate},
		{30, 3, window.TooLate},
	} {
		if got := f.add(epoch+step.at*second, step.v); got != step.want {
			t.Errorf("reading of %v at %d s: %v, want %v", step.v, step.at, got, step.want)
		}
		f.reload(t)
	}
	if got := f.add(math.MaxInt64, 0); got != window.TooLate {
		t.Errorf("a time out of all bounds: %v", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	one := func(w window.Window) window.Spec { return window.Spec{Windows: []window.Window{w}, MaxReadings: 100} }
	for name, s := range map[string]window.Spec{
		"no width":            one(window.Window{}),
		"wider than a day":    one(window.Window{Width: 25 * time.Hour}),
		"negative lateness":   one(window.Window{Width: time.Minute, Lateness: -1}),
		"no step":             one(window.Window{Kind: window.Hopping, Width: time.Minute}),
		"step above width":    one(window.Window{Kind: window.Sliding, Width: time.Minute, Every: time.Hour}),
		"too many overlap":    one(window.Window{Kind: window.Hopping, Width: time.Hour, Every: time.Second}),
		"no gap":              one(window.Window{Kind: window.Session, Width: time.Hour}),
		"gap above the bound": one(window.Window{Kind: window.Session, Width: time.Minute, Gap: time.Hour}),
		"no readings":         {},
		"twice":               {Windows: append(spec(time.Minute).Windows, spec(time.Minute).Windows...), MaxReadings: 100},
		"no minute":           {Windows: spec(time.Hour).Windows, Calendar: window.NewCalendar(time.UTC), MaxReadings: 100},
	} {
		if s.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type reading struct {
	t int64
	v float64
}

// sorted returns the readings in order; of equal times the last that came.
func sorted(readings []reading) []reading {
	var out []reading
	known := make(map[int64]int)
	for _, r := range readings {
		if i, ok := known[r.t]; ok {
			out[i] = r
			continue
		}
		known[r.t] = len(out)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b reading) int { return cmpInt(a.t, b.t) })
	return out
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// model sums up the sorted, de-duplicated readings from scratch.
func model(tb interface{ Fatalf(string, ...any) }, readings []reading, s *window.Spec) map[string]window.Summary {
	f := newFeed(&window.Spec{Windows: s.Windows, Calendar: s.Calendar, MaxReadings: 1 << 20})
	for _, r := range sorted(readings) {
		f.add(r.t, r.v)
	}
	f.tick(window.MaxTime)
	return last(tb, f.take())
}

func key(s window.Summary) string { return fmt.Sprintf("%s@%d", s.Window, s.At) }

// last returns the final summaries without their revisions, and checks that
// revisions count up.
func last(tb interface{ Fatalf(string, ...any) }, emitted []window.Summary) map[string]window.Summary {
	out := make(map[string]window.Summary)
	revisions := make(map[string]uint32)
	for _, s := range emitted {
		k := key(s)
		if s.Revision != revisions[k]+1 {
			tb.Fatalf("window %s: revision %d after %d", k, s.Revision, revisions[k])
		}
		revisions[k] = s.Revision
		s.Revision = 1
		out[k] = s
		if s.Count == 0 {
			delete(out, k)
		}
	}
	return out
}

// naive computes the expected summary in the simplest way there is.
func naive(readings []reading, windows []window.Window, zone *time.Location) map[string]window.Summary {
	readings = sorted(readings)
	out := make(map[string]window.Summary)
	group := func(name string, at, start, end int64) {
		var in []reading
		for _, r := range readings {
			if r.t >= start && r.t < end {
				in = append(in, r)
			}
		}
		s := summarise(in)
		s.Window, s.At, s.Start, s.Width, s.Revision = name, at, start, time.Duration(end-start), 1
		out[key(s)] = s
	}
	for _, w := range windows {
		width, every, gap := int64(w.Width), int64(w.Every), int64(w.Gap)
		begin, end := int64(0), int64(math.MinInt64)
		for i, r := range readings {
			switch w.Kind {
			case window.Tumbling:
				group(w.Name, r.t-r.t%width, r.t-r.t%width, r.t-r.t%width+width)
			case window.Hopping:
				for start := r.t - r.t%every; start > r.t-width; start -= every {
					group(w.Name, start, start, start+width)
				}
			case window.Sliding:
				step := r.t - r.t%every
				if i+1 == len(readings) || readings[i+1].t >= step+every {
					group(w.Name, step, r.t-width+1, r.t+1)
				}
			case window.Session:
				if r.t >= end {
					begin = r.t
				}
				end = min(r.t+gap, begin+width)
				if i+1 == len(readings) || readings[i+1].t >= end {
					group(w.Name, begin, begin, end)
				}
			}
		}
	}
	if zone == nil {
		return out
	}
	sameDay := func(a, b int64) bool {
		return time.Unix(0, a).In(zone).YearDay() == time.Unix(0, b).In(zone).YearDay()
	}
	for _, r := range readings {
		at := r.t - r.t%minute
		from, to := at, at
		for sameDay(at, from-minute) {
			from -= minute
		}
		for sameDay(at, to) {
			to += minute
		}
		start := from + (r.t-from)/(60*minute)*(60*minute)
		group(window.NameHour, start, start, min(start+60*minute, to))
		group(window.NameDay, from, from, to)
	}
	return out
}

// summarise computes the aggregates of readings in order.
func summarise(in []reading) window.Summary {
	n := float64(len(in))
	values := make([]float64, len(in))
	s := window.Summary{Count: uint64(len(in)), First: in[0].v, Last: in[len(in)-1].v}
	for i, r := range in {
		values[i] = r.v
		s.Mean += r.v / n
	}
	area := 0.0
	for i, r := range in {
		s.Deviation += (r.v - s.Mean) * (r.v - s.Mean) / n
		if i > 0 {
			area += (r.v/2 + in[i-1].v/2) * float64(r.t-in[i-1].t)
		}
	}
	s.Deviation = math.Sqrt(s.Deviation)
	s.TimeMean = in[0].v
	if span := float64(in[len(in)-1].t - in[0].t); span > 0 {
		s.TimeMean = area / span
		s.Rate = (s.Last - s.First) / (span / 1e9)
	}
	slices.Sort(values)
	s.Min, s.Max = values[0], values[len(values)-1]
	s.P50 = values[len(values)/2]
	if len(values)%2 == 0 {
		s.P50 = (s.P50 + values[len(values)/2-1]) / 2
	}
	rank := func(p float64) float64 { return values[int(math.Floor(n*p/100+0.5))-1] }
	s.P90, s.P95, s.P99 = rank(90), rank(95), rank(99)
	return s
}

// agree compares summaries with the expected ones: numbers up to rounding, and
// the percentiles of roll-ups with the accuracy of a sketch of few values.
func agree(tb interface{ Fatalf(string, ...any) }, want, got map[string]window.Summary) {
	equal := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }
	if diff := cmp.Diff(want, got, cmp.Comparer(equal), cmpopts.IgnoreFields(window.Summary{}, "P50", "P90", "P95", "P99")); diff != "" {
		tb.Fatalf("summaries differ from what was computed the simple way (-want +got):\n%s", diff)
	}
	for k, w := range want {
		tolerance := 1e-12
		if w.Window == window.NameHour || w.Window == window.NameDay {
			tolerance = 2e-3
		}
		g := got[k]
		for _, p := range [][2]float64{{w.P50, g.P50}, {w.P90, g.P90}, {w.P95, g.P95}, {w.P99, g.P99}} {
			if math.Abs(p[0]-p[1]) > tolerance*max(math.Abs(w.Min), math.Abs(w.Max)) {
				tb.Fatalf("%s: a percentile is %v, want %v, in %+v", k, p[1], p[0], g)
			}
		}
	}
}

// all returns windows of every kind, with roll-ups.
func all(zone *time.Location) *window.Spec {
	s := spec(10*time.Second, time.Minute)
	s.Windows = append(s.Windows,
		window.Window{Name: "hopping", Kind: window.Hopping, Width: 5 * time.Minute, Every: 40 * time.Second, Lateness: 7 * time.Minute},
		window.Window{Name: "sliding", Kind: window.Sliding, Width: 3 * time.Minute, Every: 20 * time.Second, Lateness: 5 * time.Minute},
		window.Window{Name: "session", Kind: window.Session, Width: 4 * time.Minute, Gap: 50 * time.Second, Lateness: 6 * time.Minute},
	)
	s.Calendar = window.NewCalendar(zone)
	return s
}

// TestOrderDoesNotMatter checks the promise of the package. Whatever the order
// in which readings arrive within the lateness, whenever the clock ticks and
// wherever the state goes through a snapshot, the final summaries equal those
// of the sorted input without repeats, bit for bit. Those are what the simplest
// computation gives.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	kinds := all(time.UTC).Windows
	for _, test := range []struct {
		name    string
		windows []window.Window
		zone    string
		begin   int64
	}{
		{"tumbling", kinds[:2], "", epoch},
		{"hopping", kinds[2:3], "", epoch},
		{"sliding", kinds[3:4], "", epoch},
		{"session", kinds[4:], "", epoch},
		{"roll-ups", kinds[1:2], "UTC", epoch},
		{"roll-ups where the clock is set back", kinds[1:2], "Europe/Berlin", time.Date(2026, 10, 24, 21, 30, 0, 0, time.UTC).UnixNano()},
		{"roll-ups where the clock is half an hour off", kinds[1:2], "Asia/Kolkata", epoch},
		{"all", kinds, "Australia/Lord_Howe", time.Date(2026, 4, 4, 12, 0, 0, 0, time.UTC).UnixNano()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				s := &window.Spec{Windows: slices.Clone(test.windows), MaxReadings: 1 << 15}
				var zone *time.Location
				steps := []int64{1, 30, 400}
				if test.zone != "" {
					zone = load(t, test.zone)
					s.Calendar = window.NewCalendar(zone)
					steps = append(steps, 3600)
				}
				delayed(rapid.SampledFrom([]time.Duration{0, 15 * time.Second}).Draw(rt, "delay"), s)
				lag := rapid.SampledFrom([]int64{0, -120, 3600}).Draw(rt, "lag") * second
				step := rapid.SampledFrom(steps).Draw(rt, "step")
				value := rapid.OneOf(rapid.Float64Range(-50, 50), rapid.SampledFrom([]float64{1e-300, 0, 21.5}))
				f := newFeed(s)
				var all []reading
				at := test.begin
				for range rapid.IntRange(1, 150).Draw(rt, "n") {
					at += rapid.Int64Range(0, step).Draw(rt, "dt") * second
					back := rapid.SampledFrom([]int64{0, 0, 0, 1, 7, 61, 300}).Draw(rt, "back") * second
					r := reading{at - back, value.Draw(rt, "value")}
					all = append(all, r)
					if f.add(r.t, r.v) == window.TooLate {
						rt.Fatalf("a reading %d s behind is too late", (f.progress.Watermark-r.t)/second)
					}
					if rapid.IntRange(0, 4).Draw(rt, "tick") == 0 {
						f.tick(at + lag)
					}
					if rapid.IntRange(0, 9).Draw(rt, "snapshot") == 0 {
						f.reload(rt)
					}
				}
				f.tick(window.MaxTime)
				got := last(rt, f.take())
				if diff := cmp.Diff(model(rt, all, s), got); diff != "" {
					rt.Fatalf("summaries differ from those of the sorted input (-want +got):\n%s", diff)
				}
				agree(rt, naive(all, s.Windows, zone), got)
			})
		})
	}
}

func load(tb testing.TB, name string) *time.Location {
	tb.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return zone
}

// TestSnapshotChangesNothing compares a series with one that goes through a
// snapshot at random points. Outputs and results must be the same in the same
// order, also for readings that are too late and for a series at its bound.
func TestSnapshotChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := all(time.UTC)
		s.MaxReadings = rapid.SampledFrom([]int{16, 1 << 10}).Draw(rt, "bound")
		delayed(rapid.SampledFrom([]time.Duration{0, 90 * time.Second}).Draw(rt, "delay"), s)
		a, b := newFeed(s), newFeed(s)
		at := epoch
		for range rapid.IntRange(1, 200).Draw(rt, "n") {
			at += rapid.Int64Range(0, 20).Draw(rt, "dt") * second
			if rapid.IntRange(0, 5).Draw(rt, "tick") == 0 {
				a.tick(at)
				b.tick(at)
			}
			back := rapid.SampledFrom([]int64{0, 0, 0, 2, 40, 200, 500}).Draw(rt, "back") * second
			v := rapid.Float64Range(-1, 1).Draw(rt, "value")
			if ra, rb := a.add(at-back, v), b.add(at-back, v); ra != rb {
				rt.Fatalf("reading is %v, after a snapshot %v", ra, rb)
			}
			if rapid.Bool().Draw(rt, "snapshot") {
				b.reload(rt)
			}
			if diff := cmp.Diff(a.take(), b.take()); diff != "" {
				rt.Fatalf("summaries (-without +with snapshots):\n%s", diff)
			}
		}
	})
}

// TestBound checks a series with more readings within the lateness than it may
// keep. It must still emit exact summaries of readings in order, at a constant
// size, except for percentiles and for sliding windows that reach back further.
func TestBound(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 90 * time.Second} {
		s := delayed(delay, all(time.UTC))
		s.Windows = slices.DeleteFunc(s.Windows, func(w window.Window) bool { return w.Kind == window.Sliding })
		s.MaxReadings = 64
		f := newFeed(s)
		var all []reading
		largest := 0
		for i := range 20_000 {
			r := reading{epoch + int64(i)*second/50, math.Sin(float64(i)) * 1e3}
			all = append(all, r)
			if got := f.add(r.t, r.v); got != window.Counted {
				t.Fatalf("reading %d is %v", i, got)
			}
			largest = max(largest, len(f.series.Append(nil, s, f.progress)))
		}
		if largest > 16_000 {
			t.Errorf("delay %v: the state grew to %d bytes", delay, largest)
		}
		if got := f.add(epoch+390*second, 1); got != window.TooLate {
			t.Errorf("a late reading before the folded ones is %v", got)
		}
		f.tick(window.MaxTime)
		got := last(t, f.take())
		rough := cmpopts.IgnoreFields(window.Summary{}, "P50", "P90", "P95", "P99")
		want := model(t, all, s)
		if diff := cmp.Diff(want, got, rough, cmp.Comparer(near)); diff != "" {
			t.Errorf("delay %v (-want +got):\n%s", delay, diff)
		}
		for k, w := range want {
			if g := got[k]; math.Abs(w.P50-g.P50) > 50 || math.Abs(w.P99-g.P99) > 50 {
				t.Errorf("%s: percentiles are %v and %v, want %v and %v", k, g.P50, g.P99, w.P50, w.P99)
			}
		}
	}
}

// TestAddDoesNotAllocate checks the steady state.
func TestAddDoesNotAllocate(t *testing.T) {
	f := newFeed(spec(time.Minute))
	f.emitted = make([]window.Summary, 0, 1)
	at := epoch
	add := func() {
		at += 5 * second
		f.add(at, 20.5)
		f.emitted = f.emitted[:0]
	}
	for range 1000 {
		add()
	}
	if n := testing.AllocsPerRun(1000, add); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	f := newFeed(spec(time.Minute))
	at := epoch
	for i := 0; b.Loop(); i++ {
		at += second
		f.progress.Watermark = at
		_, f.emitted = f.series.Add(f.spec, f.progress, window.Reading{Time: at, Value: float64(i & 63)}, f.emitted[:0])
	}
}
