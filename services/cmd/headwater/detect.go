package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/processor/detect"
	"headwater/services/rule"
)

// tuning are the parameters of detectors: fields of rules as flags, which newTuning
// makes.
type tuning struct {
	TimeZone string `help:"Zone of days, weeks and times without one, like Europe/Berlin (${default})." default:"UTC" placeholder:"ZONE"`
	kong.Plugins
}

// flagFields are the fields of rules that are flags here: those that say how a
// series is judged.
func flagFields() []rule.Field {
	return slices.DeleteFunc(slices.Clone(rule.Fields()), func(f rule.Field) bool {
		written := f.Kind == rule.KindNumber || f.Kind == rule.KindSpan || f.Kind == rule.KindChoice && f.Own()
		return !written || f.SaysOnly
	})
}

// newTuning returns a tuning with a flag for each of the fields.
func newTuning() tuning {
	var flags []reflect.StructField
	for _, f := range flagFields() {
		kind, placeholder := reflect.TypeFor[string](), "TIME"
		switch f.Kind {
		case rule.KindNumber:
			kind, placeholder = reflect.TypeFor[*float64](), "N"
		case rule.KindChoice:
			placeholder = strings.Join(f.Choices, "|")
		}
		flags = append(flags, reflect.StructField{
			Name: fmt.Sprintf("Flag%d", len(flags)), Type: kind,
			Tag: reflect.StructTag(fmt.Sprintf("name:%q help:%q placeholder:%q", flagName(f.Name), flagHelp(f), placeholder)),
		})
	}
	return tuning{Plugins: kong.Plugins{reflect.New(reflect.StructOf(flags)).Interface()}}
}

func flagName(field string) string { return strings.ReplaceAll(field, "_", "-") }

// flagHelp says which detectors take a field, what it is, and its default.
func flagHelp(f rule.Field) string {
	help := strings.ToUpper(f.Doc[:1]) + f.Doc[1:]
	if f.Own() {
		var names []string
		for _, d := range f.Detectors() {
			if slices.Contains(detectorNames, string(d)) {
				names = append(names, string(d))
			}
		}
		help = "For " + strings.Join(names, ", ") + ": " + f.Doc
	}
	if f.Default != nil {
		help += fmt.Sprintf(" (%s)", config.Text(f.Default))
	}
	return help + "."
}

// given returns the flags that were given, as texts by the names of their fields.
func (t tuning) given() map[string]string {
	texts := make(map[string]string)
	flags := reflect.ValueOf(t.Plugins[0]).Elem()
	for i, f := range flagFields() {
		switch v := flags.Field(i).Interface().(type) {
		case string:
			if v != "" {
				texts[f.Name] = v
			}
		case *float64:
			if v != nil {
				texts[f.Name] = config.Text(*v)
			}
		}
	}
	return texts
}

// detectorNames are the values of --detector, those that learn first.
var detectorNames = func() (names []string) {
	for _, learns := range []bool{true, false} {
		for _, d := range rule.OfSeries() {
			if d.Learns() == learns {
				names = append(names, string(d))
			}
		}
	}
	return names
}()

// zone returns the time zone.
func (t tuning) zone() (*time.Location, error) {
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, usage(fmt.Sprintf("--time-zone: %v", err))
	}
	return zone, nil
}

// detector returns the detector of the name, as a rule with these fields has it.
func (t tuning) detector(name string) (detect.Detector, error) {
	zone, err := t.zone()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(detectorNames, name) {
		return nil, usage(fmt.Sprintf("--detector: %q is none of %s", figure.Clip(safe(name), 40), strings.Join(detectorNames, ", ")))
	}
	fields := t.given()
	for _, f := range flagFields() {
		if _, given := fields[f.Name]; given && !f.TakenBy(rule.Detector(name)) {
			return nil, usage(fmt.Sprintf("--%s: %s has none", flagName(f.Name), name))
		}
	}
	fields["name"], fields["detector"] = "files", name
	r, err := config.ParseRule("flags", []byte(config.FormatFields(fields)), nil)
	if problems := config.Problems(err); len(problems) > 0 {
		var all []string
		for _, p := range problems {
			all = append(all, "--"+flagName(p.Field)+": "+p.Text)
		}
		return nil, usage(strings.Join(all, "; "))
	}
	if err != nil {
		return nil, err
	}
	return detect.New(r, zone)
}

type detectCmd struct {
	Detector string `help:"What to look for: ${detectors} (${default})." default:"auto" placeholder:"NAME"`
	tuning   `embed:""`
	columns  `embed:""`
	Clean    bool     `help:"Replace single bad readings before they are judged."`
	Unit     string   `help:"Unit of the values, for the sentences." placeholder:"UNIT"`
	Out      string   `help:"Folder for the results, one file for each input." required:"" placeholder:"DIR"`
	Files    []string `arg:"" name:"file" help:"CSV files with times and values." type:"path"`
}

// Help returns what --help says of the command beside its flags.
func (*detectCmd) Help() string {
	return "The result of room/a.csv is in DIR/room/a.csv. That of a.csv is in DIR/NAME/a.csv, where NAME is the folder you are in. " +
		timeHelp
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
	err = errors.Join(err, f.Close())
	if err != nil {
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
	// rows counts all rows, late those not after the previous row, and empty those
	// without a number.
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
		fmt.Fprintf(out, ", %s not after the previous one", count(j.late, "row"))
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

// progress shows people that work is going on.
type progress struct {
	to          io.Writer
	file, files int
	rows        int
	next        time.Time
}

// tick shows it about every two seconds.
func (p *progress) tick(rows int) {
	p.rows++
	if p.rows%4096 != 0 {
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
