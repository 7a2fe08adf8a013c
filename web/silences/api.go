package silences

import (
	"net/http"
	"slices"

	"headwater/web/app"
	"headwater/web/view"
)

func (p *Pages) apiList(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Silences()
	if err != nil {
		p.shell.Fail(w, status(err), "The silences cannot be read: "+err.Error()+".")
		return
	}
	if r.URL.Query().Get("expired") == "" {
		all = slices.DeleteFunc(slices.Clone(all), func(s view.Silence) bool { return s.State == view.SilenceExpired })
	}
	p.shell.Answer(w, r, struct {
		Silences []view.Silence `json:"silences"`
	}{app.OrEmpty(all)})
}

func (p *Pages) apiPreview(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("for") == "" && query.Get("until") == "" {
		query.Set("for", "1h") // whatever its length, it mutes the same now
	}
	asked, err := p.read(query)
	var preview Preview
	if err == nil {
		preview, err = p.source.Preview(asked)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	preview.Alerts = app.OrEmpty(preview.Alerts)
	p.shell.Answer(w, r, preview)
}

// apiSave adds a silence, or changes that of the address.
func (p *Pages) apiSave(w http.ResponseWriter, r *http.Request) {
	asked, err := p.read(r.URL.Query())
	var by view.Author
	if err == nil {
		by, err = app.AuthorOfAPI(r)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	asked.ID, asked.Author = r.PathValue("id"), by.Who
	made, err := p.source.Mute(r.Context(), asked)
	if err != nil {
		p.shell.Fail(w, status(err), "Nothing was muted: "+err.Error()+".")
		return
	}
	p.shell.Answer(w, r, made)
}

func (p *Pages) apiEnd(w http.ResponseWriter, r *http.Request) {
	if err := p.source.Unmute(r.Context(), r.PathValue("id")); err != nil {
		p.shell.Fail(w, status(err), "It is still muted: "+err.Error()+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
