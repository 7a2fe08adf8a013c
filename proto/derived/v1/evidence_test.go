package derivedv1_test

import (
	"testing"

	derivedv1 "headwater/proto/derived/v1"
)

func TestExpected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		evidence *derivedv1.Evidence
		want     *float64
	}{
		"no evidence":             {nil, nil},
		"no band":                 {&derivedv1.Evidence{Baseline: 5}, nil},
		"an upper limit":          {&derivedv1.Evidence{Baseline: 8, High: new(8.0)}, nil},
		"a lower limit":           {&derivedv1.Evidence{Baseline: 2, Low: new(2.0), High: new(8.0)}, nil},
		"in the middle of a band": {&derivedv1.Evidence{Baseline: 5, Low: new(2.0), High: new(8.0)}, new(5.0)},
		"below what a rise is":    {&derivedv1.Evidence{Baseline: 0, High: new(3.0)}, new(0.0)},
	} {
		got := test.evidence.Expected()
		if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
