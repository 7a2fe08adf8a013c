package edges

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"headwater/web/app"
	"headwater/web/ui"
)

// Path is the address of the page.
const Path = "/edges"

// ListFacts are what the page of all edges shows.
type ListFacts struct {
	Edges []Edge
	// Invited is a new invitation, whose line is shown once.
	Invited *Invited
	// Form are the fields of an invitation that was not made.
	Form    url.Values
	Problem string
}

// EdgeFacts are what the page of one edge shows.
type EdgeFacts struct {
	Edge Edge
	// Form are the fields of a change that was not made; nil for what the edge has.
	Form url.Values
	// Done and Problem say what became of the last button.
	Done, Problem string
	// Gaps is the comparison; NoGaps says why there is none.
	Gaps   Gaps
	NoGaps string
}

func (p *Pages) pageRoutes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, Handle: p.page},
		{Method: "POST", Path: Path, Role: app.Administrator, Handle: p.inviteByForm},
		{Method: "GET", Path: Path + "/{name}", Role: app.Viewer, Handle: p.edgePage},
		{Method: "POST", Path: Path + "/{name}/invite", Role: app.Administrator, Handle: p.inviteAgain},
		{Method: "POST", Path: Path + "/{name}/policy", Role: app.Administrator, Handle: p.policyByForm},
		{Method: "POST", Path: Path + "/{name}/repair", Role: app.Operator, Handle: p.repairByForm},
		{Method: "POST", Path: Path + "/{name}/revoke", Role: app.Administrator, Handle: p.revokeByForm},
	}
}

// done are what became of a button, by the value in the address.
var done = map[string]string{
	"policy": "Saved. The edge gets it with its next report.",
	"revoke": "The edge is revoked.",
	"repair": "The edge is asked for it with its next report.",
}

func shellPage(title string) app.Page { return app.Page{Title: title, Section: "edges"} }

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	p.showAll(w, r, http.StatusOK, ListFacts{})
}

func (p *Pages) showAll(w http.ResponseWriter, r *http.Request, code int, f ListFacts) {
	var err error
	f.Edges, err = p.source.Edges(r.Context())
	if err != nil {
		p.shell.Page(w, r, status(err), shellPage("Edges"), ui.Failure("The edges cannot be read: "+err.Error()+"."))
		return
	}
	p.shell.Page(w, r, code, shellPage("Edges"), ListPage(f))
}

func (p *Pages) edgePage(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, http.StatusOK, EdgeFacts{Done: done[r.URL.Query().Get("done")]})
}

// show renders the page of the edge that the address names.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, code int, f EdgeFacts) {
	name := r.PathValue("name")
	all, err := p.source.Edges(r.Context())
	if err != nil {
		p.shell.Page(w, r, status(err), shellPage("Edge"), ui.Failure("The edge cannot be read: "+err.Error()+"."))
		return
	}
	i := slices.IndexFunc(all, func(e Edge) bool { return e.Name == name })
	if i < 0 {
		p.shell.Page(w, r, http.StatusNotFound, shellPage("Not found"), ui.NotFound("There is no edge of that name.", []ui.Link{{Href: Path, Text: "All edges"}}))
		return
	}
	f.Edge = all[i]
	if f.Gaps, err = p.source.Gaps(r.Context(), name); err != nil {
		f.NoGaps = "They cannot be compared: " + err.Error() + "."
	}
	p.shell.Page(w, r, code, shellPage(f.Edge.Name), Page(f))
}

func (p *Pages) inviteByForm(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxBody); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	p.inviteAs(w, r, Draft{
		Name: strings.TrimSpace(r.PostForm.Get("name")), Policy: &Policy{Readings: app.OrEmpty(selections(r.PostForm, "readings")), Summaries: selections(r.PostForm, "summaries")},
		Sites: strings.Fields(strings.ReplaceAll(r.PostForm.Get("sites"), ",", " ")),
	})
}

func (p *Pages) inviteAgain(w http.ResponseWriter, r *http.Request) {
	p.inviteAs(w, r, Draft{Name: r.PathValue("name")})
}

func (p *Pages) inviteAs(w http.ResponseWriter, r *http.Request, d Draft) {
	invited, err := p.source.InviteEdge(r.Context(), d)
	if err != nil {
		p.showAll(w, r, status(err), ListFacts{Form: r.PostForm, Problem: "The edge was not invited: " + err.Error() + "."})
		return
	}
	// What is shown once must not be in an address.
	p.showAll(w, r, http.StatusOK, ListFacts{Invited: &invited})
}

// selections are the lines of a field; nil if there are none.
func selections(form url.Values, field string) []string {
	var out []string
	for line := range strings.Lines(form.Get(field)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func (p *Pages) policyByForm(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxBody); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	to, err := policyOf(r.PostForm)
	if err == nil {
		_, err = p.source.SetEdgePolicy(r.Context(), r.PathValue("name"), to)
	}
	p.changed(w, r, "policy", EdgeFacts{Form: r.PostForm}, err)
}

func (p *Pages) revokeByForm(w http.ResponseWriter, r *http.Request) {
	_, err := p.source.RevokeEdge(r.Context(), r.PathValue("name"))
	p.changed(w, r, "revoke", EdgeFacts{}, err)
}

func (p *Pages) repairByForm(w http.ResponseWriter, r *http.Request) {
	_, err := p.source.RepairEdge(r.Context(), r.PathValue("name"))
	p.changed(w, r, "repair", EdgeFacts{}, err)
}

// changed shows what became of a button.
func (p *Pages) changed(w http.ResponseWriter, r *http.Request, what string, f EdgeFacts, err error) {
	if err != nil {
		f.Problem = "The edge was not changed: " + err.Error() + "."
		p.show(w, r, status(err), f)
		return
	}
	http.Redirect(w, r, address(r.PathValue("name"))+"?done="+what, http.StatusSeeOther)
}

func address(name string) string { return Path + "/" + url.PathEscape(name) }

// Units of the fields of the form, in bytes.
const (
	budgetUnit = 1 << 20
	rateUnit   = 1 << 10
)

// policyOf reads the form of a policy.
func policyOf(form url.Values) (Policy, error) {
	budget, err1 := sizeOf(form, "budget", budgetUnit)
	rate, err2 := sizeOf(form, "rate", rateUnit)
	return Policy{Readings: app.OrEmpty(selections(form, "readings")), Summaries: selections(form, "summaries"), Budget: budget, Rate: rate}, errors.Join(err1, err2)
}

// sizeOf reads a number of units as bytes; an empty field is 0.
func sizeOf(form url.Values, name string, unit float64) (int64, error) {
	text := strings.TrimSpace(form.Get(name))
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= math.MaxInt64/4/unit) {
		return 0, fmt.Errorf("%w: the %s must be a number of 0 or more", ErrDraft, name)
	}
	return int64(math.Round(v * unit)), nil
}

// formOf is the form of a policy.
func formOf(p Policy) url.Values {
	size := func(n int64, unit float64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatFloat(math.Round(float64(n)/unit*1000)/1000, 'f', -1, 64)
	}
	return url.Values{"readings": {strings.Join(p.Readings, "\n")}, "summaries": {strings.Join(p.Summaries, "\n")}, "budget": {size(p.Budget, budgetUnit)}, "rate": {size(p.Rate, rateUnit)}}
}
