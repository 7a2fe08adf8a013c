package about

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFileCounts(t *testing.T) {
	own := About{
		Name: "Mine", Room: "Attic", Tags: map[string]string{"a": "1", "b": "2"}, Interval: time.Minute,
		Metrics: map[string]Metric{"t": {Unit: "K", Low: new(1.0)}, "h": {High: new(100.0)}},
	}
	file := About{Room: "Hall", Tags: map[string]string{"b": "3"}, Metrics: map[string]Metric{"t": {Unit: "°C", Precision: new(1)}, "p": {Name: "Pressure"}}}
	want := About{
		Name: "Mine", Room: "Hall", Tags: map[string]string{"a": "1", "b": "3"}, Interval: time.Minute,
		Metrics: map[string]Metric{"t": {Unit: "°C", Precision: new(1), Low: new(1.0)}, "h": {High: new(100.0)}, "p": {Name: "Pressure"}},
	}
	both := own.Under(file)
	if diff := cmp.Diff(want, both); diff != "" {
		t.Errorf("Under (-want +got):\n%s", diff)
	}
	if own.Tags["b"] != "2" || own.Metrics["t"].Unit != "K" {
		t.Error("Under changed what it was given")
	}
	// What a page shows may come back whole.
	rest, differing := both.Beside(file)
	if len(differing) != 0 || !rest.Under(file).Equal(both) {
		t.Errorf("Beside of both: %+v, differing %q", rest, differing)
	}
	rest, differing = own.Beside(file)
	if diff := cmp.Diff([]string{"room", "tags.b", "metrics.t.unit"}, differing); diff != "" {
		t.Errorf("differing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(About{Name: "Mine", Tags: map[string]string{"a": "1"}, Interval: time.Minute, Metrics: map[string]Metric{"t": {Low: new(1.0)}, "h": {High: new(100.0)}}}, rest); diff != "" {
		t.Errorf("Beside (-want +got):\n%s", diff)
	}
	if rest, _ := file.Beside(file); !rest.Empty() || file.Empty() {
		t.Errorf("Beside of the file itself: %+v", rest)
	}
}

func TestProblems(t *testing.T) {
	many := make(map[string]Metric)
	for i := range MaxMetrics + 1 {
		many[strings.Repeat("m", 1+i%60)+string(rune('a'+i%26))+string(rune('a'+i/26))] = Metric{}
	}
	for name, test := range map[string]struct {
		about About
		field string
	}{
		"all well":         {About{Name: "Tür", Notes: "a\nb", Metrics: map[string]Metric{"t": {Low: new(-1.0), High: new(1.0), Precision: new(0), Interval: time.Second}}}, ""},
		"a long name":      {About{Name: strings.Repeat("x", MaxName+1)}, "name"},
		"a name of lines":  {About{Name: "a\nb"}, "name"},
		"not UTF-8":        {About{Room: "\xff"}, "room"},
		"an escape":        {About{Notes: "\x1b[2J"}, "notes"},
		"a bad tag":        {About{Tags: map[string]string{"Kind": "x"}}, "tags"},
		"too often":        {About{Interval: time.Millisecond}, "interval"},
		"never":            {About{Interval: MaxInterval + 1}, "interval"},
		"a bad metric":     {About{Metrics: map[string]Metric{"a b": {}}}, "metrics"},
		"many metrics":     {About{Metrics: many}, "metrics"},
		"too precise":      {About{Metrics: map[string]Metric{"t": {Precision: new(10)}}}, "metrics.t.precision"},
		"not a number":     {About{Metrics: map[string]Metric{"t": {Low: new(math.NaN())}}}, "metrics.t"},
		"upside down":      {About{Metrics: map[string]Metric{"t": {Low: new(2.0), High: new(1.0)}}}, "metrics.t.low"},
		"a metric's unit":  {About{Metrics: map[string]Metric{"t": {Unit: strings.Repeat("u", MaxUnit+1)}}}, "metrics.t.unit"},
		"a metric's pause": {About{Metrics: map[string]Metric{"t": {Interval: -time.Second}}}, "metrics.t.interval"},
	} {
		t.Run(name, func(t *testing.T) {
			found := test.about.Problems()
			switch {
			case test.field == "" && len(found) > 0:
				t.Errorf("%v", found)
			case test.field != "" && (len(found) != 1 || found[0].Field != test.field):
				t.Errorf("%v, want one of %s", found, test.field)
			case (test.about.Validate() == nil) != (test.field == ""):
				t.Errorf("Validate: %v", test.about.Validate())
			}
		})
	}
}
