package rules

import "headwater/web/view"

// LatestVersion asks for the newest version in which a rule was not deleted.
const LatestVersion = "latest"

// Facts are what the page of rules shows.
type Facts struct {
	Text  string
	Rules List
	// Templates are rules to begin with.
	Templates []Template
	// JustDeleted is the rule that the person has just deleted; nil if there is none.
	JustDeleted *Deleted
}

// VersionsFacts are what the page of a rule's versions shows.
type VersionsFacts struct {
	Name string
	// Rule is the rule as it is in force; nil when there is none.
	Rule     *Rule
	Versions []Version
}

// change is what a version changed: the difference from the previous version.
func (f VersionsFacts) change(i int) []DiffLine {
	before := ""
	if i+1 < len(f.Versions) {
		before = f.Versions[i+1].YAML
	}
	return diff(before, f.Versions[i].YAML)
}

// first reports whether no older version is kept.
func (f VersionsFacts) first(i int) bool { return i+1 == len(f.Versions) }

// restorable reports whether a version can be put in force again.
func (f VersionsFacts) restorable(v Version) bool {
	return !v.Current && !v.Deleted && v.YAML != "" && (f.Rule == nil || f.Rule.Editable())
}

func (f VersionsFacts) revision() uint64 {
	if f.Rule == nil {
		return 0
	}
	return f.Rule.Revision
}

// stateWord names a state of a rule, stateHint says what it means.
func stateWord(s view.RuleState) string {
	switch s {
	case view.RuleIsMuted:
		return "Muted"
	case view.RuleIsDraft:
		return "Draft"
	}
	return "Enabled"
}

func stateHint(s view.RuleState) string {
	switch s {
	case view.RuleIsMuted:
		return "Alerts, but does not notify."
	case view.RuleIsDraft:
		return "Does nothing until it is enabled."
	}
	return "Alerts and notifies."
}

// authorWord names who changed something.
func authorWord(author string) string {
	if author == "" {
		return "unknown user"
	}
	return view.Plain(author)
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
