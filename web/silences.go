package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"headwater/proto/figure"
	"headwater/web/view"
)

// Bounds of how long people may mute.
const (
	shortestMute = time.Minute
	longestMute  = 366 * 24 * time.Hour
)

// untilResolved is what people give for the length of a silence of what fires now.
const untilResolved = "resolved"

// silenceOf reads a silence as people ask for it. Those of a page name one series and
// how much of it is meant.
func silenceOf(v url.Values, now time.Time) (view.Silence, error) {
	s := view.Silence{Rule: v.Get("rule"), Site: v.Get("site"), Device: v.Get("device"), Metric: v.Get("metric"), From: now}
	for name, token := range map[string]string{"rule": s.Rule, "site": s.Site, "device": s.Device, "metric": s.Metric} {
		if token != "" && !validToken(token) {
			return s, errors.New(name + " must be 1 to 64 letters, digits, hyphens or underscores")
		}
	}
	switch v.Get("scope") {
	case "", "series":
	case "device":
		s.Rule, s.Metric = "", ""
	case "rule":
		s.Site, s.Device, s.Metric = "", "", ""
	default:
		return s, errors.New("scope must be series, device or rule")
	}
	if s.Rule == "" && s.Site == "" && s.Device == "" && s.Metric == "" {
		return s, errors.New("rule, site, device or metric must say which alerts are meant")
	}
	if v.Get("for") == untilResolved {
		s.UntilResolved = true
		return s, nil
	}
	d, err := figure.ParseDuration(v.Get("for"))
	if err != nil || d < shortestMute || d > longestMute {
		return s, errors.New("for must be a time from 1m to 8784h, like 8h, or resolved")
	}
	s.Until = now.Add(d)
	return s, nil
}

func (s *Server) mutePage(w http.ResponseWriter, r *http.Request) {
	if !s.parseForm(w, r) {
		return
	}
	asked, err := silenceOf(r.PostForm, s.now())
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	by, err := author(w, r, r.PostForm)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	asked.Author = by.Who
	made, err := s.sources.Silences.Mute(r.Context(), asked)
	if err != nil {
		s.failSilence(w, r, "Nothing was muted", err)
		return
	}
	back := backTo(r)
	if back == "/alerts" {
		back += "?muted=" + url.QueryEscape(made.ID)
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Server) unmutePage(w http.ResponseWriter, r *http.Request) {
	if !s.parseForm(w, r) {
		return
	}
	// What is over already is what was asked for.
	if err := s.sources.Silences.Unmute(r.Context(), r.PathValue("id")); err != nil && !errors.Is(err, ErrNotFound) {
		s.failSilence(w, r, "It is muted still", err)
		return
	}
	http.Redirect(w, r, backTo(r), http.StatusSeeOther)
}

// backTo is the page that a button leads back to.
func backTo(r *http.Request) string {
	if back := r.PostForm.Get("back"); backForm.MatchString(back) {
		return back
	}
	return "/alerts"
}

func (s *Server) parseForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.badRequest(w, r, errors.New("the form cannot be read"))
		return false
	}
	return true
}

func (s *Server) failSilence(w http.ResponseWriter, r *http.Request, what string, err error) {
	s.render(w, r, silenceStatus(err), view.Page{Title: "Alerts", Section: "alerts"}, view.Failure(what+": "+err.Error()+"."))
}

func silenceStatus(err error) int {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	case errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

func (s *Server) apiSilences(w http.ResponseWriter, r *http.Request) {
	all, err := s.sources.Silences.Silences()
	if err != nil {
		s.fail(w, silenceStatus(err), "The silences cannot be read: "+err.Error()+".")
		return
	}
	s.answer(w, r, struct {
		Silences []view.Silence `json:"silences"`
	}{orEmpty(all)})
}

func (s *Server) apiMute(w http.ResponseWriter, r *http.Request) {
	asked, err := silenceOf(r.URL.Query(), s.now())
	if err == nil {
		switch asked.Author = r.URL.Query().Get("by"); {
		case asked.Author == "":
			asked.Author = somewhere(r)
		case !validAuthor(asked.Author):
			err = errAuthor
		}
	}
	if err != nil {
		s.bad(w, err)
		return
	}
	made, err := s.sources.Silences.Mute(r.Context(), asked)
	if err != nil {
		s.fail(w, silenceStatus(err), "Nothing was muted: "+err.Error()+".")
		return
	}
	s.answer(w, r, made)
}

func (s *Server) apiUnmute(w http.ResponseWriter, r *http.Request) {
	err := s.sources.Silences.Unmute(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, silenceStatus(err), "It is muted still: "+err.Error()+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
