package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"headwater/proto/figure"
	"headwater/streams"
	"headwater/web/view"
)

// Defaults of a replay.
const (
	defaultPeriod = 24 * time.Hour
	defaultWarm   = 7 * 24 * time.Hour
)

// replayBody is what a program asks for a replay with.
type replayBody struct {
	Rule string `json:"rule"`
	From string `json:"from"`
	To   string `json:"to"`
	Warm string `json:"warm"`
}

// replayQuery reads what replay is asked for; times may be relative to now.
func (b replayBody) query(now time.Time) (view.ReplayQuery, error) {
	q := view.ReplayQuery{Rule: b.Rule, Warm: defaultWarm}
	var problems []error
	var err error
	if q.To, err = moment(b.To, now, now); err != nil {
		problems = append(problems, fmt.Errorf("to %w", err))
	}
	if q.From, err = moment(b.From, now, q.To.Add(-defaultPeriod)); err != nil {
		problems = append(problems, fmt.Errorf("from %w", err))
	}
	if b.Warm != "" {
		if q.Warm, err = figure.ParseDuration(b.Warm); err != nil {
			problems = append(problems, errors.New("warm must be a duration such as 24h or 2d"))
		}
	}
	return q, errors.Join(problems...)
}

func (s *Server) apiBeginReplay(w http.ResponseWriter, r *http.Request) {
	var body replayBody
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 2*streams.MaxReplayRule))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		s.bad(w, fmt.Errorf("the body is no JSON with rule, from, to and warm: %w", err))
		return
	}
	q, err := body.query(s.now())
	if err != nil {
		s.bad(w, err)
		return
	}
	replay, err := s.sources.Replays.Begin(r.Context(), q)
	switch {
	case err != nil:
		s.failReplay(w, "The rule cannot be tried", err)
	case replay.State == streams.ReplayBusy:
		s.fail(w, http.StatusConflict, replay.Error+".")
	case replay.State == streams.ReplayFailed:
		s.fail(w, http.StatusUnprocessableEntity, replay.Error+".")
	default:
		w.Header().Set("Location", "/api/v1/replays/"+replay.ID)
		s.answerWith(w, r, http.StatusAccepted, replay)
	}
}

func (s *Server) apiReplay(w http.ResponseWriter, r *http.Request) {
	replay, err := s.sources.Replays.Replay(r.Context(), r.PathValue("id"))
	if err != nil {
		s.failReplay(w, "The replay cannot be read", err)
		return
	}
	s.answer(w, r, replay)
}

func (s *Server) apiCancelReplay(w http.ResponseWriter, r *http.Request) {
	if err := s.sources.Replays.Cancel(r.Context(), r.PathValue("id")); err != nil {
		s.failReplay(w, "The replay cannot be ended", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) failReplay(w http.ResponseWriter, what string, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		s.fail(w, http.StatusNotFound, "Replay not found; it may have been deleted.")
	case errors.Is(err, ErrUnavailable):
		s.fail(w, http.StatusServiceUnavailable, what+": "+err.Error()+".")
	default:
		s.log.Warn("something went wrong with a replay", "err", err)
		s.fail(w, http.StatusBadGateway, what+": "+err.Error()+".")
	}
}
