package view

import (
	"slices"
	"strconv"
	"strings"
)

// RuleState is the state of a rule.
type RuleState string

// The states of a rule.
const (
	// RuleIsEnabled is a rule that raises alerts and notifies.
	RuleIsEnabled RuleState = "enabled"
	// RuleIsMuted is a rule that raises alerts and does not notify.
	RuleIsMuted RuleState = "muted"
	// RuleIsDraft is a rule that does nothing until it is enabled.
	RuleIsDraft RuleState = "draft"
)

// RuleStates are all states, in the order in which people choose from them.
var RuleStates = [...]RuleState{RuleIsEnabled, RuleIsMuted, RuleIsDraft}

// Valid reports whether it is one of the states.
func (s RuleState) Valid() bool { return slices.Contains(RuleStates[:], s) }

// RuleLabel is a name with a value.
type RuleLabel struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// RuleAbout is what an alert says of its rule.
type RuleAbout struct {
	State    RuleState
	Revision uint64
	Labels   []RuleLabel
	Runbook  string
	// ReadOnly reports whether the rule can only be changed in a file.
	ReadOnly bool
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

// At says where in a text the problem is, as "Line 3, above"; empty when that is not known.
func (p RuleProblem) At() string {
	var at []string
	if p.Line > 0 {
		at = append(at, "Line "+strconv.Itoa(p.Line))
	}
	if p.Field != "" {
		at = append(at, Plain(p.Field))
	}
	return strings.Join(at, ", ")
}

// Author is who changes a rule. It is not verified; it is shown in the versions.
type Author struct {
	// Who is the name that was given, or where the request came from.
	Who string
	// API reports whether the change came through the API and not from a page.
	API bool
}

// RuleProblems is the error of a rule that cannot be put in force as it is.
type RuleProblems []RuleProblem

// Error returns all problems in one line.
func (p RuleProblems) Error() string {
	var b strings.Builder
	for i, one := range p {
		if i > 0 {
			b.WriteString("; ")
		}
		if one.Field != "" {
			b.WriteString(one.Field + ": ")
		}
		b.WriteString(one.Text)
	}
	return b.String()
}
