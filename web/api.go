package web

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/web/view"
)

// Bounds of the API.
const (
	// MaxPoints is the largest number of buckets that one request may ask for.
	MaxPoints     = 5000
	defaultPoints = 600
	defaultSpan   = time.Hour
	maxDevices    = 1000
	maxLetters    = 100
	maxResolved   = 1000
	// maxSpan bounds the range of a series; nothing is kept for longer.
	maxSpan = 20 * 366 * 24 * time.Hour
)

//go:embed openapi.json
var description []byte

// problem is an error as RFC 9457 defines it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Problems are those of a rule, one by one.
	Problems []view.RuleProblem `json:"problems,omitempty"`
}

func (s *Server) fail(w http.ResponseWriter, status int, detail string) {
	s.failWith(w, status, problem{Detail: detail})
}

// failWith answers with a problem that says more than its detail.
func (s *Server) failWith(w http.ResponseWriter, status int, p problem) {
	p.Type, p.Title, p.Status = "about:blank", http.StatusText(status), status
	body, err := json.Marshal(p)
	if err != nil {
		s.log.Error("a problem was not encoded", "err", err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any) {
	s.answerWith(w, r, http.StatusOK, v)
}

func (s *Server) answerWith(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.log.Error("an answer was not encoded", "path", r.URL.Path, "err", err)
		s.fail(w, http.StatusInternalServerError, "The answer cannot be written as JSON.")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

// bad answers a request whose parameters do not fit.
func (s *Server) bad(w http.ResponseWriter, err error) {
	s.fail(w, http.StatusBadRequest, "The request does not fit: "+err.Error()+".")
}

func (s *Server) apiNotFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, http.StatusNotFound, "There is no "+r.Method+" "+clip(r.URL.Path)+"; see /api/v1/openapi.json.")
}

func (s *Server) apiDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description) // a client that went away needs no answer
}

// number reads a whole number from 1 to most, or the default when it is absent.
func number(r *http.Request, name string, standard, most int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s must be a whole number from 1 to %d", name, most)
	}
	return n, nil
}

func (s *Server) apiDevices(w http.ResponseWriter, r *http.Request) {
	q, err := overviewQuery(r)
	size, err2 := number(r, "size", 100, maxDevices)
	if err := errors.Join(err, err2); err != nil {
		s.bad(w, err)
		return
	}
	q.Size = size
	devices := s.sources.Devices.Devices(q)
	if devices.Items == nil {
		devices.Items = []view.Device{}
	}
	s.answer(w, r, devices)
}

func (s *Server) apiDevice(w http.ResponseWriter, r *http.Request) {
	f, ok := s.device(r.PathValue("site"), r.PathValue("device"), view.Ranges[len(view.Ranges)-1], time.Time{})
	if !ok {
		s.fail(w, http.StatusNotFound, "No such device has reported.")
		return
	}
	s.answer(w, r, struct {
		view.Device
		Episodes  []view.Episode `json:"episodes"`
		Summaries []summary      `json:"summaries"`
	}{f.Device, orEmpty(f.Episodes), summaries(f.Summaries)})
}

// summary is a window summary with its width in milliseconds.
type summary struct {
	view.Summary
	WidthMS int64 `json:"width_ms"`
}

func summaries(in []view.Summary) []summary {
	out := make([]summary, len(in))
	for i, s := range in {
		out[i] = summary{s, s.Width.Milliseconds()}
	}
	return out
}

func orEmpty[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

func (s *Server) apiSeries(w http.ResponseWriter, r *http.Request) {
	q, err := s.seriesQuery(r)
	if err != nil {
		s.bad(w, err)
		return
	}
	d, ok := s.sources.Devices.Device(q.Site, q.Device)
	if !ok {
		s.fail(w, http.StatusNotFound, "No such device has reported.")
		return
	}
	var metric *view.Metric
	for i := range d.Metrics {
		if d.Metrics[i].Name == q.Metric {
			metric = &d.Metrics[i]
		}
	}
	switch {
	case metric == nil:
		s.fail(w, http.StatusNotFound, "The device has no such metric.")
		return
	case !metric.Drawn():
		s.fail(w, http.StatusBadRequest, "The metric is text, which has no series of numbers.")
		return
	}
	series, err := s.sources.History.Series(r.Context(), q)
	series.Source = "history"
	switch {
	case errors.Is(err, ErrUnavailable):
		series = remembered(q, metric)
	case err != nil:
		s.log.Warn("history was not read", "device", q.Site+"/"+q.Device, "err", err)
		s.fail(w, http.StatusBadGateway, "The history cannot be read: "+err.Error()+".")
		return
	}
	series.Site, series.Device, series.Metric = q.Site, q.Device, q.Metric
	series.Unit, series.Kind, series.From, series.To = metric.Unit, metric.Kind, q.From, q.To
	series.TimeMS, series.Min, series.Max, series.Mean = orEmpty(series.TimeMS), orEmpty(series.Min), orEmpty(series.Max), orEmpty(series.Mean)
	series.Episodes = []view.Episode{}
	for _, e := range s.sources.Alerts.Episodes(q.Site, q.Device, q.From, q.To) {
		if e.Metric == q.Metric {
			series.Episodes = append(series.Episodes, e)
		}
	}
	s.answer(w, r, series)
}

// remembered returns what stands in for the history while the database is away:
// the slots of the sparkline.
func remembered(q view.SeriesQuery, m *view.Metric) view.Series {
	out := view.Series{Source: "memory", Tier: "raw", BucketMS: view.SlotWidth.Milliseconds()}
	for _, slot := range m.Spark {
		if slot.Start.Before(q.From.Add(-view.SlotWidth)) || !slot.Start.Before(q.To) {
			continue
		}
		out.TimeMS = append(out.TimeMS, slot.Start.UnixMilli())
		out.Min = append(out.Min, slot.Min)
		out.Max = append(out.Max, slot.Max)
		out.Mean = append(out.Mean, slot.Last)
	}
	return out
}

// seriesQuery reads which series is asked for, and which part of it.
func (s *Server) seriesQuery(r *http.Request) (view.SeriesQuery, error) {
	q := view.SeriesQuery{Site: r.FormValue("site"), Device: r.FormValue("device"), Metric: r.FormValue("metric")}
	var problems []error
	for _, p := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}, {"metric", q.Metric}} {
		if !validToken(p.value) {
			problems = append(problems, errors.New(p.name+" must be 1 to 64 letters, digits, hyphens or underscores"))
		}
	}
	var err error
	if q.Points, err = number(r, "points", defaultPoints, MaxPoints); err != nil {
		problems = append(problems, err)
	}
	q.From, q.To, err = s.span(r)
	problems = append(problems, err)
	return q, errors.Join(problems...)
}

// moment reads a time: RFC 3339, or a negative duration before the base.
func moment(text string, base, standard time.Time) (time.Time, error) {
	switch {
	case text == "":
		return standard, nil
	case strings.HasPrefix(text, "-"):
		if d, err := figure.ParseDuration(text); err == nil && d >= -maxSpan && d <= 0 {
			return base.Add(d), nil
		}
	default:
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("must be a time of RFC 3339 or a negative duration such as -1h or -2d")
}

func (s *Server) apiAlerts(w http.ResponseWriter, r *http.Request) {
	n, err := number(r, "resolved", resolvedShown, maxResolved)
	if err != nil {
		s.bad(w, err)
		return
	}
	a := s.alerts(n)
	a.Active, a.Resolved = orEmpty(a.Active), orEmpty(a.Resolved)
	s.answer(w, r, a)
}

func (s *Server) apiPipeline(w http.ResponseWriter, r *http.Request) {
	p := s.sources.Pipeline.Pipeline()
	p.Problems, p.Streams, p.Consumers = orEmpty(p.Problems), orEmpty(p.Streams), orEmpty(p.Consumers)
	p.Lanes, p.Channels = orEmpty(p.Lanes), orEmpty(p.Channels)
	s.answer(w, r, p)
}

func (s *Server) apiDeadLetters(w http.ResponseWriter, r *http.Request) {
	q, err := deadLetterQuery(r)
	size, err2 := number(r, "size", lettersOnPage, maxLetters)
	if err := errors.Join(err, err2); err != nil {
		s.bad(w, err)
		return
	}
	q.Size = size
	letters, err := s.sources.DeadLetters.DeadLetters(r.Context(), q)
	switch {
	case errors.Is(err, ErrUnavailable):
		s.fail(w, http.StatusServiceUnavailable, "The dead letters cannot be read: "+err.Error()+".")
		return
	case err != nil:
		s.log.Warn("dead letters were not read", "err", err)
		s.fail(w, http.StatusBadGateway, "The dead letters cannot be read: "+err.Error()+".")
		return
	}
	letters = bounded(letters)
	letters.Items, letters.Counts = orEmpty(letters.Items), orEmpty(letters.Counts)
	s.answer(w, r, letters)
}
