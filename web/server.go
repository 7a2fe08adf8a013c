package web

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"headwater/web/access"
	"headwater/web/alerts"
	"headwater/web/annotations"
	"headwater/web/app"
	"headwater/web/audit"
	"headwater/web/boards"
	"headwater/web/channels"
	"headwater/web/connect"
	"headwater/web/consumption"
	"headwater/web/cost"
	"headwater/web/deadletters"
	"headwater/web/device"
	"headwater/web/devices"
	"headwater/web/edges"
	"headwater/web/explore"
	"headwater/web/functions"
	"headwater/web/health"
	"headwater/web/ledger"
	"headwater/web/oncall"
	"headwater/web/overview"
	"headwater/web/pipeline"
	"headwater/web/registry"
	"headwater/web/replay"
	"headwater/web/rules"
	"headwater/web/silences"
	"headwater/web/static"
	"headwater/web/trust"
	"headwater/web/view"
)

// Config are the settings of the dashboard's pages.
type Config struct {
	// MQTT is host:port of the MQTT listener, after mqtts:// if it takes TLS, for the first
	// steps that an empty overview shows; empty means the usual port on this machine.
	MQTT string
	// Exposed says in words where other machines may reach the pages without a
	// log-in, which each page shows; empty when none can.
	Exposed string
	// StreamsPerAddress bounds the live streams of one address; 0 sets no bound but
	// live.MaxClients.
	StreamsPerAddress int
}

// Sources are where the facts come from, by feature. All are needed.
type Sources struct {
	Shell       app.Source
	Access      access.Source
	Overview    overview.Source
	Device      device.Source
	Alerts      alerts.Source
	Silences    silences.Source
	Rules       rules.Source
	Replay      replay.Source
	Pipeline    pipeline.Source
	Ledger      ledger.Source
	DeadLetters deadletters.Source
	Audit       audit.Source
	Trust       trust.Source
	Credentials devices.Source
	Connect     connect.Source
	Channels    channels.Source
	Explore     explore.Source
	OnCall      oncall.Source
	Edges       edges.Source
	Functions   functions.Source
	Cost        cost.Source
	Consumption consumption.Source
	Registry    registry.Source
	Health      health.Source
	Boards      boards.Source
	Annotations annotations.Source
}

// Server serves the pages, their live updates and the API.
type Server struct {
	shell   *app.Shell
	handler http.Handler
}

// New returns a server of what the sources return. It fails when one is missing.
func New(cfg Config, sources Sources, log *slog.Logger) (*Server, error) {
	if sources.Shell == nil || sources.Access == nil || sources.Overview == nil || sources.Device == nil || sources.Alerts == nil || sources.Silences == nil || sources.Rules == nil ||
		sources.Replay == nil || sources.Pipeline == nil || sources.Ledger == nil || sources.DeadLetters == nil || sources.Audit == nil || sources.Trust == nil || sources.Credentials == nil || sources.Connect == nil || sources.Channels == nil || sources.Cost == nil || sources.Consumption == nil || sources.Explore == nil || sources.OnCall == nil || sources.Edges == nil || sources.Functions == nil || sources.Registry == nil || sources.Health == nil || sources.Boards == nil || sources.Annotations == nil || log == nil {
		return nil, errors.New("the dashboard needs all its sources and a logger")
	}
	s := &Server{shell: app.New(app.Config{Exposed: cfg.Exposed, StreamsPerAddress: cfg.StreamsPerAddress, Gate: sources.Access}, sources.Shell, log)}
	var err error
	s.handler, err = s.shell.HandlerBySite(func(sites []string) []app.Route {
		limited := sources.limited(sites)
		return routes(cfg, s.shell.With(limited.Shell), limited)
	})
	return s, err
}

// routes are the routes of all features, and the few that belong to none.
func routes(cfg Config, shell *app.Shell, sources Sources) []app.Route {
	rulePages, trials := ruleFeatures(shell, sources)
	authority := len(sources.Trust.Authority().PEM) > 0
	return slices.Concat(
		overview.New(shell, sources.Overview, cfg.MQTT, authority).Routes(),
		connect.New(shell, sources.Connect, cfg.MQTT, authority).Routes(),
		access.New(shell, sources.Access).Routes(),
		device.New(shell, sources.Device).Routes(),
		consumption.New(shell, sources.Consumption).Routes(),
		alerts.New(shell, sources.Alerts).Routes(),
		silences.New(shell, sources.Silences).Routes(),
		rulePages.Routes(),
		trials.Routes(),
		pipeline.New(shell, sources.Pipeline).Routes(),
		ledger.New(shell, sources.Ledger).Routes(),
		deadletters.New(shell, sources.DeadLetters).Routes(),
		audit.New(shell, sources.Audit).Routes(),
		edges.New(shell, sources.Edges).Routes(),
		functions.New(shell, sources.Functions).Routes(),
		explore.New(shell, sources.Explore).Routes(),
		boards.New(shell, sources.Boards).Routes(),
		annotations.New(shell, sources.Annotations).Routes(),
		trust.New(shell, sources.Trust).Routes(),
		health.New(shell, sources.Health).Routes(),
		registry.New(shell, sources.Registry).Routes(),
		devices.New(shell, sources.Credentials, cfg.MQTT).Routes(),
		channels.New(shell, sources.Channels, len(sources.Trust.Authority().PEM) > 0).Routes(),
		oncall.New(shell, sources.OnCall).Routes(),
		cost.New(shell, sources.Cost).Routes(),
		[]app.Route{
			{Method: "GET", Path: "/api/v1/openapi.json", Role: app.Public, Handle: apiDescription},
			{Path: "/api/", Role: app.Viewer, BySite: true, Handle: func(w http.ResponseWriter, r *http.Request) {
				shell.Fail(w, http.StatusNotFound, "There is no "+r.Method+" "+app.Clip(r.URL.Path)+"; see /api/v1/openapi.json.")
			}},
			{Method: "GET", Path: app.IconPath, Role: app.Public, Handle: app.Icon},
			{Method: "GET", Path: "/offline", Role: app.Public, Handle: app.Offline},
			{Method: "GET", Path: static.Prefix, Role: app.Public, Handle: static.Handler().ServeHTTP},
			{Path: "/", Role: app.Viewer, BySite: true, Handle: shell.NotFound},
		},
	)
}

// ruleFeatures connects the two features that lead to each other: the editor of a
// rule to the page on which it is tried, and that page to what a rule is saved
// with. Neither knows the other.
func ruleFeatures(shell *app.Shell, sources Sources) (pages *rules.Pages, trials *replay.Pages) {
	pages = rules.New(shell, sources.Rules, func(w http.ResponseWriter, r *http.Request, d rules.Draft, rule *rules.Rule) {
		var inForce *replay.Rule
		if rule != nil {
			tried := triedRule(*rule)
			inForce = &tried
		}
		trials.Show(w, r, replay.Draft{Was: d.Was, Revision: d.Revision, YAML: d.YAML}, inForce)
	})
	trials = replay.New(shell, sources.Replay, replay.Rules{
		Rule: func(name string) (replay.Rule, error) {
			rule, err := sources.Rules.Rule(name)
			return triedRule(rule), err
		},
		Enable:     enabler{sources.Rules}.enable,
		NotEnabled: enabler{sources.Rules}.failed(pages),
		Fail:       pages.Fail,
	})
	return pages, trials
}

// Run keeps the live updates going until the context ends; then it ends all live
// streams, so that a server that shuts down does not have to wait for them. Without
// Run the pages work and do not change.
func (s *Server) Run(ctx context.Context) { s.shell.Run(ctx) }

// Handler serves the dashboard and its API. It may be used before Run.
func (s *Server) Handler() http.Handler { return s.handler }

// Protect serves what is no page to those who have the role and are not limited to sites.
func (s *Server) Protect(role view.Role, next http.Handler) http.Handler {
	return s.shell.Protect(role, next)
}

// Clients returns how many live streams are open.
func (s *Server) Clients() int { return s.shell.Hub().Clients() }

// Dropped returns how many live streams were ended because the browser did not
// read as fast as the frames came.
func (s *Server) Dropped() uint64 { return s.shell.Hub().Dropped() }

//go:embed openapi.json
var description []byte

func apiDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description) // a client that has left needs no answer
}
