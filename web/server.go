package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"headwater/web/static"
	"headwater/web/view"
)

// Config are the settings of the dashboard's pages.
type Config struct {
	// MQTT is host:port of the MQTT listener, for the page that tells how to
	// send a first reading; empty means the usual port on this machine.
	MQTT string
	// Exposed is in words where other machines may reach the pages without
	// a log-in, which each page says; empty when none may.
	Exposed string
	// StreamsPerAddress bounds the live streams of one address; 0 sets no bound
	// but that for all.
	StreamsPerAddress int
}

// Server serves the pages, their live updates and the API.
type Server struct {
	cfg     Config
	sources Sources
	log     *slog.Logger
	hub     *hub
	handler http.Handler
	now     func() time.Time
}

// New returns a server of what the sources tell. It fails when one is missing.
func New(cfg Config, sources Sources, log *slog.Logger) (*Server, error) {
	if sources.Devices == nil || sources.Alerts == nil || sources.History == nil || sources.Pipeline == nil ||
		sources.DeadLetters == nil || sources.Ledger == nil || sources.Rules == nil || sources.RuleStore == nil ||
		sources.Silences == nil || sources.Replays == nil || log == nil {
		return nil, errors.New("the dashboard needs all its sources and a logger")
	}
	s := &Server{cfg: cfg, sources: sources, log: log, now: time.Now}
	s.hub = newHub(sources.Pipeline.Version, cfg.StreamsPerAddress, log)
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.HandleFunc(r.pattern, r.handle)
	}
	// Pages, files, answers and live streams alike; a stream is flushed after each
	// event, whose repetitions then cost next to nothing.
	compress, err := gzhttp.NewWrapper()
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	s.handler = secure(http.NewCrossOriginProtection().Handler(compress(mux)))
	return s, nil
}

// Run keeps the live updates going until the context ends; then it closes all
// streams, so that a server which shuts down need not wait for them. Without
// Run the pages work and do not change.
func (s *Server) Run(ctx context.Context) { s.hub.run(ctx) }

// Handler serves the dashboard and its API. It may be used before Run.
func (s *Server) Handler() http.Handler { return s.handler }

// Clients returns how many live streams are open.
func (s *Server) Clients() int { return int(s.hub.clients.Load()) }

// Dropped returns how many live streams were ended because the browser did not
// read as fast as the frames came.
func (s *Server) Dropped() uint64 { return s.hub.dropped.Load() }

type route struct {
	pattern string
	handle  http.HandlerFunc
}

// routes are all routes; a test holds them against the description of the API.
func (s *Server) routes() []route {
	return []route{
		{"GET /{$}", s.overviewPage},
		{"GET /devices/{site}/{device}", s.devicePage},
		{"GET /alerts", s.alertsPage},
		{"POST /alerts/mute", s.mutePage},
		{"POST /silences/{id}/unmute", s.unmutePage},
		{"GET /pipeline", s.pipelinePage},
		{"GET /ledger", s.ledgerPage},
		{"GET /deadletters", s.deadLettersPage},
		{"GET /deadletters/confirm", s.confirmPage},
		{"POST /deadletters/redrive", s.redrivePage},
		{"POST /deadletters/purge", s.purgePage},
		{"GET /rules", s.rulesPage},
		{"GET /rules/new", s.newRulePage},
		{"POST /rules/new", s.saveRulePage},
		{"GET /rules/{name}", s.rulePage},
		{"POST /rules/{name}", s.saveRulePage},
		{"POST /rules/{name}/check", s.checkRulePart},
		{"GET /rules/{name}/try", s.tryPage},
		{"POST /rules/{name}/try", s.beginTryPage},
		{"POST /rules/{name}/try/cancel", s.cancelTryPage},
		{"POST /rules/{name}/enable", s.enableTriedPage},
		{"GET /rules/{name}/versions", s.ruleVersionsPage},
		{"POST /rules/{name}/restore", s.restoreRulePage},
		{"POST /rules/{name}/state", s.ruleStatePage},
		{"GET /rules/{name}/delete", s.confirmRulePage},
		{"POST /rules/{name}/delete", s.deleteRulePage},
		{"GET /live/overview", s.overviewLive},
		{"GET /live/devices/{site}/{device}", s.deviceLive},
		{"GET /live/alerts", s.alertsLive},
		{"GET /live/pipeline", s.pipelineLive},
		{"GET /live/deadletters", s.deadLettersLive},
		{"GET /live/rules", s.rulesLive},
		{"GET /live/rules/{name}/try", s.tryLive},
		{"GET /api/v1/devices", s.apiDevices},
		{"GET /api/v1/devices/{site}/{device}", s.apiDevice},
		{"GET /api/v1/series", s.apiSeries},
		{"GET /api/v1/alerts", s.apiAlerts},
		{"GET /api/v1/silences", s.apiSilences},
		{"POST /api/v1/silences", s.apiMute},
		{"DELETE /api/v1/silences/{id}", s.apiUnmute},
		{"GET /api/v1/pipeline", s.apiPipeline},
		{"GET /api/v1/deadletters", s.apiDeadLetters},
		{"GET /api/v1/deadletters/{sequence}", s.apiDeadLetter},
		{"DELETE /api/v1/deadletters/{sequence}", s.apiPurge},
		{"DELETE /api/v1/deadletters", s.apiPurge},
		{"POST /api/v1/deadletters/{sequence}/redrive", s.apiRedrive},
		{"POST /api/v1/deadletters/redrive", s.apiRedrive},
		{"GET /api/v1/ledger", s.apiLedger},
		{"GET /api/v1/rules", s.apiRules},
		{"GET /api/v1/rules/{name}", s.apiRule},
		{"PUT /api/v1/rules/{name}", s.apiSaveRule},
		{"DELETE /api/v1/rules/{name}", s.apiDeleteRule},
		{"POST /api/v1/rules/{name}/state", s.apiRuleState},
		{"GET /api/v1/rules/{name}/versions", s.apiRuleVersions},
		{"POST /api/v1/replays", s.apiBeginReplay},
		{"GET /api/v1/replays/{id}", s.apiReplay},
		{"DELETE /api/v1/replays/{id}", s.apiCancelReplay},
		{"GET /api/v1/openapi.json", s.apiDescription},
		{"/api/", s.apiNotFound},
		{"GET " + static.Prefix, static.Handler().ServeHTTP},
		{"/", s.notFoundPage},
	}
}

// secure sets the headers that keep a page to itself: no code and no style but
// the dashboard's own files, no frame around it, no guessing of types.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// hostForm is what a host may look like to be put into a command for people.
var hostForm = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$`)

// start tells how to reach this server, as the browser reached it.
func (s *Server) start(r *http.Request) view.Start {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if !hostForm.MatchString(host) {
		host = "localhost:8080"
	}
	return view.Start{MQTT: s.cfg.MQTT, HTTP: scheme + "://" + host}
}
