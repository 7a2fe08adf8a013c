package detect_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/processor/detect"
)

// TestForIsHowLongAValueMustStay opens the door for a while under a detector
// with a For of 30 minutes and a reading every 5.
func TestForIsHowLongAValueMustStay(t *testing.T) {
	t.Parallel()
	const begin = 8*24*time.Hour + 5*time.Hour
	a := detect.Alarms{FalseAlarms: 0.2, For: 30 * time.Minute, Silence: 6 * time.Hour}
	all := map[string]detect.Detector{
		"surge": &detect.Surge{Alarms: a}, "range": &detect.Range{Alarms: a}, "season": &detect.Season{Alarms: a}, "auto": &detect.Auto{Alarms: a},
	}
	for _, test := range []struct {
		name   string
		change func(time.Duration, float64) float64
		// opens is when the episode opens, after the beginning; -1 for never.
		opens time.Duration
		// surge limits the case to Surge: to the others, what came a moment ago is no
		// longer new.
		surge bool
	}{
		{"a glitch", from(begin, 5*time.Minute, plus(6)), -1, false},
		{"25 minutes", from(begin, 30*time.Minute, plus(6)), -1, false},
		{"30 minutes", from(begin, 35*time.Minute, plus(6)), 30 * time.Minute, false},
		{"two hours", from(begin, 2*time.Hour, plus(6)), 30 * time.Minute, false},
		{"25 minutes, five of rest, an hour", func(at time.Duration, v float64) float64 {
			if at >= begin && at < begin+90*time.Minute && (at < begin+30*time.Minute || at >= begin+35*time.Minute) {
				v += 6
			}
			return v
		}, 75 * time.Minute, true}, // over three readings
	} {
		for name, d := range all {
			if test.surge && name != "surge" {
				continue
			}
			var got []time.Duration
			for _, v := range play(t, d, usual(9, 5*time.Minute, 20, test.change), false) {
				if v.Phase != detect.Open {
					continue
				}
				got = append(got, time.Duration(v.Time-epoch)-begin)
				if late := time.Duration(v.Time - v.Start); late < a.For || late > a.For+5*time.Minute {
					t.Errorf("%s, %s: an episode from %v on opens %v later", name, test.name, time.Duration(v.Start-epoch), late)
				}
				if e := v.Evidence; e.Value <= e.High || math.IsInf(e.High, 0) {
					t.Errorf("%s, %s: %v is within %v to %v", name, test.name, e.Value, e.Low, e.High)
				}
			}
			var want []time.Duration
			if test.opens >= 0 {
				want = []time.Duration{test.opens}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: opens (-want +got):\n%s", name, test.name, diff)
			}
		}
	}
}

// TestAnEpisodeLastsUntilTheValueIsBack checks the end of episodes: a value
// that the model has come to expect is not back.
func TestAnEpisodeLastsUntilTheValueIsBack(t *testing.T) {
	t.Parallel()
	const begin, long = 8*24*time.Hour + 5*time.Hour, 4 * time.Hour
	a := detect.Alarms{FalseAlarms: 0.2, Silence: 6 * time.Hour}
	for name, d := range map[string]detect.Detector{
		"surge": &detect.Surge{Alarms: a}, "range": &detect.Range{Alarms: a}, "season": &detect.Season{Alarms: a}, "auto": &detect.Auto{Alarms: a},
	} {
		var ends []time.Duration
		for _, v := range play(t, d, usual(9, 5*time.Minute, 20, from(begin, long, plus(6))), false) {
			if v.Phase == detect.Close {
				ends = append(ends, time.Duration(v.Time-epoch)-begin-long)
			}
		}
		if want := []time.Duration{55 * time.Minute}; !cmp.Equal(want, ends) {
			t.Errorf("%s: ends %v after the door was shut, want %v, 12 readings", name, ends, want)
		}
	}
}

// TestFastSeriesAlarm checks that detectors alarm however often a series
// reports: a threshold that is never reached would turn a detector off.
func TestFastSeriesAlarm(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Second, 10 * time.Second, 30 * time.Second, time.Minute} {
		for name, d := range map[string]detect.Detector{
			"surge": &detect.Surge{Alarms: detect.DefaultAlarms()}, "auto": &detect.Auto{Alarms: detect.DefaultAlarms()},
		} {
			// Auto judges anything with a time of day from the third day on.
			readings := int(3 * 24 * time.Hour / by)
			var steps []step
			for i := range readings {
				v := 20 + 0.1*math.Sin(float64(i)*float64(i))
				if i > readings-100 {
					v += 8
				}
				steps = append(steps, read(time.Duration(i)*by, v))
			}
			got := play(t, d, steps, false)
			if len(got) == 0 || got[0].Time-epoch != int64(by)*int64(readings-99) {
				t.Errorf("%s, a reading every %v: a rise by 80 times the usual is not reported at once: %+v", name, by, got)
			}
		}
	}
}
