package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/internal/config"
	"headwater/services/rule"
)

const commented = `# the warehouse
rules:
  # Someone left a door open.
  # Ask Jo.
  - name: door
    detector: rate     # degrees
    rise: 3

    within: 5m
    description: |
      two
        lines

  # Heat.
  - {name: heat, detector: limit, above: 30}   # in a row

# Told by nobody.
channels: []
lateness: 1m
`

func TestPiecesKeepComments(t *testing.T) {
	parts, err := config.Take([]byte(commented))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Piece{
		{Name: "door", Text: `# Someone left a door open.
# Ask Jo.
name: door
detector: rate     # degrees
rise: 3

within: 5m
description: |
  two
    lines
`},
		{Name: "heat", Text: "# Heat.\n{name: heat, detector: limit, above: 30}   # in a row\n"},
	}
	if d := cmp.Diff(want, parts.Pieces()); d != "" {
		t.Error(d)
	}
}

// TestPartsComeApartAgain moves a rule of the file to those of the page, and
// takes what was put together apart again.
func TestPartsComeApartAgain(t *testing.T) {
	parts, err := config.Take([]byte(commented))
	if err != nil {
		t.Fatal(err)
	}
	door := parts.Pieces()[0]
	without, was, err := parts.Without("door")
	if err != nil || !was {
		t.Fatalf("%v, %v", was, err)
	}
	moved := without.With(door).By("page:o'neill\n")
	text := moved.Text()
	again, err := config.Take(text)
	if err != nil {
		t.Fatal(err)
	}
	if again.Author != "page:o'neill" || again.FileName != "" {
		t.Errorf("author %q, file %q", again.Author, again.FileName)
	}
	if d := cmp.Diff([]config.Piece{door}, again.Rules); d != "" {
		t.Error(d)
	}
	if strings.Contains(string(again.File), "door") || !strings.Contains(string(again.File), "# Told by nobody.") {
		t.Errorf("the file is now\n%s", again.File)
	}
	before, err := config.Parse("before", []byte(commented))
	if err != nil {
		t.Fatal(err)
	}
	after, err := config.Parse("after", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range before.Rules {
		if got, ok := after.Rule(r.Name); !ok || !got.Equal(r) {
			t.Errorf("%s is now %+v", r.Name, got)
		}
	}
	if got, _ := after.Rule("door"); got.Origin != rule.FromPage {
		t.Errorf("door is from %q", got.Origin)
	}
	if string(again.Text()) != string(text) {
		t.Errorf("put together again it is\n%s", again.Text())
	}
}

func TestWhatIsWrittenInARow(t *testing.T) {
	parts := config.Parts{File: []byte("rules: [{name: a, detector: limit, above: 1, description: \"é: #1\"}]\n")}
	pieces := parts.Pieces()
	if len(pieces) != 1 || pieces[0].Name != "a" || !strings.Contains(pieces[0].Text, "above: 1\n") {
		t.Fatalf("%+v", pieces)
	}
	if _, was, err := parts.Without("a"); !was || err == nil {
		t.Errorf("taken out of the middle of a line: %v, %v", was, err)
	}
}

func TestLinesOfTheKeptPart(t *testing.T) {
	file := "rules:\n  - {name: a, detector: limit, above: 1}\n"
	for name, tc := range map[string]struct{ text, want string }{
		"a bad field": {"name: b\ndetector: limit\nabov: 1\n", "x:9: rules[0].abov: is not a field here"},
		"a name twice": {
			"name: a\ndetector: limit\nabove: 1\n",
			`x:7: rules[0].name: "a" is the name of a rule made on the page and of one in the file, in line 2`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := config.Parts{File: []byte(file), Rules: []config.Piece{{Name: "b", Text: tc.text}}}.Text()
			_, err := config.Parse("x", text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	if _, err := config.ParseFile("x", config.Parts{File: []byte(file)}.Text()); err == nil || !strings.Contains(err.Error(), "x:3: holds what Headwater keeps") {
		t.Errorf("a file with the kept part: %v", err)
	}
}

func TestSetState(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"without a state": {"name: a # here\ndetector: limit\nabove: 1\n", "name: a # here\ndetector: limit\nabove: 1\nstate: muted\n"},
		"with another":    {"name: a\nstate: draft  # not yet\ndetector: limit\nabove: 1", "name: a\nstate: muted # not yet\ndetector: limit\nabove: 1\n"},
		"in a row":        {"{name: a, detector: limit, above: 1}\n", "name: a\nstate: muted\ndetector: limit\nabove: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.SetState(tc.text, rule.Muted)
			if err != nil || got != tc.want {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

// drawn returns any rule that is valid.
func drawn(t *rapid.T) rule.Rule {
	name := rapid.StringMatching(`[a-z0-9_-]{1,20}`)
	words := rapid.MapOfN(name, rapid.StringMatching(`[ -~°é]{1,20}`), 0, 3)
	spans := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(int64(time.Second), int64(rule.MaxSpan)).Draw(t, "span"))
	})
	r := rule.Rule{
		Name: name.Draw(t, "name"), Description: rapid.StringMatching(`[ -~°é\n]{0,40}`).Draw(t, "description"),
		Match: rule.Match{
			Site: rapid.StringMatching(`[a-z*?#:-]{0,5}`).Draw(t, "site"), Device: rapid.StringMatching(`[a-z*?0-9]{0,5}`).Draw(t, "device"),
			Tags: words.Draw(t, "tags"),
		},
		State: rapid.SampledFrom(rule.States()).Draw(t, "state"), Severity: rapid.SampledFrom(rule.Severities()).Draw(t, "severity"),
		Silence: spans.Draw(t, "silence"), Labels: words.Draw(t, "labels"),
		Remind: spans.Draw(t, "remind") + time.Minute, Detector: rule.Auto,
	}
	switch rapid.IntRange(0, 3).Draw(t, "detector") {
	case 3:
		r.Detector, r.Expression, r.For = "", `temperature > 3 and avg("air \"flow\"", "10m") > 1`, spans.Draw(t, "for")
		r.Resolve, r.Metric = "temperature < 2", rapid.SampledFrom([]string{"", "temperature"}).Draw(t, "metric")
	case 0:
		r.Detector, r.Above, r.For = rule.Limit, new(rapid.Float64().Draw(t, "above")), spans.Draw(t, "for")
	case 1:
		r.Detector, r.Fall, r.Within = rule.Rate, rapid.Float64Range(1e-9, 1e9).Draw(t, "fall"), spans.Draw(t, "within")%rule.MaxWithin+time.Second
	}
	if rapid.Bool().Draw(t, "notify") {
		r.Notify = []string{}
	}
	return r.WithDefaults()
}

// TestFormatReadsBack holds that what Format writes says the same.
func TestFormatReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawn(t)
		if r.Validate() != nil {
			t.Skip("not valid")
		}
		text := config.Format(r)
		got, err := config.ParseRule("rule", []byte(text), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		// YAML's texts end without blanks, whichever way they are written.
		if !got.Equal(r) {
			t.Fatalf("%s\n%s", text, cmp.Diff(r, got))
		}
		parts := config.Parts{File: []byte("rules: []\n"), Rules: []config.Piece{{Name: r.Name, Text: text}}}
		again, err := config.Take(parts.Text())
		if err != nil || len(again.Rules) != 1 || again.Rules[0].Text != text {
			t.Fatalf("%v\n%s\nbecame\n%+v", err, text, again.Rules)
		}
	})
}
