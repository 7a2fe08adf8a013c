package view

import (
	"slices"
	"time"
)

// RuleState says what is done with a rule.
type RuleState string

// The states of a rule.
const (
	// RuleIsEnabled is a rule that finds and tells.
	RuleIsEnabled RuleState = "enabled"
	// RuleIsMuted is a rule that finds and shows, and tells nobody.
	RuleIsMuted RuleState = "muted"
	// RuleIsDraft is a rule that does nothing until it is enabled.
	RuleIsDraft RuleState = "draft"
)

// RuleStates are all states, in the order in which people choose from them.
var RuleStates = [...]RuleState{RuleIsEnabled, RuleIsMuted, RuleIsDraft}

// Valid says whether it is one of the states.
func (s RuleState) Valid() bool { return slices.Contains(RuleStates[:], s) }

// The origins of a rule.
const (
	OriginFile = "file"
	OriginPage = "page"
	// OriginBuiltIn is the rule that is there without anybody declaring it.
	OriginBuiltIn = "built-in"
)

// Rule is one rule as it is in force.
type Rule struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	State       RuleState `json:"state"`
	Severity    Severity  `json:"severity"`
	Detector    string    `json:"detector"`
	// Sentence says in plain words what the rule does.
	Sentence string `json:"sentence"`
	// Labels are in the order of their names.
	Labels  []RuleLabel `json:"labels,omitempty"`
	Runbook string      `json:"runbook,omitempty"`
	// Origin is OriginFile, OriginPage or OriginBuiltIn; Where says in words where the text of
	// a rule of a file is.
	Origin string `json:"origin"`
	Where  string `json:"where,omitempty"`
	// Revision is what a change must name, so that nobody overwrites what nobody
	// has seen.
	Revision uint64 `json:"revision"`
	// Changed is when the rule was changed last, and Author who said so; both are
	// empty when that is not known.
	Changed time.Time `json:"changed,omitzero"`
	Author  string    `json:"author,omitempty"`
	// Series counts the series that the rule matches now, Firing its alerts that
	// last.
	Series int `json:"series"`
	Firing int `json:"firing"`
	// Unjudged says in words which series match that the rule cannot judge, for they
	// send no numbers; empty when there are none.
	Unjudged string `json:"unjudged,omitempty"`
	// Problem says why a rule cannot judge what it matches, ProblemAt since when;
	// empty when it can.
	Problem   string    `json:"problem,omitempty"`
	ProblemAt time.Time `json:"problem_at,omitzero"`
	// YAML is the text of the rule, as it would stand in a file.
	YAML string `json:"yaml"`
}

// RuleLabel is a name with a value.
type RuleLabel struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Editable says whether the rule can be changed on the page.
func (r Rule) Editable() bool { return r.Origin != OriginFile }

// Deletable says whether the rule can be deleted on the page.
func (r Rule) Deletable() bool { return r.Origin == OriginPage }

// RuleAbout is what an alert says of its rule.
type RuleAbout struct {
	State    RuleState
	Revision uint64
	Labels   []RuleLabel
	Runbook  string
	// ReadOnly says that a file is in charge of the rule.
	ReadOnly bool
}

// Rules are the rules and what else of the configuration is in force.
type Rules struct {
	// Items are in the order of their names.
	Items []Rule `json:"rules"`
	// Total counts all rules, whatever was asked for.
	Total    int           `json:"total"`
	Channels []RuleChannel `json:"channels"`
	// Windows are the windows in force, each in words.
	Windows []string `json:"windows"`
	// Where says in words where channels and windows are set.
	Where string `json:"where"`
	// Changes are the latest changes of the configuration, the newest first.
	Changes []RulesChange `json:"changes,omitempty"`
	// Deleted are the rules that can be restored, the last one deleted first.
	Deleted []DeletedRule `json:"deleted,omitempty"`
	// Problem says what is wrong with the configuration as a whole; empty when
	// nothing is.
	Problem string `json:"problem,omitempty"`
}

// DeletedRule is a rule that is not in force any more, and its versions are kept.
type DeletedRule struct {
	Name string `json:"name"`
	// Sentence says in plain words what the rule did.
	Sentence string `json:"sentence"`
	// At is when it was deleted, and Author who did it.
	At     time.Time `json:"at"`
	Author string    `json:"author,omitempty"`
}

// RulesChange is one change of the configuration.
type RulesChange struct {
	At     time.Time `json:"at,omitzero"`
	Author string    `json:"author,omitempty"`
	// What says in words what was added, changed and removed.
	What string `json:"what"`
}

// RuleChannel is a channel that rules may notify. Its address is nobody's business.
type RuleChannel struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Resolved says whether the channel is told that an alert is over, too.
	Resolved bool `json:"resolved"`
}

// RuleDraft is a rule that somebody edits: as the fields of the form, or as
// YAML.
type RuleDraft struct {
	// Was is the name of the rule that is edited; empty for a new one.
	Was string
	// Revision is that of the rule when the editing began; 0 for a new one.
	Revision uint64
	// AsYAML says that YAML is what is meant, else Fields.
	AsYAML bool
	// Fields are the values of the form by the names that the fields have in
	// YAML, with a dot between levels.
	Fields map[string]string
	YAML   string
}

// RuleCheck is what is known of a draft.
type RuleCheck struct {
	// Draft has both Fields and YAML filled in, as far as the one could be made
	// from the other.
	Draft RuleDraft
	// Problems are in the order of the text; empty when the draft can be saved.
	Problems []RuleProblem
	// Sentence says what the rule would do, and Name what it is called; empty
	// when there are problems.
	Sentence, Name string
	// Series counts the series that it would match now, and Shown are the first of
	// them. Matched says that they could be told.
	Series  int
	Shown   []RuleSeries
	Matched bool
	// Unjudged is as in Rule.
	Unjudged string
	// YAMLOnly says that the rule has what the form does not show, so that the form
	// would lose it.
	YAMLOnly bool
}

// RuleSeries is a series that a rule matches, with its latest value.
type RuleSeries struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Metric string `json:"metric"`
	Unit   string `json:"unit,omitempty"`
	Value  Value  `json:"value"`
}

// RuleProblem is one thing that is wrong with a draft.
type RuleProblem struct {
	// Field is the name of the field, with a dot between levels; empty when the
	// whole is meant.
	Field string `json:"field,omitempty"`
	// Line counts from 1 in the YAML; 0 when it is not known.
	Line int `json:"line,omitempty"`
	// Text says what is wrong and what to do.
	Text string `json:"text"`
}

// Author is who changes a rule. Nobody proves it; it is for people who wonder.
type Author struct {
	// Who is the name that was given, or where the request came from.
	Who string
	// API says that the change came by the API and not by a page.
	API bool
}

// RuleVersion is one version of a rule.
type RuleVersion struct {
	// Version is a number that rises from version to version of a rule.
	Version uint64    `json:"version"`
	Changed time.Time `json:"changed,omitzero"`
	Author  string    `json:"author,omitempty"`
	// State is the rule's state in the version; Deleted says that the version is
	// the end of the rule.
	State   RuleState `json:"state,omitempty"`
	Deleted bool      `json:"deleted,omitempty"`
	// Current says that it is the version in force.
	Current bool   `json:"current,omitempty"`
	YAML    string `json:"yaml,omitempty"`
}
