package channels

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"headwater/web/app"
	"headwater/web/static"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page of channels, the same in the API, and what makes the dashboard an app
// that can be installed and notified.
type Pages struct {
	shell  *app.Shell
	source Source
	// trust reports whether the page that explains certificates has one.
	trust bool
}

// New returns the pages. Trust reports whether this Headwater has an authority of its own.
func New(shell *app.Shell, source Source, trust bool) *Pages { return &Pages{shell, source, trust} }

// Path is the address of the page.
const Path = "/channels"

// typeWebhook is the type of channel that has a format and signs.
const typeWebhook = "webhook"

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, Handle: p.page},
		{Method: "POST", Path: Path, Role: app.Administrator, Handle: p.save},
		{Method: "POST", Path: Path + "/{name}/delete", Role: app.Administrator, Handle: p.delete},
		{Method: "POST", Path: Path + "/{name}/test", Role: app.Operator, Handle: p.test},
		{Method: "POST", Path: Path + "/report", Role: app.Operator, Handle: p.report},
		{Method: "POST", Path: "/devices-notified", Role: app.Operator, Handle: p.addDevice},
		{Method: "POST", Path: "/devices-notified/{id}/test", Role: app.Operator, Handle: p.testDevice},
		{Method: "POST", Path: "/devices-notified/{id}/remove", Role: app.Operator, Handle: p.removeDevice},
		{Method: "GET", Path: "/api/v1/channels", Role: app.Viewer, Handle: p.apiChannels},
		{Method: "POST", Path: "/api/v1/channels", Role: app.Administrator, Handle: p.apiSave},
		{Method: "PUT", Path: "/api/v1/channels/{name}", Role: app.Administrator, Handle: p.apiSave},
		{Method: "DELETE", Path: "/api/v1/channels/{name}", Role: app.Administrator, Handle: p.apiDelete},
		{Method: "POST", Path: "/api/v1/channels/{name}/test", Role: app.Operator, Handle: p.apiTest},
		{Method: "POST", Path: "/api/v1/report", Role: app.Operator, Handle: p.apiReport},
		// The link is the permission: it is signed, works once and expires.
		{Method: "GET", Path: "/act/{token}", Role: app.Public, Handle: p.confirm},
		{Method: "POST", Path: "/act/{token}", Role: app.Public, Handle: p.act},
		// The browser fetches these without the cookies of a session.
		{Method: "GET", Path: "/sw.js", Role: app.Public, Handle: serviceWorker},
		{Method: "GET", Path: "/icon.png", Role: app.Public, Handle: icon},
		{Method: "GET", Path: "/manifest.webmanifest", Role: app.Public, Handle: manifest},
	}
}

// maxForm bounds a form of the page, in bytes: an endpoint may have 2048.
const maxForm = 8192

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f := Facts{}
	switch r.URL.Query().Get("done") {
	case "test":
		f.Done = "The test was sent."
	case "report":
		f.Done = "The morning report was sent."
	case "device":
		f.Done = "This device is notified from now on."
	case "removed":
		f.Done = "Removed."
	case "saved":
		f.Done = "Saved. It is in force: send a test."
	}
	p.show(w, r, http.StatusOK, f)
}

// show renders the page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, f Facts) {
	var err error
	f.Trust = p.trust
	f.List, err = p.source.Channels()
	if err == nil {
		f.Devices, err = p.source.Notified(r.Context())
	}
	if err == nil {
		f.Key, err = p.source.PushKey(r.Context())
	}
	if err != nil {
		status, f.Problem = p.refusal(r, err)
	}
	p.shell.Page(w, r, status, app.Page{Title: "Channels", Section: "channels"}, Page(f))
}

// refusal returns the status and the text of an error for people. What failed is logged.
func (p *Pages) refusal(r *http.Request, err error) (status int, text string) {
	if refused, ok := errors.AsType[Refusal](err); ok {
		return cmp.Or(refused.Status, http.StatusBadRequest), ui.Sentence(refused.Text)
	}
	if !errors.Is(err, view.ErrUnavailable) {
		p.shell.Log.Warn("request about channels failed", "route", r.Pattern, "err", err)
	}
	return http.StatusServiceUnavailable, "The channels cannot be reached now. Try again in a moment."
}

// changed shows what became of a button.
func (p *Pages) changed(w http.ResponseWriter, r *http.Request, done string, err error) {
	if err != nil {
		status, text := p.refusal(r, err)
		p.show(w, r, status, Facts{Problem: text})
		return
	}
	http.Redirect(w, r, Path+"?done="+url.QueryEscape(done), http.StatusSeeOther)
}

// save makes or changes a channel.
func (p *Pages) save(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	d := Draft{
		Name: text("name"), Type: text("type"), URL: text("url"), Resolved: text("resolved") != "", New: text("new") != "",
	}
	if d.Type == typeWebhook { // the form has the fields for every type
		d.Format, d.Secret, d.Unsigned = text("format"), text("secret"), text("unsigned") != ""
	}
	by, err := app.Author(w, r, r.PostForm)
	if err == nil {
		err = p.source.SaveChannel(r.Context(), d, by)
	}
	if err != nil {
		d.URL, d.Secret = "", ""
		status, text := p.refusal(r, err)
		p.show(w, r, status, Facts{Problem: "Not saved. " + text, Draft: &d})
		return
	}
	p.changed(w, r, "saved", nil)
}

func (p *Pages) delete(w http.ResponseWriter, r *http.Request) {
	by, err := app.Author(w, r, nil)
	if err == nil {
		err = p.source.DeleteChannel(r.Context(), r.PathValue("name"), by)
	}
	p.changed(w, r, "removed", err)
}

func (p *Pages) test(w http.ResponseWriter, r *http.Request) {
	p.changed(w, r, "test", p.source.TestChannel(r.Context(), r.PathValue("name"), ""))
}

// report sends the morning report as it is now.
func (p *Pages) report(w http.ResponseWriter, r *http.Request) {
	p.changed(w, r, "report", p.source.SendReport(r.Context()))
}

// push is the channel of the devices.
func (p *Pages) push() (string, error) {
	list, err := p.source.Channels()
	if err != nil {
		return "", err
	}
	for _, c := range list.Channels {
		if c.Type == TypeWebPush {
			return c.Name, nil
		}
	}
	return "", Refusal{Status: http.StatusNotFound, Text: "there is no channel of type webpush"}
}

func (p *Pages) testDevice(w http.ResponseWriter, r *http.Request) {
	name, err := p.push()
	if err == nil {
		err = p.source.TestChannel(r.Context(), name, r.PathValue("id"))
	}
	p.changed(w, r, "test", err)
}

// addDevice registers the browser that sends the request. A script of the page sends it, and
// shows the answer.
func (p *Pages) addDevice(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	form := r.PostForm
	d, err := p.source.AddNotified(r.Context(), Subscription{
		Endpoint: form.Get("endpoint"), P256dh: form.Get("p256dh"), Auth: form.Get("auth"), Name: app.Clip(form.Get("name")),
		Who: app.PrincipalOf(r.Context()).Name,
	})
	if err != nil {
		status, text := p.refusal(r, err)
		p.shell.Fail(w, status, text)
		return
	}
	p.shell.Answer(w, r, d)
}

func (p *Pages) removeDevice(w http.ResponseWriter, r *http.Request) {
	p.changed(w, r, "removed", p.source.RemoveNotified(r.Context(), r.PathValue("id")))
}

// serviceWorker serves the script that shows notifications. It must lie at the top, and
// browsers look for a newer one at each visit.
func serviceWorker(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(static.Body("sw.js")) // a browser that went away needs no answer
}

// icon serves the icon of notifications and of the installed app.
func icon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	_, _ = w.Write(static.Body("icon.png")) // a browser that went away needs no answer
}

// confirm asks before it does what a link says: programs that look through mail follow links.
func (p *Pages) confirm(w http.ResponseWriter, r *http.Request) {
	l, err := p.source.Linked(r.Context(), r.PathValue("token"))
	if err != nil {
		p.linkFailed(w, r, err)
		return
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: l.Do()}, Confirm(l, r.URL.Path))
}

// act does what a link says, for a page and for the buttons of a notification.
func (p *Pages) act(w http.ResponseWriter, r *http.Request) {
	l, err := p.source.Act(r.Context(), r.PathValue("token"))
	switch {
	case err != nil:
		p.linkFailed(w, r, err)
	case wantsJSON(r):
		p.shell.Answer(w, r, struct {
			Title string `json:"title"`
			Text  string `json:"text"`
		}{l.Done(), l.What + " (" + l.Where + ")"})
	default:
		p.shell.Page(w, r, http.StatusOK, app.Page{Title: l.Done()}, ActDone(l))
	}
}

func (p *Pages) linkFailed(w http.ResponseWriter, r *http.Request, err error) {
	status, text := p.refusal(r, err)
	if wantsJSON(r) {
		p.shell.Fail(w, status, text)
		return
	}
	p.shell.Page(w, r, status, app.Page{Title: "Not done"}, ui.NotFound(text, []ui.Link{{Href: "/alerts", Text: "Alerts"}}))
}

// wantsJSON reports whether a program sends the request.
func wantsJSON(r *http.Request) bool { return r.Header.Get("Accept") == "application/json" }
