package access

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the pages of accounts, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// SetUpPath is the address of a link that sets a password, without the parameter code.
const SetUpPath = "/set-up"

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: app.LogInPath, Role: app.Public, Handle: p.logInPage},
		{Method: "POST", Path: app.LogInPath, Role: app.Public, Handle: p.logIn},
		{Method: "GET", Path: externalPath, Role: app.Public, Handle: p.beginExternal},
		{Method: "GET", Path: callbackPath, Role: app.Public, Handle: p.finishExternal},
		{Method: "POST", Path: logInPasskeyPath + "/begin", Role: app.Public, Handle: p.askPasskey},
		{Method: "POST", Path: logInPasskeyPath, Role: app.Public, Handle: p.logInPasskey},
		{Method: "POST", Path: passkeysPath + "/begin", Role: app.Viewer, BySite: true, Handle: p.beginPasskey},
		{Method: "POST", Path: passkeysPath, Role: app.Viewer, BySite: true, Handle: p.addPasskey},
		{Method: "POST", Path: passkeysPath + "/{id}/remove", Role: app.Viewer, BySite: true, Handle: p.removePasskey},
		{Method: "POST", Path: "/log-out", Role: app.Public, Handle: p.logOut},
		{Method: "GET", Path: SetUpPath, Role: app.Public, Handle: p.setUpPage},
		{Method: "POST", Path: SetUpPath, Role: app.Public, Handle: p.setUp},
		{Method: "GET", Path: "/account", Role: app.Viewer, BySite: true, Handle: p.account},
		{Method: "POST", Path: "/account/password", Role: app.Viewer, BySite: true, Handle: p.changePassword},
		{Method: "POST", Path: "/account/log-out", Role: app.Viewer, BySite: true, Handle: p.logOutEverywhere},
		{Method: "GET", Path: "/people", Role: app.Administrator, Handle: p.people},
		{Method: "POST", Path: "/people/users", Role: app.Administrator, Handle: p.addUser},
		{Method: "POST", Path: "/people/users/{name}/role", Role: app.Administrator, Handle: p.changeUser},
		{Method: "POST", Path: "/people/users/{name}/reset", Role: app.Administrator, Handle: p.resetUser},
		{Method: "POST", Path: "/people/users/{name}/delete", Role: app.Administrator, Handle: p.removeUser},
		{Method: "POST", Path: "/people/tokens", Role: app.Administrator, Handle: p.addToken},
		{Method: "POST", Path: "/people/tokens/{name}/delete", Role: app.Administrator, Handle: p.removeToken},
		{Method: "GET", Path: "/api/v1/users", Role: app.Administrator, Handle: p.apiUsers},
		{Method: "POST", Path: "/api/v1/users", Role: app.Administrator, Handle: p.apiAddUser},
		{Method: "POST", Path: "/api/v1/users/{name}/role", Role: app.Administrator, Handle: p.apiChangeUser},
		{Method: "POST", Path: "/api/v1/users/{name}/reset", Role: app.Administrator, Handle: p.apiResetUser},
		{Method: "DELETE", Path: "/api/v1/users/{name}", Role: app.Administrator, Handle: p.apiRemoveUser},
		{Method: "GET", Path: "/api/v1/tokens", Role: app.Administrator, Handle: p.apiTokens},
		{Method: "POST", Path: "/api/v1/tokens", Role: app.Administrator, Handle: p.apiAddToken},
		{Method: "DELETE", Path: "/api/v1/tokens/{name}", Role: app.Administrator, Handle: p.apiRemoveToken},
	}
}

// host returns the address that a request came from.
func host(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// link returns the link of a code, as this browser reaches the dashboard.
func link(r *http.Request, code string) string {
	return app.BaseURL(r) + SetUpPath + "?" + url.Values{"code": {code}}.Encode()
}

// refusal returns the status and the text of an error for people. What failed is logged.
func (p *Pages) refusal(r *http.Request, err error) (status int, text string) {
	if refused, ok := errors.AsType[Refusal](err); ok {
		return refused.Status, ui.Sentence(refused.Text)
	}
	if !errors.Is(err, view.ErrUnavailable) {
		p.shell.Log.Warn("request about accounts failed", "route", r.Pattern, "err", err)
	}
	return http.StatusServiceUnavailable, "The accounts cannot be reached now. Try again in a moment."
}

// form reads a form. It answers by itself if that fails.
func (p *Pages) form(w http.ResponseWriter, r *http.Request) bool {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return false
	}
	return true
}

func (p *Pages) logInPage(w http.ResponseWriter, r *http.Request) {
	next := app.Local(r.URL.Query().Get("next"))
	if app.PrincipalOf(r.Context()).May(app.Viewer) { // logged in already, or no need to
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	f := LogInFacts{Next: next}
	if r.URL.Query().Get("out") != "" {
		f.End = p.source.EndExternal(app.BaseURL(r) + app.LogInPath)
	}
	p.showLogIn(w, r, http.StatusOK, f)
}

func (p *Pages) logIn(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	f := LogInFacts{Name: app.Clip(r.PostForm.Get("name")), Next: app.Local(r.PostForm.Get("next"))}
	session, err := p.source.LogIn(r.Context(), host(r), r.PostForm.Get("name"), r.PostForm.Get("password"))
	if err != nil {
		status, text := p.refusal(r, err)
		f.Problem = text
		p.showLogIn(w, r, status, f)
		return
	}
	p.replace(w, r, session)
	http.Redirect(w, r, f.Next, http.StatusSeeOther)
}

// replace gives a browser a new session and ends the one that it had.
func (p *Pages) replace(w http.ResponseWriter, r *http.Request, session string) {
	if old := SessionOf(r); old != "" {
		if err := p.source.LogOut(r.Context(), old); err != nil {
			p.shell.Log.Warn("a session was not ended", "err", err)
		}
	}
	keep(w, r, session)
}

func (p *Pages) logOut(w http.ResponseWriter, r *http.Request) {
	if old := SessionOf(r); old != "" {
		if err := p.source.LogOut(r.Context(), old); err != nil {
			status, text := p.refusal(r, err)
			p.shell.Page(w, r, status, app.Page{Title: "Log out"}, ui.Failure("You are still logged in: "+text))
			return
		}
	}
	keep(w, r, "")
	to := app.LogInPath
	if p.source.Provider() != "" {
		to += "?out=1"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (p *Pages) setUpPage(w http.ResponseWriter, r *http.Request) {
	f := FirstFacts{Code: r.URL.Query().Get("code")}
	if f.Code == "" {
		if p.source.Unclaimed(r.Context()) {
			p.showFirst(w, r, http.StatusOK, f)
			return
		}
		p.shell.Page(w, r, http.StatusForbidden, app.Page{Title: "Set up"}, NoLinkPage("", p.source.Provider()))
		return
	}
	var err error
	f.Name, err = p.source.Invited(r.Context(), f.Code)
	if err != nil {
		status, text := p.refusal(r, err)
		p.shell.Page(w, r, status, app.Page{Title: "Set up"}, NoLinkPage(text, p.source.Provider()))
		return
	}
	f.Invited = f.Name != ""
	p.showFirst(w, r, http.StatusOK, f)
}

// showFirst shows the page on which a person sets the first or a new password.
func (p *Pages) showFirst(w http.ResponseWriter, r *http.Request, status int, f FirstFacts) {
	if !f.Invited {
		f.Provider = p.source.Provider()
	}
	p.shell.Page(w, r, status, app.Page{Title: "Set up"}, FirstPage(f))
}

// errAgain is the problem of a password that was typed differently.
const errAgain = "The two passwords differ."

func (p *Pages) setUp(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	form := r.PostForm
	f := FirstFacts{Code: form.Get("code"), Name: app.Clip(form.Get("name"))}
	if f.Code != "" {
		invited, err := p.source.Invited(r.Context(), f.Code)
		if err != nil {
			status, text := p.refusal(r, err)
			p.shell.Page(w, r, status, app.Page{Title: "Set up"}, NoLinkPage(text, p.source.Provider()))
			return
		}
		if invited != "" {
			f.Name, f.Invited = invited, true
		}
	}
	status := http.StatusBadRequest
	f.Problem = errAgain
	if form.Get("password") == form.Get("again") {
		session, err := "", error(nil)
		if f.Code != "" {
			session, err = p.source.SetUp(r.Context(), f.Code, form.Get("name"), form.Get("password"))
		} else {
			session, err = p.source.First(r.Context(), form.Get("name"), form.Get("password"))
		}
		if err == nil {
			p.replace(w, r, session)
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		status, f.Problem = p.refusal(r, err)
	}
	p.showFirst(w, r, status, f)
}

func (p *Pages) account(w http.ResponseWriter, r *http.Request) {
	p.showAccount(w, r, http.StatusOK, AccountFacts{Changed: r.URL.Query().Get("changed") != ""})
}

// showAccount shows the page of one's own account.
func (p *Pages) showAccount(w http.ResponseWriter, r *http.Request, status int, f AccountFacts) {
	f.Who = app.PrincipalOf(r.Context())
	if f.Who.Open {
		f.Provider = p.source.Provider()
	}
	if provider := p.source.Provider(); provider != "" && f.Who.Person {
		all, err := p.source.Accounts(r.Context())
		if err != nil {
			p.shell.Log.Warn("an account cannot be read", "err", err)
		}
		for _, u := range all.Users {
			if u.Name == f.Who.Name && u.External && !u.Password {
				f.Provider = provider
			}
		}
	}
	if f.Who.Person && f.Provider == "" {
		var err error
		f.Passkeys, f.Possible, err = p.source.Passkeys(r.Context(), app.BaseURL(r), f.Who.Name)
		if err != nil {
			p.shell.Log.Warn("the passkeys of an account cannot be read", "err", err)
		}
	}
	p.shell.Page(w, r, status, app.Page{Title: "Your account", Section: "account"}, AccountPage(f))
}

// person returns the name of the person who sends a request. It answers by itself if that
// is none.
func (p *Pages) person(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	who := app.PrincipalOf(r.Context())
	if !who.Person {
		p.shell.Page(w, r, http.StatusForbidden, app.Page{Title: "Your account"}, ui.Failure("Only a person who has logged in has an account."))
		return "", false
	}
	return who.Name, p.form(w, r)
}

func (p *Pages) changePassword(w http.ResponseWriter, r *http.Request) {
	name, ok := p.person(w, r)
	if !ok {
		return
	}
	f := AccountFacts{Problem: errAgain}
	status := http.StatusBadRequest
	if r.PostForm.Get("password") == r.PostForm.Get("again") {
		session, err := p.source.ChangePassword(r.Context(), host(r), name, r.PostForm.Get("old"), r.PostForm.Get("password"))
		if err == nil {
			p.replace(w, r, session)
			http.Redirect(w, r, "/account?changed=1", http.StatusSeeOther)
			return
		}
		status, f.Problem = p.refusal(r, err)
	}
	p.showAccount(w, r, status, f)
}

func (p *Pages) logOutEverywhere(w http.ResponseWriter, r *http.Request) {
	name, ok := p.person(w, r)
	if !ok {
		return
	}
	if err := p.source.LogOutEverywhere(r.Context(), name); err != nil {
		status, text := p.refusal(r, err)
		p.showAccount(w, r, status, AccountFacts{Problem: text})
		return
	}
	keep(w, r, "")
	http.Redirect(w, r, app.LogInPath, http.StatusSeeOther)
}

func (p *Pages) people(w http.ResponseWriter, r *http.Request) {
	p.showPeople(w, r, http.StatusOK, PeopleFacts{})
}

// showPeople renders the page of users and tokens.
func (p *Pages) showPeople(w http.ResponseWriter, r *http.Request, status int, f PeopleFacts) {
	var err error
	f.Accounts, err = p.source.Accounts(r.Context())
	if err != nil {
		status, text := p.refusal(r, err)
		p.shell.Page(w, r, status, app.Page{Title: "People and tokens", Section: "people"}, ui.Failure(text))
		return
	}
	p.shell.Page(w, r, status, app.Page{Title: "People and tokens", Section: "people"}, PeoplePage(f))
}

// change shows what came of a change of the page of users and tokens.
func (p *Pages) change(w http.ResponseWriter, r *http.Request, f PeopleFacts, err error) {
	switch {
	case err != nil:
		status, text := p.refusal(r, err)
		p.showPeople(w, r, status, PeopleFacts{Problem: text})
	case f.Link == "" && f.Secret == "":
		http.Redirect(w, r, "/people", http.StatusSeeOther)
	default: // what is shown once must not be in an address
		p.showPeople(w, r, http.StatusOK, f)
	}
}

func (p *Pages) addUser(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	u := p.user(r, r.PostForm)
	code, err := p.source.AddUser(r.Context(), u)
	p.change(w, r, PeopleFacts{Link: link(r, code), LinkOf: u.Name}, err)
}

// user reads a new user.
func (*Pages) user(r *http.Request, v url.Values) User {
	return User{Name: v.Get("name"), Role: v.Get("role"), Sites: sites(v), By: by(r)}
}

// sites reads the sites that an account is limited to, which commas or spaces separate.
func sites(v url.Values) []string {
	return strings.FieldsFunc(strings.Join(v["sites"], ","), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// changed returns other rights of a user. Who is limited to sites stays so unless the request
// says otherwise, or the role cannot be limited.
func (p *Pages) changed(r *http.Request, v url.Values) (User, error) {
	u := User{Name: r.PathValue("name"), Role: v.Get("role"), Sites: sites(v)}
	if v.Has("sites") || u.Role == view.RoleAdministrator.String() {
		return u, nil
	}
	all, err := p.source.Accounts(r.Context())
	for _, known := range all.Users {
		if known.Name == u.Name {
			u.Sites = known.Sites
		}
	}
	return u, err
}

// by is who sends a request.
func by(r *http.Request) string {
	if name := app.PrincipalOf(r.Context()).Name; name != "" {
		return name
	}
	return "anybody, while no log-in was required"
}

func (p *Pages) changeUser(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	u, err := p.changed(r, r.PostForm)
	if err == nil {
		err = p.source.ChangeUser(r.Context(), u)
	}
	p.change(w, r, PeopleFacts{}, err)
}

func (p *Pages) resetUser(w http.ResponseWriter, r *http.Request) {
	code, err := p.source.ResetUser(r.Context(), r.PathValue("name"))
	p.change(w, r, PeopleFacts{Link: link(r, code), LinkOf: r.PathValue("name")}, err)
}

func (p *Pages) removeUser(w http.ResponseWriter, r *http.Request) {
	p.change(w, r, PeopleFacts{}, p.source.RemoveUser(r.Context(), r.PathValue("name")))
}

func (p *Pages) addToken(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	t, err := p.token(r, r.PostForm)
	var text string
	if err == nil {
		text, err = p.source.AddToken(r.Context(), t)
	}
	p.change(w, r, PeopleFacts{Secret: text, SecretOf: t.Name}, err)
}

// token reads a new token.
func (p *Pages) token(r *http.Request, v url.Values) (Token, error) {
	t := Token{Name: v.Get("name"), Role: v.Get("role"), Sites: sites(v), By: by(r)}
	valid := v.Get("valid")
	if valid == "" || valid == "forever" {
		return t, nil
	}
	now := p.shell.Now()
	until, err := app.Moment("-"+valid, now, now)
	if err != nil {
		return t, Refusal{Status: http.StatusBadRequest, Text: "valid must be a duration such as 30d, or forever"}
	}
	t.Expires = now.Add(now.Sub(until))
	return t, nil
}

func (p *Pages) removeToken(w http.ResponseWriter, r *http.Request) {
	p.change(w, r, PeopleFacts{}, p.source.RemoveToken(r.Context(), r.PathValue("name")))
}
