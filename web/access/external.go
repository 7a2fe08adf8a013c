package access

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"

	"headwater/web/app"
)

const (
	externalPath = "/log-in/oidc"
	callbackPath = externalPath + "/callback"
	// flowAge is how long a log-in elsewhere may take, in seconds.
	flowAge = 600
)

// flowName is the name of the cookie of a log-in that has begun.
func flowName(r *http.Request) string { return cookieName(r) + "-oidc" }

// keepFlow gives a browser a log-in that has begun, or takes it away if it is empty.
func keepFlow(w http.ResponseWriter, r *http.Request, flow string) {
	age := flowAge
	if flow == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: flowName(r), Value: flow, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: app.OverHTTPS(r),
	})
}

// flowOf returns the log-in that a browser has begun; the zero Flow for none.
func flowOf(r *http.Request) (f Flow) {
	c, err := r.Cookie(flowName(r))
	if err != nil {
		return Flow{}
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(text, &f) != nil {
		return Flow{}
	}
	return f
}

// beginExternal leads a browser to the provider. It is a link, not a form: the policy of the
// pages lets forms lead to Headwater only.
func (p *Pages) beginExternal(w http.ResponseWriter, r *http.Request) {
	next := app.Local(r.URL.Query().Get("next"))
	address, flow, err := p.source.BeginExternal(r.Context(), app.BaseURL(r)+callbackPath, next)
	if err != nil {
		p.showProblem(w, r, next, err)
		return
	}
	text, err := json.Marshal(flow)
	if err != nil {
		p.showProblem(w, r, next, err)
		return
	}
	keepFlow(w, r, base64.RawURLEncoding.EncodeToString(text))
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// finishExternal logs a person in who comes back from the provider.
func (p *Pages) finishExternal(w http.ResponseWriter, r *http.Request) {
	flow := flowOf(r)
	keepFlow(w, r, "") // it is good once
	next := app.Local(flow.Next)
	session, err := p.source.FinishExternal(r.Context(), host(r), app.BaseURL(r)+callbackPath, flow, r.URL.Query())
	if err != nil {
		p.showProblem(w, r, next, err)
		return
	}
	p.replace(w, r, session)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// showProblem shows the page of the log-in with what went wrong.
func (p *Pages) showProblem(w http.ResponseWriter, r *http.Request, next string, err error) {
	status, text := p.refusal(r, err)
	p.showLogIn(w, r, status, LogInFacts{Next: next, Problem: text})
}

// showLogIn shows the page of the log-in.
func (p *Pages) showLogIn(w http.ResponseWriter, r *http.Request, status int, f LogInFacts) {
	f.Provider, f.Passkeys = p.source.Provider(), p.source.OffersPasskeys(r.Context(), app.BaseURL(r))
	p.shell.Page(w, r, status, app.Page{Title: "Log in"}, LogInPage(f))
}

// externalLink is the address that leads to the provider.
func externalLink(next string) string {
	return externalPath + "?" + url.Values{"next": {next}}.Encode()
}
