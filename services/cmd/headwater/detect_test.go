package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/services/processor/detect"
	"headwater/services/rule"
)

// command runs a command line and returns its exit code and what it wrote.
func command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), environment{out: &o, err: &e, in: strings.NewReader("")}, args)
	return code, o.String(), e.String()
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fault is the row at which the series of the tests leaves what is usual.
const fault = 2500

// daily is a series with a daily swing and a fault, as CSV.
func daily() string {
	var b strings.Builder
	b.WriteString("timestamp,value\n")
	for i := range 3000 {
		v := 20 + 3*math.Sin(2*math.Pi*float64(i)/288) + 0.1*math.Sin(float64(i*i))
		if i >= fault && i < fault+20 {
			v += 12
		}
		fmt.Fprintf(&b, "%s,%.2f\n", time.Unix(1_767_225_600+int64(i)*300, 0).UTC().Format(time.DateTime), v)
	}
	return b.String()
}

func TestDetectScoresAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "cold", "room.csv"), daily())
	for _, detector := range detectorNames {
		out := filepath.Join(dir, detector)
		args := []string{"detect", "--detector", detector, "--unit", "°C", "--out", out, in}
		switch detector {
		case "limit":
			args = append(args, "--above", "28")
		case "rate":
			args = append(args, "--rise", "6", "--within", "5m")
		}
		code, said, errs := command(t, args...)
		if code != exitDone {
			t.Fatalf("%s: exit code %d: %s", detector, code, errs)
		}
		f, err := os.Open(filepath.Join(out, "cold", "room.csv"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		_ = f.Close()
		if err != nil || len(rows) != 3001 || strings.Join(rows[0], ",") != "timestamp,value,anomaly_score,kind,alarm" {
			t.Fatalf("%s: %d rows, head %v, %v", detector, len(rows), rows[0], err)
		}
		alarmed := false
		for i, r := range rows[1:] {
			score, err := strconv.ParseFloat(r[2], 64)
			if err != nil || !(score >= 0 && score <= 1) || r[3] != detector {
				t.Fatalf("%s: row %d is %v", detector, i, r)
			}
			alarmed = alarmed || r[4] == "1" && i >= fault && i < fault+3
		}
		finds := detector != "stuck" && detector != "silence" && detector != "drift" && detector != "shift" && detector != "unreadable"
		if finds && (!alarmed || !strings.Contains(said, "2026-01-09 16:2") || !strings.Contains(said, "°C")) {
			t.Errorf("%s: the fault is not among:\n%s", detector, said)
		}
	}
}

// TestFlagsJudgeAsARuleDoes holds the detectors of the command line against those of
// rules that say nothing more than their detector.
func TestFlagsJudgeAsARuleDoes(t *testing.T) {
	t.Parallel()
	flags := newTuning()
	flags.TimeZone = "UTC"
	for _, d := range rule.Learners() {
		got, err := flags.detector(string(d))
		if err != nil {
			t.Fatal(err)
		}
		want, err := detect.New(rule.Rule{Name: "a", Detector: d}.WithDefaults(), time.UTC)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s judges by %+v, a rule by %+v (%v)", d, got, want, err)
		}
	}
}

func TestDetectSkipsRowsThatCannotBeJudged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "in.csv"), "when,who,what\n1767225600,a,1\n1767225660,a,\n1767225660,a,2\n1767225600,a,3\n2026-01-01T00:05:00Z,a,NaN\n")
	code, said, errs := command(t, "detect", "--time-column", "when", "--value-column", "what", "--out", filepath.Join(dir, "out"), in)
	if code != exitDone || !strings.Contains(said, "5 rows, 0 alarms, 1 row not after the previous one, 2 rows without a number") {
		t.Errorf("exit code %d: %s%s", code, said, errs)
	}
}

func TestDetectFindsNonNumeric(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("timestamp,value\n")
	for i := range 90 {
		value := "20.5"
		if i >= 60 && i%2 == 0 {
			value = "unavailable"
		}
		fmt.Fprintf(&rows, "%d,%s\n", 1767225600+i*60, value)
	}
	in := write(t, filepath.Join(dir, "cold", "in.csv"), rows.String())
	code, said, errs := command(t, "detect", "--detector", "unreadable", "--share", "5", "--within", "30m", "--out", filepath.Join(dir, "out"), in)
	const want = `2026-01-01 01:04:00  3 of 30 readings within 30 min are not numbers (10 %), the last one "unavailable"; the last number was 20.5`
	if code != exitDone || !strings.Contains(said, "90 rows, 1 alarm, 15 rows without a number") || !strings.Contains(said, want) {
		t.Errorf("exit code %d: %s%s", code, said, errs)
	}
}

func TestDetectSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := write(t, filepath.Join(dir, "bad", "bad.csv"), "timestamp,value\n2026-01-01 00:00:00,3\nyesterday,4\n")
	ragged := write(t, filepath.Join(dir, "bad", "ragged.csv"), "timestamp,value\n2026-01-01 00:00:00,3,4\n")
	empty := write(t, filepath.Join(dir, "bad", "empty.csv"), "")
	twin := write(t, filepath.Join(dir, "other", "bad", "bad.csv"), "timestamp,value\n")
	out := filepath.Join(dir, "out")
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"a time that is none", []string{bad}, exitFailed, `bad.csv:3: "yesterday" is not a time`},
		{"a row with too many columns", []string{ragged}, exitFailed, "ragged.csv:2: wrong number of fields"},
		{"an empty file", []string{empty}, exitFailed, "empty.csv:1: the file is empty"},
		{"a column that is not there", []string{"--value-column", "temp", bad}, exitFailed, `bad.csv:1: no column "temp"; there are timestamp, value`},
		{"a file that is not there", []string{filepath.Join(dir, "none.csv")}, exitFailed, "none.csv"},
		{"a detector that is not there", []string{"--detector", "magic", bad}, exitUsage, `"magic" is none of auto`},
		{"a limit without a limit", []string{"--detector", "limit", bad}, exitUsage, "--above: is missing: a limit needs above, below or both"},
		{"a rate without a time", []string{"--detector", "rate", "--rise", "3", bad}, exitUsage, "--within: is missing"},
		{"a time that is none", []string{"--detector", "stuck", "--for", "5", bad}, exitUsage, `--for: "5" is not a time`},
		{"a field of another detector", []string{"--detector", "stuck", "--above", "5", bad}, exitUsage, "--above: stuck has none"},
		{"a zone that is none", []string{"--time-zone", "Mars/Base", bad}, exitUsage, "--time-zone"},
		{"two results of one name", []string{bad, twin}, exitUsage, "would both be written to"},
		{"a result over its input", []string{"--out", dir, bad}, exitUsage, "over itself"},
	} {
		args := append([]string{"detect", "--out", out}, test.args...)
		if code, _, errs := command(t, args...); code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%s: exit code %d, %s", test.name, code, errs)
		}
	}
	left, err := filepath.Glob(filepath.Join(out, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("failed runs leave %v, %v", left, err)
	}
}

func TestDetectStopsWhenAsked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "in.csv"), daily())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var o, e bytes.Buffer
	code := run(ctx, environment{out: &o, err: &e, in: strings.NewReader("")}, []string{"detect", "--out", filepath.Join(dir, "out"), in})
	if code != exitFailed || !strings.Contains(e.String(), "canceled") {
		t.Errorf("exit code %d: %s", code, e.String())
	}
}

func TestQualityScoresAFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mine")
	write(t, filepath.Join(dir, "data", "cold", "room.csv"), daily())
	labels := write(t, filepath.Join(dir, "labels", "combined_windows.json"),
		`{"cold/room.csv": [["2026-01-09 16:20:00.000000", "2026-01-09 20:00:00.000000"]]}`)
	code, said, errs := command(t, "quality", "--detector", "auto", "--detector", "surge", dir)
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if code != exitDone || len(lines) != 3 || !strings.Contains(lines[1], "1 of 1") || !strings.Contains(lines[2], "1 of 1") {
		t.Errorf("exit code %d:\n%s%s", code, said, errs)
	}
	write(t, labels, `{"cold/room.csv": [["2026-01-09 16:20:01", "2026-01-09 20:00:00"]]}`)
	if code, _, errs := command(t, "quality", dir); code != exitFailed || !strings.Contains(errs, `no row has the time "2026-01-09 16:20:01"`) {
		t.Errorf("a label beside the rows: exit code %d: %s", code, errs)
	}
	if code, _, errs := command(t, "quality", t.TempDir()); code != exitFailed || !strings.Contains(errs, "combined_windows.json") {
		t.Errorf("a folder without labels: exit code %d: %s", code, errs)
	}
}
