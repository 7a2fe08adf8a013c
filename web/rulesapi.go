package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"headwater/web/view"
)

// failRule answers with what went wrong with a rule.
func (s *Server) failRule(w http.ResponseWriter, what string, err error) {
	status := s.ruleStatus(err)
	switch status {
	case http.StatusNotFound:
		s.fail(w, status, "Rule not found.")
		return
	case http.StatusBadRequest:
		var problems RuleProblems
		errors.As(err, &problems)
		s.failWith(w, status, problem{Detail: what + ": " + err.Error() + ".", Problems: problems})
		return
	}
	s.fail(w, status, what+": "+err.Error()+".")
}

func (s *Server) apiRules(w http.ResponseWriter, r *http.Request) {
	text, err := filterText(r)
	if err != nil {
		s.bad(w, err)
		return
	}
	rules, err := s.sources.Rules.Rules(text)
	if err != nil {
		s.failRule(w, "The rules cannot be read", err)
		return
	}
	rules.Items, rules.Channels, rules.Windows = orEmpty(rules.Items), orEmpty(rules.Channels), orEmpty(rules.Windows)
	s.answer(w, r, rules)
}

func (s *Server) apiRule(w http.ResponseWriter, r *http.Request) {
	rule, err := s.rule(r)
	if err != nil {
		s.failRule(w, "The rule cannot be read", err)
		return
	}
	s.answer(w, r, rule)
}

// apiChange reads what a request to the API would change: from path and query.
func (s *Server) apiChange(w http.ResponseWriter, r *http.Request) (c ruleChange, ok bool) {
	c.form = r.URL.Query()
	var err error
	if c.name, err = ruleName(r); err != nil {
		s.bad(w, errors.New("the name of a rule has 1 to 64 characters of a-z, 0-9, _ and -"))
		return c, false
	}
	if c.revision, err = revision(c.form); err == nil {
		c.author = view.Author{Who: c.form.Get("by"), API: true}
		switch {
		case c.author.Who == "":
			c.author.Who = somewhere(r)
		case !validAuthor(c.author.Who):
			err = errAuthor
		}
	}
	if err != nil {
		s.bad(w, err)
		return c, false
	}
	return c, true
}

// apiSaveRule takes the rule as YAML, of which JSON is a part.
func (s *Server) apiSaveRule(w http.ResponseWriter, r *http.Request) {
	c, ok := s.apiChange(w, r)
	if !ok {
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRule))
	if err == nil && !utf8.Valid(text) {
		err = errors.New("it is not UTF-8")
	}
	if err != nil {
		s.bad(w, fmt.Errorf("the rule cannot be read: %w", err))
		return
	}
	draft := view.RuleDraft{Was: c.name, Revision: c.revision, AsYAML: true, YAML: string(text)}
	if c.revision == 0 {
		// It must not be there; its name is still that of the path.
		if _, err := s.sources.Rules.Rule(c.name); errors.Is(err, ErrNotFound) {
			draft.Was = ""
		}
		if check := s.sources.Rules.Check(draft); check.Name != "" && check.Name != c.name {
			s.failRule(w, "The rule was not saved", RuleProblems{{Field: "name", Text: "is not that of the address, which is " + c.name}})
			return
		}
	}
	saved, err := s.sources.RuleStore.Save(r.Context(), draft, c.author)
	if err != nil {
		s.failRule(w, "The rule was not saved", err)
		return
	}
	s.answer(w, r, saved)
}

func (s *Server) apiDeleteRule(w http.ResponseWriter, r *http.Request) {
	c, ok := s.apiChange(w, r)
	if !ok {
		return
	}
	if err := s.sources.RuleStore.Delete(r.Context(), c.name, c.revision, c.author); err != nil {
		s.failRule(w, "The rule was not deleted", err)
		return
	}
	s.answer(w, r, struct {
		Deleted string `json:"deleted"`
	}{c.name})
}

func (s *Server) apiRuleState(w http.ResponseWriter, r *http.Request) {
	c, ok := s.apiChange(w, r)
	if !ok {
		return
	}
	state, err := ruleStateOf(c.form)
	if err != nil {
		s.bad(w, err)
		return
	}
	rule, err := s.sources.RuleStore.SetState(r.Context(), c.name, c.revision, state, c.author)
	if err != nil {
		s.failRule(w, "The state was not changed", err)
		return
	}
	s.answer(w, r, rule)
}

func (s *Server) apiRuleVersions(w http.ResponseWriter, r *http.Request) {
	name, err := ruleName(r)
	var versions []view.RuleVersion
	if err == nil {
		versions, err = s.sources.RuleStore.Versions(r.Context(), name)
	}
	if err != nil {
		s.failRule(w, "The versions cannot be read", err)
		return
	}
	s.answer(w, r, struct {
		Versions []view.RuleVersion `json:"versions"`
	}{orEmpty(versions)})
}
