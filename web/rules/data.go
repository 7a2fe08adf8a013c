package rules

import (
	"context"
	"time"

	"headwater/web/view"
)

// Source has the rules in force and changes them. Rules, Rule and Check answer
// from memory; an error of theirs that wraps view.ErrUnavailable means that the
// rules are not known yet. An error of the others that wraps it means that nothing
// was changed, or that it is not known whether.
type Source interface {
	// Rules returns the rules whose name, sentence or labels contain the text, in any
	// case.
	Rules(text string) (List, error)
	// Rule returns one rule; view.ErrNotFound when there is none of the name.
	Rule(name string) (Rule, error)
	// SilencesOfRule returns the silences, in force or to come, that can mute alerts of a
	// rule.
	SilencesOfRule(name string) []view.Silence
	// Form returns what the form offers. It never changes.
	Form() Form
	// Check returns what is known of a draft: what is wrong with it, what it would do
	// and which series it would match. It returns the draft as fields and as YAML,
	// whichever it was.
	Check(d Draft) Check
	// Save puts a draft in force if the rule still has the revision of the draft,
	// else it returns view.ErrConflict. A draft with problems is refused with them, as
	// view.RuleProblems.
	Save(ctx context.Context, d Draft, author view.Author) (Rule, error)
	// Delete deletes the rule if it still has the revision.
	Delete(ctx context.Context, name string, revision uint64, author view.Author) error
	// SetState changes the state of a rule if it still has the revision.
	SetState(ctx context.Context, name string, revision uint64, state view.RuleState, author view.Author) (Rule, error)
	// Stats returns the statistics of a rule, for the last 7 and 30 days.
	Stats(name string) []view.RuleStats
	// Advice returns what was found about quieter settings of a rule as it is now; its
	// zero value if nothing was asked for.
	Advice(name string) Advice
	// Advise has quieter settings of a rule looked for. Nobody is notified, and nothing
	// changes.
	Advise(name string) error
	// Versions returns the versions of a rule that are kept, the newest first, also of
	// a rule that was deleted; view.ErrNotFound when there are none.
	Versions(ctx context.Context, name string) ([]Version, error)
}

// The origins of a rule.
const (
	OriginFile = "file"
	OriginPage = "page"
	// OriginBuiltIn is the rule that exists without being declared.
	OriginBuiltIn = "built-in"
)

// Rule is one rule as it is in force.
type Rule struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	State       view.RuleState `json:"state"`
	Severity    view.Severity  `json:"severity"`
	Detector    string         `json:"detector"`
	// Sentence says in plain words what the rule does.
	Sentence string `json:"sentence"`
	// Labels are in the order of their names.
	Labels  []view.RuleLabel `json:"labels,omitempty"`
	Runbook string           `json:"runbook,omitempty"`
	// Origin is OriginFile, OriginPage or OriginBuiltIn; Where says in words where the text of
	// a rule of a file is.
	Origin string `json:"origin"`
	Where  string `json:"where,omitempty"`
	// Revision is what a change must name, so that it cannot overwrite a change that
	// its author has not seen.
	Revision uint64 `json:"revision"`
	// Changed is when the rule was last changed, Author by whom; empty if not known.
	Changed time.Time `json:"changed,omitzero"`
	Author  string    `json:"author,omitempty"`
	// Series counts the series that the rule matches now, Firing its active alerts.
	Series int `json:"series"`
	Firing int `json:"firing"`
	// Unjudged says in words which matching series the rule cannot judge because they
	// send no numbers; empty if there are none.
	Unjudged string `json:"unjudged,omitempty"`
	// Problem says why a rule cannot judge what it matches, ProblemAt since when;
	// empty when it can.
	Problem   string    `json:"problem,omitempty"`
	ProblemAt time.Time `json:"problem_at,omitzero"`
	// YAML is the text of the rule, as it would stand in a file.
	YAML string `json:"yaml"`
}

// Editable reports whether the rule can be changed on the page.
func (r Rule) Editable() bool { return r.Origin != OriginFile }

// Deletable reports whether the rule can be deleted on the page.
func (r Rule) Deletable() bool { return r.Origin == OriginPage }

// List is the rules and what else of the configuration is in force.
type List struct {
	// Items are in the order of their names.
	Items []Rule `json:"rules"`
	// Total counts all rules, whatever was asked for.
	Total    int       `json:"total"`
	Channels []Channel `json:"channels"`
	// Windows are the windows in force, each in words.
	Windows []string `json:"windows"`
	// Where says in words where channels and windows are set.
	Where string `json:"where"`
	// Changes are the latest changes of the configuration, the newest first.
	Changes []Change `json:"changes,omitempty"`
	// Deleted are the rules that can be restored, the most recently deleted first.
	Deleted []Deleted `json:"deleted,omitempty"`
	// Problem says what is wrong with the configuration as a whole; empty if
	// nothing is.
	Problem string `json:"problem,omitempty"`
}

// Deleted is a rule that is no longer in force and whose versions are kept.
type Deleted struct {
	Name string `json:"name"`
	// Sentence says in plain words what the rule did.
	Sentence string `json:"sentence"`
	// At is when it was deleted, and Author who did it.
	At     time.Time `json:"at"`
	Author string    `json:"author,omitempty"`
}

// Change is one change of the configuration.
type Change struct {
	At     time.Time `json:"at,omitzero"`
	Author string    `json:"author,omitempty"`
	// What says in words what was added, changed and removed.
	What string `json:"what"`
}

// TypeRota is the type of a Channel that is a rota: the person on call is notified.
const TypeRota = "rota"

// Channel is a channel or a rota that rules may notify. Its address is secret.
type Channel struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Resolved reports whether the channel is also notified when an alert is
	// resolved.
	Resolved bool `json:"resolved"`
}

// Draft is a rule that a person edits: as the fields of the form, or as YAML.
type Draft struct {
	// Was is the name of the rule that is edited; empty for a new one.
	Was string
	// Revision is the revision of the rule when the editing began; 0 for a new one.
	Revision uint64
	// AsYAML reports whether YAML is what is meant, else Fields.
	AsYAML bool
	// Fields are the values of the form by the names that the fields have in
	// YAML, with a dot between levels.
	Fields map[string]string
	YAML   string
}

// Check is what is known of a draft.
type Check struct {
	// Draft has both Fields and YAML filled in, as far as the one could be made
	// from the other.
	Draft Draft
	// Problems are in the order of the text; empty when the draft can be saved.
	Problems []view.RuleProblem
	// Sentence says what the rule would do, and Name what it is called; empty
	// when there are problems.
	Sentence, Name string
	// Series counts the series that it would match now, and Shown are the first of
	// them. Matched reports whether they could be counted.
	Series  int
	Shown   []Series
	Matched bool
	// Unjudged is as in Rule.
	Unjudged string
	// YAMLOnly reports whether the rule has parts that the form does not show and
	// would lose.
	YAMLOnly bool
}

// Series is a series that a rule matches, with its latest value.
type Series struct {
	Site   string     `json:"site"`
	Device string     `json:"device"`
	Metric string     `json:"metric"`
	Unit   string     `json:"unit,omitempty"`
	Value  view.Value `json:"value"`
}

// Version is one version of a rule.
type Version struct {
	// Version is a number that rises from version to version of a rule.
	Version uint64    `json:"version"`
	Changed time.Time `json:"changed,omitzero"`
	Author  string    `json:"author,omitempty"`
	// State is the rule's state in the version; Deleted reports whether the version
	// is the end of the rule.
	State   view.RuleState `json:"state,omitempty"`
	Deleted bool           `json:"deleted,omitempty"`
	// Current reports whether it is the version in force.
	Current bool   `json:"current,omitempty"`
	YAML    string `json:"yaml,omitempty"`
}

// AdviceState is how far the search for quieter settings is.
type AdviceState string

// The states of a search; the zero value means that there was none.
const (
	AdviceRunning AdviceState = "running"
	AdviceDone    AdviceState = "done"
	// AdviceFailed means that it ended without an answer, for the reason of the advice.
	AdviceFailed AdviceState = "failed"
)

// Over reports whether the search has ended.
func (s AdviceState) Over() bool { return s == AdviceDone || s == AdviceFailed }

// Advice is what was found about settings with which a rule would raise fewer alerts.
type Advice struct {
	State AdviceState `json:"state,omitempty"`
	// Revision is that of the rule.
	Revision uint64 `json:"revision"`
	// At is when the search ended, or began.
	At time.Time `json:"at,omitzero"`
	// From and To are the period of the stored readings, and Before counts the alerts that
	// the rule as it is would have raised in it.
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Before int       `json:"alerts"`
	// Proposals are settings with which it would have raised fewer.
	Proposals []Proposal `json:"proposals,omitempty"`
	// Why says why there are none; empty if there are some.
	Why string `json:"why,omitempty"`
}

// Proposal is a change of a rule.
type Proposal struct {
	// Words are the settings as they stand in YAML, and Was what they are now.
	Words string `json:"settings"`
	Was   string `json:"was"`
	// Alerts counts the alerts that it would have raised.
	Alerts int `json:"alerts"`
	// YAML is the whole rule with the settings.
	YAML string `json:"yaml"`
}
