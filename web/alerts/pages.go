package alerts

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// resolvedShown is how many resolved alerts the page shows, and the API unless it
// is asked for another number of at most maxResolved.
const (
	resolvedShown = 100
	maxResolved   = 1000
)

// Pages are the page of alerts with its buttons, and the alerts of the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/alerts", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/alerts/{id}", Role: app.Viewer, BySite: true, Handle: p.story},
		{Method: "GET", Path: "/live/alerts/{id}", Role: app.Viewer, BySite: true, Handle: p.liveStory},
		{Method: "POST", Path: "/alerts/mute", Role: app.Operator, BySite: true, Handle: p.mute},
		{Method: "POST", Path: "/silences/{id}/unmute", Role: app.Operator, BySite: true, Handle: p.unmute},
		{Method: "POST", Path: "/alerts/{id}/handle", Role: app.Operator, BySite: true, Handle: p.handle},
		{Method: "GET", Path: "/live/alerts", Role: app.Viewer, BySite: true, Handle: p.live},
		{Method: "GET", Path: "/api/v1/alerts", Role: app.Viewer, BySite: true, Handle: p.apiAlerts},
		{Method: "GET", Path: "/api/v1/alerts/{id}", Role: app.Viewer, BySite: true, Handle: p.apiStory},
		{Method: "POST", Path: "/api/v1/alerts/{id}/acknowledge", Role: app.Operator, BySite: true, Handle: p.apiHandle(view.AlertAcknowledge)},
		{Method: "DELETE", Path: "/api/v1/alerts/{id}/acknowledge", Role: app.Operator, BySite: true, Handle: p.apiHandle(view.AlertUnacknowledge)},
		{Method: "POST", Path: "/api/v1/alerts/{id}/comment", Role: app.Operator, BySite: true, Handle: p.apiHandle(view.AlertComment)},
		{Method: "POST", Path: "/api/v1/alerts/{id}/assign", Role: app.Operator, BySite: true, Handle: p.apiHandle(view.AlertAssign)},
		{Method: "POST", Path: "/api/v1/alerts/{id}/resolve", Role: app.Operator, BySite: true, Handle: p.apiHandle(view.AlertResolve)},
	}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Alerts", Section: "alerts", Live: "/live/alerts" + q.values()},
		Page(p.facts(q, resolvedShown), p.justMuted(r)))
}

// justMuted returns the silence that the previous page has begun, while it is in
// force.
func (p *Pages) justMuted(r *http.Request) *view.Silence {
	all, err := p.source.Silences()
	if id := r.FormValue("muted"); err == nil && id != "" {
		for _, one := range all {
			if one.ID == id && one.State != view.SilenceExpired {
				return &one
			}
		}
	}
	return nil
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.shell.Stream(w, r, r.URL.Path+q.values(), func() live.Content {
		return live.Parts(func() []live.Part {
			f := p.facts(q, resolvedShown)
			return p.shell.Parts(live.Part{ID: "active", Body: Active(f)}, live.Part{ID: "resolved", Body: Resolved(f)})
		})
	})
}

func (p *Pages) mute(w http.ResponseWriter, r *http.Request) {
	err := app.Form(w, r, app.MaxForm)
	var asked view.Silence
	if err == nil {
		asked, err = silence(r.PostForm, p.shell.Now())
	}
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	by, err := app.Author(w, r, r.PostForm)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	asked.Author = by.Who
	made, err := p.source.Mute(r.Context(), asked)
	if err != nil {
		p.fail(w, r, "Nothing was muted", err)
		return
	}
	back := app.Back(r.PostForm, "/alerts")
	if back == "/alerts" {
		back += "?muted=" + url.QueryEscape(made.ID)
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (p *Pages) unmute(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	// A silence that has ended already is what was asked for.
	if err := p.source.Unmute(r.Context(), r.PathValue("id")); err != nil && !errors.Is(err, view.ErrNotFound) {
		p.fail(w, r, "It is still muted", err)
		return
	}
	http.Redirect(w, r, app.Back(r.PostForm, "/alerts"), http.StatusSeeOther)
}

// handle does what a button of an alert says. What was done already is what was asked
// for.
func (p *Pages) handle(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	by, err := app.Author(w, r, r.PostForm)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	note := view.Note{Author: by.Who, At: p.shell.Now(), Text: r.PostForm.Get("text")}
	if _, err := p.source.Handle(r.Context(), r.PathValue("id"), view.AlertAction(r.PostForm.Get("action")), note); err != nil {
		p.fail(w, r, "Nothing was changed", err)
		return
	}
	http.Redirect(w, r, app.Back(r.PostForm, "/alerts"), http.StatusSeeOther)
}

func (p *Pages) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	p.shell.Page(w, r, status(err), app.Page{Title: "Alerts", Section: "alerts"}, ui.Failure(what+": "+err.Error()+"."))
}

// status returns the status of an answer that stands for an error of the source.
func status(err error) int {
	switch {
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, view.ErrConflict), errors.Is(err, view.ErrOver):
		return http.StatusConflict
	case errors.Is(err, view.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// placeWords says of which series an alert is, beside what its device is called.
func placeWords(a view.Alert) string {
	parts := []string{a.Site}
	if a.Room != "" {
		parts = append(parts, view.Plain(a.Room))
	}
	if a.DeviceName != "" {
		parts = append(parts, a.Device)
	}
	return strings.Join(append(parts, a.Metric), " · ")
}
