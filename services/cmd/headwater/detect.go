package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/detect"
)

// tuning is what every detector can be told.
type tuning struct {
	FalseAlarms float64       `help:"How many false alarms a series may raise a week (${default}); the limits of limit and rate are given instead." default:"0.1" placeholder:"N"`
	TimeZone    string        `help:"Whose days and weeks count, and which times that name no zone are of, such as Europe/Berlin (${default})." default:"UTC" placeholder:"ZONE"`
	For         time.Duration `help:"How long a value must stay abnormal before there is an alarm, such as 10m; not for silence and rate (${default})." default:"0s" placeholder:"TIME"`
	Hysteresis  float64       `help:"For limit: by how much a value must come back (${default})." default:"0" placeholder:"N"`
	Above       *float64      `help:"For limit: the greatest value that is normal." placeholder:"N"`
	Below       *float64      `help:"For limit: the least value that is normal." placeholder:"N"`
	Rise        float64       `help:"For rate: the rise that is not normal." placeholder:"N"`
	Fall        float64       `help:"For rate: the fall that is not normal." placeholder:"N"`
	Within      time.Duration `help:"For rate and unreadable: the time in which it happens (5m, 1h)." placeholder:"TIME"`
	Share       float64       `help:"For unreadable: how many per cent need not be numbers (${default})." default:"10" placeholder:"N"`
}

// detectorNames are those of --detector.
var detectorNames = []string{"auto", "surge", "range", "season", "shift", "stuck", "silence", "drift", "limit", "rate", "unreadable"}

// zone returns the time zone.
func (t tuning) zone() (*time.Location, error) {
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, usage(fmt.Sprintf("--time-zone: %v", err))
	}
	return zone, nil
}

// detector returns the detector of the name.
func (t tuning) detector(name string) (detect.Detector, error) {
	zone, err := t.zone()
	if err != nil {
		return nil, err
	}
	if t.For != 0 && (name == "silence" || name == "rate" || name == "unreadable") {
		return nil, usage("--for: " + name + " has none")
	}
	alarms := detect.Alarms{FalseAlarms: t.FalseAlarms, For: t.For, Silence: detect.DefaultSilence}
	var d detect.Detector
	switch name {
	case "auto":
		d = &detect.Auto{Alarms: alarms, Location: zone}
	case "surge":
		d = &detect.Surge{Alarms: alarms}
	case "range":
		d = &detect.Range{Alarms: alarms}
	case "season":
		d = &detect.Season{Alarms: alarms, Location: zone}
	case "shift":
		d = &detect.Shift{Alarms: alarms}
	case "stuck":
		d = &detect.Stuck{Alarms: alarms}
	case "silence":
		d = &detect.Silence{FalseAlarms: t.FalseAlarms}
	case "drift":
		d = &detect.Drift{Alarms: alarms, Location: zone}
	case "limit":
		l := &detect.Limit{Above: math.Inf(1), Below: math.Inf(-1), Hysteresis: t.Hysteresis, For: t.For, Silence: detect.DefaultSilence}
		if t.Above != nil {
			l.Above = *t.Above
		}
		if t.Below != nil {
			l.Below = *t.Below
		}
		d = l
	case "rate":
		d = &detect.Rate{Rise: t.Rise, Fall: t.Fall, Within: cmp.Or(t.Within, 5*time.Minute), Settle: time.Hour, Silence: detect.DefaultSilence}
	case "unreadable":
		d = &detect.Unreadable{Share: t.Share, Within: cmp.Or(t.Within, time.Hour), Silence: detect.DefaultSilence}
	default:
		return nil, usage(fmt.Sprintf("--detector: %q is none of %s", clip(safe(name), 40), strings.Join(detectorNames, ", ")))
	}
	if err := d.Validate(); err != nil {
		return nil, usage(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return d, nil
}

type detectCmd struct {
	Detector string `help:"What to look for: auto, surge, range, season, shift, stuck, silence, drift, limit, rate, unreadable (${default})." default:"auto" placeholder:"NAME"`
	tuning   `embed:""`
	columns  `embed:""`
	Clean    bool     `help:"Replace single bad readings before they are judged."`
	Unit     string   `help:"Unit of the values, for the sentences." placeholder:"UNIT"`
	Out      string   `help:"Folder for the results, one file for each input, in a folder named like that of the input: room/a.csv gives DIR/room/a.csv, and a.csv gives DIR/NAME/a.csv, NAME being the folder you are in." required:"" placeholder:"DIR"`
	Files    []string `arg:"" name:"file" help:"CSV files with times and values." type:"path"`
}

// Run judges files.
func (c *detectCmd) Run(s *session) error {
	d, err := c.detector(c.Detector)
	if err != nil {
		return err
	}
	zone, err := c.zone()
	if err != nil {
		return err
	}
	outputs, err := c.outputs()
	if err != nil {
		return err
	}
	p := progress{to: s.err, files: len(c.Files)}
	for i, file := range c.Files {
		p.file = i + 1
		if err := c.judge(s, job{d, zone, file, outputs[i]}, &p); err != nil {
			return err
		}
	}
	return nil
}

// outputs names the result of each file.
func (c *detectCmd) outputs() ([]string, error) {
	outputs := make([]string, len(c.Files))
	for i, file := range c.Files {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", file, err)
		}
		outputs[i] = filepath.Join(c.Out, filepath.Base(filepath.Dir(path)), filepath.Base(path))
		if first := slices.Index(outputs[:i], outputs[i]); first >= 0 {
			return nil, usage(fmt.Sprintf("%s and %s would both be written to %s", c.Files[first], file, outputs[i]))
		}
		if out, err := filepath.Abs(outputs[i]); err == nil && out == path {
			return nil, usage(fmt.Sprintf("%s would be written over itself: name another --out", file))
		}
	}
	return outputs, nil
}

// job is one file to score.
type job struct {
	detector     detect.Detector
	zone         *time.Location
	file, output string
}

// judge scores one file and says what was found.
func (c *detectCmd) judge(s *session, b job, p *progress) (err error) {
	output := b.output
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return fmt.Errorf("make the folder of the result: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(output), ".scores-*")
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	j, err := c.score(s, b, f, p)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(f.Name(), 0o644); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := os.Rename(f.Name(), output); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	j.report(s.out, b)
	return nil
}

// score writes what the detector says of a file.
func (c *detectCmd) score(s *session, b job, to io.Writer, p *progress) (*judged, error) {
	buffer := bufio.NewWriter(to)
	w := csv.NewWriter(buffer)
	j := newJudged(b.detector, c.Unit, c.Clean)
	if err := w.Write([]string{"timestamp", "value", "anomaly_score", "kind", "alarm"}); err != nil {
		return nil, fmt.Errorf("write the result: %w", err)
	}
	err := readRows(b.file, c.columns, b.zone, func(r row) error {
		if p.tick(j.rows); s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		score, alarm := j.observe(r)
		return w.Write([]string{r.text, r.number, strconv.FormatFloat(score, 'f', -1, 64), c.Detector, strconv.Itoa(alarm)})
	})
	if err != nil {
		return nil, err
	}
	w.Flush()
	if err := errors.Join(w.Error(), buffer.Flush()); err != nil {
		return nil, fmt.Errorf("write the result: %w", err)
	}
	return j, nil
}

// judged is a series on its way through a detector.
type judged struct {
	state   detect.State
	cleaner *detect.Cleaner
	unit    string
	told    []detect.Verdict
	// rows are all, late those not after the one before, empty those without a
	// number.
	rows, late, empty int
	first, last       int64
	alarms            []detect.Verdict
}

func newJudged(d detect.Detector, unit string, clean bool) *judged {
	j := &judged{state: d.Start(), unit: unit}
	if clean {
		j.cleaner = detect.DefaultSpike().Start()
	}
	return j
}

// observe returns the score of a row, 0 to 1, and 1 while there is an alarm. It
// never knows what comes later.
func (j *judged) observe(r row) (score float64, alarm int) {
	j.rows++
	switch {
	case math.IsNaN(r.value) || math.IsInf(r.value, 0):
		j.empty++
		return j.misread(r)
	case j.rows-j.empty > 1 && r.at <= j.last:
		j.late++
		return 0, 0
	}
	if j.first == 0 {
		j.first = r.at
	}
	j.last = r.at
	sample := detect.Sample{Time: r.at, Value: r.value}
	if j.cleaner != nil {
		sample, _ = j.cleaner.Clean(sample)
	}
	j.told = j.state.Observe(sample, j.unit, j.told[:0])
	return j.say()
}

// misread takes a row without a number, which only some detectors see.
func (j *judged) misread(r row) (score float64, alarm int) {
	state, sees := j.state.(detect.Misreader)
	if !sees {
		return 0, 0
	}
	j.told = state.Misread(r.at, strings.TrimSpace(r.number), j.unit, j.told[:0])
	return j.say()
}

// say returns what the detector said of the last row.
func (j *judged) say() (score float64, alarm int) {
	if j.state.Open() > 0 {
		alarm = 1
	}
	for _, v := range j.told {
		if v.Phase == detect.Open {
			j.alarms = append(j.alarms, v)
			alarm = 1
		}
	}
	return j.state.Score(), alarm
}

// maxShown bounds how many alarms of a file are listed.
const maxShown = 20

// report says what was found in a file.
func (j *judged) report(out io.Writer, b job) {
	fmt.Fprintf(out, "%s: %s, %s", safe(b.file), count(j.rows, "row"), count(len(j.alarms), "alarm"))
	if j.late > 0 {
		fmt.Fprintf(out, ", %s not after the one before", count(j.late, "row"))
	}
	if j.empty > 0 {
		fmt.Fprintf(out, ", %s without a number", count(j.empty, "row"))
	}
	fmt.Fprintf(out, "; scores in %s\n", safe(b.output))
	for i, v := range j.alarms {
		if i == maxShown {
			fmt.Fprintf(out, "  and %d more\n", len(j.alarms)-i)
			break
		}
		fmt.Fprintf(out, "  %s  %s\n", time.Unix(0, v.Time).In(b.zone).Format(time.DateTime), v.Evidence.Sentence)
	}
}

// count writes how many of something there are.
func count(n int, what string) string { return figure.Plural(n, what, what+"s") }

// progress tells people that something goes on.
type progress struct {
	to          io.Writer
	file, files int
	rows        int
	next        time.Time
}

// tick tells it about every two seconds.
func (p *progress) tick(rows int) {
	if p.rows++; p.rows%4096 != 0 {
		return
	}
	switch now := time.Now(); {
	case p.next.IsZero():
		p.next = now.Add(2 * time.Second)
	case now.After(p.next):
		fmt.Fprintf(p.to, "file %d of %d, row %d\n", p.file, p.files, rows)
		p.next = now.Add(2 * time.Second)
	}
}
