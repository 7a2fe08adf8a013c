package detect_test

import (
	"testing"
	"time"

	"headwater/services/processor/detect"
	"headwater/services/rule"
)

// whole returns a rule of a detector with what it needs.
func whole(d rule.Detector) rule.Rule {
	r := rule.Rule{Name: "a", Detector: d}
	spec, _ := rule.SpecOf(d)
	for _, need := range spec.Needs {
		for _, f := range rule.Fields() {
			if f.Name != need.Fields[0] {
				continue
			}
			switch p := f.At(&r).(type) {
			case *float64:
				*p = 1
			case **float64:
				*p = new(1.0)
			case *time.Duration:
				*p = time.Minute
			case *string:
				*p = "a > 1"
			}
		}
	}
	return r.WithDefaults()
}

// TestEveryDetectorIsMade makes the detector of each entry of the table, and checks that
// a story shows what it emits.
func TestEveryDetectorIsMade(t *testing.T) {
	covered := make(map[string]bool)
	for _, s := range stories() {
		covered[kindOf(s.detector)] = true
	}
	for _, d := range rule.Detectors() {
		r := whole(d)
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", d, err)
		}
		spec, _ := rule.SpecOf(d)
		made, err := detect.New(r, time.UTC)
		if (err != nil) != spec.OfDevice {
			t.Errorf("%s: %v", d, err)
		}
		if err == nil && kindOf(made) != string(d) {
			t.Errorf("a rule with %s is judged by %s", d, kindOf(made))
		}
		if !spec.OfDevice && !covered[string(d)] {
			t.Errorf("%s tells no story in TestSentences", d)
		}
	}
	if _, err := detect.New(rule.Rule{Detector: "magic"}, time.UTC); err == nil {
		t.Error("magic is made")
	}
}
