package access

import (
	"net/http"

	"headwater/web/app"
)

const (
	passkeysPath     = "/account/passkeys"
	logInPasskeyPath = "/log-in/passkey"
	// maxPasskeyForm bounds the answer of a browser, in bytes.
	maxPasskeyForm = 32 << 10
	// questionAge is how long a browser keeps what it was asked, in seconds.
	questionAge = 300
)

// questionName is the name of the cookie of what a browser was asked.
func questionName(r *http.Request) string { return cookieName(r) + "-passkey" }

// question sends what a browser is asked, or why it is not.
func (p *Pages) question(w http.ResponseWriter, r *http.Request, options []byte, sealed string, err error) {
	if err != nil {
		p.passkeyProblem(w, r, err)
		return
	}
	keepQuestion(w, r, sealed)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(options) // the browser may have gone
}

func keepQuestion(w http.ResponseWriter, r *http.Request, sealed string) {
	age := questionAge
	if sealed == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: questionName(r), Value: sealed, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: app.OverHTTPS(r),
	})
}

// sealed takes what the browser was asked. It is good once.
func sealed(w http.ResponseWriter, r *http.Request) string {
	keepQuestion(w, r, "")
	c, err := r.Cookie(questionName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// passkeyProblem tells the script of the page what went wrong.
func (p *Pages) passkeyProblem(w http.ResponseWriter, r *http.Request, err error) {
	status, text := p.refusal(r, err)
	p.shell.Fail(w, status, text)
}

// answered tells the script of the page where to go.
func (p *Pages) answered(w http.ResponseWriter, r *http.Request, next string) {
	p.shell.Answer(w, r, map[string]string{"next": next})
}

func (p *Pages) passkeyForm(w http.ResponseWriter, r *http.Request) bool {
	if err := app.Form(w, r, maxPasskeyForm); err != nil {
		p.shell.Fail(w, http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

// human returns the name of the person who sends a request of the script of a page.
func (p *Pages) human(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	who := app.PrincipalOf(r.Context())
	if !who.Person {
		p.shell.Fail(w, http.StatusForbidden, "Only a person who has logged in has passkeys.")
		return "", false
	}
	return who.Name, p.passkeyForm(w, r)
}

func (p *Pages) beginPasskey(w http.ResponseWriter, r *http.Request) {
	name, ok := p.human(w, r)
	if !ok {
		return
	}
	options, sealed, err := p.source.BeginPasskey(r.Context(), app.BaseURL(r), host(r), name, r.PostForm.Get("password"))
	p.question(w, r, options, sealed, err)
}

func (p *Pages) addPasskey(w http.ResponseWriter, r *http.Request) {
	name, ok := p.human(w, r)
	if !ok {
		return
	}
	err := p.source.AddPasskey(r.Context(), app.BaseURL(r), name, r.PostForm.Get("label"), sealed(w, r), r.PostForm.Get("answer"))
	if err != nil {
		p.passkeyProblem(w, r, err)
		return
	}
	p.answered(w, r, "/account")
}

func (p *Pages) removePasskey(w http.ResponseWriter, r *http.Request) {
	name, ok := p.person(w, r)
	if !ok {
		return
	}
	if err := p.source.RemovePasskey(r.Context(), name, r.PathValue("id")); err != nil {
		status, text := p.refusal(r, err)
		p.showAccount(w, r, status, AccountFacts{Problem: text})
		return
	}
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

func (p *Pages) askPasskey(w http.ResponseWriter, r *http.Request) {
	options, sealed, err := p.source.AskPasskey(r.Context(), app.BaseURL(r))
	p.question(w, r, options, sealed, err)
}

func (p *Pages) logInPasskey(w http.ResponseWriter, r *http.Request) {
	if !p.passkeyForm(w, r) {
		return
	}
	session, err := p.source.LogInPasskey(r.Context(), app.BaseURL(r), host(r), sealed(w, r), r.PostForm.Get("answer"))
	if err != nil {
		p.passkeyProblem(w, r, err)
		return
	}
	p.replace(w, r, session)
	p.answered(w, r, app.Local(r.PostForm.Get("next")))
}
