package config_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	parts, err := config.Decode([]byte(commented))
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

// encoder is a test or one of rapid.
type encoder interface{ Fatal(args ...any) }

// encoded returns the parts as they are stored.
func encoded(t encoder, p config.Parts) []byte {
	stored, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestPartsComeApartAgain moves a rule of the file to those of the page, and
// takes what was put together apart again.
func TestPartsComeApartAgain(t *testing.T) {
	parts, err := config.Decode([]byte(commented))
	if err != nil {
		t.Fatal(err)
	}
	door := parts.Pieces()[0]
	without, was, err := parts.Without("door")
	if err != nil || !was {
		t.Fatalf("%v, %v", was, err)
	}
	moved := without.With(door).By("page:o'neill\n")
	text := encoded(t, moved)
	again, err := config.Decode(text)
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
	if got := encoded(t, again); string(got) != string(text) {
		t.Errorf("put together again it is\n%s", got)
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

func TestProblemsOfWhatIsKeptNameTheirRule(t *testing.T) {
	file := "rules:\n  - {name: a, detector: limit, above: 1}\n"
	for name, tc := range map[string]struct {
		parts config.Parts
		want  string
	}{
		"a bad field": {
			config.Parts{File: []byte(file), Rules: []config.Piece{{Name: "b", Text: "name: b\ndetector: limit\nabov: 1\n"}}},
			`rule b:3: abov: is not a field here; did you mean "above"? (in a rule made on the page)`,
		},
		"a name twice": {
			config.Parts{File: []byte(file), Rules: []config.Piece{{Name: "a", Text: "# mine\nname: a\ndetector: limit\nabove: 1\n"}}},
			`rule a:2: name: "a" is the name of a rule made on the page and of one in the file, in line 2: rename or remove one of them (in a rule made on the page)`,
		},
		"a name of a kept one": {
			config.Parts{
				File: []byte("channels: []\n"), Kept: []config.Piece{{Name: "a", Text: "name: a\ndetector: auto\n"}},
				Rules: []config.Piece{{Name: "a", Text: "name: a\ndetector: limit\nabove: 1\n"}},
			},
			`rule a:1: name: "a" is the name of another rule already (in a rule made on the page)`,
		},
		"a kept section": {
			config.Parts{File: []byte("channels: []\n"), Base: []byte("# slow\nlateness: 3h\n")},
			`kept sections:2: lateness: 3h is out of range: 0s to 1h (kept from before, for the file does not mention it)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("x", encoded(t, tc.parts))
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestOldVersionsAreRead reads a configuration that an earlier Headwater stored, with
// every kind of part.
func TestOldVersionsAreRead(t *testing.T) {
	stored, err := os.ReadFile(filepath.Join("testdata", "stored-text.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parts, err := config.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Parts{
		File: []byte("# theirs\nchannels:\n  - {name: phone, type: ntfy, url: \"https://ntfy.sh/topic\"}\n"), FileName: "it's rules.yaml",
		Author: "page:o'neill", Base: []byte("lateness: 1m\n"),
		Kept: []config.Piece{
			{Name: "door", Text: "# Someone left a door open.\n# Ask Jo.\nname: door\ndetector: rate     # degrees\nrise: 3\n\nwithin: 5m\ndescription: |\n  two\n    lines\n"},
			{Name: "heat", Text: "# Heat.\n{name: heat, detector: limit, above: 30}   # in a row\n"},
		},
		Rules: []config.Piece{
			{Name: "mine", Text: "# why\nname: mine # here\ndetector: limit\nabove: 5\nnotify: [phone]\n"},
			{Name: "wet", Text: "name: wet\nexpression: humidity > 80\n"},
		},
	}
	if d := cmp.Diff(want, parts); d != "" {
		t.Error(d)
	}
	old, err := config.Parse("old", stored)
	if err != nil {
		t.Fatal(err)
	}
	if config.Encoded(stored) {
		t.Error("the old text counts as the form of today")
	}
	now, err := config.Parse("now", encoded(t, parts))
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Compare(old, now).String(); got != "nothing changed" || len(now.Rules) != 5 {
		t.Errorf("%d rules, %s", len(now.Rules), got)
	}
}

// TestStrangeEnvelopesAreRefused reads what this version of Headwater did not store.
func TestStrangeEnvelopesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"format":"headwater-configuration-9"}`:                                 "its format is headwater-configuration-9, known is headwater-configuration-1",
		`{"format":"headwater-configuration-1","file":"rules: []","colour":"x"}`: "colour",
		`{"format":"headwater-configuration-1","file":`:                          "unexpected EOF",
	} {
		if _, err := config.Parse("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
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

func TestSetField(t *testing.T) {
	for name, tc := range map[string]struct{ text, field, value, want string }{
		"comments stay": {"name: a # here\ndetector: limit\nabove: 30 # °C\n", "above", "31", "name: a # here\ndetector: limit\nabove: 31 # °C\n"},
		"a new field":   {"name: a\ndetector: limit\nabove: 1\n", "for", "10m", "name: a\ndetector: limit\nabove: 1\nfor: 10m\n"},
		"in a row":      {"{name: a, detector: limit, above: 1}\n", "above", "2.5", "name: a\ndetector: limit\nabove: 2.5\n"},
		"out of bounds": {"name: a\ndetector: auto\nfalse_alarms: 1\n", "false_alarms", "-1", ""},
		"no such field": {"name: a\ndetector: silence\n", "for", "10m", "name: a\ndetector: silence\n"},
		"no rule":       {"name: [a\n", "for", "10m", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.SetField(tc.text, tc.field, tc.value)
			if got != tc.want || (err != nil) != (tc.want == "") {
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
		again, err := config.Decode(encoded(t, parts))
		if err != nil || len(again.Rules) != 1 || again.Rules[0].Text != text {
			t.Fatalf("%v\n%s\nbecame\n%+v", err, text, again.Rules)
		}
	})
}

// written are two ways in which each section may say something, and one in which
// it says that there is nothing.
var written = map[string][3]string{
	"rules":     {"rules:\n  # why\n  - name: a # here\n    detector: limit\n    above: 1\n\n", "rules: [{name: b, detector: limit, above: 2, description: \"é: #1\"}]\n", "rules: []\n"},
	"channels":  {"# told\nchannels:\n- {name: one, type: ntfy, url: \"https://ntfy.sh/one\"}\n", "channels:\n    - name: two\n      type: webhook\n      url: http://x/y\n", "channels:\n"},
	"series":    {"series: [{match: {metric: a}, unit: hPa}]\n", "series:\n  - match: {metric: b}\n    literal: true\n", "series: []\n"},
	"devices":   {"devices: [{match: {device: a}, tags: {k: \"1\"}}]\n", "devices:\n  - match: {site: b}\n    tags: {k: b}\n", "devices: []\n"},
	"windows":   {"windows: [10s]\n", "windows:\n  - {kind: sliding, width: 5m, every: 30s}\n", "windows: [1m]\n"},
	"lateness":  {"lateness: 1m # short\n", "lateness: 1h\n", "lateness: 5m\n"},
	"time_zone": {"time_zone: Europe/Berlin\n", "time_zone: \"Asia/Kolkata\"\n", "time_zone: UTC\n"},
	"sites":     {"sites:\n  a: {time_zone: Europe/Berlin}\n", "sites: {b: {time_zone: Asia/Kolkata}}\n", "sites: {}\n"},
	"auto":      {"auto: off\n", "auto: on\n", "auto: on\n"},
}

// TestAFileRemovesOnlyWhatItMentions puts one file after another in force: each
// section is that of the last file which mentions it.
func TestAFileRemovesOnlyWhatItMentions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := config.Parts{File: config.Default(), Rules: []config.Piece{{Name: "page", Text: "name: page\ndetector: limit\nabove: 9\n"}}}
		last := map[string]string{}
		for range rapid.IntRange(1, 4).Draw(t, "files") {
			var text string
			for _, section := range slices.Sorted(maps.Keys(written)) {
				if how := rapid.IntRange(-2, 2).Draw(t, section); how >= 0 {
					last[section] = written[section][how]
					text += written[section][how]
				}
			}
			switch style := rapid.IntRange(0, 2).Draw(t, "style"); {
			case text == "":
				continue
			case style == 1: // everything further right
				text = "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
			case style == 2:
				text = "---\n" + text + "...\n"
			}
			if _, err := config.ParseFile("rules.yaml", []byte(text)); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			parts = parts.ForFile("rules.yaml", []byte(text)).By("file:rules.yaml")
			again, err := config.Decode(encoded(t, parts))
			if err != nil {
				t.Fatalf("%v\n%s", err, parts.File)
			}
			parts = again
		}
		want, err := config.Parse("want", []byte(strings.Join(slices.Sorted(maps.Values(last)), "")+"\n---\n")) // never quite empty
		if len(last) == 0 {
			want, err = config.Parse("want", config.Default())
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Parse("got", encoded(t, parts))
		if err != nil {
			t.Fatalf("%v\n%+v", err, parts)
		}
		changes := config.Compare(want, got)
		if changes.String() != "added rule page" {
			t.Fatalf("%s\n%+v\nwant\n%v", changes, parts, last)
		}
	})
}

// TestKeptRulesCanBeChanged takes rules that a file doesn't mention out of what is
// kept, and puts rules beside them.
func TestKeptRulesCanBeChanged(t *testing.T) {
	parts := config.Parts{File: []byte(commented)}.ForFile("rules.yaml", []byte("channels: []\n"))
	if got := parts.KeptSections(); !slices.Equal(got, []string{"rules", "lateness"}) {
		t.Fatalf("kept are %v of\n%s", got, parts.Base)
	}
	c, err := config.Parse("x", encoded(t, parts))
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := c.Rule("door"); r.Origin != rule.Kept {
		t.Errorf("door is from %q", r.Origin)
	}
	without, was, err := parts.Without("door")
	if err != nil || !was || len(without.Pieces()) != 1 {
		t.Fatalf("%v, %v\n%+v", was, err, without)
	}
	more := without.WithKept(config.Piece{Name: "new", Text: "name: new\ndetector: limit\nabove: 1\n"}, config.Piece{Name: "heat", Text: "name: heat\ndetector: auto\n"})
	var names []string
	for _, p := range more.Pieces() {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"heat", "new"}) || !strings.Contains(more.Kept[0].Text, "# Heat.") {
		t.Errorf("rules %v in\n%+v", names, more)
	}
	if _, err := config.Parse("x", encoded(t, more)); err != nil {
		t.Errorf("%v\n%+v", err, more)
	}
	// The last section of a text without a file moves to what is kept.
	alone := config.Parts{File: []byte("rules: [{name: a, detector: limit, above: 1}]\n")}.WithKept(config.Piece{Name: "b", Text: "name: b\ndetector: limit\nabove: 1\n"})
	if c, err := config.Parse("x", encoded(t, alone)); err != nil || len(c.Rules) != 3 {
		t.Errorf("%v\n%+v", err, alone)
	}
	// A file that mentions rules is alone with them.
	declared := config.Parts{File: []byte("rules: []\n"), FileName: "rules.yaml"}
	if got := declared.WithKept(config.Piece{Name: "b", Text: "name: b\n"}); len(got.Kept) > 0 {
		t.Errorf("beside a file that mentions rules\n%+v", got)
	}
	// What is kept may not go with the file; people must find out which line is meant.
	clash := config.Parts{File: []byte("rules: [{name: a, detector: limit, above: 1, notify: [fax]}]\nchannels: [{name: fax, type: ntfy, url: \"https://x/y\"}]\n")}
	_, err = config.Parse("x", encoded(t, clash.ForFile("x", []byte("channels: []\n"))))
	if err == nil || !strings.Contains(err.Error(), `rule a:4: notify[0]: "fax" is not a channel; there are none (kept from before, for the file does not mention it)`) {
		t.Errorf("a channel that a kept rule names: %v", err)
	}
}

func TestCompare(t *testing.T) {
	parse := func(text string) *config.Config {
		t.Helper()
		c, err := config.Parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	limit := func(name string, above int) string {
		return fmt.Sprintf("  - {name: %s, detector: limit, above: %d}\n", name, above)
	}
	many := "rules:\n"
	for i := range 9 {
		many += limit(fmt.Sprintf("r%d", i), i)
	}
	before := parse("rules:\n" + limit("a", 1) + limit("b", 1) + limit("c", 1) + "lateness: 1m\nchannels:\n  - {name: fax, type: ntfy, url: \"https://x/y\"}\n")
	for name, tc := range map[string]struct {
		after *config.Config
		want  string
	}{
		"nothing": {before, "nothing changed"},
		"some of all": {
			parse("rules:\n" + limit("a", 2) + limit("b", 1) + limit("d", 1) + "auto: off\n"),
			"added rule d; changed rule a, windows, lateness; removed 2 rules (c, unusual), channel fax",
		},
		"many": {parse(many), "added 9 rules (r0, r1, r2, r3, r4 and 4 more); changed windows, lateness; removed 3 rules (a, b, c), channel fax"},
	} {
		if got := config.Compare(before, tc.after).String(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	if got := config.Compare(nil, before).String(); got != "added 4 rules (a, b, c, unusual), channel fax" {
		t.Errorf("from nothing: %s", got)
	}
}
