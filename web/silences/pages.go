package silences

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page of silences, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/silences", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "POST", Path: "/silences", Role: app.Operator, BySite: true, Handle: p.save},
		{Method: "POST", Path: "/silences/{id}/end", Role: app.Operator, BySite: true, Handle: p.end},
		{Method: "GET", Path: "/live/silences", Role: app.Viewer, BySite: true, Handle: p.live},
		{Method: "GET", Path: "/api/v1/silences", Role: app.Viewer, BySite: true, Handle: p.apiList},
		{Method: "POST", Path: "/api/v1/silences", Role: app.Operator, BySite: true, Handle: p.apiSave},
		{Method: "GET", Path: "/api/v1/silences/preview", Role: app.Viewer, BySite: true, Handle: p.apiPreview},
		{Method: "PUT", Path: "/api/v1/silences/{id}", Role: app.Operator, BySite: true, Handle: p.apiSave},
		{Method: "DELETE", Path: "/api/v1/silences/{id}", Role: app.Operator, BySite: true, Handle: p.apiEnd},
	}
}

// Facts are what the page shows.
type Facts struct {
	Silences []view.Silence
	// Form are the fields of the form; Editing is the silence that they change, empty
	// for a new one.
	Form    url.Values
	Editing string
	// Preview is what the form would mute; nil when it was not asked for.
	Preview *Preview
	// Problem says what is wrong with the form; empty for nothing.
	Problem string
	// Saved is what was just saved; nil for nothing.
	Saved *view.Silence
	// Zone is the time zone in which the form's moments are.
	Zone string
}

// in returns the silences in a state.
func (f Facts) in(state string) []view.Silence {
	return slices.DeleteFunc(slices.Clone(f.Silences), func(s view.Silence) bool { return s.State != state })
}

// has reports whether a field of the form holds the value.
func (f Facts) has(field, value string) bool { return slices.Contains(f.Form[field], value) }

func shellPage() app.Page {
	return app.Page{Title: "Silences", Section: "silences", Live: "/live/silences"}
}

// show renders the page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, f Facts) {
	var err error
	f.Silences, err = p.source.Silences()
	if err != nil {
		p.shell.Page(w, r, http.StatusServiceUnavailable, shellPage(), ui.Failure("The silences cannot be read: "+err.Error()+"."))
		return
	}
	if id := r.FormValue("saved"); id != "" {
		f.Saved = find(f.Silences, id)
	}
	f.Zone = p.source.Place(f.Form.Get("site")).String()
	p.shell.Page(w, r, status, shellPage(), Page(f))
}

func find(all []view.Silence, id string) *view.Silence {
	i := slices.IndexFunc(all, func(s view.Silence) bool { return s.ID == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// fields are the fields of the form that an address may fill in.
var fields = []string{"rule", "site", "device", "metric", "severity"}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f := Facts{Form: url.Values{}}
	for _, name := range fields {
		if value := r.FormValue(name); value != "" {
			f.Form.Set(name, app.Clip(value))
		}
	}
	if id := r.FormValue("edit"); id != "" {
		all, err := p.source.Silences()
		if s := find(all, id); err == nil && s != nil && s.State != view.SilenceExpired {
			f.Form, f.Editing = p.form(*s), s.ID
		}
	}
	p.show(w, r, http.StatusOK, f)
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	p.shell.Stream(w, r, r.URL.Path, func() live.Content {
		return live.Parts(func() []live.Part {
			all, err := p.source.Silences()
			if err != nil {
				return p.shell.Parts()
			}
			return p.shell.Parts(live.Part{ID: "list", Body: List(Facts{Silences: all})})
		})
	})
}

// save saves the form, or shows what it would mute.
func (p *Pages) save(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	f := Facts{Form: r.PostForm, Editing: r.PostForm.Get("id")}
	asked, err := p.read(r.PostForm)
	asked.ID = f.Editing
	if err == nil && r.PostForm.Get("do") == "preview" {
		var preview Preview
		preview, err = p.source.Preview(asked)
		if err == nil {
			f.Preview = &preview
			p.show(w, r, http.StatusOK, f)
			return
		}
	}
	var by view.Author
	if err == nil {
		by, err = app.Author(w, r, r.PostForm)
	}
	var made view.Silence
	if err == nil {
		asked.Author = by.Who
		made, err = p.source.Mute(r.Context(), asked)
	}
	if err != nil {
		f.Problem = err.Error()
		p.show(w, r, status(err), f)
		return
	}
	http.Redirect(w, r, "/silences?saved="+url.QueryEscape(made.ID), http.StatusSeeOther)
}

func (p *Pages) end(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	// A silence that has ended already is what was asked for.
	if err := p.source.Unmute(r.Context(), r.PathValue("id")); err != nil && !errors.Is(err, view.ErrNotFound) {
		p.shell.Page(w, r, status(err), shellPage(), ui.Failure("The silence is still there: "+err.Error()+"."))
		return
	}
	http.Redirect(w, r, "/silences", http.StatusSeeOther)
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
