package connect

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/view"
)

// longestWait is how long a page may have waited. Older evidence is not kept.
const longestWait = 15 * time.Minute

// Pages are the page and its updates.
type Pages struct {
	shell     *app.Shell
	source    Source
	mqtt      string
	authority bool
}

// New returns the pages. MQTT is where devices connect, and authority says that they have
// to trust the authority of the page /trust, see NewServer.
func New(shell *app.Shell, source Source, mqtt string, authority bool) *Pages {
	return &Pages{shell: shell, source: source, mqtt: mqtt, authority: authority}
}

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/connect", Role: app.Viewer, Handle: p.page},
		{Method: "GET", Path: "/live/connect", Role: app.Viewer, Handle: p.live},
	}
}

// Facts are what the page shows.
type Facts struct {
	Server Server
	Place  Place
	// Way is the id of the open tab.
	Way string
	// Since is when the page began to wait.
	Since time.Time
	// Named is the device that the page waits for, as far as it has reported since.
	// Others are new devices.
	Named     *view.Device
	Others    []view.Device
	Refused   []Refused
	Undecoded []Undecoded
}

// Connected reports whether a reading came.
func (f Facts) Connected() bool { return f.Named != nil || len(f.Others) > 0 }

// Devices are those that reported.
func (f Facts) Devices() []view.Device {
	if f.Named != nil {
		return append([]view.Device{*f.Named}, f.Others...)
	}
	return f.Others
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f, err := p.ask(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Connect a device", Section: "connect", Live: f.address("/live/connect", "")}, Page(p.complete(f)))
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	f, err := p.ask(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.shell.Stream(w, r, f.address("/live/connect", "")+" "+f.Server.HTTP, func() live.Content {
		return live.Parts(func() []live.Part {
			return p.shell.Parts(live.Part{ID: "waiting", Body: Waiting(p.complete(f))})
		})
	})
}

// ask reads what a request asks for.
func (p *Pages) ask(r *http.Request) (Facts, error) {
	now := p.shell.Now()
	f := Facts{
		Server: NewServer(p.mqtt, app.BaseURL(r), p.authority),
		Place:  Place{Site: "home", Device: "kitchen"}, Way: ways[0].id, Since: now.Truncate(time.Millisecond),
	}
	for name, to := range map[string]*string{"site": &f.Place.Site, "device": &f.Place.Device} {
		if text := r.FormValue(name); text != "" {
			if !app.ValidToken(text) {
				return f, app.TokenError(name)
			}
			*to = text
		}
	}
	if text := r.FormValue("with"); text != "" {
		if !slices.ContainsFunc(ways, func(w way) bool { return w.id == text }) {
			return f, errors.New("with must be one of the tabs of the page")
		}
		f.Way = text
	}
	if text := r.FormValue("since"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return f, errors.New("since must be milliseconds since 1970")
		}
		if t := time.UnixMilli(ms); t.Before(now) && now.Sub(t) < longestWait {
			f.Since = t
		}
	}
	return f, nil
}

// complete adds what has come.
func (p *Pages) complete(f Facts) Facts {
	if d, ok := p.source.Device(f.Place.Site, f.Place.Device); ok && !d.LastSeen.Before(f.Since) {
		f.Named = &d
	}
	f.Others = p.source.NewDevices(f.Since)
	f.Others = slices.DeleteFunc(f.Others, func(d view.Device) bool {
		return f.Named != nil && d.Site == f.Place.Site && d.Device == f.Place.Device
	})
	f.Refused, f.Undecoded = p.source.Refused(f.Since), p.source.Undecoded(f.Since)
	return f
}

// address returns the address of the page, or of its updates, with a tab; empty for the
// updates, which all tabs share.
func (f Facts) address(path, way string) string {
	q := url.Values{"site": {f.Place.Site}, "device": {f.Place.Device}, "since": {strconv.FormatInt(f.Since.UnixMilli(), 10)}}
	if way != "" {
		q.Set("with", way)
	}
	return path + "?" + q.Encode()
}

func (f Facts) steps() []step {
	for _, w := range ways {
		if w.id == f.Way {
			return w.steps(f.Server, f.Place)
		}
	}
	return nil
}

// overHTTP reports whether the open tab sends over HTTP.
func (f Facts) overHTTP() bool { return f.Way == "curl" || f.Way == "telegraf" }
