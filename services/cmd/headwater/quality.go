package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/processor/detect/families"
	"headwater/services/processor/detect/nab"
	"headwater/services/rule"
)

type qualityCmd struct {
	Detectors []string `name:"detector" help:"Detectors to score; all that learn what is usual if none is named." placeholder:"NAME"`
	tuning    `embed:""`
	Made      bool     `help:"Score them on made-up series of many kinds with known faults."`
	Seeds     int      `help:"For --made: how many series of each kind (${default})." default:"10" placeholder:"N"`
	Folders   []string `arg:"" optional:"" name:"folder" help:"Folders of data/*/*.csv and labels/combined_windows.json." type:"existingdir"`
}

// Run scores detectors on folders of labelled series, and on made-up ones.
func (c *qualityCmd) Run(s *session) error {
	if len(c.Detectors) == 0 {
		for _, d := range rule.Learners() {
			c.Detectors = append(c.Detectors, string(d))
		}
	}
	if !c.Made && len(c.Folders) == 0 {
		return usage("name a folder of labelled series, or say --made")
	}
	if c.Seeds < 1 || c.Seeds > 1000 {
		return usage("--seeds: must be from 1 to 1000")
	}
	if len(c.Folders) > 0 {
		if err := c.folders(s); err != nil {
			return err
		}
	}
	if c.Made {
		return c.made(s)
	}
	return nil
}

// firstSeed is that of the made-up series. Detectors were chosen by series of
// smaller ones.
const firstSeed = 1000

// made scores detectors on made-up series.
func (c *qualityCmd) made(s *session) error {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "SERIES\tDETECTOR\tFALSE ALARMS/SERIES/WEEK\tASKED\tMOST IN")
	for _, k := range families.Kinds() {
		fmt.Fprint(w, "\t", strings.ToUpper(k.String()))
	}
	fmt.Fprintln(w)
	asked := cmp.Or(c.given()["false_alarms"], config.Text(rule.DefaultFalseAlarms))
	seeds := make([]uint64, c.Seeds)
	for i := range seeds {
		seeds[i] = firstSeed + uint64(i)
	}
	for _, set := range []struct {
		name     string
		families []families.Family
	}{{"development", families.Development()}, {"fresh", families.Fresh()}} {
		for i, name := range c.Detectors {
			d, err := c.detector(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.err, "%s: detector %d of %d\n", set.name, i+1, len(c.Detectors))
			r := families.Judge(d, set.families, seeds)
			worst := slices.Index(r.ByFamily, slices.Max(r.ByFamily))
			fmt.Fprintf(w, "%s\t%s\t%.3f\t%s\t%s: %.2f", set.name, name, r.FalseAlarms, asked,
				set.families[worst].Name, r.ByFamily[worst])
			for _, k := range r.Kinds {
				fmt.Fprintf(w, "\t%d of %d", k.Found, k.Faults)
				if k.Found > 0 {
					fmt.Fprintf(w, ", %s", figure.Duration(k.Delay))
				}
			}
			fmt.Fprintln(w)
			if s.ctx.Err() != nil {
				return s.ctx.Err()
			}
		}
	}
	return w.Flush()
}

// folders scores detectors on folders of labelled series.
func (c *qualityCmd) folders(s *session) error {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FOLDER\tDETECTOR\tSTANDARD\tLOW FP\tLOW FN\tTHRESHOLD\tFOUND\tLATEST ROW\tFALSE EPISODES\tALARMS/SERIES/WEEK")
	for _, folder := range c.Folders {
		labels, err := readLabels(folder)
		if err != nil {
			return err
		}
		for i, name := range c.Detectors {
			p := progress{to: s.err, file: i + 1, files: len(c.Detectors)}
			line, err := c.line(s, folder, name, labels, &p)
			if err != nil {
				return err
			}
			fmt.Fprintln(w, line)
		}
	}
	return w.Flush()
}

// labels are the anomalies of files, as pairs of times.
type labels map[string][][2]string

func readLabels(folder string) (labels, error) {
	path := filepath.Join(folder, "labels", "combined_windows.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the labels: %w", err)
	}
	var l labels
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(l) == 0 {
		return nil, fmt.Errorf("%s: no file is labelled", path)
	}
	return l, nil
}

// line is the result of one detector on one folder.
func (c *qualityCmd) line(s *session, folder, name string, l labels, p *progress) (string, error) {
	var files []nab.File
	alarms, weeks := 0, 0.0
	for _, file := range slices.Sorted(maps.Keys(l)) {
		f, j, err := c.score(s, filepath.Join(folder, "data", file), name, l[file], p)
		if err != nil {
			return "", err
		}
		files = append(files, f)
		alarms += len(j.alarms)
		weeks += time.Duration(j.last-j.first).Hours() / (7 * 24)
	}
	var scores [3]nab.Result
	for i, profile := range nab.Profiles() {
		var err error
		scores[i], err = nab.Score(files, profile)
		if err != nil {
			return "", fmt.Errorf("score %s: %w", folder, err)
		}
	}
	standard := scores[0]
	latest := 0
	if len(standard.Delay) > 0 {
		latest = slices.Max(standard.Delay)
	}
	return fmt.Sprintf("%s\t%s\t%.1f\t%.1f\t%.1f\t%.3f\t%d of %d\t%d\t%d\t%.2f", filepath.Base(folder), name,
		standard.Score, scores[1].Score, scores[2].Score, standard.Threshold, standard.Hit, standard.Windows, latest,
		standard.FalseEpisodes, float64(alarms)/max(weeks, 1e-9)), nil
}

// score runs a detector over one file.
func (c *qualityCmd) score(s *session, path, name string, windows [][2]string, p *progress) (nab.File, *judged, error) {
	d, err := c.detector(name)
	if err != nil {
		return nab.File{}, nil, err
	}
	j := newJudged(d, "", false)
	var f nab.File
	var times []int64
	err = readRows(path, columns{TimeColumn: "timestamp", ValueColumn: "value"}, time.UTC, func(r row) error {
		p.tick(j.rows)
		score, _ := j.observe(r)
		f.Scores, times = append(f.Scores, score), append(times, r.at)
		return s.ctx.Err()
	})
	if err != nil {
		return f, nil, err
	}
	for _, w := range windows {
		from, err1 := rowAt(times, w[0])
		to, err2 := rowAt(times, w[1])
		if err := errors.Join(err1, err2); err != nil {
			return f, nil, fmt.Errorf("%s: label: %w", path, err)
		}
		f.Windows = append(f.Windows, nab.Window{First: from, Last: to})
	}
	return f, j, nil
}

// rowAt returns the first row of a time.
func rowAt(times []int64, text string) (int, error) {
	t, err := parseTime(text, time.UTC)
	if err != nil {
		return 0, err
	}
	if i := slices.Index(times, t); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("no row has the time %q", text)
}
