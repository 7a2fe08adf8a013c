package window_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/processor/pack"
	"headwater/services/processor/window"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	// epoch is the start of a minute.
	epoch = 1_700_000_040 * second
)

func spec(widths ...time.Duration) *window.Spec {
	return &window.Spec{Widths: widths, Lateness: 5 * time.Minute, MaxReadings: 1 << 15}
}

// feed is one device with one series under test.
type feed struct {
	spec     *window.Spec
	series   window.Series
	progress window.Progress
	told     []window.Summary
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
	r, f.told = f.series.Add(f.spec, f.progress, window.Reading{Time: t, Value: v}, f.told)
	f.results[r]++
	return r
}

func (f *feed) tick(t int64) {
	f.progress.Lane = max(f.progress.Lane, t)
	f.told = f.series.Advance(f.spec, f.progress, f.told)
	f.told = f.series.Revise(f.progress, f.told)
}

// reload puts the series through a snapshot.
func (f *feed) reload(tb testing.TB) {
	tb.Helper()
	b := f.series.Append(nil, f.spec, f.progress)
	r := pack.NewReader(b)
	f.series = window.Read(r)
	if r.Err() != nil || r.Len() != 0 {
		tb.Fatalf("state of %d bytes: %v, %d bytes left", len(b), r.Err(), r.Len())
	}
	if again := f.series.Append(nil, f.spec, f.progress); !slices.Equal(b, again) {
		tb.Fatalf("the state changed in a snapshot:\n%x\n%x", b, again)
	}
}

// take returns the summaries since the last take.
func (f *feed) take() []window.Summary {
	told := f.told
	f.told = nil
	return told
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
			return // out of the range that is promised
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
			f.told = f.series.Advance(f.spec, f.progress, f.told)
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
	delayed := spec(time.Minute)
	delayed.Delay = 10 * time.Second
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
			"a window without readings is not told", spec(time.Minute),
			[]step{add(0, 2), add(200, 3), tick(240)},
			[]window.Summary{one(0, 2, 1), one(180, 3, 1)},
		},
		{
			"the delay keeps it open", delayed,
			[]step{add(0, 2), add(65, 9), add(1, 4), add(69, 9), add(70, 9)},
			[]window.Summary{sum(0, 2, 2, 4, 3, 2, 4, 1, 1)},
		},
		{
			"first and last are by event time", spec(time.Minute),
			[]step{add(20, 2), add(10, 4), add(15, 3), add(60, 0)},
			[]window.Summary{sum(0, 3, 2, 4, 3, 4, 2, math.Sqrt(2.0/3), 1)},
		},
		{
			"a late reading is told at the next tick", spec(time.Minute),
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
			"a late reading is told before its window is forgotten, without a tick", spec(time.Minute),
			[]step{add(0, 2), add(60, 9), add(30, 4), add(500, 1)},
			[]window.Summary{one(0, 2, 1), one(60, 9, 1), sum(0, 2, 2, 4, 3, 2, 4, 1, 2)},
		},
		{
			"beyond the lateness nothing changes", spec(time.Minute),
			[]step{add(0, 2), add(331, 9), add(30, 4), tick(340)},
			[]window.Summary{one(0, 2, 1)},
		},
		{
			"a device whose clock is behind is told twice a window, not at each tick", spec(time.Minute),
			[]step{
				tick(3600), add(0, 1), tick(3601), add(1, 1), tick(3602), add(2, 1), tick(3603), add(60, 1), tick(3604), tick(3605),
			},
			[]window.Summary{one(0, 1, 1), sum(0, 3, 1, 1, 1, 1, 1, 0, 2), one(60, 1, 1)},
		},
		{
			"a device whose clock is behind and that falls silent is told after a width", spec(time.Minute),
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
				if diff := cmp.Diff(test.want, f.take(), cmp.Comparer(near)); diff != "" {
					t.Errorf("summaries, with snapshots: %v (-want +got):\n%s", snapshots, diff)
				}
			}
		})
	}
}

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
		{0, 1, window.Duplicate},
		{90, 4, window.Counted},
		{0, 2, window.Conflict},
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
	for name, s := range map[string]*window.Spec{
		"no width":          {Widths: []time.Duration{0}, MaxReadings: 100},
		"descending widths": {Widths: []time.Duration{2, 1}, MaxReadings: 100},
		"negative lateness": {Lateness: -1, MaxReadings: 100},
		"no readings":       {},
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

// model sums up the sorted, de-duplicated readings from scratch.
func model(readings []reading, widths []time.Duration) map[string]window.Summary {
	first := make(map[int64]float64)
	var times []int64
	for _, r := range readings {
		if _, known := first[r.t]; !known {
			first[r.t] = r.v
			times = append(times, r.t)
		}
	}
	slices.Sort(times)
	out := make(map[string]window.Summary)
	for _, width := range widths {
		f := newFeed(&window.Spec{Widths: []time.Duration{width}, MaxReadings: 1 << 20})
		for _, t := range times {
			f.add(t, first[t])
		}
		f.tick(window.MaxTime)
		for _, s := range f.take() {
			out[key(s)] = s
		}
	}
	return out
}

func key(s window.Summary) string { return fmt.Sprintf("%v@%d", s.Width, s.Start) }

// last returns the summaries that stand in the end, without their revisions,
// and checks that revisions count up.
func last(tb interface{ Fatalf(string, ...any) }, told []window.Summary) map[string]window.Summary {
	out := make(map[string]window.Summary)
	revisions := make(map[string]uint32)
	for _, s := range told {
		k := key(s)
		if s.Revision != revisions[k]+1 {
			tb.Fatalf("window %s: revision %d after %d", k, s.Revision, revisions[k])
		}
		revisions[k] = s.Revision
		s.Revision = 1
		out[k] = s
	}
	return out
}

// TestOrderDoesNotMatter is the promise of the package: whatever the order in
// which readings arrive within the lateness, whenever the clock ticks and
// wherever the state goes through a snapshot, the summaries that stand in the
// end equal those of the sorted input without repeats, bit for bit.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := spec(10*time.Second, time.Minute)
		s.Delay = rapid.SampledFrom([]time.Duration{0, 15 * time.Second}).Draw(rt, "delay")
		lag := rapid.SampledFrom([]int64{0, -120, 3600}).Draw(rt, "lag") * second
		step := rapid.SampledFrom([]int64{1, 30, 400}).Draw(rt, "step")
		value := rapid.OneOf(rapid.Float64Range(-50, 50), rapid.SampledFrom([]float64{1e300, -1e300, 1e-300, 0, 21.5}))
		f := newFeed(s)
		var all []reading
		at := epoch
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
				f.reload(t)
			}
		}
		f.tick(window.MaxTime)
		if diff := cmp.Diff(model(all, s.Widths), last(rt, f.take())); diff != "" {
			rt.Fatalf("summaries differ from those of the sorted input (-want +got):\n%s", diff)
		}
	})
}

// TestSnapshotChangesNothing compares a series with one that goes through a
// snapshot at random points: outputs and results must be the same in the same
// order, also for readings that are too late and for a series at its bound.
func TestSnapshotChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := spec(10*time.Second, time.Minute)
		s.MaxReadings = rapid.SampledFrom([]int{16, 1 << 10}).Draw(rt, "bound")
		s.Delay = rapid.SampledFrom([]time.Duration{0, 90 * time.Second}).Draw(rt, "delay")
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
				b.reload(t)
			}
			if diff := cmp.Diff(a.take(), b.take()); diff != "" {
				rt.Fatalf("summaries (-without +with snapshots):\n%s", diff)
			}
		}
	})
}

// TestBound checks that a series with more readings in the lateness than it may
// keep still tells exact summaries of readings in order, at a constant size.
func TestBound(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 90 * time.Second} {
		s := spec(10*time.Second, time.Minute)
		s.MaxReadings, s.Delay = 64, delay
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
		if largest > 64*(8+5)+32*100 {
			t.Errorf("delay %v: the state grew to %d bytes", delay, largest)
		}
		if got := f.add(epoch+390*second, 1); got != window.TooLate {
			t.Errorf("a late reading before the folded ones is %v", got)
		}
		f.tick(window.MaxTime)
		if diff := cmp.Diff(model(all, s.Widths), last(t, f.take())); diff != "" {
			t.Errorf("delay %v (-want +got):\n%s", delay, diff)
		}
	}
}

// TestAddDoesNotAllocate checks the steady state.
func TestAddDoesNotAllocate(t *testing.T) {
	f := newFeed(spec(time.Minute))
	f.told = make([]window.Summary, 0, 1)
	at := epoch
	add := func() {
		at += 5 * second
		f.add(at, 20.5)
		f.told = f.told[:0]
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
		_, f.told = f.series.Add(f.spec, f.progress, window.Reading{Time: at, Value: float64(i & 63)}, f.told[:0])
	}
}
