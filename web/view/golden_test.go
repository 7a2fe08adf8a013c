package view_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"

	"headwater/web/internal/fixture"
	"headwater/web/view"
)

var update = flag.Bool("update", false, "write the golden files anew")

// now is the moment of all golden files.
var now = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func render(t *testing.T, c templ.Component) string {
	t.Helper()
	var b strings.Builder
	if err := c.Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pages are the contents of all pages in one state of the world.
func pages(t *testing.T, state fixture.State) map[string]templ.Component {
	t.Helper()
	s := fixture.New(state, now)
	q := view.DeviceQuery{Page: 1, Size: 6}
	alerts, pipeline := s.Alerts(5), s.Pipeline()
	overview := view.OverviewFacts{
		Query: q, Devices: s.Devices(q), Firing: alerts.Active, Rate: pipeline.Rate, Rates: pipeline.Rates,
		Start: view.Start{HTTP: "http://localhost:8080"},
	}
	out := map[string]templ.Component{
		"overview": view.Overview(overview),
		"alerts":   view.AlertsPage(alerts, nil),
		"pipeline": view.PipelinePage(pipeline),
	}
	ledger := view.LedgerFacts{
		Range: view.LedgerRanges[0], Query: view.LedgerQuery{From: now.Add(-time.Hour), To: now, Group: view.LedgerByDevice, Page: 1, Size: 8},
	}
	for name, group := range map[string]string{"ledger": view.LedgerByDevice, "ledger-minutes": view.LedgerByMinute} {
		facts := ledger
		facts.Query.Group = group
		if group == view.LedgerByMinute {
			facts.Query.Site, facts.Query.Device = "warehouse", "door-04"
		}
		var err error
		if facts.Ledger, err = s.Ledger(t.Context(), facts.Query); err != nil {
			facts.Problem = "InfluxDB does not answer (connection refused)"
		}
		out[name] = view.LedgerPage(facts)
	}
	if letters, err := s.DeadLetters(t.Context(), view.DeadLetterQuery{Size: 25}); err == nil {
		out["deadletters"] = view.DeadLettersPage(view.DeadLettersFacts{Letters: letters})
		out["redrive-all"] = view.ConfirmPage(view.ConfirmFacts{Selection: view.DeadLetterSelection{Through: letters.Last}, Counts: letters.Counts})
		result, err := s.Redrive(t.Context(), view.DeadLetterSelection{Through: letters.Last})
		if err != nil {
			t.Fatal(err)
		}
		out["redriven"] = view.RedrivePage(view.RedriveFacts{Selection: view.DeadLetterSelection{Through: letters.Last}, Result: result})
		for _, l := range letters.Items[:min(1, len(letters.Items))] {
			out["purge-one"] = view.ConfirmPage(view.ConfirmFacts{Purge: true, Selection: view.DeadLetterSelection{Sequence: l.Sequence}, Letter: &l})
		}
	}
	if len(overview.Devices.Items) > 0 {
		d := overview.Devices.Items[0]
		out["device"] = view.DevicePage(view.DeviceFacts{
			Device: d, Range: view.Ranges[1], Episodes: s.Episodes(d.Site, d.Device, now.Add(-time.Hour), now), Summaries: s.Summaries(d.Site, d.Device),
		})
	}
	rulePages(t, s, out)
	for name, id := range map[string]string{"try-running": fixture.ReplayRunning, "try-done": fixture.ReplayDone, "try-failed": fixture.ReplayFailed} {
		if replay, err := s.Replay(t.Context(), id); err == nil {
			out[name] = view.TryPage(view.TryFacts{Name: "door-left-open", Revision: 7, YAML: replay.Rule, Period: "24h", Replay: &replay})
		}
	}
	out["try-new"] = view.TryPage(view.TryFacts{
		Name: view.NewRule, YAML: "{name: warm}", Period: "1h", Failure: "another replay is under way; try again when it has ended",
		Problems: []view.RuleProblem{{Line: 1, Field: "detector", Text: "is missing"}},
	})
	out["try-gone"] = view.TryPage(view.TryFacts{Name: view.NewRule, YAML: "{name: warm}", Period: "24h", Gone: true})
	out["banner"] = view.Banner(s.Status())
	return out
}

// TestGolden holds every page in every state against the file that a person
// has looked at. Run with -update after a look at the gallery.
func TestGolden(t *testing.T) {
	for _, state := range []fixture.State{fixture.Warehouse, fixture.Empty, fixture.Away, fixture.Hostile} {
		for name, component := range pages(t, state) {
			t.Run(string(state)+"/"+name, func(t *testing.T) {
				got := strings.ReplaceAll(render(t, component), "><", ">\n<") + "\n"
				path := filepath.Join("testdata", string(state)+"-"+name+".golden.html")
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("the page changed (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestHostileTextStaysText shows that nothing a device wrote becomes markup.
func TestHostileTextStaysText(t *testing.T) {
	for name, component := range pages(t, fixture.Hostile) {
		html := render(t, component)
		for _, bad := range []string{"<img", "<script", "</script", "javascript:", " style=", "\u2028", "\u202e"} {
			if at := strings.Index(strings.ToLower(html), bad); at >= 0 {
				t.Errorf("%s holds %q: …%.80s…", name, bad, html[at:])
			}
		}
	}
}

// rulePages adds the pages of rules.
func rulePages(t *testing.T, s *fixture.Source, out map[string]templ.Component) {
	t.Helper()
	rules, err := s.Rules("")
	if err != nil {
		return // there is no page of them then
	}
	f := view.RulesFacts{Rules: rules}
	if len(rules.Deleted) > 0 {
		f.JustDeleted = &rules.Deleted[0]
		out["rule-deleted"] = view.RuleDeleted(rules.Deleted[0])
	}
	out["rules"] = view.RulesPage(f)
	out["rule-new"] = view.RuleEditor(view.EditorFacts{Check: s.Check(view.RuleDraft{Fields: map[string]string{"detector": "limit", "above": "warm"}}), Judged: true, Channels: rules.Channels, By: "Ana"})
	for i, r := range rules.Items {
		facts := view.EditorFacts{
			Check:    s.Check(view.RuleDraft{Was: r.Name, Revision: r.Revision, AsYAML: true, YAML: r.YAML}),
			Channels: rules.Channels, Rule: &rules.Items[i],
		}
		facts.Check.Draft.AsYAML = i == 1
		switch i {
		case 0:
			versions, err := s.Versions(t.Context(), r.Name)
			if err != nil {
				t.Fatal(err)
			}
			out["rule-versions"] = view.RuleVersions(view.VersionsFacts{Name: r.Name, Rule: facts.Rule, Versions: versions})
			out["rule-delete"] = view.RuleDelete(r)
			out["rule-form"] = view.RuleEditor(facts)
		case 1:
			theirs := r
			theirs.Author, theirs.YAML = r.Author+fixture.Evil, "name: humid\n# "+fixture.Evil+"\n"
			facts.Theirs = &theirs
			out["rule-conflict"] = view.RuleEditor(facts)
		case 2:
			out["rule-of-file"] = view.RuleEditor(facts)
		}
	}
}
