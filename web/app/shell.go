package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/a-h/templ"

	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// Source is what every page shows besides its own content.
type Source interface {
	// Status returns what the shell shows, from memory.
	Status() view.Status
	// Version returns a number that changes whenever something changed that the
	// pages show from memory.
	Version() uint64
}

// Config are the settings of the shell.
type Config struct {
	// Exposed says in words where other machines may reach the pages without a
	// log-in, which each page shows; empty when none can.
	Exposed string
	// StreamsPerAddress bounds the live streams of one address; 0 sets no bound but
	// live.MaxClients.
	StreamsPerAddress int
	// Gate knows who sends a request. Without one, no log-in is required.
	Gate Gate
}

// Shell renders pages in their frame, answers requests to the API and keeps open
// pages up to date. Its methods may be called by many goroutines.
type Shell struct {
	// Log takes what went wrong behind an answer.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time

	source  Source
	exposed string
	gate    Gate
	hub     *live.Hub
	// pages are the routes of GET by their path, for the navigation. They are complete
	// before the first request.
	pages map[string]Route
}

// New returns a shell.
func New(cfg Config, source Source, log *slog.Logger) *Shell {
	s := &Shell{
		Log: log, Now: time.Now, source: source, exposed: cfg.Exposed, gate: cfg.Gate,
		hub: live.New(source.Version, cfg.StreamsPerAddress, log), pages: make(map[string]Route),
	}
	if s.gate == nil {
		s.gate = open{}
	}
	return s
}

// With returns a shell that shows another source, with the same live streams.
func (s *Shell) With(source Source) *Shell {
	other := *s
	other.source = source
	return &other
}

// Run keeps the live updates going until the context ends; then it ends all live
// streams.
func (s *Shell) Run(ctx context.Context) { s.hub.Run(ctx) }

// Hub returns the hub of the live streams.
func (s *Shell) Hub() *live.Hub { return s.hub }

// Page writes a page around its content. An error after the first byte cannot be
// reported to the browser and is only logged.
func (s *Shell) Page(w http.ResponseWriter, r *http.Request, status int, p Page, content templ.Component) {
	p.Who = PrincipalOf(r.Context())
	if p.Who.May(Viewer) {
		p.Status = s.source.Status()
	}
	if p.Who.Open {
		p.Exposed = s.exposed
	}
	if !p.Kiosk {
		p.menus = s.menusFor(p.Who)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := document(p, content).Render(r.Context(), w); err != nil && r.Context().Err() == nil {
		s.Log.Error("page was not rendered completely", "route", r.Pattern, "err", err)
	}
}

// bodyClass marks a page on a wall.
func bodyClass(p Page) templ.Attributes {
	if !p.Kiosk {
		return nil
	}
	return templ.Attributes{"class": "kiosk"}
}

// BadRequest shows that the parameters of a page do not fit.
func (s *Shell) BadRequest(w http.ResponseWriter, r *http.Request, err error) {
	s.Page(w, r, http.StatusBadRequest, Page{Title: "Not found"},
		ui.NotFound("There is no such page: "+err.Error()+".", []ui.Link{{Href: "/", Text: "Overview"}}))
}

// NotFound shows that there is no such page.
func (s *Shell) NotFound(w http.ResponseWriter, r *http.Request) {
	links := []ui.Link{{Href: "/", Text: "Overview"}, {Href: "/alerts", Text: "Alerts"}}
	if !PrincipalOf(r.Context()).Limited() {
		links = append(links, ui.Link{Href: "/pipeline", Text: "Pipeline"})
	}
	s.Page(w, r, http.StatusNotFound, Page{Title: "Not found"}, ui.NotFound("There is no page "+Clip(r.URL.Path)+".", links))
}

// Parts returns the live parts of the shell, followed by the live parts of a page.
func (s *Shell) Parts(page ...live.Part) []live.Part {
	status := s.source.Status()
	return append([]live.Part{
		{ID: "banner", Body: Banner(status)},
		{ID: "nav-alerts", Body: NavBadge("alerts", "", status)},
		{ID: "nav-deadletters", Body: NavBadge("deadletters", "", status)},
		{ID: "nav-bar-deadletters", Body: NavBadge("deadletters", "bar-", status)},
	}, page...)
}

// Stream serves the live stream of a page, until its reader has logged out or may see
// something else. Readers who may do the same share the content of a key.
func (s *Shell) Stream(w http.ResponseWriter, r *http.Request, key string, open func() live.Content) {
	p := PrincipalOf(r.Context())
	reader := Principal{Role: p.Role, Sites: p.Sites, Open: p.Open}
	still := func() bool {
		now, err := s.gate.Authenticate(r)
		return err == nil && now.Name == p.Name && now.Role == p.Role && now.Open == p.Open && slices.Equal(now.Sites, p.Sites)
	}
	s.hub.Stream(w, r, live.Opening{
		Key:   fmt.Sprintf("%s %t %q %s", p.Role, p.Open, p.Sites, key),
		Open:  func() live.Content { return rendered{open(), reader} },
		Still: still,
	})
}

// rendered is a content whose parts are rendered for a reader.
type rendered struct {
	live.Content
	reader Principal
}

// Parts implements live.Content.
func (c rendered) Parts() []live.Part {
	parts := c.Content.Parts()
	for i, p := range parts {
		parts[i] = c.part(p)
	}
	return parts
}

func (c rendered) part(p live.Part) live.Part {
	body := p.Body
	p.Body = templ.ComponentFunc(func(ctx context.Context, w io.Writer) error {
		return body.Render(view.WithPrincipal(ctx, c.reader), w)
	})
	inner := make([]live.Part, len(p.Parts))
	for i, child := range p.Parts {
		inner[i] = c.part(child)
	}
	p.Parts = inner
	return p
}

// Live serves the live stream of a page that has no live parts but those of the
// shell.
func (s *Shell) Live(w http.ResponseWriter, r *http.Request) {
	s.Stream(w, r, r.URL.Path, func() live.Content {
		return live.Parts(func() []live.Part { return s.Parts() })
	})
}

// htmxConfig keeps htmx from adding styles of its own, from evaluating code and
// from loading extensions other than SSE. A live update leaves open what a person
// has opened.
const htmxConfig = `{"includeIndicatorCSS":false,"extensions":"sse","defaultTimeout":15000,"morphIgnore":["data-htmx-powered","open"]}`

// short returns a count that fits in a badge.
func short(n uint64) string {
	switch {
	case n < 1000:
		return strconv.FormatUint(n, 10)
	case n < 1_000_000:
		return strconv.FormatUint(n/1000, 10) + "k"
	}
	return strconv.FormatUint(n/1_000_000, 10) + "M"
}
