package alerts

import (
	"net/http"

	"headwater/web/app"
	"headwater/web/view"
)

func (p *Pages) apiAlerts(w http.ResponseWriter, r *http.Request) {
	n, err := app.Number(r, "resolved", resolvedShown, maxResolved)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	a := p.alerts(n)
	a.Active, a.Resolved = app.OrEmpty(a.Active), app.OrEmpty(a.Resolved)
	p.shell.Answer(w, r, a)
}

func (p *Pages) apiSilences(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Silences()
	if err != nil {
		p.shell.Fail(w, status(err), "The silences cannot be read: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, struct {
		Silences []view.Silence `json:"silences"`
	}{app.OrEmpty(all)})
}

func (p *Pages) apiMute(w http.ResponseWriter, r *http.Request) {
	asked, err := silence(r.URL.Query(), p.shell.Now())
	var by view.Author
	if err == nil {
		by, err = app.AuthorOfAPI(r)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	asked.Author = by.Who
	made, err := p.source.Mute(r.Context(), asked)
	if err != nil {
		p.shell.Fail(w, status(err), "Nothing was muted: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, made)
}

func (p *Pages) apiUnmute(w http.ResponseWriter, r *http.Request) {
	if err := p.source.Unmute(r.Context(), r.PathValue("id")); err != nil {
		p.shell.Fail(w, status(err), "It is still muted: "+err.Error()+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
