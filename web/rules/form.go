package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"headwater/web/ui"
	"headwater/web/view"
)

// Form is what the form of a rule offers. The source declares it, so these pages
// know no detector and few fields by name.
type Form struct {
	// Detectors are in the order in which people choose from them.
	Detectors []Detector
	// Fields are in the order of the YAML of a rule. What is not among them only YAML
	// can say.
	Fields []Field
	// Templates are rules to begin with.
	Templates []Template
}

// Detector is a way of judging readings.
type Detector struct {
	// Name is what stands in YAML, Title the same for people.
	Name, Title string
	// Finds says in a sentence what it finds.
	Finds string
}

// Field is a field of the form.
type Field struct {
	// Name is the name of the field in YAML, with a dot between levels.
	Name, Label, Hint string
	// Detectors are the detectors that take the field; empty means all.
	Detectors []string
	// Area reports whether the value may have several lines.
	Area bool
	// Map reports whether the field is a mapping of names to values: one entry a line.
	Map bool
	// Placeholder shows what holds when nothing is given.
	Placeholder string
	// Choices are the values to choose from.
	Choices []string
}

// Takes reports whether the field means something to a detector.
func (f Field) Takes(detector string) bool {
	return len(f.Detectors) == 0 || slices.Contains(f.Detectors, detector)
}

// first returns the detector that a new rule has; empty if there are none.
func (f Form) first() string {
	if len(f.Detectors) == 0 {
		return ""
	}
	return f.Detectors[0].Name
}

// field returns the field of that name.
func (f Form) field(name string) Field {
	for _, field := range f.Fields {
		if field.Name == name {
			return field
		}
	}
	return Field{Name: name, Label: name}
}

// stylePath is where the style sheet of the form is served.
const stylePath = "/rules/form.css"

// style is the style sheet that shows the fields that the chosen detector takes, and
// hides the others. A browser without the selector shows all.
func (f Form) style() string {
	var b strings.Builder
	b.WriteString("@supports selector(:has(*)) {\n  .rule-form [data-for] { display: none; }\n")
	for _, d := range f.Detectors {
		fmt.Fprintf(&b, "  .rule-form:has(option[value=%[1]q]:checked) [data-for~=%[1]q] { display: grid; }\n", d.Name)
	}
	b.WriteString("}\n")
	return b.String()
}

// styleURL is the address of the style sheet, which changes with its content.
func (f Form) styleURL() string {
	sum := sha256.Sum256([]byte(f.style()))
	return stylePath + "?v=" + hex.EncodeToString(sum[:6])
}

// NotifyNobody and NotifySome are values of the field notify of the form: notify no
// channel, or the channels of the field "channels", one a line. Empty means that all
// channels are notified.
const (
	NotifyNobody = "nobody"
	NotifySome   = "some"
)

// EditorFacts are what the page shows on which a rule is edited.
type EditorFacts struct {
	Form     Form
	Check    Check
	Channels []Channel
	// Judged reports whether to show the problems, because the person wanted to save
	// or to check.
	Judged bool
	// Theirs is the rule as someone else has changed it since the draft was begun,
	// nil if no one has; Gone reports whether it was deleted.
	Theirs *Rule
	Gone   bool
	// Failure says why a rule without problems was not saved.
	Failure string
	// Rule is the rule as it is in force; nil for a new one.
	Rule *Rule
	// Silences are those in force or to come that can mute alerts of the rule.
	Silences []view.Silence
	// Stats are the statistics of the rule.
	Stats []view.RuleStats
	// Advice is what was found about quieter settings.
	Advice Advice
	// Saved reports whether the rule has just been saved.
	Saved bool
	// By is the name that the person gave last.
	By string
}

func (f EditorFacts) draft() Draft { return f.Check.Draft }

// Title names the page.
func (f EditorFacts) Title() string {
	if f.draft().Was == "" {
		return "New rule"
	}
	return f.draft().Was
}

// address is where the form is sent.
func (f EditorFacts) address() string {
	if f.draft().Was == "" {
		return "/rules/new"
	}
	return ui.RuleURL(f.draft().Was)
}

// value returns the value of a field of the form.
func (f EditorFacts) value(field string) string { return f.draft().Fields[field] }

// problem returns what is wrong with a field; empty unless the problems are shown.
func (f EditorFacts) problem(field string) string {
	if !f.Judged {
		return ""
	}
	var all []string
	for _, p := range f.Check.Problems {
		if p.Field == field || strings.HasPrefix(p.Field, field+"[") || strings.HasPrefix(p.Field, field+".") {
			all = append(all, fieldSentence(p.Text))
		}
	}
	return strings.Join(all, " ")
}

// elsewhere returns the problems that belong to no field of the form.
func (f EditorFacts) elsewhere() []view.RuleProblem {
	if !f.Judged {
		return nil
	}
	if f.draft().AsYAML {
		return f.Check.Problems
	}
	var out []view.RuleProblem
	for _, p := range f.Check.Problems {
		if !slices.ContainsFunc(f.Form.Fields, func(g Field) bool {
			return g.Takes(f.value("detector")) && (p.Field == g.Name || strings.HasPrefix(p.Field, g.Name+"[") || strings.HasPrefix(p.Field, g.Name+".") && g.Map)
		}) {
			out = append(out, p)
		}
	}
	return out
}

// commented reports whether the form would lose comments of the rule.
func (f EditorFacts) commented() bool {
	if f.Rule == nil || f.draft().AsYAML {
		return false
	}
	for line := range strings.Lines(f.Rule.YAML) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") || strings.Contains(line, " #") {
			return true
		}
	}
	return false
}

// focused reports whether a field is the first one with a problem.
func (f EditorFacts) focused(field string) bool {
	for _, g := range f.Form.Fields {
		if g.Takes(f.value("detector")) && f.problem(g.Name) != "" {
			return g.Name == field
		}
	}
	return false
}

// stillToSay are the problems of a draft that is not judged yet, with the label of
// their field.
func (f EditorFacts) stillToSay() []string {
	var out []string
	for _, p := range f.Check.Problems {
		name, _, _ := strings.Cut(p.Field, "[")
		at := p.At()
		if label := f.Form.field(name).Label; p.Field != "" && !f.draft().AsYAML {
			at = view.Plain(label)
		}
		if len(out) == maxStillToSay {
			return append(out, ui.Plural(len(f.Check.Problems)-len(out), "more", "more"))
		}
		if at != "" {
			at += ": "
		}
		out = append(out, at+view.Plain(p.Text))
	}
	return out
}

// maxStillToSay bounds the problems that the preview lists.
const maxStillToSay = 6

// notifies reports whether the channel is ticked.
func (f EditorFacts) notifies(channel string) bool {
	return slices.Contains(strings.Split(f.value("channels"), "\n"), channel)
}

// channels are the channels to choose from, including the channels that the draft
// names.
func (f EditorFacts) channels() []string {
	var out []string
	for _, c := range f.Channels {
		out = append(out, c.Name)
	}
	for c := range strings.SplitSeq(f.value("channels"), "\n") {
		if c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// detectors are the detectors to choose from, and the one that the draft names.
func (f EditorFacts) detectors() []Detector {
	all, have := f.Form.Detectors, f.value("detector")
	if have == "" || slices.ContainsFunc(all, func(d Detector) bool { return d.Name == have }) {
		return all
	}
	return append(slices.Clone(all), Detector{Name: have, Title: view.Plain(have)})
}

func fieldID(name string) string { return "f-" + strings.ReplaceAll(name, ".", "-") }

// problemID is the id of the element that shows what is wrong with a field.
func problemID(name string) string { return fieldID(name) + "-problem" }

// describedBy names what explains a field to a screen reader.
func (EditorFacts) describedBy(field Field) string {
	ids := []string{problemID(field.Name)}
	if field.Hint != "" {
		ids = append(ids, fieldID(field.Name)+"-hint")
	}
	return strings.Join(ids, " ")
}

// fieldSentence makes a sentence of the problem of a field.
func fieldSentence(text string) string {
	if strings.HasPrefix(text, "is ") || strings.HasPrefix(text, "must ") || strings.HasPrefix(text, "belongs ") || strings.HasPrefix(text, "holds ") || strings.HasPrefix(text, "lists ") {
		text = "This " + text
	}
	return ui.Sentence(text)
}

// choiceWord is a choice for people.
func choiceWord(c string) string {
	if c == "" {
		return c
	}
	return strings.ToUpper(c[:1]) + c[1:]
}

// optionWord is a choice of a field for people.
func optionWord(field, choice string) string {
	if field == "state" {
		return stateWord(view.RuleState(choice)) + ": " + strings.ToLower(stateHint(view.RuleState(choice))[:1]) + strings.TrimSuffix(stateHint(view.RuleState(choice))[1:], ".")
	}
	return choiceWord(choice)
}

func asWord(yaml bool) string {
	if yaml {
		return "yaml"
	}
	return "form"
}
