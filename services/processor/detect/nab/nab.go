// Package nab scores detectors by the rules of the Numenta Anomaly Benchmark
// (github.com/numenta/NAB). It was written from their description.
//
// An anomaly is a window of rows. Each row has a score from 0 to 1; it is a
// detection if the score reaches the one threshold for all files. In a window
// the best detection counts; the earlier, the better. Outside of windows each
// detection costs something: little just after a window, the full price far
// from any. A window without a detection costs, too. The first rows of a file
// are for learning and never count.
//
// The package does no I/O.
package nab

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Profile is the value of hits, false alarms and misses.
type Profile struct {
	Name string
	// Hit is what a detection in the first row of a window earns.
	Hit float64
	// False is what a detection far from any window costs.
	False float64
	// Miss is what a window without a detection costs.
	Miss float64
}

// Profiles returns the three profiles of the benchmark, the standard one first.
func Profiles() []Profile {
	return []Profile{
		{Name: "standard", Hit: 1, False: 0.11, Miss: 1},
		{Name: "few false alarms", Hit: 1, False: 0.22, Miss: 1},
		{Name: "few misses", Hit: 1, False: 0.11, Miss: 2},
	}
}

const (
	// learningPart of the rows, at most learningMost of them, never count.
	learningPart, learningMost = 0.15, 750
	// farBehind is the distance, in lengths of a window after its end, from which
	// a detection costs as much as one far from any window.
	farBehind = 3
	// Quiet is how many rows without a detection end an episode of false alarms.
	Quiet = 12
)

// Window is an anomaly, from its first to its last row, both counted from 0.
type Window struct{ First, Last int }

// File is a series: the scores of a detector for its rows, and its anomalies in
// order.
type File struct {
	Scores  []float64
	Windows []Window
}

// Result is how good a detector is at one threshold.
type Result struct {
	// Score is 0 for a detector that never fires and 100 for one that fires in
	// the first row of each window and nowhere else. It may be below 0.
	Score float64
	// Threshold is the threshold used; above 1 if it is best never to fire.
	Threshold float64
	// Windows counts the anomalies and Hit those with a detection. Delay holds, in
	// order, how many rows after its start each of the latter is first detected.
	Windows, Hit int
	Delay        []int
	// FalseRows counts the detections outside of windows, FalseEpisodes the runs
	// of them.
	FalseRows, FalseEpisodes int
}

// Check returns what is wrong with the file.
func (f *File) Check() error {
	last := -1
	for _, w := range f.Windows {
		switch {
		case w.First <= last || w.Last < w.First || w.Last >= len(f.Scores):
			return fmt.Errorf("window of rows %d to %d: not in order or not within the %d rows", w.First, w.Last, len(f.Scores))
		case w.Last < f.learning():
			return fmt.Errorf("window of rows %d to %d: within the %d rows for learning", w.First, w.Last, f.learning())
		}
		last = w.Last
	}
	if slices.ContainsFunc(f.Scores, func(s float64) bool { return !(s >= 0 && s <= 1) }) {
		return errors.New("a score is not from 0 to 1")
	}
	return nil
}

func (f *File) learning() int { return min(int(learningPart*float64(len(f.Scores))), learningMost) }

// decay is near 1 at -1, 0 at 0, near -1 at 1.
func decay(x float64) float64 { return 2/(1+math.Exp(5*x)) - 1 }

// detection is one row that may be a detection.
type detection struct {
	score float64
	// worth is from 0 to 1 in a window and from -1 to 0 elsewhere.
	worth     float64
	file, row int
	// window is its number over all files; -1 for none.
	window int
}

// rows returns the value of each row that counts.
func (f *File) rows(file, firstWindow int) []detection {
	var out []detection
	next := 0
	for row := f.learning(); row < len(f.Scores); row++ {
		for next < len(f.Windows) && f.Windows[next].Last < row {
			next++
		}
		d := detection{score: f.Scores[row], worth: -1, file: file, row: row, window: -1}
		switch {
		case next < len(f.Windows) && f.Windows[next].First <= row:
			w := f.Windows[next]
			d.window = firstWindow + next
			d.worth = decay(-float64(w.Last-row+1)/float64(w.Last-w.First+1)) / decay(-1)
		case next > 0:
			w := f.Windows[next-1]
			if behind := float64(row-w.Last) / float64(w.Last-w.First); behind <= farBehind {
				d.worth = decay(behind)
			}
		}
		out = append(out, d)
	}
	return out
}

// tally adds up detections.
type tally struct {
	profile Profile
	best    []float64 // of each window
	first   []int     // row of each window's first detection, -1 for none
	raw     float64
}

func newTally(p Profile, windows int) *tally {
	t := &tally{profile: p, best: make([]float64, windows), first: make([]int, windows), raw: -p.Miss * float64(windows)}
	for i := range t.first {
		t.first[i] = -1
	}
	return t
}

func (t *tally) add(d detection) {
	if d.window < 0 {
		t.raw += t.profile.False * d.worth
		return
	}
	if t.first[d.window] < 0 {
		t.raw += t.profile.Miss
	}
	if t.first[d.window] < 0 || d.row < t.first[d.window] {
		t.first[d.window] = d.row
	}
	if gain := d.worth - t.best[d.window]; gain > 0 {
		t.raw += t.profile.Hit * gain
		t.best[d.window] = d.worth
	}
}

// Score scores all files together at the threshold that is best for them, as
// the benchmark does.
func Score(files []File, p Profile) (Result, error) { return score(files, p, nil) }

// ScoreAt scores all files together at the threshold.
func ScoreAt(files []File, p Profile, threshold float64) (Result, error) {
	return score(files, p, &threshold)
}

func score(files []File, p Profile, threshold *float64) (Result, error) {
	var all []detection
	var begins []int
	for i := range files {
		if err := files[i].Check(); err != nil {
			return Result{}, fmt.Errorf("file %d: %w", i, err)
		}
		all = append(all, files[i].rows(i, len(begins))...)
		for _, w := range files[i].Windows {
			begins = append(begins, w.First)
		}
	}
	slices.SortStableFunc(all, func(a, b detection) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		default:
			return 0
		}
	})
	at := best(all, p, len(begins))
	if threshold != nil {
		at = *threshold
	}
	return result(all, p, begins, at), nil
}

// best lowers the threshold from score to score and returns the best one.
func best(all []detection, p Profile, windows int) float64 {
	const never = 1.1
	t := newTally(p, windows)
	threshold, most := never, t.raw
	for i, d := range all {
		t.add(d)
		if last := i+1 == len(all) || all[i+1].score < d.score; last && t.raw > most {
			threshold, most = d.score, t.raw
		}
	}
	return threshold
}

func result(all []detection, p Profile, begins []int, threshold float64) Result {
	t := newTally(p, len(begins))
	r := Result{Threshold: threshold, Windows: len(begins)}
	rows := make(map[int][]int)
	for _, d := range all {
		if d.score < threshold {
			break
		}
		t.add(d)
		if d.window < 0 {
			rows[d.file] = append(rows[d.file], d.row)
			r.FalseRows++
		}
	}
	for _, wrong := range rows {
		slices.Sort(wrong)
		for i, row := range wrong {
			if i == 0 || row-wrong[i-1] > Quiet {
				r.FalseEpisodes++
			}
		}
	}
	for i, row := range t.first {
		if row >= 0 {
			r.Hit++
			r.Delay = append(r.Delay, row-begins[i])
		}
	}
	if none := -p.Miss * float64(len(begins)); len(begins) > 0 {
		r.Score = 100 * (t.raw - none) / (p.Hit*float64(len(begins)) - none)
	}
	return r
}
