package pipeline

import (
	"net/http"

	"headwater/web/app"
	"headwater/web/live"
)

// Pages are the page of the pipeline and the same facts in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/pipeline", Role: app.Viewer, Handle: p.page},
		{Method: "GET", Path: "/live/pipeline", Role: app.Viewer, Handle: p.live},
		{Method: "GET", Path: "/api/v1/pipeline", Role: app.Viewer, Handle: p.api},
	}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Pipeline", Section: "pipeline", Live: "/live/pipeline"}, Page(p.source.Pipeline()))
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	p.shell.Stream(w, r, r.URL.Path, func() live.Content {
		return live.Parts(func() []live.Part {
			now := p.source.Pipeline()
			return p.shell.Parts(
				live.Part{ID: "problems", Body: Problems(now)},
				live.Part{ID: "pipeline-tiles", Body: Tiles(now)},
				live.Part{ID: "streams", Body: Streams(now)},
				live.Part{ID: "consumers", Body: Consumers(now)},
				live.Part{ID: "lanes", Body: Lanes(now)},
				live.Part{ID: "channels", Body: Channels(now)},
			)
		})
	})
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) {
	now := p.source.Pipeline()
	now.Problems, now.Streams, now.Consumers = app.OrEmpty(now.Problems), app.OrEmpty(now.Streams), app.OrEmpty(now.Consumers)
	now.Lanes, now.Channels = app.OrEmpty(now.Lanes), app.OrEmpty(now.Channels)
	p.shell.Answer(w, r, now)
}
