package overview

import (
	"errors"
	"net/http"
	"strings"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// Bounds of what one page shows and of what one may ask for.
const (
	devicesOnPage = 50
	firingOnPage  = 5
	silentOnPage  = 5
	maxDevices    = 1000
)

// Pages are the overview and the list of devices of the API.
type Pages struct {
	shell  *app.Shell
	source Source
	mqtt   string
	// authority says that the certificate is of an authority to trust on /trust.
	authority bool
}

// New returns the pages. MQTT is host:port of the MQTT listener, after mqtts:// if it
// takes TLS, for the first steps; empty means the usual port on this machine.
// Authority says that clients have to trust the authority of the page /trust.
func New(shell *app.Shell, source Source, mqtt string, authority bool) *Pages {
	return &Pages{shell: shell, source: source, mqtt: mqtt, authority: authority}
}

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/{$}", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/live/overview", Role: app.Viewer, BySite: true, Handle: p.live},
		{Method: "GET", Path: "/api/v1/devices", Role: app.Viewer, BySite: true, Handle: p.apiDevices},
	}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	facts := p.facts(q, p.start(r))
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Overview", Section: "overview", Live: facts.LiveURL()}, Page(facts))
}

// query reads which devices are asked for.
func query(r *http.Request) (Query, error) {
	q := Query{State: view.State(r.FormValue("state")), Size: devicesOnPage}
	var err error
	q.Text, err = app.Text(r)
	if err != nil {
		return q, err
	}
	switch q.State {
	case "", view.StateOK, view.StateFiring, view.StateSilent, view.StateUnknown:
	default:
		return q, errors.New("state must be ok, firing, silent or unknown")
	}
	q.Site = r.FormValue("site")
	if q.Site != "" && !app.ValidToken(q.Site) {
		return q, app.TokenError("site")
	}
	q.Page, err = app.Number(r, "page", 1, app.MaxPage)
	return q, err
}

func (p *Pages) facts(q Query, start Start) Facts {
	alerts := p.source.Alerts(0).About(p.source.About)
	q.BySite = true
	f := Facts{Query: q, Devices: p.source.Devices(q), Start: start}
	if f.Devices.Silent > 0 {
		f.Silent = p.source.Devices(Query{State: view.StateSilent, Page: 1, Size: silentOnPage}).Items
	}
	f.Rate, f.Rates = p.source.Rates()
	f.Firing = alerts.Active[:min(firingOnPage, len(alerts.Active))]
	f.FiringMore = len(alerts.Active) - len(f.Firing)
	return f
}

// start says how to reach this server, as the browser reached it.
func (p *Pages) start(r *http.Request) Start {
	return Start{MQTT: p.mqtt, Authority: p.authority, HTTP: app.BaseURL(r)}
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	start := p.start(r)
	// The address is the key, and so are the commands that an empty list shows.
	p.shell.Stream(w, r, Facts{Query: q}.LiveURL()+" "+start.HTTP, func() live.Content {
		return live.Parts(func() []live.Part {
			f := p.facts(q, start)
			list := live.Part{ID: "devices", Body: List(f), Shape: listShape(f)}
			for _, d := range f.Devices.Items {
				list.Parts = append(list.Parts, live.Part{ID: RowID(d), Body: Row(d)})
			}
			return p.shell.Parts(live.Part{ID: "firing", Body: Attention(f)}, live.Part{ID: "tiles", Body: Tiles(f)},
				live.Part{ID: "sites", Body: Sites(f)}, list)
		})
	})
}

// listShape changes when more than rows of the list change.
func listShape(f Facts) string {
	var b strings.Builder
	b.WriteString(ui.FormatCount(uint64(f.Devices.Matching)))
	if f.Devices.Total == 0 || f.Devices.Matching == 0 {
		b.WriteString(" none of " + ui.FormatCount(uint64(f.Devices.Total)))
	}
	for _, d := range f.Devices.Items {
		b.WriteString(" " + RowID(d))
	}
	return b.String()
}

func (p *Pages) apiDevices(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	size, err2 := app.Number(r, "size", 100, maxDevices)
	if err := errors.Join(err, err2); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	q.Size = size
	devices := p.source.Devices(q)
	devices.Items = app.OrEmpty(devices.Items)
	p.shell.Answer(w, r, devices)
}
