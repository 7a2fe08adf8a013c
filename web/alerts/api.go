package alerts

import (
	"errors"
	"net/http"

	"headwater/web/app"
	"headwater/web/view"
)

func (p *Pages) apiAlerts(w http.ResponseWriter, r *http.Request) {
	n, err := app.Number(r, "resolved", resolvedShown, maxResolved)
	q, err2 := query(r)
	if err := errors.Join(err, err2); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	a := p.facts(q, n).Alerts
	a.Active, a.Resolved = app.OrEmpty(a.Active), app.OrEmpty(a.Resolved)
	p.shell.Answer(w, r, a)
}

func (p *Pages) apiStory(w http.ResponseWriter, r *http.Request) {
	s, ok := p.source.Story(r.PathValue("id"))
	if !ok {
		p.shell.Fail(w, http.StatusNotFound, "There is no such alert.")
		return
	}
	s.Notices = app.OrEmpty(s.Notices)
	p.shell.Answer(w, r, s)
}

// apiHandle does something about an episode.
func (p *Pages) apiHandle(action view.AlertAction) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		by, err := app.AuthorOfAPI(r)
		if err != nil {
			p.shell.FailParameters(w, err)
			return
		}
		note := view.Note{Author: by.Who, At: p.shell.Now(), Text: r.URL.Query().Get("text")}
		a, err := p.source.Handle(r.Context(), r.PathValue("id"), action, note)
		if err != nil {
			p.shell.Fail(w, status(err), "Nothing was changed: "+err.Error()+".")
			return
		}
		p.shell.Answer(w, r, a)
	}
}
