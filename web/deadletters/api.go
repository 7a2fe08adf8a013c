package deadletters

import (
	"errors"
	"net/http"
	"net/url"

	"headwater/web/app"
	"headwater/web/view"
)

func (p *Pages) apiList(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	size, err2 := app.Number(r, "size", lettersOnPage, maxLetters)
	if err := errors.Join(err, err2); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	q.Size = size
	letters, err := p.source.DeadLetters(r.Context(), q)
	switch {
	case errors.Is(err, view.ErrUnavailable):
		p.shell.Fail(w, http.StatusServiceUnavailable, "The dead letters cannot be read: "+err.Error()+".")
		return
	case err != nil:
		p.shell.Log.Warn("dead letters were not read", "err", err)
		p.shell.Fail(w, http.StatusBadGateway, "The dead letters cannot be read: "+err.Error()+".")
		return
	}
	letters = bounded(letters)
	letters.Items, letters.Counts = app.OrEmpty(letters.Items), app.OrEmpty(letters.Counts)
	p.shell.Answer(w, r, letters)
}

// apiSelection reads the selection of a request to the API: from the path, or
// from the query. A body is not read.
func apiSelection(r *http.Request) (Selection, error) {
	v := r.URL.Query()
	v.Del("sequence")
	if text := r.PathValue("sequence"); text != "" {
		v = url.Values{"sequence": {text}}
	}
	return selection(v)
}

func (p *Pages) apiOne(w http.ResponseWriter, r *http.Request) {
	selected, err := apiSelection(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	letter, err := p.source.DeadLetter(r.Context(), selected.Sequence)
	if err != nil {
		p.apiFail(w, "The dead letter cannot be read", err)
		return
	}
	letter.NotRedrivable = NotRedrivable(letter)
	p.shell.Answer(w, r, letter)
}

func (p *Pages) apiRedrive(w http.ResponseWriter, r *http.Request) {
	selected, err := apiSelection(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	result, err := p.source.Redrive(r.Context(), selected)
	if err != nil {
		p.apiFail(w, "The dead letters cannot be redriven", err)
		return
	}
	result.Letters = app.OrEmpty(result.Letters)
	p.shell.Answer(w, r, result)
}

func (p *Pages) apiPurge(w http.ResponseWriter, r *http.Request) {
	selected, err := apiSelection(r)
	if err == nil && selected.From != 0 {
		err = errors.New("from is not a parameter of a purge")
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	n, err := p.source.Purge(r.Context(), selected)
	if err != nil {
		p.apiFail(w, "The dead letters cannot be purged", err)
		return
	}
	p.shell.Answer(w, r, struct {
		Purged uint64 `json:"purged"`
	}{n})
}

func (p *Pages) apiFail(w http.ResponseWriter, what string, err error) {
	switch status := p.status(err); status {
	case http.StatusNotFound:
		p.shell.Fail(w, status, "There is no such dead letter.")
	default:
		p.shell.Fail(w, status, what+": "+err.Error()+".")
	}
}
