package rules_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/rules"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		all, err := s.Rules("")
		if err != nil {
			return nil // there is no page of them then
		}
		out := make(map[string]templ.Component)
		f := rules.Facts{Rules: all, Templates: s.Form().Templates}
		if len(all.Deleted) > 0 {
			f.JustDeleted = &all.Deleted[0]
			out["rule-deleted"] = rules.DeletedPage(all.Deleted[0])
		}
		out["rules"] = rules.Page(f)
		out["rule-new"] = rules.Editor(rules.EditorFacts{Form: s.Form(), Check: s.Check(rules.Draft{Fields: map[string]string{"detector": "limit", "above": "warm"}}), Judged: true, Channels: all.Channels, By: "Ana"})
		for i, r := range all.Items {
			facts := rules.EditorFacts{
				Form:     s.Form(),
				Check:    s.Check(rules.Draft{Was: r.Name, Revision: r.Revision, AsYAML: true, YAML: r.YAML}),
				Channels: all.Channels, Rule: &all.Items[i],
			}
			facts.Check.Draft.AsYAML = i == 1
			switch i {
			case 0:
				versions, err := s.Versions(t.Context(), r.Name)
				if err != nil {
					t.Fatal(err)
				}
				out["rule-versions"] = rules.VersionsPage(rules.VersionsFacts{Name: r.Name, Rule: facts.Rule, Versions: versions})
				out["rule-delete"] = rules.DeletePage(r)
				out["rule-form"] = rules.Editor(facts)
				facts.Stats, facts.Advice = s.Stats("door-left-open"), s.Advice("door-left-open")
				out["rule-quieter"] = rules.Quieter(facts)
			case 1:
				theirs := r
				theirs.Author, theirs.YAML = r.Author+fixture.Evil, "name: humid\n# "+fixture.Evil+"\n"
				facts.Theirs = &theirs
				out["rule-conflict"] = rules.Editor(facts)
			case 2:
				out["rule-of-file"] = rules.Editor(facts)
			}
		}
		return out
	})
}
