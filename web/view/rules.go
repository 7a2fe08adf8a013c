package view

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// RuleURL is the address of a rule's page.
func RuleURL(name string) string { return "/rules/" + url.PathEscape(name) }

// RuleDetector is a way of judging readings as the form offers it.
type RuleDetector struct {
	// Name is what stands in YAML, Title the same for people.
	Name, Title string
	// Words say what it finds.
	Words string
}

// RuleDetectors are all detectors, in the order in which people choose from them.
var RuleDetectors = [...]RuleDetector{
	{"limit", "Limit", "Too high or too low: the value leaves fixed bounds."},
	{"rate", "Rate", "Too fast: the value rises or falls by a fixed amount within a time."},
	{"auto", "Auto", "Anything unusual, with nothing to set. It learns what is normal for each series."},
	{"surge", "Surge", "Faster than usual: it learns how fast each series moves."},
	{"range", "Range", "Beyond all that was seen before."},
	{"season", "Season", "Unusual for the time of the day and the day of the week."},
	{"shift", "Shift", "The level has moved and stays there."},
	{"stuck", "Stuck", "The sensor gives the same value again and again."},
	{"silence", "Silence", "The series has stopped to report."},
	{"drift", "Drift", "The mean of the days leaves that of the week before."},
	{"unreadable", "Unreadable", "Too much of a series is no number, like the \"unavailable\" of a broken sensor."},
	{"expression", "Expression", "A condition over several metrics of one device, like temperature > outside + 5."},
}

// learning are the detectors that learn what is usual.
var learning = []string{"auto", "surge", "range", "season", "shift", "stuck", "silence", "drift"}

// ofSeries are the detectors that judge each series by itself.
var ofSeries = append([]string{"limit", "rate", "unreadable"}, learning...)

// lasting are the detectors that can wait before they tell.
var lasting = []string{"limit", "expression", "auto", "surge", "range", "season", "shift", "stuck", "drift"}

// RuleField is a field of the form.
type RuleField struct {
	// Name is that of the field in YAML, with a dot between levels.
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

// Takes says whether the field means something to a detector.
func (f RuleField) Takes(detector string) bool {
	return len(f.Detectors) == 0 || slices.Contains(f.Detectors, detector)
}

// NotifyNobody and NotifySome are values of the field notify of the form: nobody
// is told, or the channels of the field "channels", one a line. Empty means that
// all channels are told.
const (
	NotifyNobody = "nobody"
	NotifySome   = "some"
)

// RuleFields are the fields of the form by which a rule is described, in the
// order of its YAML. What is not among them only YAML can say.
var RuleFields = [...]RuleField{
	{Name: "name", Label: "Name", Hint: "a–z, 0–9, - and _; alerts show it."},
	{Name: "description", Label: "Description", Hint: "One sentence for whoever gets the alert."},
	{Name: "state", Label: "State", Choices: []string{string(RuleIsEnabled), string(RuleIsMuted), string(RuleIsDraft)}},
	{Name: "match.site", Label: "Site", Placeholder: "*", Hint: "* is any run of characters, ? one, [a-c] one of these."},
	{Name: "match.device", Label: "Device", Placeholder: "*", Hint: "For example door-*"},
	{Name: "match.metric", Label: "Metric", Placeholder: "*", Detectors: ofSeries, Hint: "For example temperature"},
	{Name: "match.tags", Label: "Tags", Map: true, Hint: "What the device must be tagged with, one a line, like kind: door"},
	{Name: "detector", Label: "Detector"},
	{Name: "expression", Label: "Alert while", Area: true, Detectors: []string{"expression"}, Hint: `Over the metrics of the device and windows of them, like temperature > outside + 5 and avg("temperature", "10m") > 8. There are avg, min, max, sum, count, last, age and abs.`},
	{Name: "resolve", Label: "Over when", Area: true, Detectors: []string{"expression"}, Hint: "Empty: when the first is not true any more."},
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
	{Name: "severity", Label: "Severity", Choices: []string{string(SeverityInfo), string(SeverityWarning), string(SeverityCritical)}},
	{Name: "labels", Label: "Labels", Map: true, Hint: "One a line, like team: cold-chain"},
	{Name: "runbook", Label: "Runbook", Hint: "Address of a page that says what to do, beginning with https://"},
	{Name: "notify", Label: "Notify"},
	{Name: "remind", Label: "Repeat every", Placeholder: "never", Hint: "How often to notify again while the alert is ongoing, like 4h."},
}

// ruleField returns the field of that name.
func ruleField(name string) RuleField {
	for _, f := range RuleFields {
		if f.Name == name {
			return f
		}
	}
	return RuleField{Name: name, Label: name}
}

// LatestVersion asks for the newest version in which a rule was not deleted.
const LatestVersion = "latest"

// RulesFacts are what the page of rules shows.
type RulesFacts struct {
	Text  string
	Rules Rules
	// JustDeleted is the rule that the person has deleted by the press before; nil
	// when there is none.
	JustDeleted *DeletedRule
}

// EditorFacts are what the page shows on which a rule is edited.
type EditorFacts struct {
	Check    RuleCheck
	Channels []RuleChannel
	// Judged says that the problems are to be shown: somebody has asked for it.
	Judged bool
	// Theirs is the rule as somebody else has changed it meanwhile, nil if nobody
	// has; Gone says that it was deleted.
	Theirs *Rule
	Gone   bool
	// Failure says why the rule was not saved although nothing is wrong with it.
	Failure string
	// Rule is the rule as it is in force; nil for a new one.
	Rule *Rule
	// Saved says that it has just been saved.
	Saved bool
	// By is the name that the person gave last.
	By string
}

func (f EditorFacts) draft() RuleDraft { return f.Check.Draft }

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
	return RuleURL(f.draft().Was)
}

// value returns the value of a field of the form.
func (f EditorFacts) value(field string) string { return f.draft().Fields[field] }

// problem returns what is wrong with a field, if that is to be shown.
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
func (f EditorFacts) elsewhere() []RuleProblem {
	if !f.Judged {
		return nil
	}
	if f.draft().AsYAML {
		return f.Check.Problems
	}
	var out []RuleProblem
	for _, p := range f.Check.Problems {
		if !slices.ContainsFunc(RuleFields[:], func(g RuleField) bool {
			return g.Takes(f.value("detector")) && (p.Field == g.Name || strings.HasPrefix(p.Field, g.Name+"[") || strings.HasPrefix(p.Field, g.Name+".") && g.Map)
		}) {
			out = append(out, p)
		}
	}
	return out
}

// commented says whether the form would lose comments of the rule.
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

// focused says whether a field is the first that has a problem.
func (f EditorFacts) focused(field string) bool {
	for _, g := range RuleFields {
		if g.Takes(f.value("detector")) && f.problem(g.Name) != "" {
			return g.Name == field
		}
	}
	return false
}

// stillToSay are the problems of a draft that nobody has judged yet, with the
// label of their field.
func (f EditorFacts) stillToSay() []string {
	var out []string
	for _, p := range f.Check.Problems {
		name, _, _ := strings.Cut(p.Field, "[")
		at := problemAt(p)
		if label := ruleField(name).Label; p.Field != "" && !f.draft().AsYAML {
			at = plain(label)
		}
		if len(out) == maxStillToSay {
			return append(out, plural(len(f.Check.Problems)-len(out), "more", "more"))
		}
		if at != "" {
			at += ": "
		}
		out = append(out, at+plain(p.Text))
	}
	return out
}

// maxStillToSay bounds the problems that the preview lists.
const maxStillToSay = 6

// notifies says whether the channel is ticked.
func (f EditorFacts) notifies(channel string) bool {
	return slices.Contains(strings.Split(f.value("channels"), "\n"), channel)
}

// channels are the channels to choose from, and those that the draft names.
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

// detectors are those to choose from, and the one that the draft names.
func (f EditorFacts) detectors() []RuleDetector {
	have := f.value("detector")
	if have == "" || slices.ContainsFunc(RuleDetectors[:], func(d RuleDetector) bool { return d.Name == have }) {
		return RuleDetectors[:]
	}
	return append(RuleDetectors[:len(RuleDetectors):len(RuleDetectors)], RuleDetector{Name: have, Title: plain(have)})
}

func fieldID(name string) string { return "f-" + strings.ReplaceAll(name, ".", "-") }

// problemID is the id of the element that says what is wrong with a field.
func problemID(name string) string { return fieldID(name) + "-problem" }

// describedBy names what explains a field to a screen reader.
func (EditorFacts) describedBy(field RuleField) string {
	ids := []string{problemID(field.Name)}
	if field.Hint != "" {
		ids = append(ids, fieldID(field.Name)+"-hint")
	}
	return strings.Join(ids, " ")
}

// fieldSentence makes a sentence of what is said about a field.
func fieldSentence(text string) string {
	if strings.HasPrefix(text, "is ") || strings.HasPrefix(text, "must ") || strings.HasPrefix(text, "belongs ") || strings.HasPrefix(text, "holds ") || strings.HasPrefix(text, "lists ") {
		text = "This " + text
	}
	return sentence(text)
}

// problemAt says where a problem of a text is.
func problemAt(p RuleProblem) string {
	var at []string
	if p.Line > 0 {
		at = append(at, "Line "+strconv.Itoa(p.Line))
	}
	if p.Field != "" {
		at = append(at, plain(p.Field))
	}
	return strings.Join(at, ", ")
}

// stateWord names a state of a rule, stateHint says what it means.
func stateWord(s RuleState) string {
	switch s {
	case RuleIsMuted:
		return "Muted"
	case RuleIsDraft:
		return "Draft"
	}
	return "Enabled"
}

func stateHint(s RuleState) string {
	switch s {
	case RuleIsMuted:
		return "Alerts, but does not notify."
	case RuleIsDraft:
		return "Does nothing until it is enabled."
	}
	return "Alerts and notifies."
}

// choiceWord is a choice for people.
func choiceWord(c string) string {
	if c == "" {
		return c
	}
	return strings.ToUpper(c[:1]) + c[1:]
}

// runbookURL returns the address of a runbook if a browser may be sent there.
func runbookURL(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", false
	}
	return u.String(), true
}

// runbookHost says where a runbook leads.
func runbookHost(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}

// DiffLine is one line of a difference.
type DiffLine struct {
	// Sign is '+', '-', ' ' or, for lines that are left out, '…'.
	Sign rune
	Text string
}

// maxDiff bounds the text whose difference is told, in bytes.
const maxDiff = 64 << 10

// diff returns how one text became another, line by line; nothing when they
// are alike.
func diff(before, after string) []DiffLine {
	if before == after || len(before) > maxDiff || len(after) > maxDiff {
		return nil
	}
	before, after = ended(before), ended(after)
	d, err := udiff.ToUnifiedDiff("", "", before, udiff.Lines(before, after), udiff.DefaultContextLines)
	if err != nil { // the edits are made of the text
		return nil
	}
	var out []DiffLine
	for _, h := range d.Hunks {
		if len(out) > 0 || h.FromLine > 1 {
			out = append(out, DiffLine{Sign: '…'})
		}
		for _, l := range h.Lines {
			sign := ' '
			switch l.Kind {
			case udiff.Insert:
				sign = '+'
			case udiff.Delete:
				sign = '-'
			}
			out = append(out, DiffLine{Sign: sign, Text: strings.TrimSuffix(l.Content, "\n")})
		}
	}
	return out
}

func ended(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

func diffClass(sign rune) string {
	switch sign {
	case '+':
		return "diff-add"
	case '-':
		return "diff-remove"
	case '…':
		return "diff-skip"
	}
	return "diff-same"
}

func diffWord(sign rune) string {
	switch sign {
	case '+':
		return "added: "
	case '-':
		return "removed: "
	}
	return ""
}

// VersionsFacts are what the page of a rule's versions shows.
type VersionsFacts struct {
	Name string
	// Rule is the rule as it is in force; nil when there is none.
	Rule     *Rule
	Versions []RuleVersion
}

// change is what a version changed: the diff to the one before it.
func (f VersionsFacts) change(i int) []DiffLine {
	before := ""
	if i+1 < len(f.Versions) {
		before = f.Versions[i+1].YAML
	}
	return diff(before, f.Versions[i].YAML)
}

// first says that nothing older than the version is remembered.
func (f VersionsFacts) first(i int) bool { return i+1 == len(f.Versions) }

// restorable says whether a version can be put in force again.
func (f VersionsFacts) restorable(v RuleVersion) bool {
	return !v.Current && !v.Deleted && v.YAML != "" && (f.Rule == nil || f.Rule.Editable())
}

func (f VersionsFacts) revision() uint64 {
	if f.Rule == nil {
		return 0
	}
	return f.Rule.Revision
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// authorWord names who changed something.
func authorWord(author string) string {
	if author == "" {
		return "unknown user"
	}
	return plain(author)
}

// originWord says where a rule comes from.
func originWord(r Rule) string {
	switch r.Origin {
	case OriginFile:
		return "file"
	case OriginBuiltIn:
		return "built in"
	}
	return "page"
}

func asWord(yaml bool) string {
	if yaml {
		return "yaml"
	}
	return "form"
}

// yamlRows is the height of the editor.
func yamlRows(text string) string {
	return strconv.Itoa(min(40, max(14, strings.Count(text, "\n")+3)))
}

// optionWord is a choice of a field for people.
func optionWord(field, choice string) string {
	if field == "state" {
		return stateWord(RuleState(choice)) + ": " + strings.ToLower(stateHint(RuleState(choice))[:1]) + strings.TrimSuffix(stateHint(RuleState(choice))[1:], ".")
	}
	return choiceWord(choice)
}
