package families_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/processor/detect"
	"headwater/services/processor/detect/families"
	"headwater/services/rule"
)

func all() []families.Family { return append(families.Development(), families.Fresh()...) }

func TestASeriesDependsOnItsFamilyAndSeedAlone(t *testing.T) {
	t.Parallel()
	for _, f := range all() {
		a, b, other := f.Make(7), f.Make(7), f.Make(8)
		if diff := cmp.Diff(a.Samples, b.Samples); diff != "" || a.Begin != b.Begin {
			t.Errorf("%s: made twice, it differs:\n%s", f.Name, diff)
		}
		if cmp.Equal(a.Samples, other.Samples) {
			t.Errorf("%s: another seed makes the same series", f.Name)
		}
		least := int(float64(families.Weeks*7*24*time.Hour/f.Step) * (1 - 2*f.Missing))
		if len(a.Samples) < least {
			t.Errorf("%s: %d readings, want %d at least", f.Name, len(a.Samples), least)
		}
		for i, r := range a.Samples {
			if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) || i > 0 && r.Time <= a.Samples[i-1].Time {
				t.Fatalf("%s: reading %d is %+v", f.Name, i, r)
			}
		}
	}
}

func TestAFaultIsWhereItsLabelIs(t *testing.T) {
	t.Parallel()
	for _, f := range all() {
		for _, k := range families.Kinds() {
			t.Run(f.Name+" "+k.String(), func(t *testing.T) {
				t.Parallel()
				s := f.Make(11)
				samples, end := s.With(k)
				if len(samples) == 0 {
					if k != families.Night && k != families.Stuck {
						t.Error("there is no such fault")
					}
					return
				}
				clean := make(map[int64]float64)
				for _, r := range s.Samples[s.Begin:] {
					clean[r.Time] = r.Value
				}
				changed, most := 0, 0.0
				for i, r := range samples {
					was, known := clean[r.Time]
					if !known || i > 0 && r.Time <= samples[i-1].Time {
						t.Fatalf("reading %d has a time that the series does not have", i)
					}
					if far := math.Abs(r.Value - was); far > 0 {
						changed++
						most = max(most, far)
						if r.Time >= end && k != families.Drift {
							t.Fatalf("reading %d differs after the fault", i)
						}
					}
				}
				longest := int64(0)
				for i, r := range samples[1:] {
					longest = max(longest, r.Time-samples[i].Time)
				}
				switch k {
				case families.Gap:
					if changed > 0 || longest < int64(4*time.Hour) {
						t.Errorf("%d readings differ, the longest time between two is %v", changed, time.Duration(longest))
					}
				case families.Glitch:
					if changed != 1 || most < f.Size {
						t.Errorf("%d readings differ, by %v at most", changed, most)
					}
				case families.Stuck, families.Night:
					if changed == 0 {
						t.Error("nothing differs")
					}
				default:
					if most < f.Size/2 {
						t.Errorf("the farthest reading differs by %v", most)
					}
				}
			})
		}
	}
}

// TestFalseAlarmsAreThoseAsked checks the number of false alarms: on average
// over the families no more than twice what was asked for, and for the
// detectors that people use most, no less than a fraction of it.
func TestFalseAlarmsAreThoseAsked(t *testing.T) {
	t.Parallel()
	for _, asked := range []float64{0.1, 1} {
		a := detect.Alarms{FalseAlarms: asked, Silence: rule.DefaultSilence}
		for name, test := range map[string]struct {
			detector detect.Detector
			least    float64
		}{
			"auto":    {&detect.Auto{Alarms: a}, asked / 3},
			"range":   {&detect.Range{Alarms: a}, asked / 3},
			"surge":   {&detect.Surge{Alarms: a}, asked / 4},
			"season":  {&detect.Season{Alarms: a}, asked / 5},
			"shift":   {&detect.Shift{Alarms: a}, 0},
			"stuck":   {&detect.Stuck{Alarms: a}, 0},
			"silence": {&detect.Silence{FalseAlarms: asked}, 0},
			"drift":   {&detect.Drift{Alarms: a}, 0},
		} {
			r := families.Judge(test.detector, families.Development(), []uint64{1, 2, 3})
			if r.FalseAlarms > 2*asked || r.FalseAlarms < test.least {
				t.Errorf("%s: asked for %v false alarms a series and week, got %.3f, want %.3f at least",
					name, asked, r.FalseAlarms, test.least)
			}
		}
	}
}

// TestEachDetectorFindsWhatItIsFor counts the faults of the development
// families that each detector finds at the default.
func TestEachDetectorFindsWhatItIsFor(t *testing.T) {
	t.Parallel()
	a := detect.DefaultAlarms()
	for _, test := range []struct {
		name     string
		detector detect.Detector
		kind     families.Kind
		// least is the share to be found, within a median time.
		least  float64
		within time.Duration
	}{
		{"auto", &detect.Auto{Alarms: a}, families.Glitch, 0.9, 0},
		{"auto", &detect.Auto{Alarms: a}, families.Surge, 0.7, 5 * time.Minute},
		{"auto", &detect.Auto{Alarms: a}, families.Level, 0.75, 10 * time.Minute},
		{"auto", &detect.Auto{Alarms: a}, families.Noise, 0.8, 15 * time.Minute},
		{"surge", &detect.Surge{Alarms: a}, families.Glitch, 0.7, 0},
		{"surge", &detect.Surge{Alarms: a}, families.Surge, 0.45, 5 * time.Minute},
		{"range", &detect.Range{Alarms: a}, families.Glitch, 0.9, 0},
		{"drift", &detect.Drift{Alarms: a}, families.Drift, 0.85, 72 * time.Hour},
		{"stuck", &detect.Stuck{Alarms: a}, families.Stuck, 1, time.Hour},
		{"silence", &detect.Silence{FalseAlarms: 0.1}, families.Gap, 1, time.Hour},
	} {
		got := families.Judge(test.detector, families.Development(), []uint64{1, 2, 3}).Kinds[test.kind]
		if float64(got.Found) < test.least*float64(got.Faults) || got.Delay > test.within {
			t.Errorf("%s finds %d of %d of %v, with a median delay of %v", test.name, got.Found, got.Faults, test.kind, got.Delay)
		}
		t.Logf("%s finds %d of %d of %v, with a median delay of %v", test.name, got.Found, got.Faults, test.kind, got.Delay)
	}
}
