package web

import (
	"context"
	"net/http"

	"headwater/web/app"
	"headwater/web/replay"
	"headwater/web/rules"
	"headwater/web/view"
)

// triedRule is a rule as the page of its trial shows it.
func triedRule(r rules.Rule) replay.Rule {
	return replay.Rule{Name: r.Name, State: r.State, Revision: r.Revision, YAML: r.YAML, ReadOnly: !r.Editable(), Where: r.Where}
}

// enabler puts rules in force that were tried.
type enabler struct{ rules rules.Source }

// enable implements replay.Rules.
func (e enabler) enable(ctx context.Context, d replay.Draft, by view.Author) (string, error) {
	saved, err := e.rules.Save(ctx, e.draft(d), by)
	if err == nil && saved.State != view.RuleIsEnabled {
		saved, err = e.rules.SetState(ctx, saved.Name, saved.Revision, view.RuleIsEnabled, by)
	}
	return saved.Name, err
}

// failed implements replay.Rules with the editor of the pages.
func (e enabler) failed(pages *rules.Pages) func(http.ResponseWriter, *http.Request, replay.Draft, error) {
	return func(w http.ResponseWriter, r *http.Request, d replay.Draft, err error) {
		f := rules.EditorFacts{By: app.RememberedAuthor(r)}
		if rule, err := e.rules.Rule(r.PathValue("name")); err == nil {
			f.Rule = &rule
		}
		pages.NotSaved(w, r, e.draft(d), f, err)
	}
}

func (enabler) draft(d replay.Draft) rules.Draft {
	return rules.Draft{Was: d.Was, Revision: d.Revision, AsYAML: true, YAML: d.YAML}
}
