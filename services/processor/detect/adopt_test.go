package detect_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/processor/detect"
)

// TestChangedParameters checks what a change does to an episode, or without
// one, given the last reading.
func TestChangedParameters(t *testing.T) {
	t.Parallel()
	limit := func(above float64, change func(l *detect.Limit)) *detect.Limit {
		l := &detect.Limit{Above: above, Below: -inf, Silence: time.Hour}
		if change != nil {
			change(l)
		}
		return l
	}
	rate := detect.Rate{Rise: 3, Within: 5 * time.Minute, Settle: time.Hour, Silence: time.Hour}
	risen := []step{read(0, 5), read(2*time.Minute, 9)}
	faster := func(rise, fall float64, within time.Duration) *detect.Rate {
		r := rate
		r.Rise, r.Fall, r.Within = rise, fall, within
		return &r
	}
	half := detect.Unreadable{Share: 20, Within: time.Hour, Silence: time.Hour}
	garbage := append(every(0, time.Minute, make([]float64, 40)...), every(40*time.Minute, time.Minute, make([]float64, 30)...)...)
	for i := 40; i < len(garbage); i += 2 {
		garbage[i].text = "ERR"
	}
	share := func(percent float64, within time.Duration) *detect.Unreadable {
		return &detect.Unreadable{Share: percent, Within: within, Silence: time.Hour}
	}
	var quiet []step
	for i := range 300 {
		quiet = append(quiet, read(time.Duration(i*2+i*i%3)*time.Minute, 5))
	}
	quiet = append(quiet, tick(620*time.Minute))
	for name, tc := range map[string]struct {
		before, after detect.Detector
		steps         []step
		at            time.Duration
		// want is what the change emits, next what the same reading emits 5 min
		// later.
		want, next []string
	}{
		"a higher limit, still passed": {
			limit(30, nil), limit(35, nil),
			[]step{read(0, 42)},
			time.Minute,
			[]string{"update 0s 1m0s 1.2: 42 °C: above the limit of 35 °C for 1 min"},
			nil,
		},
		"a higher limit, not passed": {
			limit(30, nil), limit(45, nil),
			[]step{read(0, 42)},
			time.Minute,
			[]string{"close 0s 1m0s 0: the rule was changed: 42 °C is not above the limit of 45 °C"},
			nil,
		},
		"a lower limit, passed": {
			limit(50, nil), limit(40, nil),
			[]step{read(0, 42)},
			time.Minute,
			[]string{"open 0s 1m0s 1.05: 42 °C: above the limit of 40 °C for 1 min"},
			nil,
		},
		"a lower limit, passed for long enough": {
			limit(50, nil), limit(40, func(l *detect.Limit) { l.For = 5 * time.Minute }),
			[]step{read(0, 42)},
			10 * time.Minute,
			[]string{"open 0s 10m0s 1.05: 42 °C: above the limit of 40 °C for 10 min"},
			nil,
		},
		"a lower limit, not passed for long enough": {
			limit(50, nil), limit(40, func(l *detect.Limit) { l.For = 5 * time.Minute }),
			[]step{read(0, 42)},
			time.Minute,
			nil,
			[]string{"open 0s 5m0s 1.05: 42 °C: above the limit of 40 °C for 5 min"},
		},
		"a lower limit, passed too long ago": {
			limit(50, nil), limit(40, nil),
			[]step{read(0, 42)},
			2 * time.Hour,
			nil,
			[]string{"open 2h5m0s 2h5m0s 1.05: 42 °C: above the limit of 40 °C"},
		},
		"a longer time opens nothing again": {
			limit(30, nil), limit(30, func(l *detect.Limit) { l.For = time.Hour }), []step{read(0, 42)}, time.Minute, nil, nil,
		},
		"a shorter time": {
			limit(30, func(l *detect.Limit) { l.For = time.Hour }), limit(30, func(l *detect.Limit) { l.For = time.Minute }),
			[]step{read(0, 42)},
			3 * time.Minute,
			[]string{"open 0s 3m0s 1.4: 42 °C: above the limit of 30 °C for 3 min"},
			nil,
		},
		"within the hysteresis": {
			limit(30, func(l *detect.Limit) { l.Hysteresis = 5 }), limit(31, func(l *detect.Limit) { l.Hysteresis = 5 }),
			[]step{read(0, 42), read(time.Minute, 28)},
			time.Minute,
			[]string{"update 0s 1m0s 1: 28 °C: not yet 5 °C inside the limit of 31 °C"},
			nil,
		},
		"a limit on the other side": {
			limit(30, nil), &detect.Limit{Above: inf, Below: 50, Silence: time.Hour},
			[]step{read(0, 42)},
			time.Minute,
			[]string{
				"close 0s 1m0s 0: the rule was changed: the limit above was removed",
				"open 1m0s 1m0s 1.16: 42 °C: below the limit of 50 °C",
			},
			nil,
		},
		"a greater rise, still passed": {
			&rate, faster(3.5, 0, 5*time.Minute), risen, 2 * time.Minute,
			[]string{"update 2m0s 2m0s 1.143: 9 °C: has risen 4 °C in 2 min (limit 3.5 °C in 5 min)"},
			nil,
		},
		"a greater rise, not passed": {
			&rate, faster(6, 0, 5*time.Minute), risen, 3 * time.Minute,
			[]string{"close 2m0s 3m0s 0: the rule was changed: a rise of 4 °C in 2 min is within the limit of 6 °C in 5 min"},
			nil,
		},
		"a shorter time to rise in": {
			&rate, faster(3, 0, time.Minute), risen, 3 * time.Minute,
			[]string{"close 2m0s 3m0s 0: the rule was changed: a rise of 4 °C in 2 min is within the limit of 3 °C in 1 min"},
			nil,
		},
		"a smaller rise": {
			faster(6, 0, 5*time.Minute), &rate, risen, 3 * time.Minute,
			[]string{"open 2m0s 2m0s 1.333: 9 °C: rose 4 °C in 2 min (limit 3 °C in 5 min)"},
			nil,
		},
		"falls instead of rises": {
			&rate, faster(0, 3, 5*time.Minute), risen, 3 * time.Minute,
			[]string{"close 2m0s 3m0s 0: the rule was changed: changes in this direction no longer count"},
			nil,
		},
		"a greater share": {
			&half, share(60, time.Hour), garbage, 69 * time.Minute,
			[]string{"close 1h2m0s 1h9m0s 0: the rule was changed: 15 of 59 readings within 1 h are not numbers (25.42 %); up to 60 % is allowed"},
			nil,
		},
		"a share that is still passed, in another time": {
			&half, share(10, 2*time.Hour), garbage, 69 * time.Minute, nil, nil,
		},
		"fewer false alarms": {
			&detect.Silence{FalseAlarms: 1000}, &detect.Silence{FalseAlarms: 1e-300}, quiet, 620 * time.Minute,
			[]string{"close 10h5m0.761561967s 10h20m0s 0: the rule was changed: no reading for 21 min; up to 11 h is allowed"},
			nil,
		},
		"another detector": {limit(30, nil), nil, nil, 0, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tc.before.Start()
			for _, p := range tc.steps {
				p.take(s, "°C", nil)
			}
			if tc.after == nil {
				for other, d := range everyDetector() {
					if got, emitted := d.Adopt(tc.before.Start(), epoch, "", nil); (got == nil) != (other != "limit") || emitted != nil {
						t.Errorf("%s takes over from a limit: %v", other, got)
					}
				}
				return
			}
			s, emitted := tc.after.Adopt(s, epoch+int64(tc.at), "°C", nil)
			lines := func(all []detect.Verdict) (out []string) {
				for _, v := range all {
					out = append(out, brief(v))
				}
				return out
			}
			if diff := cmp.Diff(tc.want, lines(emitted)); diff != "" {
				t.Errorf("the change (-want +got):\n%s", diff)
			}
			s = reload(t, tc.after, s)
			if len(tc.steps) == 0 {
				return
			}
			next := read(tc.at+5*time.Minute, tc.steps[len(tc.steps)-1].value)
			if diff := cmp.Diff(tc.next, lines(next.take(s, "°C", nil))); diff != "" {
				t.Errorf("the reading after it (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUndoneChange takes a change back before the next reading. The alert is a
// new one, or nobody would be notified of it.
func TestUndoneChange(t *testing.T) {
	t.Parallel()
	low := &detect.Limit{Above: 30, Below: -inf, Silence: time.Hour}
	high := &detect.Limit{Above: 45, Below: -inf, Silence: time.Hour}
	s := low.Start()
	emitted := read(0, 42).take(s, "°C", nil)
	for i, d := range []*detect.Limit{high, low, high, low} {
		s, emitted = d.Adopt(reload(t, d, s), epoch+int64(i+1)*second, "°C", emitted)
	}
	wellFormed(t, emitted)
	if len(emitted) != 5 || s.Open() == 0 {
		t.Errorf("emitted %v", emitted)
	}
}

// TestSensitivityKeepsWhatWasLearned changes how many false alarms a detector
// may raise. What it knows of the series stays, and an episode ends only if it
// would not have begun.
func TestSensitivityKeepsWhatWasLearned(t *testing.T) {
	t.Parallel()
	alarms := func(n float64) detect.Alarms { return detect.Alarms{FalseAlarms: n, Silence: time.Hour} }
	series := usual(20, 5*time.Minute, 20, func(at time.Duration, v float64) float64 {
		if at >= 19*24*time.Hour {
			v += 9
		}
		return v
	})
	for name, tc := range map[string]struct {
		to   detect.Alarms
		ends bool
	}{
		"a little less often": {alarms(10), false},
		"more often":          {alarms(100), false},
		"hardly ever":         {alarms(1e-9), true},
	} {
		s := (&detect.Season{Alarms: alarms(20)}).Start()
		var emitted []detect.Verdict
		for _, p := range series {
			emitted = p.take(s, "°C", emitted)
			if s.Open() > 0 {
				break
			}
		}
		n := len(emitted)
		if n == 0 {
			t.Fatal("no episode")
		}
		s, emitted = (&detect.Season{Alarms: tc.to}).Adopt(s, emitted[n-1].Time+second, "°C", emitted)
		wellFormed(t, emitted)
		if s.Learning() || (s.Open() == 0) != tc.ends || (len(emitted) > n) != tc.ends {
			t.Errorf("%s: learning %v, open %v, emitted %v", name, s.Learning(), s.Open(), emitted[n:])
		}
	}
}

// otherwise returns each detector with other parameters.
func otherwise() map[string][]detect.Detector {
	a, b := detect.Alarms{FalseAlarms: 0.01, Silence: 20 * time.Minute}, detect.Alarms{FalseAlarms: 500, For: 10 * time.Minute, Silence: time.Hour}
	return map[string][]detect.Detector{
		"limit": {
			&detect.Limit{Above: 12, Below: -5, Hysteresis: 3, Silence: 20 * time.Minute},
			&detect.Limit{Above: 5, Below: math.Inf(-1), For: 10 * time.Minute, Silence: time.Hour},
			&detect.Limit{Above: inf, Below: 15, For: time.Minute, Silence: 5 * time.Minute},
		},
		"rate": {
			&detect.Rate{Rise: 9, Within: 2 * time.Minute, Settle: 10 * time.Minute, Silence: 20 * time.Minute},
			&detect.Rate{Fall: 2, Within: 20 * time.Minute, Settle: time.Hour, Silence: time.Hour},
		},
		"unreadable": {
			&detect.Unreadable{Share: 50, Within: 10 * time.Minute, Silence: 20 * time.Minute},
			&detect.Unreadable{Share: 1, Within: 3 * time.Hour, Silence: time.Hour},
		},
		"silence": {&detect.Silence{FalseAlarms: 0.001}, &detect.Silence{FalseAlarms: 900}},
		"range":   {&detect.Range{Alarms: a}, &detect.Range{Alarms: b}},
		"season":  {&detect.Season{Alarms: a}, &detect.Season{Alarms: b, Location: berlin}},
		"shift":   {&detect.Shift{Alarms: a}, &detect.Shift{Alarms: b}},
		"surge":   {&detect.Surge{Alarms: a, Direction: detect.Up}, &detect.Surge{Alarms: b, Direction: detect.Down}},
		"stuck":   {&detect.Stuck{Alarms: a}, &detect.Stuck{Alarms: b}},
		"drift":   {&detect.Drift{Alarms: a}, &detect.Drift{Alarms: b, Location: berlin}},
		"auto":    {&detect.Auto{Alarms: a}, &detect.Auto{Alarms: b, Location: berlin}},
	}
}

// TestEveryDetectorSurvivesChanges changes the parameters again and again
// between readings. Episodes stay well formed with distinct starts, and neither
// equal parameters nor a restart change anything.
func TestEveryDetectorSurvivesChanges(t *testing.T) {
	t.Parallel()
	values := rapid.OneOf(rapid.Float64Range(-20, 20), rapid.Float64Range(-9, 9), rapid.SampledFrom([]float64{0, 10, -10, 1e300, -1e300, math.MaxFloat64}))
	for name, others := range otherwise() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				all := append([]detect.Detector{everyDetector()[name]}, others...)
				d := all[0]
				s, other := d.Start(), d.Start()
				var emitted, again []detect.Verdict
				steps := draw(rt, values)
				for i, p := range steps {
					if _, sees := s.(detect.Misreader); sees && rapid.IntRange(0, 5).Draw(rt, "text") == 0 {
						p.text = "ERR"
					}
					emitted, again = p.take(s, "°C", emitted), p.take(other, "°C", again)
					if i < len(steps)-80 || rapid.IntRange(0, 3).Draw(rt, "change") != 0 {
						continue
					}
					now := epoch + int64(p.at) + second
					emitted, again = s.Tick(now, "°C", emitted), other.Tick(now, "°C", again)
					before, open := s.Append(nil), s.Open()
					var same []detect.Verdict
					s, same = d.Adopt(s, now, "°C", nil)
					if len(same) != 0 || s.Open() != open || !bytes.Equal(before, s.Append(nil)) {
						rt.Fatalf("equal parameters emit %v, or change the state", same)
					}
					other = reload(rt, d, other)
					n := len(emitted)
					d = rapid.SampledFrom(all).Draw(rt, "parameters")
					s, emitted = d.Adopt(s, now, "°C", emitted)
					other, again = d.Adopt(other, now, "°C", again)
					for _, v := range emitted[n:] {
						if v.Time > now {
							rt.Fatalf("a verdict is from the future: %s", brief(v))
						}
					}
				}
				wellFormed(rt, emitted)
				if diff := cmp.Diff(emitted, again); diff != "" {
					rt.Fatalf("a restart changes the verdicts:\n%s", diff)
				}
			})
		})
	}
}
