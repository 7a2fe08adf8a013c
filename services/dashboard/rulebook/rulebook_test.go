package rulebook_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/dashboard/rulebook"
	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/web/rules"
	"headwater/web/view"
)

func TestSentence(t *testing.T) {
	door := rule.Match{Device: "door-*", Metric: "temperature"}
	for want, tc := range map[string]struct {
		rule rule.Rule
		unit string
	}{
		"Alerts when temperature of door-* rises by 3\u00a0°C within 5 min.":                                {rule.Rule{Match: door, Detector: rule.Rate, Rise: 3, Within: 5 * time.Minute}, "°C"},
		"Alerts when temperature of door-* rises by 3 or falls by 2.5 within 1 h.":                          {rule.Rule{Match: door, Detector: rule.Rate, Rise: 3, Fall: 2.5, Within: time.Hour}, ""},
		"Alerts when any metric of any device is above 30 for 2 min.":                                       {rule.Rule{Match: rule.Match{Site: "*", Device: "*", Metric: "*"}, Detector: rule.Limit, Above: new(30.0), For: 2 * time.Minute}, ""},
		"Alerts when any metric of any device at hall tagged kind: door and zone: a is above 8 or below 0.": {rule.Rule{Match: rule.Match{Site: "hall", Tags: map[string]string{"zone": "a", "kind": "door"}}, Detector: rule.Limit, Above: new(8.0), Below: new(0.0)}, ""},
		"Alerts when temperature of door-* falls faster than usual.":                                        {rule.Rule{Match: door, Detector: rule.Surge, Direction: rule.Down}, ""},
		"Alerts when temperature of door-* changes faster than usual.":                                      {rule.Rule{Match: door, Detector: rule.Surge, Direction: rule.Both}, ""},
		"Alerts when a > b + 5 and a < 9 at door-* for 1 min.":                                              {rule.Rule{Match: rule.Match{Device: "door-*"}, Detector: rule.Expression, Expression: "a > b + 5\n  and a < 9", For: time.Minute}, ""},
		"Alerts when temperature of door-* stops reporting.":                                                {rule.Rule{Match: door, Detector: rule.Silence}, ""},
		"Alerts when temperature of door-* does what the detector magic looks for.":                         {rule.Rule{Match: door, Detector: "magic"}, ""},
	} {
		if got := rulebook.Sentence(tc.rule, tc.unit); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestTheFormIsTheTable holds the form against what the parser takes.
func TestTheFormIsTheTable(t *testing.T) {
	form := rulebook.Form()
	var offered []rule.Detector
	for _, d := range form.Detectors {
		offered = append(offered, rule.Detector(d.Name))
	}
	if !slices.Equal(offered, rule.Detectors()) {
		t.Errorf("the form offers %v, there are %v", offered, rule.Detectors())
	}
	for _, d := range rule.Detectors() {
		if s := rulebook.Sentence(rule.Rule{Detector: d}, ""); strings.Contains(s, "the detector") {
			t.Errorf("%s has no words: %s", d, s)
		}
		for i, f := range form.Fields {
			if len(f.Detectors) == 0 || strings.HasPrefix(f.Name, "match.") {
				continue
			}
			value := map[rule.Kind]string{rule.KindNumber: "7", rule.KindSpan: "7m"}[rule.Fields()[i].Kind]
			if value == "" {
				value = append([]string{"x > 7"}, f.Choices...)[len(f.Choices)]
			}
			_, err := config.ParseRule("rule", []byte("name: a\ndetector: "+string(d)+"\n"+f.Name+": "+value+"\n"), nil)
			belongs := !strings.Contains(errorText(err), "belongs to")
			if f.Takes(string(d)) != belongs {
				t.Errorf("the form shows %s for %s: %v, and the parser says %v", f.Name, d, f.Takes(string(d)), err)
			}
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

var channels = []string{"phone", "duty-1"}

// anyRule is any rule that is right.
func anyRule(t *rapid.T) rule.Rule {
	words := rapid.MapOfN(rapid.StringMatching(`[a-z0-9_-]{1,8}`), rapid.StringMatching(`[A-Za-z0-9:#,{}\[\]'"&*!|>%@ é日-]{0,10}[A-Za-z0-9"]`), 0, 3)
	trimmed := func(m map[string]string) map[string]string {
		for k, v := range m {
			m[k] = strings.TrimSpace(v)
		}
		if len(m) == 0 {
			return nil
		}
		return m
	}
	span := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(1, 86400).Draw(t, name)) * time.Second
	}
	glob := rapid.SampledFrom([]string{"", "*", "door-*", "h?ll-[a-c]", "true", "12"})
	amount := rapid.Float64Range(0.001, 1e6)
	r := rule.Rule{
		Name: rapid.StringMatching(`[a-z0-9_-]{1,20}`).Draw(t, "name"), Origin: rule.FromPage,
		Description: strings.TrimSpace(rapid.StringMatching(`[A-Za-z0-9:#,{}'" .é日\\-]{0,30}`).Draw(t, "description")),
		Match:       rule.Match{Site: glob.Draw(t, "site"), Device: glob.Draw(t, "device"), Metric: glob.Draw(t, "metric"), Tags: trimmed(words.Draw(t, "tags"))},
		Detector:    rapid.SampledFrom(rule.Detectors()).Draw(t, "detector"),
		State:       rapid.SampledFrom(rule.States()).Draw(t, "state"),
		Severity:    rapid.SampledFrom(rule.Severities()).Draw(t, "severity"),
		Silence:     span("silence"),
		Labels:      trimmed(words.Draw(t, "labels")),
		Runbook:     rapid.SampledFrom([]string{"", "https://wiki.example.org/a?b=c&d=%20#e"}).Draw(t, "runbook"),
		Notify:      rapid.SampledFrom([][]string{nil, {}, {"phone"}, {"duty-1", "phone"}}).Draw(t, "notify"),
	}
	switch {
	case r.Detector == rule.Limit:
		r.Above, r.For = new(amount.Draw(t, "above")), span("for")
		r.Hysteresis = amount.Draw(t, "hysteresis")
	case r.Detector == rule.Rate:
		r.Rise, r.Within, r.Settle = amount.Draw(t, "rise"), span("within"), span("settle")
	case r.Detector == rule.Expression:
		r.Match.Metric = ""
		r.Expression = rapid.SampledFrom([]string{"a > b + 5", "avg(\"a\", \"10m\") > 8\nand a < 3"}).Draw(t, "expression")
		r.Resolve = rapid.SampledFrom([]string{"", "a < 1"}).Draw(t, "resolve")
		r.Metric = rapid.SampledFrom([]string{"", "a"}).Draw(t, "metric")
		r.For = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "for")
	case r.Detector == rule.Unreadable:
		r.Share, r.Within = rapid.Float64Range(0.1, 99).Draw(t, "share"), max(span("within"), time.Minute)
	case r.Detector == rule.Surge:
		r.Direction = rapid.SampledFrom(rule.Directions()).Draw(t, "direction")
	}
	if rapid.Bool().Draw(t, "reminds") {
		r.Remind = span("remind") + rule.MinRemind
	}
	if r.Detector.Learns() {
		r.FalseAlarms = rapid.Float64Range(0.01, 1000).Draw(t, "false alarms")
	}
	return r.WithDefaults()
}

// TestFormAndYAMLSayTheSame shows that no editor loses anything on the way to the
// other and back.
func TestFormAndYAMLSayTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRule(t)
		yaml, as := rulebook.Check(rules.Draft{AsYAML: true, YAML: config.Format(r)}, channels)
		if as == nil || !as.Equal(r) {
			t.Fatalf("the YAML of the rule is not read as it: %+v\n%s", yaml.Problems, yaml.Draft.YAML)
		}
		if yaml.YAMLOnly {
			t.Fatalf("the form loses something of\n%s\n%s", yaml.Draft.YAML, rulebook.Text(yaml.Draft.Fields))
		}
		form, again := rulebook.Check(rules.Draft{Fields: yaml.Draft.Fields}, channels)
		if again == nil || !again.Equal(r) {
			t.Fatalf("the form of the rule is not read as it: %+v\n%v\n%s", form.Problems, cmp.Diff(yaml.Draft.Fields, form.Draft.Fields), form.Draft.YAML)
		}
	})
}

// TestAnyFormIsYAML shows that nothing that is typed into one field becomes
// another.
func TestAnyFormIsYAML(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := map[string]string{"name": "a", "detector": "limit", "above": "1"}
		name := rapid.SampledFrom([]string{"description", "match.device", "above", "for", "labels", "runbook", "match.tags"}).Draw(t, "field")
		fields[name] = rapid.String().Draw(t, "value")
		checked, r := rulebook.Check(rules.Draft{Fields: fields}, channels)
		if r == nil {
			for _, p := range checked.Problems {
				if p.Field != name && !strings.HasPrefix(p.Field, name) && p.Field != "above" && p.Field != "match" {
					t.Errorf("%q in %s is reported as %+v\n%s", fields[name], name, p, checked.Draft.YAML)
				}
			}
			return
		}
		if r.Name != "a" || r.State != rule.Enabled || r.Notify != nil || name == "description" && r.Description != fields[name] {
			t.Errorf("%q in %s becomes %+v", fields[name], name, *r)
		}
	})
}

func TestProblemsStandBesideTheirField(t *testing.T) {
	for _, tc := range []struct{ field, value, problem string }{
		{"name", "", "is missing"},
		{"name", "Door", "is not a name"},
		{"above", "warm", "must be a number"},
		{"above", "", "is missing: a limit needs above, below or both"},
		{"for", "5", "is not a time"},
		{"match.device", "a[", "is not a pattern"},
		{"match.tags", "kind", "kind is empty"},
		{"labels", "A: b", "is not a name"},
		{"runbook", "javascript:alert(1)", "is not a URL"},
		{"severity", "loud", "is not a severity"},
		{"notify", rules.NotifySome, ""},
	} {
		fields := map[string]string{"name": "a", "detector": "limit", "above": "1"}
		fields[tc.field] = tc.value
		checked, _ := rulebook.Check(rules.Draft{Fields: fields}, channels)
		found := slices.ContainsFunc(checked.Problems, func(p view.RuleProblem) bool {
			return strings.HasPrefix(p.Field, tc.field) && strings.Contains(p.Text, tc.problem) && p.Line == 0
		})
		if found != (tc.problem != "") {
			t.Errorf("%s %q: %+v", tc.field, tc.value, checked.Problems)
		}
	}
	fields := map[string]string{"name": "a", "detector": "limit", "above": "1", "notify": rules.NotifySome, "channels": "phone\nnobody"}
	checked, _ := rulebook.Check(rules.Draft{Fields: fields}, channels)
	if len(checked.Problems) != 1 || checked.Problems[0].Field != "notify[1]" {
		t.Errorf("a channel that is none: %+v", checked.Problems)
	}
}

func TestMatch(t *testing.T) {
	devices := []rulebook.Device{
		{Site: "hall", Device: "door-1", Metrics: []rulebook.Metric{{Name: "humidity", Unit: "%"}, {Name: "temperature", Unit: "°C"}}},
		{Site: "hall", Device: "door-2", Metrics: []rulebook.Metric{{Name: "temperature", Unit: "°C"}}},
		{Site: "yard", Device: "mast", Metrics: []rulebook.Metric{{Name: "temperature", Unit: "°F"}}},
	}
	c, err := config.Parse("test", []byte("rules: []\ndevices:\n  - match: {device: door-2}\n    tags: {kind: cold}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		match      rule.Match
		expression string
		want       rulebook.Matched
		first      string
	}{
		{rule.Match{}, "", rulebook.Matched{Series: 4}, "door-1 humidity"},
		{rule.Match{Metric: "temp*"}, "", rulebook.Matched{Series: 3}, "door-1 temperature"},
		{rule.Match{Site: "hall", Metric: "temp*"}, "", rulebook.Matched{Series: 2, Unit: "°C"}, "door-1 temperature"},
		{rule.Match{Tags: map[string]string{"kind": "cold"}}, "", rulebook.Matched{Series: 1, Unit: "°C"}, "door-2 temperature"},
		{rule.Match{}, "humidity > 3 and temperature > 2", rulebook.Matched{Series: 1, Unit: "%"}, "door-1 humidity"},
		{rule.Match{Device: "none"}, "", rulebook.Matched{}, ""},
	} {
		first := ""
		r := rule.Rule{Match: tc.match, Expression: tc.expression}
		if tc.expression != "" {
			r.Detector = rule.Expression
		}
		got := rulebook.Tag(c.Tags, devices).Match(r, func(d rulebook.Device, m rulebook.Metric) {
			if first == "" {
				first = d.Device + " " + m.Name
			}
		})
		if got != tc.want || first != tc.first {
			t.Errorf("%+v: %+v, first %q; want %+v, %q", tc.match, got, first, tc.want, tc.first)
		}
	}
}

// TestNonNumericIsNotJudged matches series that send other things than numbers.
func TestNonNumericIsNotJudged(t *testing.T) {
	text := func(name, value string) rulebook.Metric {
		return rulebook.Metric{Name: name, Kind: view.KindText, Value: view.Text(value)}
	}
	flag := rulebook.Metric{Name: "open", Kind: view.KindFlag, Value: view.Flag(true)}
	number := rulebook.Metric{Name: "temperature", Unit: "°C", Kind: view.KindNumber, Value: view.Number(3)}
	for name, tc := range map[string]struct {
		metrics  []rulebook.Metric
		detector rule.Detector
		series   int
		want     string
	}{
		"a number":               {[]rulebook.Metric{number}, rule.Limit, 1, ""},
		"a text":                 {[]rulebook.Metric{text("temperature", "19.7")}, rule.Limit, 0, `1 series matches but sends text: "19.7"`},
		"texts":                  {[]rulebook.Metric{number, text("a", "x"), text("b", "y")}, rule.Auto, 1, `2 series match but send text: "x"`},
		"a flag":                 {[]rulebook.Metric{flag}, rule.Limit, 0, "1 series matches but sends true or false"},
		"all of it":              {[]rulebook.Metric{flag, number, text("a", "x")}, rule.Rate, 1, `1 series matches but sends text: "x"; 1 series matches but sends true or false`},
		"a text of the registry": {[]rulebook.Metric{{Name: "a", Kind: view.KindText}}, rule.Limit, 0, "1 series matches but sends text"},
		"a novel":                {[]rulebook.Metric{text("a", strings.Repeat("é", 100))}, rule.Limit, 0, `1 series matches but sends text: "` + strings.Repeat("é", 38) + `…"`},
		"what counts texts":      {[]rulebook.Metric{number, text("a", "x")}, rule.Unreadable, 2, ""},
	} {
		got := rulebook.Tag(nil, []rulebook.Device{{Site: "hall", Device: "a", Metrics: tc.metrics}}).Match(rule.Rule{Detector: tc.detector}, nil)
		if got.Series != tc.series || got.Unjudged() != tc.want {
			t.Errorf("%s: %d series, %q, want %d, %q", name, got.Series, got.Unjudged(), tc.series, tc.want)
		}
	}
}

// TestTemplates holds that every template is a rule as it is, and that the form
// shows all of it.
func TestTemplates(t *testing.T) {
	seen := map[string]bool{}
	for _, template := range rulebook.Form().Templates {
		fields := maps.Clone(template.Fields)
		fields["name"], fields["state"] = template.Name, string(view.RuleIsEnabled)
		checked, r := rulebook.Check(rules.Draft{Fields: fields}, nil)
		if len(checked.Problems) > 0 || r == nil {
			t.Errorf("%s: %+v", template.Name, checked.Problems)
			continue
		}
		if seen[template.Name] || template.Title == "" || template.Words == "" || r.Description == "" {
			t.Errorf("%s is not told, or twice", template.Name)
		}
		seen[template.Name] = true
		for name := range template.Fields {
			if !slices.ContainsFunc(rulebook.Form().Fields, func(f rules.Field) bool { return f.Name == name && f.Takes(template.Fields["detector"]) }) {
				t.Errorf("%s: the form has no field %s", template.Name, name)
			}
		}
	}
	// What the demo comes with is among them.
	demo, err := config.Parse("demo", config.Demo())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range demo.Rules {
		if r.Origin != rule.BuiltIn && !seen[r.Name] {
			t.Errorf("%s of the demo is no template", r.Name)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		was, name string
		taken     bool
		problem   bool
	}{
		{"", "a", false, false},
		{"", "a", true, true},
		{"", "new", false, true},
		{"a", "a", true, false},
		{"a", "a", false, false},
		{"a", "b", false, true},
	} {
		if p, ok := rulebook.NameProblem(tc.was, tc.name, tc.taken); ok != tc.problem {
			t.Errorf("%+v: %+v", tc, p)
		}
	}
}
