package rulebook

import (
	"strings"

	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/web/rules"
	"headwater/web/view"
)

// Check reads a draft. It returns the draft as fields and as YAML, as far as one
// can be made from the other, what is wrong with it, and the rule, which is nil when
// the draft is not a rule.
func Check(d rules.Draft, targets []string) (rules.Check, *rule.Rule) {
	out := rules.Check{Draft: d}
	if !d.AsYAML {
		out.Draft.YAML = Text(d.Fields)
	}
	r, err := config.ParseRule("rule", []byte(out.Draft.YAML), targets)
	if err != nil {
		out.Problems = Problems(err)
		if d.AsYAML {
			out.Draft.Fields = map[string]string{}
		}
		for i := range out.Problems {
			if !d.AsYAML { // the lines are those of a text that people don't see
				out.Problems[i].Line = 0
			}
		}
		return out, nil
	}
	if !d.AsYAML {
		out.Draft.YAML = config.Format(r)
		return out, &r
	}
	out.Draft.Fields = Fields(r)
	again, err := config.ParseRule("rule", []byte(Text(out.Draft.Fields)), targets)
	out.YAMLOnly = err != nil || !again.Equal(r)
	return out, &r
}

// Problems returns the problems in an error of the configuration as people see
// them, or nil when it is none of those.
func Problems(err error) []view.RuleProblem {
	var out []view.RuleProblem
	for _, p := range config.Problems(err) {
		out = append(out, view.RuleProblem{Field: p.Field, Line: p.Line, Text: p.Text})
	}
	return out
}

// NameProblem says what is wrong with the name of a draft: a rule keeps its name,
// a new one needs another than those that are taken, and "new" is the address of
// the page on which rules are made.
func NameProblem(was, name string, taken bool) (view.RuleProblem, bool) {
	p := view.RuleProblem{Field: "name"}
	switch {
	case was != "" && name != was:
		p.Text = "must stay " + was + ", because alerts and versions refer to it; to rename a rule, copy it to a new one and delete this one"
	case was == "" && taken:
		p.Text = "is the name of another rule already: choose another, or change that one"
	case was == "" && name == "new":
		p.Text = "must be another than new, which is the address of this page"
	}
	return p, p.Text != ""
}

// Loosely returns a rule that matches the series of a draft that is not a rule yet.
func Loosely(fields map[string]string) rule.Rule {
	m := rule.Match{Site: fields["match.site"], Device: fields["match.device"], Metric: fields["match.metric"]}
	for line := range strings.SplitSeq(fields["match.tags"], "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			if m.Tags == nil {
				m.Tags = make(map[string]string)
			}
			m.Tags[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return rule.Rule{Match: m}
}
