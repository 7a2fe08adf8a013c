package rules

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// From these on a rule is called noisy: that many alerts in 7 days, of which nobody acted on
// four in five.
const (
	noisyFrom   = 5
	noisyDays   = 7
	nobodyActed = 0.8
)

// noise returns the statistics of a rule whose alerts nobody acts on; false if it is none.
func noise(all []view.RuleStats) (view.RuleStats, bool) {
	for _, s := range all {
		if s.Days == noisyDays {
			return s, s.Alerts >= noisyFrom && float64(s.NeverActed) >= nobodyActed*float64(s.Alerts)
		}
	}
	return view.RuleStats{}, false
}

// noiseWords says how noisy a rule is.
func noiseWords(s view.RuleStats) string {
	words := ui.Plural(s.Alerts, "time", "times") + " in " + ui.Plural(s.Days, "day", "days") + ", "
	if s.Acknowledged == 0 {
		return words + "never acknowledged"
	}
	return words + "acknowledged " + ui.Plural(s.Acknowledged, "time", "times") + ", nobody acted on " + ui.FormatCount(uint64(s.NeverActed))
}

// period says on what the proposals were computed.
func (a Advice) period() string {
	whole := a.To.Sub(a.From) >= noisyDays*24*time.Hour-time.Hour
	if whole {
		return "the last " + ui.Plural(noisyDays, "day", "days")
	}
	return "the last " + ui.FormatDuration(a.To.Sub(a.From)) + ", which is all that is stored"
}

// quieter serves the part of the page about quieter settings, while they are looked for.
func (p *Pages) quieter(w http.ResponseWriter, r *http.Request) {
	rule, err := p.rule(r)
	if err != nil {
		p.Fail(w, r, "The rule cannot be read", err)
		return
	}
	if r.Header.Get("Hx-Request") == "" {
		http.Redirect(w, r, ui.RuleURL(rule.Name)+"#quieter", http.StatusSeeOther)
		return
	}
	f := EditorFacts{Rule: &rule, Stats: p.source.Stats(rule.Name), Advice: p.source.Advice(rule.Name), By: app.RememberedAuthor(r)}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := Quieter(f).Render(r.Context(), w); err != nil && r.Context().Err() == nil {
		p.shell.Log.Error("proposals were not rendered completely", "route", r.Pattern, "err", err)
	}
}

// advise has quieter settings looked for.
func (p *Pages) advise(w http.ResponseWriter, r *http.Request) {
	name, err := app.RuleName(r)
	if err == nil {
		err = p.source.Advise(name)
	}
	if err != nil {
		p.Fail(w, r, "Quieter settings were not looked for", err)
		return
	}
	http.Redirect(w, r, ui.RuleURL(name)+"#quieter", http.StatusSeeOther)
}

// take puts a proposal in force. Only what was proposed can be taken, so an operator may.
func (p *Pages) take(w http.ResponseWriter, r *http.Request) {
	c, ok := p.change(w, r)
	if !ok {
		return
	}
	saved, err := p.taken(r, c)
	if err != nil {
		p.Fail(w, r, "The proposal was not taken", err)
		return
	}
	http.Redirect(w, r, ui.RuleURL(saved.Name)+"?saved=1", http.StatusSeeOther)
}

func (p *Pages) taken(r *http.Request, c change) (Rule, error) {
	advice := p.source.Advice(c.name)
	n, err := strconv.Atoi(c.form.Get("proposal"))
	switch {
	case err != nil || n < 0:
		return Rule{}, view.RuleProblems{{Text: "proposal must be the number of one"}}
	case advice.State != AdviceDone || n >= len(advice.Proposals) || advice.Revision != c.revision:
		return Rule{}, view.ErrConflict
	}
	return p.source.Save(r.Context(), Draft{Was: c.name, Revision: c.revision, AsYAML: true, YAML: advice.Proposals[n].YAML}, c.author)
}

func (p *Pages) apiAdvice(w http.ResponseWriter, r *http.Request) {
	rule, err := p.rule(r)
	if err != nil {
		p.apiFail(w, "The proposals cannot be read", err)
		return
	}
	p.shell.Answer(w, r, p.source.Advice(rule.Name))
}

func (p *Pages) apiAdvise(w http.ResponseWriter, r *http.Request) {
	name, err := app.RuleName(r)
	if err == nil {
		err = p.source.Advise(name)
	}
	switch {
	case errors.Is(err, view.ErrNotFound):
		p.shell.Fail(w, http.StatusNotFound, "Rule not found.")
	case err != nil:
		p.apiFail(w, "Quieter settings were not looked for", err)
	default:
		p.shell.AnswerWith(w, r, http.StatusAccepted, p.source.Advice(name))
	}
}
