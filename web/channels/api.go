package channels

import (
	"encoding/json"
	"net/http"

	"headwater/web/app"
	"headwater/web/static"
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

func (p *Pages) apiTest(w http.ResponseWriter, r *http.Request) {
	if err := p.source.TestChannel(r.Context(), r.PathValue("name"), ""); err != nil {
		status, text := p.refusal(r, err)
		p.shell.Fail(w, status, text)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// apiReport sends the morning report as it is now.
func (p *Pages) apiReport(w http.ResponseWriter, r *http.Request) {
	if err := p.source.SendReport(r.Context()); err != nil {
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
