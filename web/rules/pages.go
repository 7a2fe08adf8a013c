package rules

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// maxRule bounds the body of a request that holds a rule, in bytes.
const maxRule = 64 << 10

// Try shows the page on which a draft is tried on the past. Rule is the rule in
// force that the draft would change; nil for a new one.
type Try func(w http.ResponseWriter, r *http.Request, d Draft, rule *Rule)

// Pages are the pages of rules and the rules of the API.
type Pages struct {
	shell  *app.Shell
	source Source
	try    Try
}

// New returns the pages.
func New(shell *app.Shell, source Source, try Try) *Pages {
	return &Pages{shell: shell, source: source, try: try}
}

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/rules", Role: app.Viewer, Handle: p.page},
		{Method: "GET", Path: "/rules/new", Role: app.Administrator, Handle: p.newRule},
		{Method: "POST", Path: "/rules/new", Role: app.Administrator, Handle: p.save},
		{Method: "GET", Path: stylePath, Role: app.Viewer, Handle: p.style},
		{Method: "GET", Path: "/rules/{name}", Role: app.Viewer, Handle: p.edit},
		{Method: "POST", Path: "/rules/{name}", Role: app.Administrator, Handle: p.save},
		{Method: "POST", Path: "/rules/{name}/check", Role: app.Administrator, Handle: p.check},
		{Method: "GET", Path: "/rules/{name}/versions", Role: app.Viewer, Handle: p.versions},
		{Method: "POST", Path: "/rules/{name}/restore", Role: app.Administrator, Handle: p.restore},
		{Method: "POST", Path: "/rules/{name}/state", Role: app.Administrator, Handle: p.setState},
		{Method: "GET", Path: "/rules/{name}/delete", Role: app.Administrator, Handle: p.confirmDelete},
		{Method: "POST", Path: "/rules/{name}/delete", Role: app.Administrator, Handle: p.delete},
		{Method: "GET", Path: "/rules/{name}/quieter", Role: app.Viewer, Handle: p.quieter},
		{Method: "POST", Path: "/rules/{name}/quieter", Role: app.Operator, Handle: p.advise},
		{Method: "POST", Path: "/rules/{name}/quieter/take", Role: app.Operator, Handle: p.take},
		{Method: "GET", Path: "/live/rules", Role: app.Viewer, Handle: p.shell.Live},
		{Method: "GET", Path: "/api/v1/rules", Role: app.Viewer, Handle: p.apiList},
		{Method: "GET", Path: "/api/v1/rules/{name}", Role: app.Viewer, Handle: p.apiOne},
		{Method: "PUT", Path: "/api/v1/rules/{name}", Role: app.Administrator, Handle: p.apiSave},
		{Method: "DELETE", Path: "/api/v1/rules/{name}", Role: app.Administrator, Handle: p.apiDelete},
		{Method: "POST", Path: "/api/v1/rules/{name}/state", Role: app.Administrator, Handle: p.apiState},
		{Method: "GET", Path: "/api/v1/rules/{name}/stats", Role: app.Viewer, Handle: p.apiStats},
		{Method: "GET", Path: "/api/v1/rules/{name}/advice", Role: app.Viewer, Handle: p.apiAdvice},
		{Method: "POST", Path: "/api/v1/rules/{name}/advice", Role: app.Operator, Handle: p.apiAdvise},
		{Method: "GET", Path: "/api/v1/rules/{name}/versions", Role: app.Viewer, Handle: p.apiVersions},
	}
}

// shellPage is the page of the shell around the content about rules.
func shellPage(title string) app.Page {
	return app.Page{Title: title, Section: "rules", Live: "/live/rules"}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	text, err := app.Text(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	all, err := p.source.Rules(text)
	if err != nil {
		p.Fail(w, r, "The rules cannot be read", err)
		return
	}
	f := Facts{Text: text, Rules: all, Templates: p.source.Form().Templates}
	if name := r.FormValue("deleted"); name != "" {
		f.JustDeleted = p.deleted(name)
	}
	p.shell.Page(w, r, http.StatusOK, shellPage("Rules"), Page(f))
}

// status returns the status of an answer that stands for an error of the source.
func (p *Pages) status(err error) int {
	var problems view.RuleProblems
	switch {
	case errors.As(err, &problems):
		return http.StatusBadRequest
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, view.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, view.ErrReadOnly):
		return http.StatusForbidden
	case errors.Is(err, view.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	p.shell.Log.Warn("request about rules failed", "err", err)
	return http.StatusBadGateway
}

// Fail shows why something could not be done with the rule of the address. What
// says what, as the beginning of a sentence.
func (p *Pages) Fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	switch status := p.status(err); status {
	case http.StatusNotFound:
		if d := p.deleted(r.PathValue("name")); d != nil {
			p.shell.Page(w, r, status, shellPage("Deleted"), DeletedPage(*d))
			return
		}
		p.shell.Page(w, r, status, shellPage("Not found"), ui.NotFound("Rule not found.", []ui.Link{{Href: "/rules", Text: "Rules"}}))
	case http.StatusConflict:
		p.shell.Page(w, r, status, shellPage("Changed meanwhile"), ConflictPage(r.PathValue("name"), strings.ToLower(what[:1])+what[1:]))
	default:
		p.shell.Page(w, r, status, shellPage("Rules"), ui.Failure(what+": "+err.Error()+"."))
	}
}

// rule returns the rule of a path.
func (p *Pages) rule(r *http.Request) (Rule, error) {
	name, err := app.RuleName(r)
	if err != nil {
		return Rule{}, err
	}
	return p.source.Rule(name)
}

// deleted returns the deleted rule of a name; nil when there is none that can be
// restored.
func (p *Pages) deleted(name string) *Deleted {
	all, err := p.source.Rules("")
	if err != nil {
		return nil
	}
	for _, d := range all.Deleted {
		if d.Name == name {
			return &d
		}
	}
	return nil
}

// channels are the channels that a rule may notify; none when they are not known.
func (p *Pages) channels() []Channel {
	all, err := p.source.Rules("")
	if err != nil {
		return nil
	}
	return all.Channels
}

func (p *Pages) newRule(w http.ResponseWriter, r *http.Request) {
	draft := Draft{Fields: map[string]string{"severity": string(view.SeverityWarning), "state": string(view.RuleIsEnabled), "detector": p.source.Form().first()}}
	if like := r.FormValue("like"); like != "" {
		if !app.ValidRule(like) {
			p.Fail(w, r, "The rule cannot be copied", view.ErrNotFound)
			return
		}
		rule, err := p.source.Rule(like)
		if err != nil {
			p.Fail(w, r, "The rule cannot be copied", err)
			return
		}
		draft = p.source.Check(Draft{AsYAML: true, YAML: rule.YAML}).Draft
		draft.AsYAML = false
		draft.Fields["name"], draft.Fields["state"] = "", string(view.RuleIsEnabled)
	}
	if called := r.FormValue("template"); called != "" {
		templates := p.source.Form().Templates
		i := slices.IndexFunc(templates, func(t Template) bool { return t.Name == called })
		if i < 0 {
			p.Fail(w, r, "The template cannot be used", view.ErrNotFound)
			return
		}
		maps.Copy(draft.Fields, templates[i].Fields)
		draft.Fields["name"] = p.freeName(called)
	}
	for _, name := range []string{"site", "device", "metric"} {
		if token := r.FormValue(name); token != "" && app.ValidToken(token) {
			draft.Fields["match."+name] = token
		}
	}
	if above, err := strconv.ParseFloat(r.FormValue("above"), 64); err == nil && !math.IsInf(above, 0) && !math.IsNaN(above) {
		draft.Fields["above"] = strconv.FormatFloat(above, 'g', -1, 64)
		name := strings.Trim(strings.ToLower(draft.Fields["match.device"]+"-"+draft.Fields["match.metric"]), "-")
		draft.Fields["name"] = p.freeName(name[:min(60, len(name))])
	}
	p.editor(w, r, http.StatusOK, EditorFacts{Check: p.source.Check(draft)})
}

// freeName returns the name, or the name with a number if there is such a rule.
func (p *Pages) freeName(name string) string {
	free := name
	for n := 2; n < 100; n++ {
		if _, err := p.source.Rule(free); err != nil {
			break
		}
		free = name + "-" + strconv.Itoa(n)
	}
	return free
}

func (p *Pages) edit(w http.ResponseWriter, r *http.Request) {
	rule, err := p.rule(r)
	if err != nil {
		p.Fail(w, r, "The rule cannot be read", err)
		return
	}
	check := p.source.Check(Draft{Was: rule.Name, Revision: rule.Revision, AsYAML: true, YAML: rule.YAML})
	check.Draft.AsYAML = r.FormValue("as") == "yaml" || check.YAMLOnly
	p.editor(w, r, http.StatusOK, EditorFacts{Check: check, Rule: &rule, Saved: r.FormValue("saved") != ""})
}

// editor renders the page on which a rule is edited.
func (p *Pages) editor(w http.ResponseWriter, r *http.Request, status int, f EditorFacts) {
	f.Form, f.Channels = p.source.Form(), p.channels()
	if f.Rule != nil {
		f.Silences, f.Stats, f.Advice = p.source.SilencesOfRule(f.Rule.Name), p.source.Stats(f.Rule.Name), p.source.Advice(f.Rule.Name)
	}
	if f.By == "" {
		f.By = app.RememberedAuthor(r)
	}
	p.shell.Page(w, r, status, shellPage(f.Title()), Editor(f))
}

// style serves the style sheet of the form, whose address changes with its content.
func (p *Pages) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = io.WriteString(w, p.source.Form().style()) // a browser that went away needs no answer
}

// draft reads a draft from a form.
func (p *Pages) draft(w http.ResponseWriter, r *http.Request) (Draft, error) {
	if err := app.Form(w, r, maxRule); err != nil {
		return Draft{}, err
	}
	form := r.PostForm
	d := Draft{Was: r.PathValue("name"), AsYAML: form.Get("as") == "yaml", Fields: map[string]string{}}
	if d.Was != "" && !app.ValidRule(d.Was) {
		return d, view.ErrNotFound
	}
	if d.Was == "new" { // the address of the page for new rules
		d.Was = ""
	}
	var err error
	d.Revision, err = app.Revision(form)
	if err != nil {
		return d, err
	}
	lines := strings.NewReplacer("\r\n", "\n", "\r", "\n")
	d.YAML = lines.Replace(form.Get("yaml"))
	for _, f := range p.source.Form().Fields {
		d.Fields[f.Name] = strings.TrimSpace(lines.Replace(form.Get(f.Name)))
	}
	d.Fields["channels"] = strings.Join(form["channel"], "\n")
	return d, nil
}

// check answers with the preview of a draft, while it is edited.
func (p *Pages) check(w http.ResponseWriter, r *http.Request) {
	d, err := p.draft(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	f := EditorFacts{Form: p.source.Form(), Check: p.source.Check(d), Judged: r.PostForm.Get("judged") != ""}
	if err := Checked(f).Render(r.Context(), w); err != nil && r.Context().Err() == nil {
		p.shell.Log.Error("preview was not rendered completely", "route", r.Pattern, "err", err)
	}
}

// save does what the form of a rule asks for: it saves the draft, only checks it,
// tries it, or shows it in the other editor.
func (p *Pages) save(w http.ResponseWriter, r *http.Request) {
	d, err := p.draft(w, r)
	if err != nil {
		p.bad(w, r, err)
		return
	}
	f := EditorFacts{By: strings.TrimSpace(r.PostForm.Get("by"))}
	if d.Was != "" {
		if rule, err := p.source.Rule(d.Was); err == nil {
			f.Rule = &rule
		}
	}
	switch r.PostForm.Get("do") {
	case "check":
		f.Check, f.Judged = p.source.Check(d), true
		p.editor(w, r, http.StatusOK, f)
		return
	case "try":
		f.Check, f.Judged = p.source.Check(d), true
		if len(f.Check.Problems) > 0 {
			p.editor(w, r, http.StatusOK, f)
			return
		}
		p.try(w, r, f.Check.Draft, f.Rule)
		return
	case "yaml", "form":
		f.Check = p.source.Check(d)
		switch to := r.PostForm.Get("do") == "yaml"; {
		case to:
			f.Check.Draft.AsYAML = true
		case len(f.Check.Problems) > 0: // what can't be read can't be shown
			f.Judged = true
		case f.Check.YAMLOnly:
			f.Failure = "the rule has what only YAML can say, and the form would lose it"
		default:
			f.Check.Draft.AsYAML = false
		}
		p.editor(w, r, http.StatusOK, f)
		return
	}
	by, err := app.Author(w, r, r.PostForm)
	if err != nil {
		p.bad(w, r, err)
		return
	}
	saved, err := p.source.Save(r.Context(), d, by)
	if err == nil {
		http.Redirect(w, r, ui.RuleURL(saved.Name)+"?saved=1", http.StatusSeeOther)
		return
	}
	p.NotSaved(w, r, d, f, err)
}

// NotSaved shows the draft in the editor again, and why it was not saved.
func (p *Pages) NotSaved(w http.ResponseWriter, r *http.Request, d Draft, f EditorFacts, err error) {
	status := p.status(err)
	f.Check = p.source.Check(d)
	switch status {
	case http.StatusNotFound:
		status = http.StatusConflict
		fallthrough
	case http.StatusConflict:
		// The page shows the rule as it is now, so saving once more is a decision
		// against it.
		theirs, now := p.source.Rule(d.Was)
		switch {
		case now == nil:
			f.Theirs, f.Check.Draft.Revision = &theirs, theirs.Revision
		case errors.Is(now, view.ErrNotFound):
			f.Gone, f.Check.Draft.Revision = true, 0
		default:
			f.Failure = now.Error()
		}
	case http.StatusBadRequest:
		f.Judged = true
		if problems, ok := errors.AsType[view.RuleProblems](err); ok {
			f.Check.Problems = problems
		}
	default:
		f.Failure = err.Error()
	}
	p.editor(w, r, status, f)
}

func (p *Pages) bad(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, view.ErrNotFound) {
		p.Fail(w, r, "The rule cannot be read", err)
		return
	}
	p.shell.BadRequest(w, r, err)
}

// change is what a button or the API asks for that changes a rule without editing
// it.
type change struct {
	name     string
	revision uint64
	author   view.Author
	form     url.Values
}

// change reads the form of a button.
func (p *Pages) change(w http.ResponseWriter, r *http.Request) (c change, ok bool) {
	err := app.Form(w, r, app.MaxForm)
	c.form = r.PostForm
	if err == nil {
		c.name, err = app.RuleName(r)
	}
	if err == nil {
		c.revision, err = app.Revision(c.form)
	}
	if err == nil {
		c.author, err = app.Author(w, r, c.form)
	}
	if err != nil {
		p.bad(w, r, err)
		return c, false
	}
	return c, true
}

func (p *Pages) setState(w http.ResponseWriter, r *http.Request) {
	c, ok := p.change(w, r)
	if !ok {
		return
	}
	state, err := stateOf(c.form)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	if _, err := p.source.SetState(r.Context(), c.name, c.revision, state, c.author); err != nil {
		p.Fail(w, r, "Its state was not changed", err)
		return
	}
	back := app.Back(c.form, ui.RuleURL(c.name))
	if back == "/rules" {
		back += "#rule-" + c.name
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func stateOf(v url.Values) (view.RuleState, error) {
	state := view.RuleState(v.Get("state"))
	if !state.Valid() {
		return "", errors.New("state must be enabled, muted or draft")
	}
	return state, nil
}

func (p *Pages) confirmDelete(w http.ResponseWriter, r *http.Request) {
	rule, err := p.rule(r)
	switch {
	case err != nil:
	case !rule.Editable():
		err = fmt.Errorf("%w: %s", view.ErrReadOnly, rule.Where)
	case !rule.Deletable():
		err = view.RuleProblems{{Text: "it is built in, and can be muted or made a draft"}}
	}
	if err != nil {
		p.Fail(w, r, "The rule cannot be deleted", err)
		return
	}
	p.shell.Page(w, r, http.StatusOK, shellPage("Delete "+rule.Name), DeletePage(rule))
}

func (p *Pages) delete(w http.ResponseWriter, r *http.Request) {
	c, ok := p.change(w, r)
	if !ok {
		return
	}
	if err := p.source.Delete(r.Context(), c.name, c.revision, c.author); err != nil {
		p.Fail(w, r, "It was not deleted", err)
		return
	}
	http.Redirect(w, r, "/rules?deleted="+c.name, http.StatusSeeOther)
}

func (p *Pages) versions(w http.ResponseWriter, r *http.Request) {
	name, err := app.RuleName(r)
	f := VersionsFacts{Name: name}
	if err == nil {
		f.Versions, err = p.source.Versions(r.Context(), name)
	}
	if err != nil {
		p.Fail(w, r, "The versions cannot be read", err)
		return
	}
	if rule, err := p.source.Rule(name); err == nil {
		f.Rule = &rule
	}
	p.shell.Page(w, r, http.StatusOK, shellPage("Versions of "+name), VersionsPage(f))
}

// restore puts an older version in force again, as a new version.
func (p *Pages) restore(w http.ResponseWriter, r *http.Request) {
	c, ok := p.change(w, r)
	if !ok {
		return
	}
	saved, err := p.restored(r, c)
	if err != nil {
		p.Fail(w, r, "The version was not restored", err)
		return
	}
	http.Redirect(w, r, ui.RuleURL(saved.Name)+"?saved=1", http.StatusSeeOther)
}

func (p *Pages) restored(r *http.Request, c change) (Rule, error) {
	versions, err := p.source.Versions(r.Context(), c.name)
	if err != nil {
		return Rule{}, err
	}
	d := Draft{Was: c.name, Revision: c.revision, AsYAML: true}
	if _, err := p.source.Rule(c.name); errors.Is(err, view.ErrNotFound) {
		d.Was, d.Revision = "", 0
	}
	asked := c.form.Get("version")
	for _, v := range versions {
		if !v.Deleted && (asked == LatestVersion || asked == strconv.FormatUint(v.Version, 10)) {
			d.YAML = v.YAML
			return p.source.Save(r.Context(), d, c.author)
		}
	}
	return Rule{}, view.ErrNotFound
}
