package access

import (
	"net/http"

	"headwater/web/app"
)

// made is the answer about a new user.
type made struct {
	Name string `json:"name"`
	// Link sets the password.
	Link string `json:"link"`
}

func (p *Pages) apiFail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := p.refusal(r, err)
	p.shell.Fail(w, status, text)
}

// apiDone answers a change that has nothing to tell.
func (p *Pages) apiDone(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *Pages) apiUsers(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Accounts(r.Context())
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	p.shell.Answer(w, r, struct {
		Users []User `json:"users"`
	}{app.OrEmpty(all.Users)})
}

func (p *Pages) apiTokens(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Accounts(r.Context())
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	p.shell.Answer(w, r, struct {
		Tokens []Token `json:"tokens"`
	}{app.OrEmpty(all.Tokens)})
}

func (p *Pages) apiAddUser(w http.ResponseWriter, r *http.Request) {
	u := p.user(r, r.URL.Query())
	code, err := p.source.AddUser(r.Context(), u)
	p.apiLink(w, r, u.Name, code, err)
}

func (p *Pages) apiResetUser(w http.ResponseWriter, r *http.Request) {
	code, err := p.source.ResetUser(r.Context(), r.PathValue("name"))
	p.apiLink(w, r, r.PathValue("name"), code, err)
}

func (p *Pages) apiLink(w http.ResponseWriter, r *http.Request, name, code string, err error) {
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	p.shell.Answer(w, r, made{Name: name, Link: link(r, code)})
}

func (p *Pages) apiChangeUser(w http.ResponseWriter, r *http.Request) {
	u, err := p.changed(r, r.URL.Query())
	if err == nil {
		err = p.source.ChangeUser(r.Context(), u)
	}
	p.apiDone(w, r, err)
}

func (p *Pages) apiRemoveUser(w http.ResponseWriter, r *http.Request) {
	p.apiDone(w, r, p.source.RemoveUser(r.Context(), r.PathValue("name")))
}

func (p *Pages) apiAddToken(w http.ResponseWriter, r *http.Request) {
	t, err := p.token(r, r.URL.Query())
	var text string
	if err == nil {
		text, err = p.source.AddToken(r.Context(), t)
	}
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	p.shell.Answer(w, r, struct {
		Name  string `json:"name"`
		Token string `json:"token"`
	}{t.Name, text})
}

func (p *Pages) apiRemoveToken(w http.ResponseWriter, r *http.Request) {
	p.apiDone(w, r, p.source.RemoveToken(r.Context(), r.PathValue("name")))
}
