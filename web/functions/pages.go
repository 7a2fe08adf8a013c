package functions

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// maxBody bounds a draft, in bytes: 8 MiB of code as base64, and a little.
const maxBody = 12 << 20

// path is the address of the list.
const path = "/functions"

// Pages are the pages of the functions, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: path, Role: app.Viewer, Handle: p.list},
		{Method: "GET", Path: path + "/{name}", Role: app.Viewer, Handle: p.one},
		{Method: "POST", Path: path + "/{name}/state", Role: app.Administrator, Handle: p.set},
		{Method: "GET", Path: "/api/v1/functions", Role: app.Viewer, Handle: p.apiList},
		{Method: "POST", Path: "/api/v1/functions/{name}/versions", Role: app.Administrator, Handle: p.apiDeploy},
		{Method: "PUT", Path: "/api/v1/functions/{name}/versions/{version}/state", Role: app.Administrator, Handle: p.apiSet},
		{Method: "POST", Path: "/api/v1/functions/{name}/call", Role: app.Operator, Handle: p.apiCall},
		{Method: "DELETE", Path: "/api/v1/functions/{name}", Role: app.Administrator, Handle: p.apiRemove},
	}
}

func (p *Pages) list(w http.ResponseWriter, r *http.Request) {
	about := app.Page{Title: "Functions", Section: "functions"}
	all, err := p.source.Functions(r.Context())
	if err != nil {
		p.shell.Page(w, r, http.StatusServiceUnavailable, about, ui.Failure("The functions cannot be read: "+err.Error()+"."))
		return
	}
	p.shell.Page(w, r, http.StatusOK, about, List(all))
}

func (p *Pages) one(w http.ResponseWriter, r *http.Request) { p.show(w, r, http.StatusOK, "") }

// show shows a function, with what went wrong with the last button.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, problem string) {
	about := app.Page{Title: "Function", Section: "functions"}
	f, err := p.find(r)
	switch {
	case errors.Is(err, view.ErrNotFound):
		p.shell.NotFound(w, r)
	case err != nil:
		p.shell.Page(w, r, http.StatusServiceUnavailable, about, ui.Failure("The function cannot be read: "+err.Error()+"."))
	default:
		about.Title = f.Name
		p.shell.Page(w, r, status, about, One(f, problem))
	}
}

// find returns the function of a path.
func (p *Pages) find(r *http.Request) (Function, error) {
	all, err := p.source.Functions(r.Context())
	if err != nil {
		return Function{}, err
	}
	i := slices.IndexFunc(all, func(f Function) bool { return f.Name == r.PathValue("name") })
	if i < 0 {
		return Function{}, view.ErrNotFound
	}
	return all[i], nil
}

func (p *Pages) set(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, app.MaxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	name := r.PathValue("name")
	version, err := versionOf(r.PostForm.Get("version"))
	if err == nil {
		_, err = p.source.SetFunctionState(r.Context(), name, version, State(r.PostForm.Get("state")))
	}
	if err != nil {
		p.show(w, r, status(err), ui.Sentence(err.Error()))
		return
	}
	http.Redirect(w, r, address(name), http.StatusSeeOther)
}

// address is that of the page of a function.
func address(name string) string { return path + "/" + url.PathEscape(name) }

func versionOf(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%w: version must be the number of a version", ErrDraft)
	}
	return n, nil
}

func (p *Pages) apiList(w http.ResponseWriter, r *http.Request) {
	all, err := p.source.Functions(r.Context())
	if err != nil {
		p.fail(w, "The functions cannot be read", err)
		return
	}
	p.shell.Answer(w, r, struct {
		Functions []Function `json:"functions"`
	}{app.OrEmpty(all)})
}

// name returns the function of a request, or answers it.
func (p *Pages) name(w http.ResponseWriter, r *http.Request) (string, bool) {
	name := r.PathValue("name")
	if !app.ValidToken(name) {
		p.shell.FailParameters(w, app.TokenError("name"))
		return "", false
	}
	return name, true
}

func (p *Pages) apiDeploy(w http.ResponseWriter, r *http.Request) {
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	var d Draft
	if err := app.JSON(w, r, maxBody, &d); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	f, err := p.source.DeployFunction(r.Context(), name, d)
	if err != nil {
		p.fail(w, "Nothing was deployed", err)
		return
	}
	p.shell.AnswerWith(w, r, http.StatusCreated, f)
}

func (p *Pages) apiSet(w http.ResponseWriter, r *http.Request) {
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	var to struct {
		State State `json:"state"`
	}
	version, err := versionOf(r.PathValue("version"))
	if err == nil {
		err = app.JSON(w, r, app.MaxForm, &to)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	f, err := p.source.SetFunctionState(r.Context(), name, version, to.State)
	if err != nil {
		p.fail(w, "The function was not changed", err)
		return
	}
	p.shell.Answer(w, r, f)
}

// maxRequest bounds the body of a request to a function and maxKey its key, in bytes.
const (
	maxRequest = 64 << 10
	maxKey     = 128
)

// apiCall sends a request to a function and its reply back. The reply is never a page: it
// comes from the address of the dashboard.
func (p *Pages) apiCall(w http.ResponseWriter, r *http.Request) {
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	c := Call{Query: r.URL.RawQuery, Type: app.Clip(r.Header.Get("Content-Type")), Key: r.Header.Get("Idempotency-Key")}
	var err error
	if c.Body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest)); err != nil {
		p.shell.FailParameters(w, fmt.Errorf("the body must have at most %d bytes", maxRequest))
		return
	}
	if len(c.Key) > maxKey {
		p.shell.FailParameters(w, fmt.Errorf("Idempotency-Key must have at most %d bytes", maxKey))
		return
	}
	reply, err := p.source.CallFunction(r.Context(), name, c)
	if err != nil {
		p.fail(w, "The function has not answered", err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", reply.Type+"; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(reply.Status)
	_, _ = io.WriteString(w, reply.Body) // the client may be gone
}

func (p *Pages) apiRemove(w http.ResponseWriter, r *http.Request) {
	name, ok := p.name(w, r)
	if !ok {
		return
	}
	if err := p.source.RemoveFunction(r.Context(), name); err != nil {
		p.fail(w, "The function was not deleted", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
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
