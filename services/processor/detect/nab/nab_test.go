package nab_test

import (
	"math"
	"testing"

	"headwater/services/processor/detect/nab"
)

// TestRules computes the published curve by hand: 1000 rows, the rows 500 to
// 599 are an anomaly, 150 are for learning.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		detections []int
		raw        float64
	}{
		{"nothing", nil, -1},
		{"the first row of the window", []int{500}, 1},
		{"the middle of the window", []int{550}, 0.84828 / 0.98661},
		{"the last row of the window", []int{599}, 0.02499 / 0.98661},
		{"the best of three in the window", []int{550, 500, 599}, 1},
		{"far before the window", []int{200}, -1 - 0.11},
		{"just behind the window", []int{600}, -1 - 0.11*0.02525},
		{"a length behind the window", []int{698}, -1 - 0.11*0.98661},
		{"far behind the window", []int{950}, -1 - 0.11},
		{"the last row for learning", []int{149}, -1},
		{"the first row after it", []int{150}, -1 - 0.11},
	} {
		f := nab.File{Scores: make([]float64, 1000), Windows: []nab.Window{{First: 500, Last: 599}}}
		for _, row := range test.detections {
			f.Scores[row] = 1
		}
		got, err := nab.ScoreAt([]nab.File{f}, nab.Profiles()[0], 0.5)
		if want := 100 * (test.raw + 1) / 2; err != nil || math.Abs(got.Score-want) > 0.05 {
			t.Errorf("%s: score %v, want %v (%v)", test.name, got.Score, want, err)
		}
	}
}

func TestTheBestThreshold(t *testing.T) {
	t.Parallel()
	f := nab.File{Scores: make([]float64, 1000), Windows: []nab.Window{{First: 500, Last: 599}, {First: 800, Last: 899}}}
	f.Scores[505], f.Scores[800], f.Scores[300], f.Scores[310], f.Scores[330] = 0.9, 0.8, 0.1, 0.1, 0.1
	for _, p := range nab.Profiles() {
		got, err := nab.Score([]nab.File{f}, p)
		if err != nil || got.Threshold != 0.8 || got.Hit != 2 || got.FalseRows != 0 || got.Score < 99 || len(got.Delay) != 2 || got.Delay[0] != 5 {
			t.Errorf("%s: %+v, %v", p.Name, got, err)
		}
	}
	got, err := nab.ScoreAt([]nab.File{f}, nab.Profiles()[0], 0.1)
	if err != nil || got.FalseRows != 3 || got.FalseEpisodes != 2 {
		t.Errorf("two episodes of three false rows: %+v, %v", got, err)
	}
	got, err = nab.Score([]nab.File{{Scores: make([]float64, 100)}}, nab.Profiles()[0])
	if err != nil || got.Threshold <= 1 || got.Score != 0 {
		t.Errorf("nothing to find: %+v, %v", got, err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]nab.File{
		"score that is not a number":  {Scores: []float64{math.NaN()}},
		"score above 1":               {Scores: []float64{1.1}},
		"windows out of order":        {Scores: make([]float64, 100), Windows: []nab.Window{{50, 60}, {40, 45}}},
		"window beyond the end":       {Scores: make([]float64, 100), Windows: []nab.Window{{50, 100}}},
		"window in the learning rows": {Scores: make([]float64, 100), Windows: []nab.Window{{5, 14}}},
	} {
		if _, err := nab.Score([]nab.File{f}, nab.Profiles()[0]); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
