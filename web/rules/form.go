package rules

import (
	"slices"
	"strings"

	"headwater/web/ui"
	"headwater/web/view"
)

// Detector is a way of judging readings as the form offers it.
type Detector struct {
	// Name is what stands in YAML, Title the same for people.
	Name, Title string
	// Words say what it finds.
	Words string
}

// Detectors are all detectors, in the order in which people choose from them.
var Detectors = [...]Detector{
	{"limit", "Limit", "Too high or too low: the value leaves fixed bounds."},
	{"rate", "Rate", "Too fast: the value rises or falls by a fixed amount within a time."},
	{"auto", "Auto", "Anything unusual, with nothing to set. It learns what is normal for each series."},
	{"surge", "Surge", "Faster than usual: it learns how fast each series moves."},
	{"range", "Range", "Beyond all that was seen before."},
	{"season", "Season", "Unusual for the time of the day and the day of the week."},
	{"shift", "Shift", "The level has moved and stays there."},
	{"stuck", "Stuck", "The sensor gives the same value again and again."},
	{"silence", "Silence", "The series has stopped reporting."},
	{"drift", "Drift", "The daily means move away from the previous week's."},
	{"unreadable", "Unreadable", "Too many readings are not numbers, like the \"unavailable\" of a broken sensor."},
	{"expression", "Expression", "A condition over several metrics of one device, like temperature > outside + 5."},
}

// learning are the detectors that learn what is usual.
var learning = []string{"auto", "surge", "range", "season", "shift", "stuck", "silence", "drift"}

// ofSeries are the detectors that judge each series by itself.
var ofSeries = append([]string{"limit", "rate", "unreadable"}, learning...)

// lasting are the detectors that can wait before they open an anomaly.
var lasting = []string{"limit", "expression", "auto", "surge", "range", "season", "shift", "stuck", "drift"}

// Field is a field of the form.
type Field struct {
	// Name is the name of the field in YAML, with a dot between levels.
	Name, Label, Hint string
	// Detectors are those that take the field; empty means all.
	Detectors []string
	// Area says that the value may take several lines.
	Area bool
	// Number says that the value is a number and not a text, List that it is a
	// list and Map that it is a mapping of names to values: one entry a line.
	Number, List, Map bool
	// Placeholder is what holds when nothing is given.
	Placeholder string
	// Choices are the values to choose from.
	Choices []string
}

// Takes reports whether a detector has the field.
func (f Field) Takes(detector string) bool {
	return len(f.Detectors) == 0 || slices.Contains(f.Detectors, detector)
}

// NotifyNobody and NotifySome are values of the field notify of the form: notify no
// channel, or the channels of the field "channels", one a line. Empty means that all
// channels are notified.
const (
	NotifyNobody = "nobody"
	NotifySome   = "some"
)

// Fields are the fields of the form by which a rule is described, in the
// order of its YAML. Everything else can only be written in YAML.
var Fields = [...]Field{
	{Name: "name", Label: "Name", Hint: "a–z, 0–9, - and _; alerts show it."},
	{Name: "description", Label: "Description", Hint: "One sentence for the person who gets the alert."},
	{Name: "state", Label: "State", Choices: []string{string(view.RuleIsEnabled), string(view.RuleIsMuted), string(view.RuleIsDraft)}},
	{Name: "match.site", Label: "Site", Placeholder: "*", Hint: "* is any run of characters, ? one, [a-c] one of these."},
	{Name: "match.device", Label: "Device", Placeholder: "*", Hint: "For example door-*"},
	{Name: "match.metric", Label: "Metric", Placeholder: "*", Detectors: ofSeries, Hint: "For example temperature"},
	{Name: "match.tags", Label: "Tags", Map: true, Hint: "What the device must be tagged with, one a line, like kind: door"},
	{Name: "detector", Label: "Detector"},
	{Name: "expression", Label: "Alert while", Area: true, Detectors: []string{"expression"}, Hint: `Over the metrics of the device and windows of them, like temperature > outside + 5 and avg("temperature", "10m") > 8. There are avg, min, max, sum, count, last, age and abs.`},
	{Name: "resolve", Label: "Over when", Area: true, Detectors: []string{"expression"}, Hint: "Empty: when the first condition is no longer true."},
	{Name: "metric", Label: "Show at", Detectors: []string{"expression"}, Hint: "The metric at which the alert shows; empty: the first of the condition."},
	{Name: "above", Label: "Above", Number: true, Detectors: []string{"limit"}, Hint: "Abnormal beyond it, in the unit of the metric."},
	{Name: "below", Label: "Below", Number: true, Detectors: []string{"limit"}, Hint: "Abnormal under it."},
	{Name: "hysteresis", Label: "Hysteresis", Number: true, Placeholder: "0", Detectors: []string{"limit"}, Hint: "By how much it must come back before the alert ends."},
	{Name: "for", Label: "For", Placeholder: "0s", Detectors: lasting, Hint: "How long it must last before there is an alert, like 2m."},
	{Name: "rise", Label: "Rise", Number: true, Detectors: []string{"rate"}, Hint: "In the unit of the metric."},
	{Name: "fall", Label: "Fall", Number: true, Detectors: []string{"rate"}, Hint: "As a positive number."},
	{Name: "share", Label: "Share", Number: true, Placeholder: "10", Detectors: []string{"unreadable"}, Hint: "How many per cent need not be numbers; above it there is an alert, which ends at half of it."},
	{Name: "within", Label: "Within", Detectors: []string{"rate", "unreadable"}, Hint: "The time in which it is measured, like 5m. For Unreadable 1h when empty."},
	{Name: "settle", Label: "Settle", Placeholder: "1h", Detectors: []string{"rate"}, Hint: "The alert ends when the level has stayed that long."},
	{Name: "false_alarms", Label: "False alarms", Number: true, Placeholder: "0.1", Detectors: learning, Hint: "How many you accept for each series and week; 0.1 is one in ten weeks."},
	{Name: "direction", Label: "Direction", Choices: []string{"both", "up", "down"}, Detectors: []string{"surge"}},
	{Name: "silence", Label: "Ends after silence of", Placeholder: "1h", Hint: "The alert ends when the series does not report for that long."},
	{Name: "severity", Label: "Severity", Choices: []string{string(view.SeverityInfo), string(view.SeverityWarning), string(view.SeverityCritical)}},
	{Name: "labels", Label: "Labels", Map: true, Hint: "One a line, like team: cold-chain"},
	{Name: "runbook", Label: "Runbook", Hint: "Address of a page that says what to do, beginning with https://"},
	{Name: "notify", Label: "Notify"},
	{Name: "remind", Label: "Repeat every", Placeholder: "never", Hint: "How often to notify again while the alert is ongoing, like 4h."},
}

// fieldNamed returns the field of that name.
func fieldNamed(name string) Field {
	for _, f := range Fields {
		if f.Name == name {
			return f
		}
	}
	return Field{Name: name, Label: name}
}

// EditorFacts are what the page shows on which a rule is edited.
type EditorFacts struct {
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
		if !slices.ContainsFunc(Fields[:], func(g Field) bool {
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
	for _, g := range Fields {
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
		if label := fieldNamed(name).Label; p.Field != "" && !f.draft().AsYAML {
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

// detectors are the detectors to choose from, including the one that the draft
// names.
func (f EditorFacts) detectors() []Detector {
	have := f.value("detector")
	if have == "" || slices.ContainsFunc(Detectors[:], func(d Detector) bool { return d.Name == have }) {
		return Detectors[:]
	}
	return append(Detectors[:len(Detectors):len(Detectors)], Detector{Name: have, Title: view.Plain(have)})
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
