package boards

import (
	"net/http"

	"headwater/web/app"
	"headwater/web/view"
)

func (p *Pages) apiFail(w http.ResponseWriter, err error) {
	status, text := refusal(err)
	p.shell.Fail(w, status, text)
}

func (p *Pages) apiList(w http.ResponseWriter, r *http.Request) {
	all := p.seen(r)
	for i := range all {
		all[i].Tiles = app.OrEmpty(all[i].Tiles)
	}
	p.shell.Answer(w, r, struct {
		Boards []Board `json:"boards"`
	}{app.OrEmpty(all)})
}

func (p *Pages) apiBoard(w http.ResponseWriter, r *http.Request) {
	b, ok := p.board(r)
	if !ok {
		p.apiFail(w, view.ErrNotFound)
		return
	}
	p.answer(w, r, http.StatusOK, b)
}

func (p *Pages) answer(w http.ResponseWriter, r *http.Request, status int, b Board) {
	b.Tiles = app.OrEmpty(b.Tiles)
	p.shell.AnswerWith(w, r, status, b)
}

// body reads a board. Who owns it is not for the sender to say, but for themselves.
func (p *Pages) body(w http.ResponseWriter, r *http.Request) (Board, bool) {
	var b Board
	err := app.JSON(w, r, maxBody, &b)
	if err == nil && !b.SeenBy(app.PrincipalOf(r.Context())) {
		err = errOwner
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return b, false
	}
	for i := range b.Tiles {
		if b.Tiles[i].ID == "" {
			b.Tiles[i].ID = newID()
		}
	}
	return b, true
}

func (p *Pages) apiCreate(w http.ResponseWriter, r *http.Request) {
	b, ok := p.body(w, r)
	if !ok {
		return
	}
	b, err := p.source.CreateBoard(r.Context(), b)
	if err != nil {
		p.apiFail(w, err)
		return
	}
	p.answer(w, r, http.StatusCreated, b)
}

// apiSave replaces a board, if it is still of the revision that the body has.
func (p *Pages) apiSave(w http.ResponseWriter, r *http.Request) {
	b, ok := p.body(w, r)
	if !ok {
		return
	}
	before, ok := p.board(r)
	if !ok {
		p.apiFail(w, view.ErrNotFound)
		return
	}
	b, err := p.source.ChangeBoard(r.Context(), before.ID, "replaced", func(now Board) (Board, error) {
		if now.Revision != b.Revision {
			return now, view.ErrConflict
		}
		return b, nil
	})
	if err != nil {
		p.apiFail(w, err)
		return
	}
	p.answer(w, r, http.StatusOK, b)
}

func (p *Pages) apiDelete(w http.ResponseWriter, r *http.Request) {
	b, ok := p.board(r)
	err := view.ErrNotFound
	if ok {
		err = p.source.DeleteBoard(r.Context(), b.ID)
	}
	if err != nil {
		p.apiFail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
