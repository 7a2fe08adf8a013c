package rules

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"headwater/web/app"
	"headwater/web/view"
)

// apiFail answers with what went wrong with a rule.
func (p *Pages) apiFail(w http.ResponseWriter, what string, err error) {
	status := p.status(err)
	switch status {
	case http.StatusNotFound:
		p.shell.Fail(w, status, "Rule not found.")
		return
	case http.StatusBadRequest:
		var problems view.RuleProblems
		errors.As(err, &problems)
		p.shell.FailWith(w, status, app.Problem{Detail: what + ": " + err.Error() + ".", Problems: problems})
		return
	}
	p.shell.Fail(w, status, what+": "+err.Error()+".")
}

func (p *Pages) apiList(w http.ResponseWriter, r *http.Request) {
	text, err := app.Text(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	all, err := p.source.Rules(text)
	if err != nil {
		p.apiFail(w, "The rules cannot be read", err)
		return
	}
	all.Items, all.Channels, all.Windows = app.OrEmpty(all.Items), app.OrEmpty(all.Channels), app.OrEmpty(all.Windows)
	p.shell.Answer(w, r, all)
}

func (p *Pages) apiOne(w http.ResponseWriter, r *http.Request) {
	rule, err := p.rule(r)
	if err != nil {
		p.apiFail(w, "The rule cannot be read", err)
		return
	}
	p.shell.Answer(w, r, rule)
}

// apiChange reads what a request to the API would change: from path and query.
func (p *Pages) apiChange(w http.ResponseWriter, r *http.Request) (c change, ok bool) {
	c.form = r.URL.Query()
	var err error
	c.name, err = app.RuleName(r)
	if err != nil {
		err = errors.New("the name of a rule has 1 to 64 characters of a-z, 0-9, _ and -")
	}
	if err == nil {
		c.revision, err = app.Revision(c.form)
	}
	if err == nil {
		c.author, err = app.AuthorOfAPI(r)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return c, false
	}
	return c, true
}

// apiSave takes the rule as YAML, of which JSON is a part.
func (p *Pages) apiSave(w http.ResponseWriter, r *http.Request) {
	c, ok := p.apiChange(w, r)
	if !ok {
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRule))
	if err == nil && !utf8.Valid(text) {
		err = errors.New("it is not UTF-8")
	}
	if err != nil {
		p.shell.FailParameters(w, fmt.Errorf("the rule cannot be read: %w", err))
		return
	}
	d := Draft{Was: c.name, Revision: c.revision, AsYAML: true, YAML: string(text)}
	if c.revision == 0 {
		// There must be no such rule; the text's name is still that of the path.
		if _, err := p.source.Rule(c.name); errors.Is(err, view.ErrNotFound) {
			d.Was = ""
		}
		if check := p.source.Check(d); check.Name != "" && check.Name != c.name {
			p.apiFail(w, "The rule was not saved", view.RuleProblems{{Field: "name", Text: "is not that of the address, which is " + c.name}})
			return
		}
	}
	saved, err := p.source.Save(r.Context(), d, c.author)
	if err != nil {
		p.apiFail(w, "The rule was not saved", err)
		return
	}
	p.shell.Answer(w, r, saved)
}

func (p *Pages) apiDelete(w http.ResponseWriter, r *http.Request) {
	c, ok := p.apiChange(w, r)
	if !ok {
		return
	}
	if err := p.source.Delete(r.Context(), c.name, c.revision, c.author); err != nil {
		p.apiFail(w, "The rule was not deleted", err)
		return
	}
	p.shell.Answer(w, r, struct {
		Deleted string `json:"deleted"`
	}{c.name})
}

func (p *Pages) apiState(w http.ResponseWriter, r *http.Request) {
	c, ok := p.apiChange(w, r)
	if !ok {
		return
	}
	state, err := stateOf(c.form)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	rule, err := p.source.SetState(r.Context(), c.name, c.revision, state, c.author)
	if err != nil {
		p.apiFail(w, "The state was not changed", err)
		return
	}
	p.shell.Answer(w, r, rule)
}

func (p *Pages) apiVersions(w http.ResponseWriter, r *http.Request) {
	name, err := app.RuleName(r)
	var versions []Version
	if err == nil {
		versions, err = p.source.Versions(r.Context(), name)
	}
	if err != nil {
		p.apiFail(w, "The versions cannot be read", err)
		return
	}
	p.shell.Answer(w, r, struct {
		Versions []Version `json:"versions"`
	}{app.OrEmpty(versions)})
}

func (p *Pages) apiStats(w http.ResponseWriter, r *http.Request) {
	rule, err := p.rule(r)
	if err != nil {
		p.apiFail(w, "The statistics cannot be read", err)
		return
	}
	p.shell.Answer(w, r, struct {
		Rule    string           `json:"rule"`
		Periods []view.RuleStats `json:"periods"`
	}{rule.Name, app.OrEmpty(p.source.Stats(rule.Name))})
}
