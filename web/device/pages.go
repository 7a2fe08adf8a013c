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
		{Method: "GET", Path: "/api/v1/series.csv", Role: app.Viewer, BySite: true, Handle: p.apiCSV},
		{Method: "GET", Path: "/api/v1/states", Role: app.Viewer, BySite: true, Handle: p.apiStates},
	}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	site, device := r.PathValue("site"), r.PathValue("device")
	rng, ok := view.RangeIn(view.LongRanges, r.FormValue("range"))
	if !ok {
		p.shell.BadRequest(w, r, errors.New("range must be 15m, 1h, 6h, 24h, 7d, 30d or 1y"))
		return
	}
	show, err := p.shown(r, rng)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	facts, ok := p.facts(site, device, show)
	if !ok {
		p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Not found", Section: "devices"},
			ui.NotFound("No device "+app.Clip(site)+"/"+app.Clip(device)+" has reported.", []ui.Link{{Href: "/", Text: "All devices"}, {Href: "/deadletters", Text: "What could not be processed"}}))
		return
	}
	live := "/live" + ui.DeviceURL(site, device) + "?range=" + rng.Name
	switch {
	case !show.From.IsZero():
		live += "&" + url.Values{"from": {r.FormValue("from")}, "to": {r.FormValue("to")}}.Encode()
	case !show.At.IsZero():
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

// shown reads the time that a page is asked to show.
func (p *Pages) shown(r *http.Request, rng view.Range) (Facts, error) {
	f := Facts{Range: rng}
	var err error
	if r.FormValue("from") != "" || r.FormValue("to") != "" {
		f.From, f.To, err = app.Span(r, p.shell.Now())
		return f, err
	}
	f.At, err = p.moment(r)
	if p.shell.Now().Sub(f.At) < rng.Span/2 {
		f.At = time.Time{} // the charts up to now show it
	}
	return f, err
}

// facts returns what the page of a device shows at a time; false when it is not known.
func (p *Pages) facts(site, device string, f Facts) (Facts, bool) {
	if !app.ValidToken(site) || !app.ValidToken(device) {
		return Facts{}, false
	}
	d, ok := p.source.Device(site, device)
	if !ok {
		return Facts{}, false
	}
	f.Device, f.Silences, f.Summaries = d, p.source.SilencesOf(site, device), p.source.Summaries(site, device)
	f.Troubles = p.source.Troubles(site, device)
	from, to := f.Period(p.shell.Now())
	f.Firing, f.Metered = nil, p.source.Metered(site, device)
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
