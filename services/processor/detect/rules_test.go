package detect_test

import (
	"bytes"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/processor/detect"
)

// The rules that hold for every detector on a stream, each a test by its name.

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

// trace is what a detector says of a series, reading by reading.
type trace struct {
	Scores []float64
	Told   []detect.Verdict
}

func traced(d detect.Detector, series []detect.Sample) trace {
	var t trace
	s := d.Start()
	for _, r := range series {
		t.Told = s.Observe(r, "°C", t.Told)
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
			got.Told = s.Observe(r, "°C", got.Told)
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
				if told := s.Observe(again, "°C", nil); len(told) > 0 || !bytes.Equal(was, s.Append(nil)) {
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
			series[i].Time += 5 * 24 * 60 * minute
			series[i].Value += 12
		}
		for _, at := range opened(traced(d, series).Told) {
			if at >= series[500].Time && at < series[503].Time {
				t.Errorf("%s alarms across a gap", name)
			}
		}
	}
}

func TestRule6WhatIsNoNumberNeverEnters(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		s := d.Start()
		for i, r := range usualDays(6) {
			s.Observe(r, "°C", nil)
			if i%50 != 0 {
				continue
			}
			was := s.Append(nil)
			for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				if told := s.Observe(detect.Sample{Time: r.Time + 1, Value: v}, "°C", nil); len(told) > 0 || !bytes.Equal(was, s.Append(nil)) {
					t.Fatalf("reading %d: %v was judged or learned", i, v)
				}
			}
		}
	})
}

func TestRule7NothingIsToldWhileLearning(t *testing.T) {
	for name, d := range learners() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := d.Start()
			learned := -1
			for i, r := range usualDays(7) {
				was := s.Learning()
				told := s.Observe(r, "°C", nil)
				if was && len(told) > 0 {
					t.Fatalf("reading %d is told of while learning: %s", i, brief(told[0]))
				}
				if s = reload(t, d, s); learned < 0 && !s.Learning() {
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
		s := d.Start()
		found := false
		for i, r := range series {
			told := s.Observe(r, "°C", nil)
			found = found || i == 1000 && len(opened(told)) > 0
		}
		if !found {
			t.Errorf("%s misses a value of a million", name)
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
		for _, v := range traced(d, usualDays(9)).Told {
			if (v.Phase == detect.Open) == open {
				t.Fatalf("an episode within an episode, or an end without a begin: %s", brief(v))
			}
			open = v.Phase != detect.Close
		}
	})
}

// Rule 10, that a state does not grow, is TestSize.

func TestRule11AnHourThatComesTwiceOrNeverDoesNotAlarm(t *testing.T) {
	t.Parallel()
	for _, begin := range []time.Time{
		time.Date(2026, 3, 8, 0, 0, 0, 0, berlin),  // forward on 29 March
		time.Date(2026, 10, 4, 0, 0, 0, 0, berlin), // back on 25 October
	} {
		for name, d := range map[string]detect.Detector{
			"season": &detect.Season{Alarms: detect.DefaultAlarms(), Location: berlin},
			"auto":   &detect.Auto{Alarms: detect.DefaultAlarms(), Location: berlin},
		} {
			random := rand.New(rand.NewPCG(11, 11))
			var series []detect.Sample
			for i := range 4 * 7 * 96 {
				at := begin.Add(time.Duration(i) * 15 * time.Minute)
				hour := float64(at.Hour()) + float64(at.Minute())/60
				v := 20 + 5*hump(hour/24) + 0.3*random.NormFloat64()
				series = append(series, detect.Sample{Time: at.UnixNano(), Value: v})
			}
			if told := traced(d, series).Told; len(told) > 0 {
				t.Errorf("%s, from %v: %s", name, begin, told[0].Evidence.Sentence)
			}
		}
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
		if at := opened(got.Told); len(at) != 1 || at[0] < series[2000].Time || at[0] > series[2012].Time {
			t.Errorf("%s: alarms %v, want one at the change: %s", name, at, got.Told[len(got.Told)-2].Evidence.Sentence)
		}
		if slices.ContainsFunc(got.Scores, func(s float64) bool { return !(s >= 0 && s <= 1) }) {
			t.Errorf("%s: a score is not from 0 to 1", name)
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
			for _, v := range got.Told {
				if e := v.Evidence; !finite(e.Baseline) || !(e.Low <= e.High) || !finite(e.Score) {
					t.Errorf("scale %v: %+v", scale, e)
				}
			}
		}
	})
}

func TestRule14TheClockTellsWhatTheNextReadingWouldTell(t *testing.T) {
	forEvery(t, func(t *testing.T, d detect.Detector) {
		series := usualDays(14)
		want := traced(d, series).Told
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

// Rule 15, that a revised summary is not scored again, is rule 4: a summary has
// the time of its window, and a second one of that time is not judged.

// hump is 0 at night and 1 at 13 o'clock.
func hump(day float64) float64 {
	_, part := math.Modf(day)
	return max(0, math.Sin(math.Pi*(part*24-6)/14))
}
