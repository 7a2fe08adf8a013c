package replay

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"headwater/proto/figure"
	"headwater/streams"
	"headwater/web/app"
	"headwater/web/view"
)

// Defaults of a replay.
const (
	defaultPeriod = 24 * time.Hour
	defaultWarm   = 7 * 24 * time.Hour
)

// body is what a program asks for a replay with.
type body struct {
	Rule string `json:"rule"`
	From string `json:"from"`
	To   string `json:"to"`
	Warm string `json:"warm"`
}

// query reads which replay is asked for; times may be relative to now.
func (b body) query(now time.Time) (Query, error) {
	q := Query{Rule: b.Rule, Warm: defaultWarm}
	var problems []error
	var err error
	q.To, err = app.Moment(b.To, now, now)
	if err != nil {
		problems = append(problems, fmt.Errorf("to %w", err))
	}
	q.From, err = app.Moment(b.From, now, q.To.Add(-defaultPeriod))
	if err != nil {
		problems = append(problems, fmt.Errorf("from %w", err))
	}
	if b.Warm != "" {
		q.Warm, err = figure.ParseDuration(b.Warm)
		if err != nil {
			problems = append(problems, errors.New("warm must be a duration such as 24h or 2d"))
		}
	}
	return q, errors.Join(problems...)
}

func (p *Pages) apiBegin(w http.ResponseWriter, r *http.Request) {
	var b body
	if err := app.JSON(w, r, 2*streams.MaxReplayRule, &b); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	q, err := b.query(p.shell.Now())
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	run, err := p.source.Begin(r.Context(), q)
	switch {
	case err != nil:
		p.apiFail(w, "The rule cannot be tried", err)
	case run.State == streams.ReplayBusy:
		p.shell.Fail(w, http.StatusConflict, run.Error+".")
	case run.State == streams.ReplayFailed:
		p.shell.Fail(w, http.StatusUnprocessableEntity, run.Error+".")
	default:
		w.Header().Set("Location", "/api/v1/replays/"+run.ID)
		p.shell.AnswerWith(w, r, http.StatusAccepted, run)
	}
}

func (p *Pages) apiOne(w http.ResponseWriter, r *http.Request) {
	run, err := p.source.Replay(r.Context(), r.PathValue("id"))
	if err != nil {
		p.apiFail(w, "The replay cannot be read", err)
		return
	}
	p.shell.Answer(w, r, run)
}

func (p *Pages) apiCancel(w http.ResponseWriter, r *http.Request) {
	if err := p.source.Cancel(r.Context(), r.PathValue("id")); err != nil {
		p.apiFail(w, "The replay cannot be ended", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *Pages) apiFail(w http.ResponseWriter, what string, err error) {
	switch {
	case errors.Is(err, view.ErrNotFound):
		p.shell.Fail(w, http.StatusNotFound, "Replay not found; it may have been deleted.")
	case errors.Is(err, view.ErrUnavailable):
		p.shell.Fail(w, http.StatusServiceUnavailable, what+": "+err.Error()+".")
	default:
		p.shell.Log.Warn("request about a replay failed", "err", err)
		p.shell.Fail(w, http.StatusBadGateway, what+": "+err.Error()+".")
	}
}
