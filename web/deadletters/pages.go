package deadletters

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Bounds of what one page shows and of what one may ask for.
const (
	lettersOnPage = 25
	maxLetters    = 100
	// payloadShown is how many bytes of a payload a list holds.
	payloadShown = 4096
)

// Pages are the page of dead letters, the pages that change them, and the same in
// the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/deadletters", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/deadletters/confirm", Role: app.Operator, BySite: true, Handle: p.confirm},
		{Method: "POST", Path: "/deadletters/redrive", Role: app.Operator, BySite: true, Handle: p.redrive},
		{Method: "POST", Path: "/deadletters/purge", Role: app.Administrator, Handle: p.purge},
		{Method: "GET", Path: tryPath, Role: app.Viewer, BySite: true, Handle: p.tryForm},
		{Method: "POST", Path: tryPath, Role: app.Viewer, BySite: true, Handle: p.tryForm},
		{Method: "POST", Path: "/api/v1/decode", Role: app.Viewer, BySite: true, Handle: p.apiTry},
		{Method: "GET", Path: "/live/deadletters", Role: app.Viewer, BySite: true, Handle: p.shell.Live},
		{Method: "GET", Path: "/api/v1/deadletters", Role: app.Viewer, BySite: true, Handle: p.apiList},
		{Method: "GET", Path: "/api/v1/deadletters/{sequence}", Role: app.Viewer, BySite: true, Handle: p.apiOne},
		{Method: "DELETE", Path: "/api/v1/deadletters/{sequence}", Role: app.Administrator, Handle: p.apiPurge},
		{Method: "DELETE", Path: "/api/v1/deadletters", Role: app.Administrator, Handle: p.apiPurge},
		{Method: "POST", Path: "/api/v1/deadletters/{sequence}/redrive", Role: app.Operator, BySite: true, Handle: p.apiRedrive},
		{Method: "POST", Path: "/api/v1/deadletters/redrive", Role: app.Operator, BySite: true, Handle: p.apiRedrive},
	}
}

// shellPage is the page of the shell around the content about dead letters.
func shellPage(title string) app.Page {
	return app.Page{Title: title, Section: "deadletters", Live: "/live/deadletters"}
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	letters, err := p.source.DeadLetters(r.Context(), q)
	if err != nil {
		p.shell.Page(w, r, http.StatusServiceUnavailable, shellPage("Dead letters"), ui.Failure("The dead letters cannot be read: "+err.Error()+"."))
		return
	}
	p.shell.Page(w, r, http.StatusOK, shellPage("Dead letters"), Page(Facts{Query: q, Letters: bounded(letters)}))
}

// query reads which dead letters are asked for.
func query(r *http.Request) (Query, error) {
	q := Query{Service: r.FormValue("service"), Reason: r.FormValue("reason"), Size: lettersOnPage}
	for _, p := range []struct{ name, value string }{{"service", q.Service}, {"reason", q.Reason}} {
		if p.value != "" && !app.ValidToken(p.value) {
			return q, app.TokenError(p.name)
		}
	}
	if text := r.FormValue("before"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return q, errors.New("before must be a sequence number")
		}
		q.Before = n
	}
	return q, nil
}

// bounded cuts the payloads to what is shown, and marks what can be redriven.
func bounded(l Letters) Letters {
	for i := range l.Items {
		l.Items[i].NotRedrivable = NotRedrivable(l.Items[i])
		if payload := l.Items[i].Payload; len(payload) > payloadShown {
			l.Items[i].Payload = payload[:payloadShown]
		}
	}
	return l
}

// selection reads which dead letters are meant: one, or the letters of a service and
// a reason up to a sequence. Without a sequence, through must be given, so that
// letters that came later than the person looked are never changed.
func selection(v url.Values) (Selection, error) {
	s := Selection{Service: v.Get("service"), Reason: v.Get("reason")}
	var problems []error
	for _, p := range []struct{ name, value string }{{"service", s.Service}, {"reason", s.Reason}} {
		if p.value != "" && !app.ValidToken(p.value) {
			problems = append(problems, app.TokenError(p.name))
		}
	}
	for _, p := range []struct {
		name string
		to   *uint64
	}{{"sequence", &s.Sequence}, {"through", &s.Through}, {"from", &s.From}} {
		text := v.Get(p.name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			problems = append(problems, errors.New(p.name+" must be a sequence number"))
		}
		*p.to = n
	}
	if s.Sequence == 0 && s.Through == 0 && len(problems) == 0 {
		problems = append(problems, errors.New("through must be the highest sequence that is meant; last of a listing is the highest of all"))
	}
	return s, errors.Join(problems...)
}

// status returns the status of an answer that stands for an error of the source.
func (p *Pages) status(err error) int {
	switch {
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, view.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	p.shell.Log.Warn("request about dead letters failed", "err", err)
	return http.StatusBadGateway
}

// confirm asks for a confirmation. It covers the letters that this page has counted,
// and none that come later.
func (p *Pages) confirm(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	f := ConfirmFacts{Purge: v.Get("do") == "purge"}
	if do := v.Get("do"); do != "purge" && do != "redrive" {
		p.shell.BadRequest(w, r, errors.New("do must be redrive or purge"))
		return
	}
	if f.Purge && !app.PrincipalOf(r.Context()).May(app.Administrator) {
		p.shell.Forbid(w, r, app.Administrator)
		return
	}
	if v.Get("sequence") == "" {
		v.Set("through", "1") // it is counted below
	}
	var err error
	f.Selection, err = selection(v)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	if f.Selection.Sequence != 0 {
		letter, err := p.source.DeadLetter(r.Context(), f.Selection.Sequence)
		if err != nil {
			p.fail(w, r, "The dead letter cannot be read", err)
			return
		}
		letters := bounded(Letters{Items: []Letter{letter}})
		f.Letter = &letters.Items[0]
	} else {
		letters, err := p.source.DeadLetters(r.Context(), Query{Service: f.Selection.Service, Reason: f.Selection.Reason, Size: 1})
		if err != nil {
			p.fail(w, r, "The dead letters cannot be read", err)
			return
		}
		f.Counts, f.Selection.Through = letters.Counts, letters.Last
	}
	p.shell.Page(w, r, http.StatusOK, shellPage(f.Title()), ConfirmPage(f))
}

func (p *Pages) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	status := p.status(err)
	page := shellPage("Dead letters")
	if status == http.StatusNotFound {
		p.shell.Page(w, r, status, page, ui.NotFound("There is no such dead letter; it may have been deleted.", []ui.Link{{Href: "/deadletters", Text: "Dead letters"}}))
		return
	}
	p.shell.Page(w, r, status, page, ui.Failure(what+": "+err.Error()+"."))
}

// form reads the selection of a form.
func (p *Pages) form(w http.ResponseWriter, r *http.Request) (s Selection, ok bool) {
	err := app.Form(w, r, app.MaxForm)
	if err == nil {
		s, err = selection(r.PostForm)
	}
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return s, false
	}
	return s, true
}

func (p *Pages) redrive(w http.ResponseWriter, r *http.Request) {
	selected, ok := p.form(w, r)
	if !ok {
		return
	}
	result, err := p.source.Redrive(r.Context(), selected)
	if err != nil {
		p.fail(w, r, "The dead letters cannot be redriven", err)
		return
	}
	p.shell.Page(w, r, http.StatusOK, shellPage("Redriven"), RedrivePage(RedriveFacts{Selection: selected, Result: result}))
}

func (p *Pages) purge(w http.ResponseWriter, r *http.Request) {
	selected, ok := p.form(w, r)
	if !ok {
		return
	}
	n, err := p.source.Purge(r.Context(), selected)
	if err != nil {
		p.fail(w, r, "The dead letters cannot be purged", err)
		return
	}
	p.shell.Page(w, r, http.StatusOK, shellPage("Purged"), PurgePage(n))
}
