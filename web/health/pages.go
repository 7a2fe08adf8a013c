package health

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/view"
)

// Path is the address of the page.
const Path = "/health"

// Pages are the page of sensor health, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/live" + Path, Role: app.Viewer, BySite: true, Handle: p.live},
		{Method: "GET", Path: "/api/v1/health", Role: app.Viewer, BySite: true, Handle: p.api},
	}
}

// Facts are what the page shows.
type Facts struct {
	Report Report
	// Kind is the kind that is shown; empty for all.
	Kind view.FindingKind
}

// url is the address of the page with the findings of a kind.
func kindURL(k view.FindingKind) string {
	if k == "" {
		return Path
	}
	return Path + "?" + url.Values{"kind": {string(k)}}.Encode()
}

// shown are the findings of a device on the page.
func (f Facts) shown(i Item) []view.Finding {
	if f.Kind == "" {
		return i.Findings
	}
	return slices.DeleteFunc(slices.Clone(i.Findings), func(one view.Finding) bool { return one.Kind != f.Kind })
}

// unwatched says what nothing looks for.
func (f Facts) unwatched() string {
	var words []string
	for _, k := range f.Report.Unwatched {
		words = append(words, k.Words())
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

func label(i Item) string { return view.Plain(cmp.Or(i.Name, i.Device)) }

// place says where a device is, and its id if it is called something else.
func place(i Item) string {
	out := i.Site
	if i.Room != "" {
		out += " · " + view.Plain(i.Room)
	}
	if i.Name != "" {
		out += " · " + i.Device
	}
	return out
}

func (p *Pages) facts(r *http.Request) (Facts, error) {
	kind := view.FindingKind(r.FormValue("kind"))
	if kind != "" && !slices.Contains(view.FindingKinds(), kind) {
		return Facts{}, errors.New("kind must be silent, unreadable, stuck, range, clock, drifting, flapping or battery")
	}
	return Facts{Report: p.source.Health(nil, kind), Kind: kind}, nil
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f, err := p.facts(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	live := "/live" + kindURL(f.Kind)
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Sensor health", Section: "health", Live: live}, Page(f))
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	f, err := p.facts(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.shell.Stream(w, r, "/live"+kindURL(f.Kind), func() live.Content {
		return live.Parts(func() []live.Part {
			f := Facts{Report: p.source.Health(nil, f.Kind), Kind: f.Kind}
			return p.shell.Parts(live.Part{ID: "kinds", Body: Kinds(f)}, live.Part{ID: "list", Body: List(f)})
		})
	})
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) {
	f, err := p.facts(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	f.Report.Items = app.OrEmpty(f.Report.Items)
	p.shell.Answer(w, r, f.Report)
}
