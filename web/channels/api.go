package channels

import (
	"encoding/json"
	"net/http"

	"headwater/web/app"
	"headwater/web/static"
	"headwater/web/view"
)

func (p *Pages) apiChannels(w http.ResponseWriter, r *http.Request) {
	list, err := p.source.Channels()
	if err != nil {
		status, text := p.refusal(r, err)
		p.shell.Fail(w, status, text)
		return
	}
	list.Channels = app.OrEmpty(list.Channels)
	for i := range list.Channels {
		list.Channels[i].Deliveries = app.OrEmpty(list.Channels[i].Deliveries)
	}
	p.shell.Answer(w, r, list)
}

// apiSave makes a channel, or changes that of the address.
func (p *Pages) apiSave(w http.ResponseWriter, r *http.Request) {
	d := Draft{Resolved: true}
	err := app.JSON(w, r, maxForm, &d)
	var by view.Author
	if err == nil {
		by, err = app.AuthorOfAPI(r)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	if name := r.PathValue("name"); name != "" {
		d.Name = name
	} else {
		d.New = true
	}
	p.answered(w, r, p.source.SaveChannel(r.Context(), d, by))
}

func (p *Pages) apiDelete(w http.ResponseWriter, r *http.Request) {
	by, err := app.AuthorOfAPI(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	p.answered(w, r, p.source.DeleteChannel(r.Context(), r.PathValue("name"), by))
}

func (p *Pages) apiTest(w http.ResponseWriter, r *http.Request) {
	p.answered(w, r, p.source.TestChannel(r.Context(), r.PathValue("name"), ""))
}

// apiReport sends the morning report as it is now.
func (p *Pages) apiReport(w http.ResponseWriter, r *http.Request) {
	p.answered(w, r, p.source.SendReport(r.Context()))
}

// answered answers what has nothing to say but whether it was done.
func (p *Pages) answered(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		status, text := p.refusal(r, err)
		p.shell.Fail(w, status, text)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// manifest describes the dashboard as an app that can be installed: on an iPhone only an
// installed one can be notified.
func manifest(w http.ResponseWriter, _ *http.Request) {
	type icon struct {
		Src     string `json:"src"`
		Sizes   string `json:"sizes"`
		Type    string `json:"type"`
		Purpose string `json:"purpose,omitempty"`
	}
	body, err := json.Marshal(struct {
		Name       string `json:"name"`
		ShortName  string `json:"short_name"`
		ID         string `json:"id"`
		StartURL   string `json:"start_url"`
		Scope      string `json:"scope"`
		Display    string `json:"display"`
		Background string `json:"background_color"`
		Theme      string `json:"theme_color"`
		Icons      []icon `json:"icons"`
	}{
		"Headwater", "Headwater", "/", "/", "/", "standalone", "#0f1720", "#0f1720",
		[]icon{{Src: "/icon.png", Sizes: "512x512", Type: "image/png"}, {Src: static.URL("icon.svg"), Sizes: "any", Type: "image/svg+xml"}},
	})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/manifest+json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(body) // a browser that went away needs no answer
}
