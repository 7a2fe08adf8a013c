package annotations

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Path is the address of the list.
const Path = "/annotations"

// Pages are the list, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, BySite: true, Handle: p.list},
		{Method: "POST", Path: Path, Role: app.Operator, BySite: true, Handle: p.add},
		{Method: "POST", Path: Path + "/{annotation}/delete", Role: app.Operator, BySite: true, Handle: p.remove},
		{Method: "GET", Path: "/live/annotations", Role: app.Viewer, BySite: true, Handle: p.shell.Live},
		{Method: "GET", Path: "/api/v1/annotations", Role: app.Viewer, BySite: true, Handle: p.apiList},
		{Method: "POST", Path: "/api/v1/annotations", Role: app.Operator, BySite: true, Handle: p.apiAdd},
		{Method: "DELETE", Path: "/api/v1/annotations/{annotation}", Role: app.Operator, BySite: true, Handle: p.apiRemove},
	}
}

// Facts are what the list shows.
type Facts struct {
	Query Query
	All   []view.Annotation
	More  bool
	// Page is the number of the page, from 1 on.
	Page int
	// Draft is what could not be added, with the moments as they were typed, and Problem why.
	Draft    view.Annotation
	From, To string
	Problem  string
}

// query reads which annotations are asked for.
func query(r *http.Request) (q Query, err error) {
	q.Text, err = app.Text(r)
	q.Site, q.Device = r.FormValue("site"), r.FormValue("device")
	for _, part := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}} {
		if part.value != "" && !app.ValidToken(part.value) {
			err = errors.Join(err, app.TokenError(part.name))
		}
	}
	return q, err
}

func (p *Pages) list(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	page, err2 := app.Number(r, "page", 1, app.MaxPage)
	if err := errors.Join(err, err2); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	p.show(w, r, http.StatusOK, Facts{Query: q, Page: page, Draft: view.Annotation{Site: q.Site, Device: q.Device}})
}

func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, f Facts) {
	f.Query.Skip, f.Query.Most = (f.Page-1)*onPage, onPage
	f.All, f.More = p.source.Annotations(f.Query)
	p.shell.Page(w, r, status, app.Page{Title: "Annotations", Section: "annotations", Live: "/live/annotations"}, Page(f))
}

// add adds what the form says. A moment that is left out is the present.
func (p *Pages) add(w http.ResponseWriter, r *http.Request) {
	err := app.Form(w, r, app.MaxForm)
	v := r.PostForm
	f := Facts{Page: 1, From: v.Get("from"), To: v.Get("to"), Draft: view.Annotation{Site: v.Get("site"), Device: v.Get("device"), Text: strings.TrimSpace(v.Get("text"))}}
	if err == nil {
		f.Draft, err = p.moments(f.Draft, f.From, f.To)
	}
	if err == nil {
		var by view.Author
		by, err = app.Author(w, r, v)
		f.Draft.Author = by.Who
	}
	if err != nil {
		f.Problem = ui.UpperFirst(strings.ReplaceAll(err.Error(), "\n", "; ")) + "."
		p.show(w, r, http.StatusBadRequest, f)
		return
	}
	if _, err := p.source.Annotate(r.Context(), f.Draft); err != nil {
		status, text := refusal(err)
		f.Problem = text
		p.show(w, r, status, f)
		return
	}
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

// moments sets the times of an annotation as people and programs write them.
func (p *Pages) moments(a view.Annotation, from, to string) (view.Annotation, error) {
	now := p.shell.Now()
	var err, err2 error
	if a.From, err = app.Moment(from, now, now); err != nil {
		err = errors.New("from " + err.Error())
	}
	if a.To, err2 = app.Moment(to, now, time.Time{}); err2 != nil {
		err2 = errors.New("to " + err2.Error())
	}
	return a, errors.Join(err, err2)
}

// refusal returns the status and the sentence for an error of the source.
func refusal(err error) (status int, text string) {
	switch {
	case errors.Is(err, view.ErrDraft):
		return http.StatusBadRequest, ui.UpperFirst(strings.ReplaceAll(err.Error(), "\n", "; ")) + "."
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound, "There is no such annotation, site or device; it may have been removed."
	}
	return http.StatusServiceUnavailable, "Nothing was changed: " + err.Error() + "."
}

func (p *Pages) remove(w http.ResponseWriter, r *http.Request) {
	if err := p.source.RemoveAnnotation(r.Context(), r.PathValue("annotation")); err != nil {
		f := Facts{Page: 1}
		var status int
		status, f.Problem = refusal(err)
		p.show(w, r, status, f)
		return
	}
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

func (p *Pages) apiList(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	most, err2 := app.Number(r, "size", onPage, maxAnswer)
	q.Most = most
	now := p.shell.Now()
	var err3, err4 error
	q.To, err3 = app.Moment(r.FormValue("to"), now, time.Time{})
	q.From, err4 = app.Moment(r.FormValue("from"), now, time.Time{})
	if err := errors.Join(err, err2, err3, err4); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	all, more := p.source.Annotations(q)
	p.shell.Answer(w, r, struct {
		Annotations []view.Annotation `json:"annotations"`
		More        bool              `json:"more"`
	}{app.OrEmpty(all), more})
}

func (p *Pages) apiAdd(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Site   string `json:"site"`
		Device string `json:"device"`
		From   string `json:"from"`
		To     string `json:"to"`
		Text   string `json:"text"`
	}
	err := app.JSON(w, r, app.MaxForm, &asked)
	a := view.Annotation{Site: asked.Site, Device: asked.Device, Text: strings.TrimSpace(asked.Text)}
	if err == nil {
		a, err = p.moments(a, asked.From, asked.To)
	}
	if err == nil {
		var by view.Author
		by, err = app.AuthorOfAPI(r)
		a.Author = by.Who
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	a, err = p.source.Annotate(r.Context(), a)
	if err != nil {
		p.apiFail(w, err)
		return
	}
	p.shell.AnswerWith(w, r, http.StatusCreated, a)
}

func (p *Pages) apiFail(w http.ResponseWriter, err error) {
	status, text := refusal(err)
	p.shell.Fail(w, status, text)
}

func (p *Pages) apiRemove(w http.ResponseWriter, r *http.Request) {
	if err := p.source.RemoveAnnotation(r.Context(), r.PathValue("annotation")); err != nil {
		p.apiFail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// pageURL is another page of the list.
func (f Facts) pageURL(page int) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": f.Query.Text, "site": f.Query.Site, "device": f.Query.Device} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if page > 1 {
		q.Set("page", strconv.Itoa(page))
	}
	if len(q) == 0 {
		return Path
	}
	return Path + "?" + q.Encode()
}

// placeURL is a page with the charts that show an annotation, with some time around it; empty
// if it is about a site.
func placeURL(a view.Annotation) string {
	if a.Device == "" {
		return ""
	}
	around := max(30*time.Minute, a.End().Sub(a.From)/4)
	return ui.DeviceURL(a.Site, a.Device) + "?" + url.Values{
		"from": {a.From.Add(-around).UTC().Format(time.RFC3339)}, "to": {a.End().Add(around).UTC().Format(time.RFC3339)},
	}.Encode()
}
