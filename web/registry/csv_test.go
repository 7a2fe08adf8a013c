package registry

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/web/view"
)

// csvOf writes devices as CSV.
func csvOf(t *testing.T, devices ...view.Device) string {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := writeHeader(w); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if err := writeDevice(w, d); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	return b.String()
}

// TestTableIsReadBack writes what is said as a table and reads it: it says the same, and no
// cell is a formula.
func TestTableIsReadBack(t *testing.T) {
	want := view.DeviceAbout{
		Name: `=HYPERLINK("http://x")`, Room: "+1", Location: "-2, \"here\"", Notes: "@x\nsecond line; third", Tags: map[string]string{"kind": "door", "n": "=1"},
		Interval: view.Span(5 * 60e9),
		Metrics: map[string]view.MetricAbout{
			"temperature": {Name: "'=Air", Unit: "°C", Precision: new(1), Low: new(-40.5), High: new(60.0), Interval: view.Span(60e9)},
			"humidity":    {High: new(100.0)},
		},
	}
	text := csvOf(t, view.Device{Site: "hall", Device: "door-1", About: want}, view.Device{Site: "hall", Device: "door-2"})
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		for i, cell := range record {
			if number := columns[i] == colLow || columns[i] == colHigh; cell != "" && !number && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
				t.Errorf("%q of %s is a formula", cell, columns[i])
			}
		}
	}
	for _, text := range []string{text, "\ufeff" + text} {
		changes, err := readCSV(strings.NewReader(text))
		if err != nil || len(changes) != 2 {
			t.Fatalf("%d changes, %v", len(changes), err)
		}
		if diff := cmp.Diff(want, changes[0].Apply(view.DeviceAbout{})); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(view.DeviceAbout{Metrics: want.Metrics}, changes[1].Apply(want)); diff != "" {
			t.Errorf("an empty row, which says nothing of metrics (-want +got):\n%s", diff)
		}
	}
}

func TestReadCSV(t *testing.T) {
	before := view.DeviceAbout{Name: "Old", Room: "Attic", Metrics: map[string]view.MetricAbout{"t": {Unit: "K"}}}
	for name, test := range map[string]struct {
		text, problem string
		want          view.DeviceAbout
	}{
		"only some columns":  {text: "site,device,room\nhall,d,Kitchen\n", want: view.DeviceAbout{Name: "Old", Room: "Kitchen", Metrics: before.Metrics}},
		"an empty cell":      {text: "site,device,name\nhall,d,\n", want: view.DeviceAbout{Room: "Attic", Metrics: before.Metrics}},
		"semicolons":         {text: "site;device;tags\nhall;d;\"a=b;c=d\"\n", want: view.DeviceAbout{Name: "Old", Room: "Attic", Tags: map[string]string{"a": "b", "c": "d"}, Metrics: before.Metrics}},
		"a metric":           {text: "site,device,metric,unit,low\nhall,d,t,°C,-3\n", want: view.DeviceAbout{Name: "Old", Room: "Attic", Metrics: map[string]view.MetricAbout{"t": {Unit: "°C", Low: new(-3.0)}}}},
		"a metric no longer": {text: "site,device,metric,unit\nhall,d,t,\n", want: view.DeviceAbout{Name: "Old", Room: "Attic"}},
		"an unknown column":  {text: "site,device,colour\n", problem: `"colour" is no column`},
		"no device":          {text: "site,room\n", problem: "the column device is missing"},
		"twice":              {text: "site,device,room,room\n", problem: "there twice"},
		"a bad name":         {text: "site,device\nhall,a b\n", problem: "line 2: site and device must be"},
		"a bad number":       {text: "site,device,metric,low\nhall,d,t,warm\n", problem: `line 2: low: "warm" is not a number`},
		"a bad tag":          {text: "site,device,tags\nhall,d,door\n", problem: "is not like kind=door"},
		"a bad interval":     {text: "site,device,interval\nhall,d,often\n", problem: "is not a time"},
		"ragged":             {text: "site,device,room\nhall,d\n", problem: "wrong number of fields"},
		"nothing":            {text: "", problem: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			changes, err := readCSV(strings.NewReader(test.text))
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("%v, want %q", err, test.problem)
				}
				return
			}
			if err != nil || len(changes) != 1 {
				t.Fatalf("%d changes, %v", len(changes), err)
			}
			got := changes[0].Apply(before)
			if len(got.Metrics) == 0 {
				got.Metrics = nil
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if before.Metrics["t"].Unit != "K" {
				t.Fatal("what was said was changed in place")
			}
		})
	}
}

func TestTableIsBounded(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("site,device\n")
	for i := range MaxChanges + 1 {
		rows.WriteString("s,d" + strconv.Itoa(i) + "\n")
	}
	if _, err := readCSV(strings.NewReader(rows.String())); err == nil || !strings.Contains(err.Error(), "more than 5000 devices") {
		t.Errorf("%v", err)
	}
	if _, err := readCSV(strings.NewReader("site,device\n" + strings.Repeat("s,d\n", maxRows+1))); err == nil || !strings.Contains(err.Error(), "more than 50000 rows") {
		t.Errorf("%v", err)
	}
	if _, err := readCSV(strings.NewReader("site,device\n" + strings.Repeat("s,\n", 1000))); err == nil || strings.Count(err.Error(), "line ") != maxRowProblems {
		t.Errorf("%v", err)
	}
}
