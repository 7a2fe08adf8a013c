package oracle_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/services/standalone/bench/oracle"
)

var key = oracle.Series{Device: "d", Metric: "n"}

// written returns a book of 100 acknowledged readings, one a second, and one
// that was not acknowledged, and what a faultless Headwater stores of them.
func written() (*oracle.Book, []oracle.Point) {
	b := oracle.NewBook()
	for i := range 101 {
		id, _ := b.Issue(key, time.Unix(1_700_000_000+int64(i), 0), float64(i))
		if i < 100 {
			b.Ack(id)
		}
	}
	return b, b.Issued(key)[:100]
}

func TestReadings(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]oracle.Point) []oracle.Point
		want   oracle.Verdict
	}{
		"all is well":             {func(p []oracle.Point) []oracle.Point { return p }, oracle.Verdict{Stored: 100}},
		"in any order":            {func(p []oracle.Point) []oracle.Point { slices.Reverse(p); return p }, oracle.Verdict{Stored: 100}},
		"lost":                    {func(p []oracle.Point) []oracle.Point { return slices.Delete(p, 50, 52) }, oracle.Verdict{Stored: 98, Lost: 2}},
		"all lost":                {func([]oracle.Point) []oracle.Point { return nil }, oracle.Verdict{Lost: 100}},
		"stored twice":            {func(p []oracle.Point) []oracle.Point { return append(p, p[3]) }, oracle.Verdict{Stored: 101, Twice: 1}},
		"altered":                 {func(p []oracle.Point) []oracle.Point { p[7].Value++; return p }, oracle.Verdict{Stored: 100, Altered: 1}},
		"moved in time":           {func(p []oracle.Point) []oracle.Point { p[7].Time++; return p }, oracle.Verdict{Stored: 100, Unknown: 1, Lost: 1}},
		"unknown":                 {func(p []oracle.Point) []oracle.Point { return append(p, oracle.Point{Time: 5}) }, oracle.Verdict{Stored: 101, Unknown: 1}},
		"not acknowledged, there": {func(p []oracle.Point) []oracle.Point { return p[:101] }, oracle.Verdict{Stored: 101}},
	} {
		t.Run(name, func(t *testing.T) {
			b, stored := written()
			got := b.Judge(key, c.change(stored))
			if wrong := got.Wrong(); (wrong > 0) != (len(got.Examples) > 0) {
				t.Errorf("%d violations, examples %q", wrong, got.Examples)
			}
			got.Examples = nil
			if got.Stored != c.want.Stored || got.Lost != c.want.Lost || got.Unknown != c.want.Unknown ||
				got.Altered != c.want.Altered || got.Twice != c.want.Twice {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	t.Run("series that were never issued", func(t *testing.T) {
		if v := oracle.NewBook().Judge(key, []oracle.Point{{Time: 1}}); v.Unknown != 1 {
			t.Errorf("%+v", v)
		}
	})
}

func TestSummaries(t *testing.T) {
	const s = int64(time.Second)
	points := []oracle.Point{{11 * s, 4}, {3 * s, 1}, {1 * s, 3}}
	want := []oracle.Summary{
		{Start: 0, Count: 2, Min: 1, Max: 3, Mean: 2, First: 3, Last: 1, Deviation: 1},
		{Start: 10 * s, Count: 1, Min: 4, Max: 4, Mean: 4, First: 4, Last: 4},
	}
	got := oracle.Summaries(points, 10*time.Second)
	if !slices.Equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for name, change := range map[string]func([]oracle.Summary) []oracle.Summary{
		"missing":   func(s []oracle.Summary) []oracle.Summary { return s[1:] },
		"twice":     func(s []oracle.Summary) []oracle.Summary { return append(s, s[0]) },
		"too many":  func(s []oracle.Summary) []oracle.Summary { return append(s, oracle.Summary{Start: 20e9}) },
		"count":     func(s []oracle.Summary) []oracle.Summary { s[0].Count++; return s },
		"mean":      func(s []oracle.Summary) []oracle.Summary { s[0].Mean += 1e-6; return s },
		"deviation": func(s []oracle.Summary) []oracle.Summary { s[0].Deviation = 0; return s },
		"last":      func(s []oracle.Summary) []oracle.Summary { s[0].Last = 2; return s },
	} {
		t.Run(name, func(t *testing.T) {
			if wrong := oracle.JudgeSummaries(want, change(slices.Clone(want))); len(wrong) != 1 {
				t.Errorf("found %q", wrong)
			}
		})
	}
	if wrong := oracle.JudgeSummaries(want, got); len(wrong) != 0 {
		t.Errorf("found %q where all is well", wrong)
	}
}

func TestAlerts(t *testing.T) {
	want := oracle.Episodes("r", "d", []oracle.Point{{1, 20}, {2, 100}, {3, 100}, {4, 20}, {5, 20}, {6, 100}, {7, 20}})
	if !slices.Equal(want, []oracle.Episode{{"r", "d", 2, 4}, {"r", "d", 6, 7}}) {
		t.Fatalf("got %+v", want)
	}
	for name, got := range map[string][]oracle.Episode{
		"missing":    want[:1],
		"twice":      append(slices.Clone(want), want[0]),
		"not closed": {want[0], {"r", "d", 6, 0}},
		"too early":  {{"r", "d", 1, 4}, want[1]},
		"unknown":    append(slices.Clone(want), oracle.Episode{Rule: "other"}),
	} {
		t.Run(name, func(t *testing.T) {
			if oracle.JudgeEpisodes(want, got) == nil {
				t.Error("nothing found")
			}
		})
	}
	if wrong := oracle.JudgeEpisodes(want, []oracle.Episode{want[1], want[0]}); wrong != nil {
		t.Errorf("found %q where all is well", wrong)
	}
}

func TestMessages(t *testing.T) {
	want := []oracle.Episode{{"r", "d", 2, 4}}
	begin, end := oracle.Call{Key: "1-0", Episode: oracle.Episode{Rule: "r", Device: "d", Start: 2}}, oracle.Call{Key: "2-0", Episode: want[0]}
	other := begin
	other.Key = "3-0"
	for name, c := range map[string]struct {
		calls  []oracle.Call
		reason string
	}{
		"all is well":        {[]oracle.Call{begin, end}, ""},
		"one came again":     {[]oracle.Call{begin, begin, end}, ""},
		"two came again":     {[]oracle.Call{begin, begin, begin, end}, "came again"},
		"under another key":  {[]oracle.Call{begin, other, end}, "report the same"},
		"nothing of the end": {[]oracle.Call{begin}, "nobody was notified"},
		"unknown":            {[]oracle.Call{begin, end, {Key: "9-0"}}, "not due"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong, _ := oracle.JudgeCalls(want, c.calls, 1)
			if text := strings.Join(wrong, "; "); (c.reason == "") != (text == "") || !strings.Contains(text, c.reason) {
				t.Errorf("found %q, want %q", text, c.reason)
			}
		})
	}
}
