package detect_test

import (
	"bytes"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/processor/detect"
	"headwater/services/processor/window"
	"headwater/services/rule"
)

// The rules that hold for every detector on a stream, each in a test named for
// it.

// usualDays is a series with a daily swing and noise, three weeks long, a
// reading every 15 minutes; with it come a jump, a stuck sensor and a gap.
func usualDays(seed uint64) []detect.Sample {
	random := rand.New(rand.NewPCG(seed, 1))
	var out []detect.Sample
	for i := range 3 * 7 * 96 {
		day := float64(i) / 96
		v := 20 + 3*hump(day) + 0.2*random.NormFloat64()
		switch {
		case i > 1500 && i < 1510:
			v += 8
		case i > 1600 && i < 1640:
			v = 21
		case i > 1700 && i < 1720:
			continue
		}
		out = append(out, detect.Sample{Time: epoch + int64(i)*15*minute, Value: math.Round(v*100) / 100})
	}
	return out
}

// trace is what a detector makes of a series, reading by reading.
type trace struct {
	Scores   []float64
	Verdicts []detect.Verdict
}

func traced(d detect.Detector, series []detect.Sample) trace {
	var t trace
	s := d.Start()
	for _, r := range series {
		t.Verdicts = s.Observe(r, "°C", t.Verdicts)
		t.Scores = append(t.Scores, s.Score())
	}
	return t
}

// forEvery runs a test for every detector.
func forEvery(t *testing.T, test func(t *testing.T, d detect.Detector)) {
	t.Helper()
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(everyDetector())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, everyDetector()[name])
		})
	}
}

func TestRule1TheFutureDoesNotChangeThePast(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		series := usualDays(1)
		other := slices.Clone(series)
		cut := len(series) / 2
		for i := cut; i < len(other); i++ {
			other[i].Value = -1000 * float64(i%7)
		}
		a, b := traced(d, series), traced(d, other)
		if diff := cmp.Diff(a.Scores[:cut], b.Scores[:cut]); diff != "" {
			t.Errorf("scores before the cut differ:\n%s", diff)
		}
	})
}

func TestRule2ARestartChangesNothing(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		series := usualDays(2)
		want := traced(d, series)
		var got trace
		s := d.Start()
		for i, r := range series {
			if i%97 == 0 {
				s = reload(t, d, s)
			}
			got.Verdicts = s.Observe(r, "°C", got.Verdicts)
			got.Scores = append(got.Scores, s.Score())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with snapshots (-without +with):\n%s", diff)
		}
	})
}

func TestRule3TheUnitDoesNotMatter(t *testing.T) {
	for name, d := range learners() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			series := usualDays(3)
			want := traced(d, series)
			for _, unit := range []struct{ gain, offset float64 }{{1.8, 32}, {1000, 0}, {-0.5, 0}, {64, 1 << 20}} {
				if name == "rising" && unit.gain < 0 {
					continue
				}
				other := slices.Clone(series)
				for i := range other {
					other[i].Value = other[i].Value*unit.gain + unit.offset
				}
				got := traced(d, other)
				// Rounding may move a value from one bucket into the next, or make
				// two equal steps differ.
				off := 0
				for i := range want.Scores {
					if math.Abs(want.Scores[i]-got.Scores[i]) > 0.03 {
						off++
					}
				}
				if off > len(series)/100 {
					t.Errorf("gain %v, offset %v: %d of %d scores differ", unit.gain, unit.offset, off, len(series))
				}
			}
		})
	}
}

func TestRule4LateAndRepeatedReadingsAreNotScored(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		s := d.Start()
		for i, r := range usualDays(4) {
			s.Observe(r, "°C", nil)
			if i%50 != 0 {
				continue
			}
			was := s.Append(nil)
			for _, again := range []detect.Sample{r, {Time: r.Time, Value: 99}, {Time: r.Time - 1, Value: 99}, {Time: r.Time - 300*minute, Value: -99}} {
				if emitted := s.Observe(again, "°C", nil); len(emitted) > 0 || !bytes.Equal(was, s.Append(nil)) {
					t.Fatalf("reading %d: %+v was judged or learned", i, again)
				}
			}
		}
	})
}

func TestRule5NothingIsComparedAcrossAGap(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"surge", "rising", "rate"} {
		d := everyDetector()[name]
		series := usualDays(5)[:1000]
		for i := 500; i < len(series); i++ {
			series[i].Time += 80 * minute // more than a few intervals, and little for such a rise
			series[i].Value += 12
		}
		for _, at := range opened(traced(d, series).Verdicts) {
			if at >= series[500].Time && at < series[503].Time {
				t.Errorf("%s alarms across a gap", name)
			}
		}
	}
}

func TestRule6NonNumericNeverEnters(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		s := d.Start()
		for i, r := range usualDays(6) {
			s.Observe(r, "°C", nil)
			if i%50 != 0 {
				continue
			}
			was := s.Append(nil)
			for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				if emitted := s.Observe(detect.Sample{Time: r.Time + 1, Value: v}, "°C", nil); len(emitted) > 0 || !bytes.Equal(was, s.Append(nil)) {
					t.Fatalf("reading %d: %v was judged or learned", i, v)
				}
			}
		}
	})
}

// TestRule6TooManyValuesThatAreNotNumbers has a sensor send texts among its
// numbers: what is an episode, when it opens and when it ends.
func TestRule6TooManyValuesThatAreNotNumbers(t *testing.T) {
	t.Parallel()
	d := &detect.Unreadable{Share: 10, Within: time.Hour, Silence: 2 * time.Hour}
	// A reading a minute, a text where the function returns true.
	stream := func(n int, text func(i int) bool) []step {
		var out []step
		for i := range n {
			p := read(time.Duration(i)*time.Minute, 20)
			if text(i) {
				p = step{at: p.at, text: "ERR"}
			}
			out = append(out, p)
		}
		return out
	}
	for _, test := range []struct {
		name  string
		steps []step
		want  []string
	}{
		{"no text", stream(500, func(int) bool { return false }), nil},
		{"as many as are accepted", stream(900, func(i int) bool { return i%10 == 5 && i > 100 }), nil},
		{"two in a row", stream(300, func(i int) bool { return i == 100 || i == 101 }), nil},
		{
			// Seven of 60 are more than a tenth; the episode ends with three.
			"one in four for an hour, then none",
			stream(500, func(i int) bool { return i%4 == 0 && i >= 200 && i < 260 }),
			[]string{"open at 224", "update at 236", "close at 305"},
		},
		{
			"the share stays between half and all of it",
			stream(900, func(i int) bool { return i >= 200 && i < 210 || i >= 210 && i%13 == 0 && i < 700 }),
			[]string{"open at 206", "update at 221", "close at 710"},
		},
		{"a series of texts with few numbers", stream(900, func(i int) bool { return i%5 != 0 }), nil},
		{"a series of texts that never had a number", stream(900, func(int) bool { return true }), nil},
		{"texts before thirty numbers", stream(900, func(i int) bool { return i >= 29 }), nil},
		{
			"texts from the thirtieth number on, and silence",
			append(stream(300, func(i int) bool { return i >= 30 }), tick(500*time.Minute)),
			[]string{"open at 33", "update at 36", "update at 41", "update at 52", "update at 66", "update at 86", "close at 419"},
		},
		{
			"numbers and texts of the past, or of the same time",
			append(stream(300, func(int) bool { return false }), step{at: 299 * time.Minute, text: "ERR"},
				step{at: 298 * time.Minute, text: "ERR"}, step{at: 297 * time.Minute, text: "ERR"}, step{at: time.Minute, text: "ERR"},
				step{at: 299 * time.Minute, text: "ERR"}, step{at: 299 * time.Minute, text: "ERR"}, step{at: 299 * time.Minute, text: "ERR"}),
			nil,
		},
	} {
		var got []string
		emitted := play(t, d, test.steps, true)
		for _, v := range emitted {
			got = append(got, v.Phase.String()+" at "+strconv.FormatInt((v.Time-epoch)/minute, 10))
		}
		wellFormed(t, emitted)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestRule7NothingIsEmittedWhileLearning(t *testing.T) {
	for name, d := range learners() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := d.Start()
			learned := -1
			for i, r := range usualDays(7) {
				was := s.Learning()
				emitted := s.Observe(r, "°C", nil)
				if was && len(emitted) > 0 {
					t.Fatalf("reading %d raises an alarm while learning: %s", i, brief(emitted[0]))
				}
				s = reload(t, d, s)
				if learned < 0 && !s.Learning() {
					learned = i
				}
			}
			if learned < 0 {
				t.Error("never learns enough")
			}
		})
	}
}

func TestRule8AnOutlierTeachesLittleAndANewLevelIsAccepted(t *testing.T) {
	t.Parallel()
	a := detect.DefaultAlarms()
	for name, d := range map[string]detect.Detector{
		"surge": &detect.Surge{Alarms: a}, "season": &detect.Season{Alarms: a}, "auto": &detect.Auto{Alarms: a},
	} {
		series := usualDays(8)
		series[1000].Value = 1e6
		for i := 1200; i < 1210; i++ {
			series[i].Value += 14
		}
		s := d.Start()
		found := 0
		for i, r := range series {
			if emitted := s.Observe(r, "°C", nil); (i == 1000 || i == 1200) && len(opened(emitted)) > 0 {
				found++
			}
		}
		if found != 2 {
			t.Errorf("%s finds %d of two faults, the first of them a value of a million", name, found)
		}
		level := slices.Concat(usualDays(8)[:1400], usualDays(9)[:1400])
		for i := 1400; i < len(level); i++ {
			level[i].Time += 15 * 24 * 60 * minute
			level[i].Value += 15
		}
		s = d.Start()
		last := 0
		for i, r := range level {
			if len(opened(s.Observe(r, "°C", nil))) > 0 {
				last = i
			}
		}
		if s.Open() > 0 || last > len(level)-100 {
			t.Errorf("%s does not accept a new level: last alarm at reading %d of %d", name, last, len(level))
		}
	}
}

func TestRule9OneAlarmAnEpisode(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		open := false
		for _, v := range traced(d, usualDays(9)).Verdicts {
			if (v.Phase == detect.Open) == open {
				t.Fatalf("an episode within an episode, or an end without a beginning: %s", brief(v))
			}
			open = v.Phase != detect.Close
		}
	})
}

func TestRule9OnlyWhatIsMoreUnusualOpensAgainSoon(t *testing.T) {
	t.Parallel()
	spikes := func(at map[int]float64) []detect.Sample {
		series := usualDays(20)[:1400]
		for i, by := range at {
			series[i].Value += by
		}
		return series
	}
	for name, d := range map[string]detect.Detector{
		"surge": &detect.Surge{Alarms: detect.DefaultAlarms()}, "auto": &detect.Auto{Alarms: detect.DefaultAlarms()},
	} {
		for _, test := range []struct {
			name string
			at   map[int]float64
			want int
		}{
			{"one", map[int]float64{1200: 12}, 1},
			{"a smaller one 50 readings later", map[int]float64{1200: 12, 1250: 11}, 1},
			{"a much greater one 50 readings later", map[int]float64{1200: 12, 1250: 90}, 2},
		} {
			if at := opened(traced(d, spikes(test.at)).Verdicts); len(at) != test.want {
				t.Errorf("%s, %s: %d alarms, want %d", name, test.name, len(at), test.want)
			}
		}
	}
}

// local makes four weeks of a site in Berlin, 15 minutes apart, that follow the
// local time.
func local(begin time.Time) []detect.Sample {
	random := rand.New(rand.NewPCG(11, 11))
	var series []detect.Sample
	for i := range 4 * 7 * 96 {
		at := begin.Add(time.Duration(i) * 15 * time.Minute)
		hour := float64(at.Hour()) + float64(at.Minute())/60
		v := 20 + 0.3*random.NormFloat64()
		// Steep enough that an hour matters.
		if hour >= 6 && hour < 20 {
			v += 5 + hump(hour/24)
		}
		series = append(series, detect.Sample{Time: at.UnixNano(), Value: v})
	}
	return series
}

// clockChanges are when the four weeks of local begin.
func clockChanges() map[string]time.Time {
	return map[string]time.Time{
		"an hour never comes": time.Date(2026, 3, 8, 0, 0, 0, 0, berlin),  // forward on 29 March
		"an hour comes twice": time.Date(2026, 10, 4, 0, 0, 0, 0, berlin), // back on 25 October
	}
}

func TestRule11AnHourThatComesTwiceOrNeverDoesNotAlarm(t *testing.T) {
	t.Parallel()
	a, often := detect.DefaultAlarms(), detect.Alarms{FalseAlarms: 1, Silence: rule.DefaultSilence}
	for name, begin := range clockChanges() {
		for detector, d := range map[string]struct {
			site, utc detect.Detector
			// needs means that it must alarm in the wrong time zone; only then does the
			// test prove anything.
			needs bool
		}{
			"season": {&detect.Season{Alarms: often, Location: berlin}, &detect.Season{Alarms: often}, true},
			"auto":   {&detect.Auto{Alarms: a, Location: berlin}, &detect.Auto{Alarms: a}, false},
			"drift":  {&detect.Drift{Alarms: a, Location: berlin}, &detect.Drift{Alarms: a}, false},
		} {
			series := local(begin)
			// The Sunday after three weeks and the days that follow.
			change := begin.AddDate(0, 0, 21).UnixNano()
			alarms := func(d detect.Detector) (emitted []detect.Verdict) {
				for _, v := range traced(d, series).Verdicts {
					if v.Phase == detect.Open && v.Time >= change {
						emitted = append(emitted, v)
					}
				}
				return emitted
			}
			for _, v := range alarms(d.site) {
				t.Errorf("%s, %s: %v %s", detector, name, time.Unix(0, v.Time).In(berlin), v.Evidence.Sentence)
			}
			if d.needs && len(alarms(d.utc)) == 0 {
				t.Errorf("%s, %s: emits nothing even in the wrong time zone", detector, name)
			}
		}
	}
}

func TestRule11TheDaysOfASiteBeginAtItsMidnight(t *testing.T) {
	t.Parallel()
	kiritimati := time.FixedZone("14 hours ahead", 14*60*60)
	var judged []time.Time
	s := (&detect.Drift{Alarms: detect.Alarms{FalseAlarms: 1, Silence: rule.DefaultSilence}, Location: kiritimati}).Start()
	begin := time.Date(2026, 5, 1, 0, 0, 0, 0, kiritimati)
	for i := range 30 * 48 {
		at := begin.Add(time.Duration(i) * 30 * time.Minute)
		v := 20 + math.Sin(float64(i*i)) + 3*max(0, float64(i-20*48)/48)
		for _, v := range s.Observe(detect.Sample{Time: at.UnixNano(), Value: v}, "", nil) {
			judged = append(judged, time.Unix(0, v.Time).In(kiritimati))
		}
	}
	if len(judged) == 0 || slices.ContainsFunc(judged, func(at time.Time) bool { return at.Hour() != 0 || at.Minute() != 0 }) {
		t.Errorf("days are judged at %v, want midnight of the site", judged)
	}
}

func TestRule12AConstantThatChangesIsOneAlarm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"range", "season", "shift", "surge", "auto"} {
		var series []detect.Sample
		for i := range 3000 {
			r := detect.Sample{Time: epoch + int64(i)*15*minute, Value: 5}
			if i >= 2000 {
				r.Value = 6
			}
			series = append(series, r)
		}
		got := traced(everyDetector()[name], series)
		if at := opened(got.Verdicts); len(at) != 1 || at[0] < series[2000].Time || at[0] > series[2012].Time {
			t.Errorf("%s: alarms %v, want one at the change: %s", name, at, got.Verdicts[len(got.Verdicts)-2].Evidence.Sentence)
		}
		if slices.ContainsFunc(got.Scores, func(s float64) bool { return !(s >= 0 && s <= 1) }) {
			t.Errorf("%s: a score is not from 0 to 1", name)
		}
	}
}

// TestRule12ATrifleIsNoFault has a series stand still until all that is known
// of it has faded, and then moves it by a ten-thousandth of its range.
func TestRule12ATrifleIsNoFault(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"range", "season", "shift", "surge", "auto"} {
		var series []detect.Sample
		for i := range 20_000 {
			v := 5.0
			switch {
			case i < 1000:
				v = 5 + 5*math.Sin(float64(i))
			case i >= 15_000 && i < 15_500:
				v = 5.001
			}
			series = append(series, detect.Sample{Time: epoch + int64(i)*15*minute, Value: v})
		}
		for _, v := range traced(everyDetector()[name], series).Verdicts {
			if v.Time >= series[14_000].Time {
				t.Errorf("%s: %s", name, v.Evidence.Sentence)
			}
		}
	}
}

func TestRule13NumbersOfAnySizeStayNumbers(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		for _, scale := range []float64{1e-300, 1e-30, 1e30, 1e300} {
			series := usualDays(13)
			for i := range series {
				series[i].Value = (series[i].Value - 20) / 10 * scale
			}
			got := traced(d, series)
			if slices.ContainsFunc(got.Scores, func(s float64) bool { return !(s >= 0 && s <= 1) }) {
				t.Errorf("scale %v: a score is not from 0 to 1", scale)
			}
			for _, v := range got.Verdicts {
				if e := v.Evidence; !finite(e.Baseline) || !(e.Low <= e.High) || !finite(e.Score) {
					t.Errorf("scale %v: %+v", scale, e)
				}
			}
		}
	})
}

func TestRule14TheClockEmitsWhatTheNextReadingWould(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		series := slices.Delete(usualDays(14), 1505, 1530) // silent in the midst of a fault
		want := traced(d, series).Verdicts
		var got []detect.Verdict
		s := d.Start()
		for i, r := range series {
			got = s.Observe(r, "°C", got)
			if i+1 == len(series) {
				break
			}
			for at := r.Time + minute; at < series[i+1].Time; at += 7 * minute {
				got = s.Tick(at, "°C", got)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with ticks (-without +with):\n%s", diff)
		}
	})
}

// TestRule14SilenceByAnyClock has a series stop reporting, come back, and stop
// permanently. Live, the clock comes every second; in a replay it comes only
// with the watermark, now and then.
func TestRule14SilenceByAnyClock(t *testing.T) {
	t.Parallel()
	series := usualDays(15)[:600]
	for i := 300; i < len(series); i++ {
		series[i].Time += 7 * 60 * minute
	}
	end := series[len(series)-1].Time + 3*60*minute
	emit := func(next func(at int64) int64) []detect.Verdict {
		s := (&detect.Silence{FalseAlarms: rule.DefaultFalseAlarms}).Start()
		var emitted []detect.Verdict
		clock := series[0].Time
		for _, r := range append(slices.Clone(series), detect.Sample{Time: end, Value: math.NaN()}) {
			for clock = max(clock, next(clock)); clock < r.Time; clock = next(clock) {
				emitted = s.Tick(clock, "°C", emitted)
			}
			if !math.IsNaN(r.Value) {
				emitted = s.Observe(r, "°C", emitted)
			}
		}
		return s.Tick(end, "°C", emitted)
	}
	live := emit(func(at int64) int64 { return at + second })
	for name, next := range map[string]func(int64) int64{
		"each hour":             func(at int64) int64 { return at + 60*minute },
		"each eleven minutes":   func(at int64) int64 { return at + 11*minute },
		"with the next reading": func(int64) int64 { return end },
	} {
		if diff := cmp.Diff(live, emit(next)); diff != "" {
			t.Errorf("a clock that comes %s (-live +replayed):\n%s", name, diff)
		}
	}
	if phases := len(live); phases != 3 || live[2].Phase != detect.Open || live[2].Time >= end {
		t.Errorf("emitted %+v, want a silence, its end and another one", live)
	}
}

// TestRule15ARevisedSummaryIsNotScoredAgain makes summaries of a minute from
// readings of which some come late, with the windows of the product, and has a
// detector judge their means as they come.
func TestRule15ARevisedSummaryIsNotScoredAgain(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		spec := window.Spec{Windows: []window.Window{{Name: "hour", Width: time.Hour, Lateness: 6 * time.Hour}}, MaxReadings: 1000}
		if err := spec.Validate(); err != nil {
			t.Fatal(err)
		}
		var late []window.Summary
		judge := func(revisions bool) []detect.Verdict {
			w, s := window.New(), d.Start()
			var emitted []detect.Verdict
			var summaries []window.Summary
			series := usualDays(16)
			for i := range series {
				r := series[i]
				if i%7 == 0 && i+9 < len(series) { // this one comes two hours late
					continue
				}
				p := window.Progress{Watermark: r.Time, Lane: math.MinInt64 / 2}
				_, summaries = w.Add(&spec, p, window.Reading{Time: r.Time, Value: r.Value}, summaries[:0])
				summaries = w.Advance(&spec, p, summaries)
				if i%7 == 2 && i > 8 {
					_, summaries = w.Add(&spec, p, window.Reading{Time: series[i-9].Time, Value: series[i-9].Value + 30}, summaries)
				}
				summaries = w.Revise(&spec, p, summaries)
				for _, sum := range summaries {
					if sum.Revision > 1 {
						late = append(late, sum)
						if !revisions {
							continue
						}
					}
					emitted = s.Observe(detect.Sample{Time: sum.Start, Value: sum.Mean}, "°C", emitted)
				}
			}
			return emitted
		}
		once := judge(false)
		if diff := cmp.Diff(once, judge(true)); diff != "" {
			t.Errorf("with revisions (-without +with):\n%s", diff)
		}
		if len(late) == 0 {
			t.Error("no summary was revised")
		}
	})
}

// hump is 0 at night and 1 at 13 o'clock.
func hump(day float64) float64 {
	_, part := math.Modf(day)
	return max(0, math.Sin(math.Pi*(part*24-6)/14))
}
