package oncall

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page of who is on call, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell, source} }

// Path is the address of the page.
const Path = "/oncall"

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, Handle: p.page},
		{Method: "POST", Path: Path + "/overrides", Role: app.Operator, Handle: p.standIn},
		{Method: "POST", Path: Path + "/overrides/{id}/end", Role: app.Operator, Handle: p.end},
		{Method: "POST", Path: Path + "/declaration", Role: app.Administrator, Handle: p.declare},
		{Method: "GET", Path: "/api/v1/oncall", Role: app.Viewer, Handle: p.apiOnCall},
		{Method: "POST", Path: "/api/v1/oncall/overrides", Role: app.Operator, Handle: p.apiStandIn},
		{Method: "DELETE", Path: "/api/v1/oncall/overrides/{id}", Role: app.Operator, Handle: p.apiEnd},
	}
}

const (
	// maxDeclaration bounds the form with the text, in bytes.
	maxDeclaration = 256 << 10
	// wallForm is the form of a moment without a time zone, as browsers send it.
	wallForm = "2006-01-02T15:04"
)

// Facts are what the page shows.
type Facts struct {
	State State
	// Form are the fields of the form of an override that was not made.
	Form url.Values
	// Text is what was typed in place of State.Text.
	Text string
	// Done and Problem say what became of the last button; NotDeclared says what is wrong
	// with the text. Each may be empty.
	Done, Problem, NotDeclared string
}

var done = map[string]string{
	"override": "The override is made.", "end": "The override is ended.", "declaration": "Saved. It is in force.",
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, http.StatusOK, Facts{Done: done[r.URL.Query().Get("done")]})
}

func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, f Facts) {
	about := app.Page{Title: "On call", Section: "oncall"}
	var err error
	f.State, err = p.source.OnCall()
	if err != nil {
		p.shell.Page(w, r, http.StatusServiceUnavailable, about, ui.Failure("It is not known who is on call: "+err.Error()+"."))
		return
	}
	if f.NotDeclared == "" {
		f.Text = f.State.Text
	}
	p.shell.Page(w, r, status, about, Page(f))
}

// read reads an override as a form or a request to the API has it. A moment without a time
// zone is in that of the rota.
func (p *Pages) read(v url.Values) (Override, error) {
	text := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	o := Override{Rota: text("rota"), Who: text("who"), Comment: text("comment")}
	place := time.UTC
	state, err := p.source.OnCall()
	if err != nil {
		return o, err
	}
	if i := slices.IndexFunc(state.Rotas, func(r Rota) bool { return r.Name == o.Rota }); i >= 0 {
		place = state.Rotas[i].Place
	}
	for name, to := range map[string]*time.Time{"from": &o.From, "until": &o.Until} {
		if text(name) == "" {
			continue
		}
		*to, err = time.Parse(time.RFC3339, text(name))
		if err != nil {
			*to, err = time.ParseInLocation(wallForm, text(name), place)
		}
		if err != nil {
			return o, errors.New(name + " must be a time like 2026-11-28T22:00, or of RFC 3339")
		}
	}
	return o, nil
}

func (p *Pages) standIn(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	o, err := p.read(r.PostForm)
	var by view.Author
	if err == nil {
		by, err = app.Author(w, r, r.PostForm)
	}
	if err == nil {
		o.Author = by.Who
		_, err = p.source.StandIn(r.Context(), o)
	}
	p.changed(w, r, "override", err, Facts{Form: r.PostForm})
}

func (p *Pages) end(w http.ResponseWriter, r *http.Request) {
	err := p.source.Return(r.Context(), r.PathValue("id"))
	if errors.Is(err, view.ErrNotFound) {
		err = nil // it is what was asked for
	}
	p.changed(w, r, "end", err, Facts{})
}

// changed shows what became of a button.
func (p *Pages) changed(w http.ResponseWriter, r *http.Request, what string, err error, f Facts) {
	if err != nil {
		f.Problem = ui.Sentence(err.Error())
		p.show(w, r, status(err), f)
		return
	}
	http.Redirect(w, r, Path+"?done="+what, http.StatusSeeOther)
}

func (p *Pages) declare(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxDeclaration); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	revision, err := app.Revision(r.PostForm)
	var by view.Author
	if err == nil {
		by, err = app.Author(w, r, r.PostForm)
	}
	text := strings.ReplaceAll(r.PostForm.Get("text"), "\r\n", "\n")
	if err == nil {
		err = p.source.Declare(r.Context(), text, revision, by)
	}
	if err != nil {
		p.show(w, r, status(err), Facts{Text: text, NotDeclared: ui.Sentence(err.Error())})
		return
	}
	p.changed(w, r, "declaration", nil, Facts{})
}

// status returns the status of an answer that stands for an error of the source.
func status(err error) int {
	switch {
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, view.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, view.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}
