package edges

import (
	"errors"
	"net/http"

	"headwater/web/app"
	"headwater/web/view"
)

// maxBody bounds a draft, in bytes.
const maxBody = 64 << 10

// Pages are the pages and the API of the edges.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return append(p.pageRoutes(), []app.Route{
		{Method: "GET", Path: "/api/v1/edges", Role: app.Viewer, Handle: p.list},
		{Method: "POST", Path: "/api/v1/edges", Role: app.Administrator, Handle: p.invite},
		{Method: "PUT", Path: "/api/v1/edges/{name}/policy", Role: app.Administrator, Handle: p.policy},
		{Method: "GET", Path: "/api/v1/edges/{name}/gaps", Role: app.Viewer, Handle: p.gaps},
		{Method: "POST", Path: "/api/v1/edges/{name}/repair", Role: app.Operator, Handle: p.repair},
		{Method: "POST", Path: "/api/v1/edges/{name}/revoke", Role: app.Administrator, Handle: p.revoke},
	}...)
}

func (p *Pages) list(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Edges(r.Context())
	if err != nil {
		p.fail(w, "The edges cannot be read", err)
		return
	}
	p.shell.Answer(w, r, struct {
		Edges []Edge `json:"edges"`
	}{app.OrEmpty(all)})
}

func (p *Pages) invite(w http.ResponseWriter, r *http.Request) {
	var d Draft
	if err := app.JSON(w, r, maxBody, &d); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	invited, err := p.source.InviteEdge(r.Context(), d)
	if err != nil {
		p.fail(w, "The edge was not invited", err)
		return
	}
	p.shell.AnswerWith(w, r, http.StatusCreated, invited)
}

func (p *Pages) policy(w http.ResponseWriter, r *http.Request) {
	var to Policy
	if err := app.JSON(w, r, maxBody, &to); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	p.change(w, r, func(name string) (Edge, error) { return p.source.SetEdgePolicy(r.Context(), name, to) })
}

func (p *Pages) revoke(w http.ResponseWriter, r *http.Request) {
	p.change(w, r, func(name string) (Edge, error) { return p.source.RevokeEdge(r.Context(), name) })
}

func (p *Pages) gaps(w http.ResponseWriter, r *http.Request) {
	ofEdge(p, w, r, "The edge was not compared", func(name string) (Gaps, error) { return p.source.Gaps(r.Context(), name) })
}

func (p *Pages) repair(w http.ResponseWriter, r *http.Request) {
	ofEdge(p, w, r, "The edge was not asked", func(name string) (Gaps, error) { return p.source.RepairEdge(r.Context(), name) })
}

func (p *Pages) change(w http.ResponseWriter, r *http.Request, change func(name string) (Edge, error)) {
	ofEdge(p, w, r, "The edge was not changed", change)
}

// ofEdge answers with what do returns for the edge that the address names, or says what
// failed.
func ofEdge[T any](p *Pages, w http.ResponseWriter, r *http.Request, failed string, do func(name string) (T, error)) {
	name := r.PathValue("name")
	if !app.ValidToken(name) {
		p.shell.FailParameters(w, app.TokenError("name"))
		return
	}
	e, err := do(name)
	if err != nil {
		p.fail(w, failed, err)
		return
	}
	p.shell.Answer(w, r, e)
}

func (p *Pages) fail(w http.ResponseWriter, what string, err error) {
	p.shell.Fail(w, status(err), what+": "+err.Error()+".")
}

// status returns the status of an answer that stands for an error of the source.
func status(err error) int {
	for of, s := range map[error]int{
		view.ErrNotFound: http.StatusNotFound, view.ErrUnavailable: http.StatusServiceUnavailable, ErrDraft: http.StatusBadRequest,
	} {
		if errors.Is(err, of) {
			return s
		}
	}
	return http.StatusInternalServerError
}
