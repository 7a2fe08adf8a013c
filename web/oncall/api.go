package oncall

import (
	"net/http"

	"headwater/web/app"
	"headwater/web/view"
)

func (p *Pages) apiOnCall(w http.ResponseWriter, r *http.Request) {
	s, err := p.source.OnCall()
	if err != nil {
		p.shell.Fail(w, http.StatusServiceUnavailable, "It is not known who is on call: "+err.Error()+".")
		return
	}
	s.Rotas, s.Quiet, s.Steps = app.OrEmpty(s.Rotas), app.OrEmpty(s.Quiet), app.OrEmpty(s.Steps)
	for i := range s.Rotas {
		s.Rotas[i].Overrides = app.OrEmpty(s.Rotas[i].Overrides)
	}
	p.shell.Answer(w, r, s)
}

func (p *Pages) apiStandIn(w http.ResponseWriter, r *http.Request) {
	o, err := p.read(r.URL.Query())
	var by view.Author
	if err == nil {
		by, err = app.AuthorOfAPI(r)
	}
	if err == nil {
		o.Author = by.Who
		o, err = p.source.StandIn(r.Context(), o)
	}
	if err != nil {
		p.shell.Fail(w, status(err), "The override was not made: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, o)
}

func (p *Pages) apiEnd(w http.ResponseWriter, r *http.Request) {
	if err := p.source.Return(r.Context(), r.PathValue("id")); err != nil {
		p.shell.Fail(w, status(err), "The override is still there: "+err.Error()+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
