package devices

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"headwater/proto/figure"
	"headwater/web/app"
	"headwater/web/view"
)

const (
	// maxBody bounds a draft, in bytes.
	maxBody = 64 << 10
	// maxOverlap bounds how long two tokens are good.
	maxOverlap = 90 * 24 * time.Hour
	// defaultOverlap leaves time to bring the new token to the device.
	defaultOverlap = 24 * time.Hour
)

func (p *Pages) list(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Credentials()
	if err != nil {
		p.fail(w, "The credentials cannot be read", err)
		return
	}
	all.Credentials, all.Unknown = app.OrEmpty(all.Credentials), app.OrEmpty(all.Unknown)
	p.shell.Answer(w, r, all)
}

func (p *Pages) add(w http.ResponseWriter, r *http.Request) {
	var d Draft
	if err := app.JSON(w, r, maxBody, &d); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	issued, err := p.source.AddCredential(r.Context(), d)
	if err != nil {
		p.fail(w, "The credential was not made", err)
		return
	}
	p.shell.AnswerWith(w, r, http.StatusCreated, issued)
}

func (p *Pages) rotate(w http.ResponseWriter, r *http.Request) {
	overlap := defaultOverlap
	if text := r.URL.Query().Get("overlap"); text != "" {
		var err error
		overlap, err = figure.ParseDuration(text)
		if err != nil || overlap < 0 || overlap > maxOverlap {
			p.shell.FailParameters(w, fmt.Errorf("overlap must be a duration from 0s to %s", figure.Duration(maxOverlap)))
			return
		}
	}
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	issued, err := p.source.RotateToken(r.Context(), name, overlap)
	if err != nil {
		p.fail(w, "The token was not changed", err)
		return
	}
	p.shell.Answer(w, r, issued)
}

func (p *Pages) revoke(w http.ResponseWriter, r *http.Request)  { p.setRevoked(w, r, true) }
func (p *Pages) approve(w http.ResponseWriter, r *http.Request) { p.setRevoked(w, r, false) }

func (p *Pages) claim(w http.ResponseWriter, r *http.Request) {
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	c, err := p.source.MakeClaim(r.Context(), name)
	if err != nil {
		p.fail(w, "No claim code was made", err)
		return
	}
	p.shell.Answer(w, r, made{Name: c.Name, Link: claimURL(r, c.Code), Until: c.Until})
}

// made is the answer about a claim code.
type made struct {
	Name string `json:"name"`
	// Link is the page that gives the token.
	Link  string    `json:"link"`
	Until time.Time `json:"until"`
}

func (p *Pages) setRevoked(w http.ResponseWriter, r *http.Request, revoked bool) {
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	c, err := p.source.SetRevoked(r.Context(), name, revoked)
	if err != nil {
		p.fail(w, "The credential was not changed", err)
		return
	}
	p.shell.Answer(w, r, c)
}

func (p *Pages) unknown(w http.ResponseWriter, r *http.Request) {
	var rules []UnknownRule
	if err := app.JSON(w, r, maxBody, &rules); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	if err := p.source.SetUnknown(r.Context(), rules); err != nil {
		p.fail(w, "The rules for unknown devices were not changed", err)
		return
	}
	p.shell.Answer(w, r, app.OrEmpty(rules))
}

func (p *Pages) name(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	if name = r.PathValue("name"); !app.ValidToken(name) {
		p.shell.FailParameters(w, app.TokenError("name"))
		return "", false
	}
	return name, true
}

func (p *Pages) fail(w http.ResponseWriter, what string, err error) {
	p.shell.Fail(w, status(err), what+": "+err.Error()+".")
}

// status returns the status of an answer that stands for an error of the source.
func status(err error) int {
	for of, s := range map[error]int{
		view.ErrNotFound: http.StatusNotFound, view.ErrConflict: http.StatusConflict, view.ErrUnavailable: http.StatusServiceUnavailable,
		ErrDraft: http.StatusBadRequest,
	} {
		if errors.Is(err, of) {
			return s
		}
	}
	return http.StatusInternalServerError
}
