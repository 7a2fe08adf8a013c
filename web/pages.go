package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/a-h/templ"

	"headwater/streams"
	"headwater/web/view"
)

// Bounds of what one page shows and of what one may ask.
const (
	devicesOnPage = 50
	firingOnPage  = 5
	resolvedShown = 100
	lettersOnPage = 25
	maxText       = 80
	maxPage       = 100_000
	payloadShown  = 4096
)

// render writes a page. What fails after the first byte cannot be told to the
// browser and is only logged.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, p view.Page, content templ.Component) {
	p.Status, p.Exposed = s.sources.Pipeline.Status(), s.cfg.Exposed
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := view.Shell(p, content).Render(r.Context(), w); err != nil && r.Context().Err() == nil {
		s.log.Error("a page was not rendered whole", "path", r.URL.Path, "err", err)
	}
}

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request) {
	q, err := overviewQuery(r)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	facts := s.overview(q, s.start(r))
	s.render(w, r, http.StatusOK, view.Page{Title: "Overview", Section: "overview", Live: facts.LiveURL()}, view.Overview(facts))
}

// overviewQuery reads what the overview is asked for.
func overviewQuery(r *http.Request) (view.DeviceQuery, error) {
	q := view.DeviceQuery{Text: strings.TrimSpace(r.FormValue("q")), State: view.State(r.FormValue("state")), Page: 1, Size: devicesOnPage}
	if len(q.Text) > maxText || !utf8.ValidString(q.Text) {
		return q, errors.New("q must be text of at most 80 bytes")
	}
	switch q.State {
	case "", view.StateOK, view.StateFiring, view.StateSilent, view.StateUnknown:
	default:
		return q, errors.New("state must be ok, firing, silent or unknown")
	}
	if text := r.FormValue("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return q, errors.New("page must be a number from 1")
		}
		q.Page = n
	}
	return q, nil
}

func (s *Server) overview(q view.DeviceQuery, start view.Start) view.OverviewFacts {
	pipeline := s.sources.Pipeline.Pipeline()
	alerts := s.alerts(0)
	f := view.OverviewFacts{Query: q, Devices: s.sources.Devices.Devices(q), Rate: pipeline.Rate, Rates: pipeline.Rates, Start: start}
	f.Firing = alerts.Active[:min(firingOnPage, len(alerts.Active))]
	f.FiringMore = len(alerts.Active) - len(f.Firing)
	return f
}

func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	site, device := r.PathValue("site"), r.PathValue("device")
	rng, ok := view.ChartRangeNamed(r.FormValue("range"))
	if !ok {
		s.badRequest(w, r, errors.New("range must be 15m, 1h, 6h, 24h, 7d, 30d or 1y"))
		return
	}
	at, err := s.moment(r)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	if s.now().Sub(at) < rng.Span/2 {
		at = time.Time{} // the charts up to now show it
	}
	facts, ok := s.device(site, device, rng, at)
	if !ok {
		s.render(w, r, http.StatusNotFound, view.Page{Title: "Not found"},
			view.NotFound("No device "+clip(site)+"/"+clip(device)+" has reported.", []view.Link{{Href: "/", Text: "All devices"}, {Href: "/deadletters", Text: "What could not be processed"}}))
		return
	}
	live := "/live" + view.DeviceURL(site, device) + "?range=" + rng.Name
	if !at.IsZero() {
		live += "&at=" + url.QueryEscape(r.FormValue("at"))
	}
	s.render(w, r, http.StatusOK, view.Page{Title: device, Section: "overview", Live: live}, view.DevicePage(facts))
}

// moment reads the time about which a page is asked for; zero when it is now.
func (s *Server) moment(r *http.Request) (time.Time, error) {
	text := r.FormValue("at")
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() < 1971 || at.After(s.now().Add(24*time.Hour)) {
		return time.Time{}, errors.New("at must be a time of the past like 2026-11-22T14:03:12Z")
	}
	return at, nil
}

func (s *Server) device(site, device string, rng view.Range, at time.Time) (view.DeviceFacts, bool) {
	if !validToken(site) || !validToken(device) {
		return view.DeviceFacts{}, false
	}
	d, ok := s.sources.Devices.Device(site, device)
	if !ok {
		return view.DeviceFacts{}, false
	}
	f := view.DeviceFacts{Device: d, Range: rng, At: at, Summaries: s.sources.Alerts.Summaries(site, device)}
	from, to := f.Period(s.now())
	f.Episodes = s.episodes(site, device, from, to)
	for _, a := range s.sources.Alerts.Alerts(0).Active {
		if a.Site == site && a.Device == device {
			f.Firing = append(f.Firing, a)
		}
	}
	return f, true
}

func (s *Server) alertsPage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, view.Page{Title: "Alerts", Section: "alerts", Live: "/live/alerts"},
		view.AlertsPage(s.alerts(resolvedShown), s.justMuted(r)))
}

// justMuted returns the silence that the page before has begun, while it lasts.
func (s *Server) justMuted(r *http.Request) *view.Silence {
	all, err := s.sources.Silences.Silences()
	if id := r.FormValue("muted"); err == nil && id != "" {
		for _, one := range all {
			if one.ID == id {
				return &one
			}
		}
	}
	return nil
}

func (s *Server) pipelinePage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, view.Page{Title: "Pipeline", Section: "pipeline", Live: "/live/pipeline"},
		view.PipelinePage(s.sources.Pipeline.Pipeline()))
}

func (s *Server) deadLettersPage(w http.ResponseWriter, r *http.Request) {
	page := view.Page{Title: "Dead letters", Section: "deadletters", Live: "/live/deadletters"}
	q, err := deadLetterQuery(r)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	letters, err := s.sources.DeadLetters.DeadLetters(r.Context(), q)
	if err != nil {
		s.render(w, r, http.StatusServiceUnavailable, page, view.Failure("The dead letters cannot be read: "+err.Error()+"."))
		return
	}
	s.render(w, r, http.StatusOK, page, view.DeadLettersPage(view.DeadLettersFacts{Query: q, Letters: bounded(letters)}))
}

// deadLetterQuery reads which dead letters are asked for.
func deadLetterQuery(r *http.Request) (view.DeadLetterQuery, error) {
	q := view.DeadLetterQuery{Service: r.FormValue("service"), Reason: r.FormValue("reason"), Size: lettersOnPage}
	for name, token := range map[string]string{"service": q.Service, "reason": q.Reason} {
		if token != "" && !validToken(token) {
			return q, errors.New(name + " must be 1 to 64 letters, digits, hyphens or underscores")
		}
	}
	if text := r.FormValue("before"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return q, errors.New("before must be a sequence number")
		}
		q.Before = n
	}
	return q, nil
}

// bounded cuts the payloads to what is shown, and says what can be redriven.
func bounded(l view.DeadLetters) view.DeadLetters {
	for i := range l.Items {
		l.Items[i].NotRedrivable = view.NotRedrivable(l.Items[i])
		if p := l.Items[i].Payload; len(p) > payloadShown {
			l.Items[i].Payload = p[:payloadShown]
		}
	}
	return l
}

func (s *Server) badRequest(w http.ResponseWriter, r *http.Request, err error) {
	s.render(w, r, http.StatusBadRequest, view.Page{Title: "Not found"},
		view.NotFound("There is no such page: "+err.Error()+".", []view.Link{{Href: "/", Text: "Overview"}}))
}

func (s *Server) notFoundPage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusNotFound, view.Page{Title: "Not found"},
		view.NotFound("There is no page "+clip(r.URL.Path)+".", []view.Link{{Href: "/", Text: "Overview"}, {Href: "/alerts", Text: "Alerts"}, {Href: "/pipeline", Text: "Pipeline"}}))
}

// validToken says whether s may name a site, a device or a metric.
func validToken(s string) bool { return streams.ValidToken(s) }

// clip shortens what a person typed before it is shown again.
func clip(s string) string {
	if len(s) <= maxText {
		return strings.ToValidUTF8(s, "\ufffd")
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
