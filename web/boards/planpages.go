package boards

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// PlansPath is the address of the list of plans.
const PlansPath = "/plans"

// maxParts bounds the parts of a form with a picture.
const maxParts = 8

func (p *Pages) planRoutes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: PlansPath, Role: app.Viewer, Handle: p.plans},
		{Method: "POST", Path: PlansPath, Role: app.Operator, Handle: p.createPlan},
		{Method: "GET", Path: PlansPath + "/{plan}", Role: app.Viewer, Handle: p.plan},
		{Method: "POST", Path: PlansPath + "/{plan}", Role: app.Operator, Handle: p.changePlan},
		{Method: "GET", Path: PlansPath + "/{plan}/picture", Role: app.Viewer, Handle: p.picture},
		{Method: "POST", Path: PlansPath + "/{plan}/picture", Role: app.Operator, Handle: p.replacePicture},
		{Method: "POST", Path: PlansPath + "/{plan}/pins", Role: app.Operator, Handle: p.changePins},
		{Method: "GET", Path: "/live/plans", Role: app.Viewer, Handle: p.shell.Live},
		{Method: "GET", Path: "/live/plans/{plan}", Role: app.Viewer, Handle: p.livePlan},
	}
}

func planPage(title, live string) app.Page {
	return app.Page{Title: title, Section: "plans", Live: live}
}

func (p *Pages) plans(w http.ResponseWriter, r *http.Request) { p.showPlans(w, r, http.StatusOK, "") }

func (p *Pages) showPlans(w http.ResponseWriter, r *http.Request, status int, problem string) {
	p.shell.Page(w, r, status, planPage("Floor plans", "/live/plans"), PlansPage(p.source.Plans(), problem))
}

// upload reads a form with a picture; nothing of it is kept on a disk.
func upload(w http.ResponseWriter, r *http.Request) (title string, picture []byte, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxPicture+maxForm)
	parts, err := r.MultipartReader()
	if err != nil {
		return "", nil, fmt.Errorf("%w: the form cannot be read: %w", ErrDraft, err)
	}
	for range maxParts {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return title, picture, nil
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(io.LimitReader(part, MaxPicture+1))
		}
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return "", nil, fmt.Errorf("%w: choose a picture of at most %d MiB", ErrDraft, MaxPicture>>20)
		}
		if err != nil {
			return "", nil, fmt.Errorf("%w: the form cannot be read: %w", ErrDraft, err)
		}
		switch part.FormName() {
		case "title":
			title = strings.TrimSpace(string(content[:min(len(content), maxTitle+1)]))
		case "picture":
			picture = content
		}
	}
	return "", nil, fmt.Errorf("%w: the form has too many parts", ErrDraft)
}

func (p *Pages) createPlan(w http.ResponseWriter, r *http.Request) {
	title, data, err := upload(w, r)
	var plan Plan
	if err == nil {
		plan.Picture, err = PictureOf(data)
	}
	if err == nil {
		plan.Title = title
		plan, err = p.source.CreatePlan(r.Context(), plan, data)
	}
	if err != nil {
		status, text := refusal(err)
		p.showPlans(w, r, status, text)
		return
	}
	http.Redirect(w, r, planURL(plan.ID)+"?edit=1", http.StatusSeeOther)
}

func (p *Pages) plan(w http.ResponseWriter, r *http.Request) {
	plan, ok := p.source.Plan(r.PathValue("plan"))
	if !ok {
		p.gonePlan(w, r)
		return
	}
	text, err := app.Text(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	edit := r.FormValue("edit") != "" && app.PrincipalOf(r.Context()).May(app.Operator)
	p.showPlan(w, r, http.StatusOK, plan, PlanFacts{Edit: edit, Text: text})
}

func (p *Pages) gonePlan(w http.ResponseWriter, r *http.Request) {
	p.shell.Page(w, r, http.StatusNotFound, planPage("Not found", ""),
		ui.NotFound("There is no such plan; it may have been deleted.", []ui.Link{{Href: PlansPath, Text: "All plans"}}))
}

func (p *Pages) showPlan(w http.ResponseWriter, r *http.Request, status int, plan Plan, want PlanFacts) {
	f := planFacts(plan, p.source.Device)
	f.Edit, f.Text, f.Problem = want.Edit, want.Text, want.Problem
	live := "/live" + planURL(plan.ID)
	if f.Edit {
		live = "/live/plans"
		f.Found, f.More = p.found(f.Text)
	}
	p.shell.Page(w, r, status, planPage(view.Plain(plan.Title), live), PlanPage(f))
}

// found returns the series that a search shows, and whether there are more.
func (p *Pages) found(text string) (all []Found, more bool) {
	all = p.series(text, inSearch, maxFound+1)
	return all[:min(maxFound, len(all))], len(all) > maxFound
}

func (p *Pages) livePlan(w http.ResponseWriter, r *http.Request) {
	plan, ok := p.source.Plan(r.PathValue("plan"))
	if !ok {
		http.Error(w, "unknown plan", http.StatusNotFound)
		return
	}
	p.shell.Stream(w, r, "plan "+plan.ID, func() live.Content {
		return live.Parts(func() []live.Part {
			now, ok := p.source.Plan(plan.ID)
			if !ok {
				now = plan
			}
			f := planFacts(now, p.source.Device)
			f.Gone = !ok
			return p.shell.Parts(planPart("plan", f))
		})
	})
}

// planPart is the live part of a plan: its pins change, and the whole if they are others.
func planPart(id string, f PlanFacts) live.Part {
	part := live.Part{ID: id, Body: PlanView(id, f), Shape: f.shape()}
	for _, pin := range f.Pins {
		part.Parts = append(part.Parts, live.Part{ID: id + "-" + pin.ID, Body: PinView(id, f, pin)})
	}
	return part
}

// picture serves the picture of a plan. What is in it is not run: its type is fixed.
func (p *Pages) picture(w http.ResponseWriter, r *http.Request) {
	plan, ok := p.source.Plan(r.PathValue("plan"))
	if !ok {
		http.Error(w, "unknown plan", http.StatusNotFound)
		return
	}
	p.servePicture(w, r, plan)
}

func (p *Pages) servePicture(w http.ResponseWriter, r *http.Request, plan Plan) {
	data, err := p.source.PlanPicture(r.Context(), plan)
	if err != nil {
		http.Error(w, "the picture cannot be read now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", plan.Picture.Type)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if v := r.FormValue("v"); v != "" && strings.HasPrefix(plan.Picture.Hash, v) {
		w.Header().Set("Cache-Control", "private, max-age=604800, immutable")
	}
	_, _ = w.Write(data) // a browser that went away needs no answer
}

// planEdited answers a change of a plan: with the page on which it is arranged, or a script
// without a page.
func (p *Pages) planEdited(w http.ResponseWriter, r *http.Request, err error) {
	id := r.PathValue("plan")
	script := strings.HasPrefix(r.Header.Get("Accept"), "application/json")
	switch {
	case err == nil && script:
		w.WriteHeader(http.StatusNoContent)
	case err == nil:
		http.Redirect(w, r, planURL(id)+"?edit=1", http.StatusSeeOther)
	default:
		status, text := refusal(err)
		plan, ok := p.source.Plan(id)
		if script || !ok {
			p.shell.Fail(w, status, text)
			return
		}
		p.showPlan(w, r, status, plan, PlanFacts{Edit: true, Problem: text})
	}
}

func (p *Pages) replacePicture(w http.ResponseWriter, r *http.Request) {
	_, data, err := upload(w, r)
	var picture Picture
	if err == nil {
		picture, err = PictureOf(data)
	}
	if err == nil {
		_, err = p.source.ChangePlan(r.Context(), r.PathValue("plan"), "picture", data, func(plan Plan) (Plan, error) {
			plan.Picture = picture
			return plan, nil
		})
	}
	p.planEdited(w, r, err)
}

// changePlan saves or deletes a plan.
func (p *Pages) changePlan(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	v, id := r.PostForm, r.PathValue("plan")
	if v.Get("do") != "delete" {
		_, err := p.source.ChangePlan(r.Context(), id, "title", nil, func(plan Plan) (Plan, error) {
			plan.Title = strings.TrimSpace(v.Get("title"))
			return plan, nil
		})
		p.planEdited(w, r, err)
		return
	}
	plan, ok := p.source.Plan(id)
	err := view.ErrNotFound
	if ok && !plan.MayDelete(app.PrincipalOf(r.Context())) {
		p.shell.Forbid(w, r, app.Administrator)
		return
	}
	if ok {
		err = p.source.DeletePlan(r.Context(), id)
	}
	if err != nil {
		status, text := refusal(err)
		p.showPlans(w, r, status, text)
		return
	}
	http.Redirect(w, r, PlansPath, http.StatusSeeOther)
}

// changePins places series, moves one or removes one.
func (p *Pages) changePins(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	v := r.PostForm
	do, what := pinChange(v)
	_, err := p.source.ChangePlan(r.Context(), r.PathValue("plan"), what, nil, do)
	p.planEdited(w, r, err)
}

// pinChange returns the change that a form asks for, and what it is called.
func pinChange(v url.Values) (change func(Plan) (Plan, error), what string) {
	series := v["series"]
	one := v.Get("series")
	switch v.Get("do") {
	case "place":
		return func(p Plan) (Plan, error) {
			if len(series) == 0 {
				return p, fmt.Errorf("%w: choose at least one series", ErrDraft)
			}
			return p.place(series), nil
		}, "series placed"
	case "move":
		return func(p Plan) (Plan, error) {
			i := p.pin(one)
			x, err := share(v.Get("x"))
			y, err2 := share(v.Get("y"))
			switch {
			case i < 0:
				return p, view.ErrNotFound
			case errors.Join(err, err2) != nil:
				return p, errors.Join(err, err2)
			}
			p.Pins[i].X, p.Pins[i].Y = x, y
			return p, nil
		}, "series moved"
	case "remove":
		return func(p Plan) (Plan, error) {
			i := p.pin(one)
			if i < 0 {
				return p, view.ErrNotFound
			}
			p.Pins = append(p.Pins[:i], p.Pins[i+1:]...)
			return p, nil
		}, "series removed"
	}
	return func(p Plan) (Plan, error) {
		return p, fmt.Errorf("%w: do must be place, move or remove", ErrDraft)
	}, "nothing"
}
