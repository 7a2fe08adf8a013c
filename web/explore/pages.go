package explore

import (
	"net/http"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page and its search.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/explore", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/live/explore", Role: app.Viewer, BySite: true, Handle: p.shell.Live},
	}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f := Facts{}
	var err error
	f.State, f.From, f.To, err = readState(r, p.shell.Now())
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	for _, names := range f.State.Charts {
		f.Charts = append(f.Charts, p.chart(names))
	}
	if f.searching() {
		f.Found, f.More = p.source.Find(Query{Text: f.State.Text, Most: maxFound})
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Explore", Section: "explore", Live: "/live/explore"}, Page(f))
}

func (p *Pages) chart(names []string) Chart {
	var c Chart
	for i, name := range names {
		site, device, metric, _ := ui.SeriesOf(name)
		d, _ := p.source.Device(site, device)
		known := false
		for _, m := range d.Metrics {
			if m.Name == metric && m.Drawn() {
				s := Series{Found: Found{Site: site, Device: device, Metric: m}, Name: name, At: i}
				s.Of = s.unit(name)
				c.Series = append(c.Series, s)
				known = true
			}
		}
		if !known {
			c.Unknown = append(c.Unknown, view.Plain(name))
		}
	}
	return c
}
