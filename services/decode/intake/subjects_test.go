package intake_test

import (
	"slices"
	"testing"

	"headwater/services/decode/intake"
	"headwater/services/decode/mapping"
)

// TestMappedTopicsBelongToTheirDevice has a level of a topic name the device: only that
// device may send there.
func TestMappedTopicsBelongToTheirDevice(t *testing.T) {
	for _, test := range []struct {
		name     string
		declared mapping.Declared
		site     string
		want     []string // nil for none
	}{
		{"level", mapping.Declared{Topic: "mill/{device}/data", Site: "hall", Device: "{device}"}, "hall", []string{"mill.saw.data"}},
		{"another name", mapping.Declared{Topic: "mill/{line}/{machine}", Site: "hall", Device: "{machine}"}, "hall", []string{"mill.*.saw"}},
		{"spaces", mapping.Declared{Topic: "mill/{machine}", Site: "hall", Device: "{ machine }"}, "hall", []string{"mill.saw"}},
		{"all below", mapping.Declared{Topic: "mill/{machine}/#", Site: "hall", Device: "{machine}"}, "hall", []string{"mill.saw", "mill.saw.>"}},
		{"site of the topic", mapping.Declared{Topic: "{place}/{machine}", Site: "{place}", Device: "{machine}"}, "hall", []string{"hall.saw"}},
		{"no site", mapping.Declared{Topic: "mill/{machine}", Device: "{machine}"}, "home", []string{"mill.saw"}},
		{"another site", mapping.Declared{Topic: "mill/{machine}", Site: "yard", Device: "{machine}"}, "hall", nil},
		{"several levels", mapping.Declared{Topic: "mill/{line}/{machine}", Site: "hall", Device: "{line}-{machine}"}, "hall", nil},
		{"payload", mapping.Declared{Topic: "mill/{line}", Site: "hall", Device: "{payload.id}"}, "hall", nil},
	} {
		m, problems := mapping.Compile(test.declared)
		if problems != nil {
			t.Fatalf("%s: %v", test.name, problems)
		}
		set := mapping.Set{m}
		without := intake.Guards(nil, test.site, "saw")
		got := slices.DeleteFunc(intake.Guards(set, test.site, "saw"), func(s string) bool { return slices.Contains(without, s) })
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: nobody else may send on %q, want %q", test.name, got, test.want)
		}
		for _, subject := range test.want {
			if !slices.Contains(intake.Subjects(set, test.site, "saw"), subject) {
				t.Errorf("%s: the device itself may not send on %s", test.name, subject)
			}
		}
	}
}
