package device

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page of one device with its charts, and its series in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/devices/{site}/{device}", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/live/devices/{site}/{device}", Role: app.Viewer, BySite: true, Handle: p.live},
		{Method: "GET", Path: "/api/v1/devices/{site}/{device}", Role: app.Viewer, BySite: true, Handle: p.apiDevice},
		{Method: "GET", Path: "/api/v1/series", Role: app.Viewer, BySite: true, Handle: p.apiSeries},
	}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	site, device := r.PathValue("site"), r.PathValue("device")
	rng, ok := RangeNamed(r.FormValue("range"))
	if !ok {
		p.shell.BadRequest(w, r, errors.New("range must be 15m, 1h, 6h, 24h, 7d, 30d or 1y"))
		return
	}
	at, err := p.moment(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	if p.shell.Now().Sub(at) < rng.Span/2 {
		at = time.Time{} // the charts up to now show it
	}
	facts, ok := p.facts(site, device, rng, at)
	if !ok {
		p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Not found", Section: "devices"},
			ui.NotFound("No device "+app.Clip(site)+"/"+app.Clip(device)+" has reported.", []ui.Link{{Href: "/", Text: "All devices"}, {Href: "/deadletters", Text: "What could not be processed"}}))
		return
	}
	live := "/live" + ui.DeviceURL(site, device) + "?range=" + rng.Name
	if !at.IsZero() {
		live += "&at=" + url.QueryEscape(r.FormValue("at"))
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: device, Section: "devices", Live: live}, Page(facts))
}

// moment reads the time about which a page is asked for; zero means now.
func (p *Pages) moment(r *http.Request) (time.Time, error) {
	text := r.FormValue("at")
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() < 1971 || at.After(p.shell.Now().Add(24*time.Hour)) {
		return time.Time{}, errors.New("at must be a time of the past like 2026-11-22T14:03:12Z")
	}
	return at, nil
}

// facts returns what the page of a device shows; false when it is not known.
func (p *Pages) facts(site, device string, rng view.Range, at time.Time) (Facts, bool) {
	if !app.ValidToken(site) || !app.ValidToken(device) {
		return Facts{}, false
	}
	d, ok := p.source.Device(site, device)
	if !ok {
		return Facts{}, false
	}
	f := Facts{Device: d, Range: rng, At: at, Silences: p.source.SilencesOf(site, device), Summaries: p.source.Summaries(site, device)}
	from, to := f.Period(p.shell.Now())
	f.Episodes = slices.Clone(p.source.Episodes(site, device, from, to))
	for i := range f.Episodes {
		if about, ok := p.source.About(f.Episodes[i].Rule); ok {
			f.Episodes[i].About = &about
		}
	}
	for _, a := range p.source.Alerts(0).Active {
		if a.Site == site && a.Device == device {
			f.Firing = append(f.Firing, a)
		}
	}
	return f, true
}
