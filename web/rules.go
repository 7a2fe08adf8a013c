package web

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/web/view"
)

const (
	// maxRule bounds the body of a request that holds a rule, in bytes.
	maxRule = 64 << 10
	// maxAuthor bounds the name of a person, in bytes.
	maxAuthor = 64
	// authorCookie remembers the name that a person gave, for authorFor.
	authorCookie = "headwater_author"
	authorFor    = 365 * 24 * time.Hour
)

// ruleForm is what the name of a rule may look like.
var ruleForm = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// rulesPageOf is the page around what is shown of rules.
func rulesPageOf(title string) view.Page {
	return view.Page{Title: title, Section: "rules", Live: "/live/rules"}
}

func (s *Server) rulesLive(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, r.URL.Path, func() content { return partsOf(s.shell) })
}

// filterText reads the text that a list is filtered by.
func filterText(r *http.Request) (string, error) {
	text := strings.TrimSpace(r.FormValue("q"))
	if len(text) > maxText || !utf8.ValidString(text) {
		return "", errors.New("q must be text of at most 80 bytes")
	}
	return text, nil
}

func (s *Server) rulesPage(w http.ResponseWriter, r *http.Request) {
	text, err := filterText(r)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	rules, err := s.sources.Rules.Rules(text)
	if err != nil {
		s.failRulePage(w, r, "The rules cannot be read", err)
		return
	}
	f := view.RulesFacts{Text: text, Rules: rules}
	if name := r.FormValue("deleted"); name != "" {
		f.JustDeleted = s.deleted(name)
	}
	s.render(w, r, http.StatusOK, rulesPageOf("Rules"), view.RulesPage(f))
}

// ruleStatus is the status of an answer that an error of the sources means.
func (s *Server) ruleStatus(err error) int {
	var problems RuleProblems
	switch {
	case errors.As(err, &problems):
		return http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	case errors.Is(err, ErrReadOnly):
		return http.StatusForbidden
	case errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	s.log.Warn("something went wrong with the rules", "err", err)
	return http.StatusBadGateway
}

func (s *Server) failRulePage(w http.ResponseWriter, r *http.Request, what string, err error) {
	switch status := s.ruleStatus(err); status {
	case http.StatusNotFound:
		if d := s.deleted(r.PathValue("name")); d != nil {
			s.render(w, r, status, rulesPageOf("Deleted"), view.RuleDeleted(*d))
			return
		}
		s.render(w, r, status, rulesPageOf("Not found"), view.NotFound("Rule not found.", []view.Link{{Href: "/rules", Text: "Rules"}}))
	case http.StatusConflict:
		s.render(w, r, status, rulesPageOf("Changed meanwhile"), view.RuleConflict(r.PathValue("name"), strings.ToLower(what[:1])+what[1:]))
	default:
		s.render(w, r, status, rulesPageOf("Rules"), view.Failure(what+": "+err.Error()+"."))
	}
}

// ruleName reads the name of the rule of a path.
func ruleName(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !ruleForm.MatchString(name) {
		return "", ErrNotFound
	}
	return name, nil
}

// rule returns the rule of a path.
func (s *Server) rule(r *http.Request) (view.Rule, error) {
	name, err := ruleName(r)
	if err != nil {
		return view.Rule{}, err
	}
	return s.sources.Rules.Rule(name)
}

// deleted returns the deleted rule of a name; nil when there is none that can be
// restored.
func (s *Server) deleted(name string) *view.DeletedRule {
	rules, err := s.sources.Rules.Rules("")
	if err != nil {
		return nil
	}
	for _, d := range rules.Deleted {
		if d.Name == name {
			return &d
		}
	}
	return nil
}

// channels are those that a rule may notify; none when that is not known.
func (s *Server) channels() []view.RuleChannel {
	rules, err := s.sources.Rules.Rules("")
	if err != nil {
		return nil
	}
	return rules.Channels
}

func (s *Server) newRulePage(w http.ResponseWriter, r *http.Request) {
	draft := view.RuleDraft{Fields: map[string]string{"severity": string(view.SeverityWarning), "state": string(view.RuleIsEnabled), "detector": "limit"}}
	if like := r.FormValue("like"); like != "" {
		if !ruleForm.MatchString(like) {
			s.failRulePage(w, r, "The rule cannot be copied", ErrNotFound)
			return
		}
		rule, err := s.sources.Rules.Rule(like)
		if err != nil {
			s.failRulePage(w, r, "The rule cannot be copied", err)
			return
		}
		draft = s.sources.Rules.Check(view.RuleDraft{AsYAML: true, YAML: rule.YAML}).Draft
		draft.AsYAML = false
		draft.Fields["name"], draft.Fields["state"] = "", string(view.RuleIsEnabled)
	}
	if called := r.FormValue("template"); called != "" {
		i := slices.IndexFunc(view.RuleTemplates[:], func(t view.RuleTemplate) bool { return t.Name == called })
		if i < 0 {
			s.failRulePage(w, r, "The template cannot be used", ErrNotFound)
			return
		}
		maps.Copy(draft.Fields, view.RuleTemplates[i].Fields)
		draft.Fields["name"] = s.freeName(called)
	}
	for _, name := range []string{"site", "device", "metric"} {
		if token := r.FormValue(name); token != "" && validToken(token) {
			draft.Fields["match."+name] = token
		}
	}
	s.editor(w, r, http.StatusOK, view.EditorFacts{Check: s.sources.Rules.Check(draft)})
}

// freeName returns the name, or the name with a number if there is such a rule.
func (s *Server) freeName(name string) string {
	free := name
	for n := 2; n < 100; n++ {
		if _, err := s.sources.Rules.Rule(free); err != nil {
			break
		}
		free = name + "-" + strconv.Itoa(n)
	}
	return free
}

func (s *Server) rulePage(w http.ResponseWriter, r *http.Request) {
	rule, err := s.rule(r)
	if err != nil {
		s.failRulePage(w, r, "The rule cannot be read", err)
		return
	}
	check := s.sources.Rules.Check(view.RuleDraft{Was: rule.Name, Revision: rule.Revision, AsYAML: true, YAML: rule.YAML})
	check.Draft.AsYAML = r.FormValue("as") == "yaml" || check.YAMLOnly
	s.editor(w, r, http.StatusOK, view.EditorFacts{Check: check, Rule: &rule, Saved: r.FormValue("saved") != ""})
}

// editor renders the page on which a rule is edited.
func (s *Server) editor(w http.ResponseWriter, r *http.Request, status int, f view.EditorFacts) {
	f.Channels = s.channels()
	if f.By == "" {
		f.By = rememberedAuthor(r)
	}
	s.render(w, r, status, rulesPageOf(f.Title()), view.RuleEditor(f))
}

// ruleDraft reads a draft from a form, whose size is bounded.
func ruleDraft(w http.ResponseWriter, r *http.Request) (view.RuleDraft, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRule)
	if err := r.ParseForm(); err != nil {
		return view.RuleDraft{}, fmt.Errorf("the form cannot be read: %w", err)
	}
	form := r.PostForm
	d := view.RuleDraft{Was: r.PathValue("name"), AsYAML: form.Get("as") == "yaml", Fields: map[string]string{}}
	if d.Was != "" && !ruleForm.MatchString(d.Was) {
		return d, ErrNotFound
	}
	if d.Was == "new" { // the address of the page for new rules
		d.Was = ""
	}
	var err error
	if d.Revision, err = revision(form); err != nil {
		return d, err
	}
	lines := strings.NewReplacer("\r\n", "\n", "\r", "\n")
	d.YAML = lines.Replace(form.Get("yaml"))
	for _, f := range view.RuleFields {
		d.Fields[f.Name] = strings.TrimSpace(lines.Replace(form.Get(f.Name)))
	}
	d.Fields["channels"] = strings.Join(form["channel"], "\n")
	return d, nil
}

// revision reads the revision that a change is of.
func revision(v url.Values) (uint64, error) {
	n, err := strconv.ParseUint(v.Get("revision"), 10, 64)
	if err != nil {
		return 0, errors.New("revision must be that of the rule as it was seen, 0 for a new rule")
	}
	return n, nil
}

// checkRulePart answers with the preview of a draft, while it is edited.
func (s *Server) checkRulePart(w http.ResponseWriter, r *http.Request) {
	draft, err := ruleDraft(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	f := view.EditorFacts{Check: s.sources.Rules.Check(draft), Judged: r.PostForm.Get("judged") != ""}
	if err := view.RuleChecked(f).Render(r.Context(), w); err != nil && r.Context().Err() == nil {
		s.log.Error("a part was not rendered whole", "path", r.URL.Path, "err", err)
	}
}

// saveRulePage does what the form of a rule asks for: it saves the draft, only
// checks it, or shows it in the other editor.
func (s *Server) saveRulePage(w http.ResponseWriter, r *http.Request) {
	draft, err := ruleDraft(w, r)
	if err != nil {
		s.badRule(w, r, err)
		return
	}
	f := view.EditorFacts{By: strings.TrimSpace(r.PostForm.Get("by"))}
	if draft.Was != "" {
		if rule, err := s.sources.Rules.Rule(draft.Was); err == nil {
			f.Rule = &rule
		}
	}
	switch r.PostForm.Get("do") {
	case "check":
		f.Check, f.Judged = s.sources.Rules.Check(draft), true
		s.editor(w, r, http.StatusOK, f)
		return
	case "try":
		if f.Check, f.Judged = s.sources.Rules.Check(draft), true; len(f.Check.Problems) > 0 {
			s.editor(w, r, http.StatusOK, f)
			return
		}
		s.tryDraft(w, r, f)
		return
	case "yaml", "form":
		f.Check = s.sources.Rules.Check(draft)
		switch to := r.PostForm.Get("do") == "yaml"; {
		case to:
			f.Check.Draft.AsYAML = true
		case len(f.Check.Problems) > 0: // what is not read could not be shown
			f.Judged = true
		case f.Check.YAMLOnly:
			f.Failure = "the rule has what only YAML can say, and the form would lose it"
		default:
			f.Check.Draft.AsYAML = false
		}
		s.editor(w, r, http.StatusOK, f)
		return
	}
	by, err := author(w, r, r.PostForm)
	if err != nil {
		s.badRule(w, r, err)
		return
	}
	saved, err := s.sources.RuleStore.Save(r.Context(), draft, by)
	if err == nil {
		http.Redirect(w, r, view.RuleURL(saved.Name)+"?saved=1", http.StatusSeeOther)
		return
	}
	s.notSaved(w, r, draft, f, err)
}

// notSaved shows the draft again, and why it was not saved.
func (s *Server) notSaved(w http.ResponseWriter, r *http.Request, draft view.RuleDraft, f view.EditorFacts, err error) {
	status := s.ruleStatus(err)
	f.Check = s.sources.Rules.Check(draft)
	switch status {
	case http.StatusNotFound:
		status = http.StatusConflict
		fallthrough
	case http.StatusConflict:
		// What is said now is said of the rule as it is now: to save once more is
		// to decide against it.
		theirs, now := s.sources.Rules.Rule(draft.Was)
		switch {
		case now == nil:
			f.Theirs, f.Check.Draft.Revision = &theirs, theirs.Revision
		case errors.Is(now, ErrNotFound):
			f.Gone, f.Check.Draft.Revision = true, 0
		default:
			f.Failure = now.Error()
		}
	case http.StatusBadRequest:
		f.Judged = true
		if problems, ok := errors.AsType[RuleProblems](err); ok {
			f.Check.Problems = problems
		}
	default:
		f.Failure = err.Error()
	}
	s.editor(w, r, status, f)
}

func (s *Server) badRule(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrNotFound) {
		s.failRulePage(w, r, "The rule cannot be read", err)
		return
	}
	s.badRequest(w, r, err)
}

// author says who sends a form: the name that the person gave, now or before, or else
// where the request came from.
func author(w http.ResponseWriter, r *http.Request, v url.Values) (view.Author, error) {
	by := strings.TrimSpace(v.Get("by"))
	if by == "" {
		if by = rememberedAuthor(r); by == "" {
			by = somewhere(r)
		}
		return view.Author{Who: by}, nil
	}
	if !validAuthor(by) {
		return view.Author{}, errAuthor
	}
	http.SetCookie(w, &http.Cookie{
		Name: authorCookie, Value: url.QueryEscape(by), Path: "/rules", MaxAge: int(authorFor.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	return view.Author{Who: by}, nil
}

var errAuthor = fmt.Errorf("by must be a name of at most %d bytes, of characters that can be printed", maxAuthor)

// somewhere says where a request came from.
func somewhere(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unknown user"
	}
	return "unknown user at " + host
}

func validAuthor(by string) bool {
	return len(by) <= maxAuthor && utf8.ValidString(by) && strings.IndexFunc(by, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func rememberedAuthor(r *http.Request) string {
	c, err := r.Cookie(authorCookie)
	if err != nil {
		return ""
	}
	by, err := url.QueryUnescape(c.Value)
	if err != nil || !validAuthor(by) {
		return ""
	}
	return by
}

// ruleChange is what a form asks for that changes a rule without editing it.
type ruleChange struct {
	name     string
	revision uint64
	author   view.Author
	form     url.Values
}

// change reads the form of a button.
func (s *Server) change(w http.ResponseWriter, r *http.Request) (c ruleChange, ok bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	if err != nil {
		err = fmt.Errorf("the form cannot be read: %w", err)
	}
	c.form = r.PostForm
	if err == nil {
		c.name, err = ruleName(r)
	}
	if err == nil {
		c.revision, err = revision(c.form)
	}
	if err == nil {
		c.author, err = author(w, r, c.form)
	}
	if err != nil {
		s.badRule(w, r, err)
		return c, false
	}
	return c, true
}

// backForm are the pages to which a button may lead back.
var backForm = regexp.MustCompile(`^(/rules(/[a-z0-9_-]{1,64})?|/alerts|/devices/[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64})$`)

func (s *Server) ruleStatePage(w http.ResponseWriter, r *http.Request) {
	c, ok := s.change(w, r)
	if !ok {
		return
	}
	state, err := ruleStateOf(c.form)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	if _, err := s.sources.RuleStore.SetState(r.Context(), c.name, c.revision, state, c.author); err != nil {
		s.failRulePage(w, r, "Its state was not changed", err)
		return
	}
	back := c.form.Get("back")
	switch {
	case !backForm.MatchString(back):
		back = view.RuleURL(c.name)
	case back == "/rules":
		back += "#rule-" + c.name
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func ruleStateOf(v url.Values) (view.RuleState, error) {
	state := view.RuleState(v.Get("state"))
	if !state.Valid() {
		return "", errors.New("state must be enabled, muted or draft")
	}
	return state, nil
}

func (s *Server) confirmRulePage(w http.ResponseWriter, r *http.Request) {
	rule, err := s.rule(r)
	switch {
	case err != nil:
	case !rule.Editable():
		err = fmt.Errorf("%w: %s", ErrReadOnly, rule.Where)
	case !rule.Deletable():
		err = RuleProblems{{Text: "it is built in, and can be muted or made a draft"}}
	}
	if err != nil {
		s.failRulePage(w, r, "The rule cannot be deleted", err)
		return
	}
	s.render(w, r, http.StatusOK, rulesPageOf("Delete "+rule.Name), view.RuleDelete(rule))
}

func (s *Server) deleteRulePage(w http.ResponseWriter, r *http.Request) {
	c, ok := s.change(w, r)
	if !ok {
		return
	}
	if err := s.sources.RuleStore.Delete(r.Context(), c.name, c.revision, c.author); err != nil {
		s.failRulePage(w, r, "It was not deleted", err)
		return
	}
	http.Redirect(w, r, "/rules?deleted="+c.name, http.StatusSeeOther)
}

func (s *Server) ruleVersionsPage(w http.ResponseWriter, r *http.Request) {
	name, err := ruleName(r)
	f := view.VersionsFacts{Name: name}
	if err == nil {
		f.Versions, err = s.sources.RuleStore.Versions(r.Context(), name)
	}
	if err != nil {
		s.failRulePage(w, r, "The versions cannot be read", err)
		return
	}
	if rule, err := s.sources.Rules.Rule(name); err == nil {
		f.Rule = &rule
	}
	s.render(w, r, http.StatusOK, rulesPageOf("Versions of "+name), view.RuleVersions(f))
}

// restoreRulePage puts an older version in force again, as a new version.
func (s *Server) restoreRulePage(w http.ResponseWriter, r *http.Request) {
	c, ok := s.change(w, r)
	if !ok {
		return
	}
	saved, err := s.restore(r, c)
	if err != nil {
		s.failRulePage(w, r, "The version was not restored", err)
		return
	}
	http.Redirect(w, r, view.RuleURL(saved.Name)+"?saved=1", http.StatusSeeOther)
}

func (s *Server) restore(r *http.Request, c ruleChange) (view.Rule, error) {
	versions, err := s.sources.RuleStore.Versions(r.Context(), c.name)
	if err != nil {
		return view.Rule{}, err
	}
	draft := view.RuleDraft{Was: c.name, Revision: c.revision, AsYAML: true}
	if _, err := s.sources.Rules.Rule(c.name); errors.Is(err, ErrNotFound) {
		draft.Was, draft.Revision = "", 0
	}
	asked := c.form.Get("version")
	for _, v := range versions {
		if !v.Deleted && (asked == view.LatestVersion || asked == strconv.FormatUint(v.Version, 10)) {
			draft.YAML = v.YAML
			return s.sources.RuleStore.Save(r.Context(), draft, c.author)
		}
	}
	return view.Rule{}, ErrNotFound
}

// alerts returns the alerts with what is to be said of their rules.
func (s *Server) alerts(resolved int) view.Alerts {
	a := s.sources.Alerts.Alerts(resolved)
	a.Active, a.Resolved = s.aboutAlerts(a.Active), s.aboutAlerts(a.Resolved)
	return a
}

func (s *Server) aboutAlerts(in []view.Alert) []view.Alert {
	out := slices.Clone(in)
	for i := range out {
		about, ok := s.sources.Rules.About(out[i].Rule)
		if !ok {
			continue
		}
		out[i].About = &about
		if out[i].Runbook == "" {
			out[i].Runbook = about.Runbook
		}
		if len(out[i].Labels) == 0 {
			out[i].Labels = about.Labels
		}
	}
	return out
}

// episodes returns the anomalies of a device with what is to be said of their
// rules.
func (s *Server) episodes(site, device string, from, to time.Time) []view.Episode {
	out := slices.Clone(s.sources.Alerts.Episodes(site, device, from, to))
	for i := range out {
		if about, ok := s.sources.Rules.About(out[i].Rule); ok {
			out[i].About = &about
		}
	}
	return out
}
