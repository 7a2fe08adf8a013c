package replay

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"headwater/streams"
	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

const (
	// defaultTry is the period that the page of a trial begins with.
	defaultTry = "24h"
	// tryEvery is how often an open page asks for the state of a trial, and
	// tryWithin bounds one answer.
	tryEvery  = 500 * time.Millisecond
	tryWithin = 15 * time.Second
	// newRuleText is what a new rule to try begins as.
	newRuleText = "name: my-rule\nmatch: {site: \"*\", device: \"*\", metric: temperature}\ndetector: limit\nabove: 30\n"
)

// Rules is what a trial needs of the rules, and of their pages.
type Rules struct {
	// Rule returns one rule; view.ErrNotFound when there is none of the name.
	Rule func(name string) (Rule, error)
	// Enable saves a draft, enables the rule and returns its name.
	Enable func(ctx context.Context, d Draft, author view.Author) (string, error)
	// NotEnabled shows the draft in the editor, and why Enable failed.
	NotEnabled func(w http.ResponseWriter, r *http.Request, d Draft, err error)
	// Fail shows why the rule of the address cannot be tried.
	Fail func(w http.ResponseWriter, r *http.Request, what string, err error)
}

// Pages are the page of a trial and the replays of the API.
type Pages struct {
	shell  *app.Shell
	source Source
	rules  Rules
}

// New returns the pages.
func New(shell *app.Shell, source Source, rules Rules) *Pages {
	return &Pages{shell: shell, source: source, rules: rules}
}

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/rules/{name}/try", Role: app.Operator, Handle: p.page},
		{Method: "POST", Path: "/rules/{name}/try", Role: app.Operator, Handle: p.begin},
		{Method: "POST", Path: "/rules/{name}/try/cancel", Role: app.Operator, Handle: p.cancel},
		{Method: "POST", Path: "/rules/{name}/enable", Role: app.Administrator, Handle: p.enable},
		{Method: "GET", Path: "/live/rules/{name}/try", Role: app.Operator, Handle: p.live},
		{Method: "POST", Path: "/api/v1/replays", Role: app.Operator, Handle: p.apiBegin},
		{Method: "GET", Path: "/api/v1/replays/{id}", Role: app.Viewer, Handle: p.apiOne},
		{Method: "DELETE", Path: "/api/v1/replays/{id}", Role: app.Operator, Handle: p.apiCancel},
	}
}

// facts reads which rule a page of a trial is about. The form has what the address
// does not say.
func (p *Pages) facts(r *http.Request, v url.Values) (Facts, error) {
	name, err := app.RuleName(r)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Name: name, Period: defaultTry, YAML: newRuleText, By: app.RememberedAuthor(r)}
	if name != NewRule {
		rule, err := p.rules.Rule(name)
		if err != nil {
			return f, err
		}
		f.Rule, f.Revision, f.YAML = &rule, rule.Revision, rule.YAML
	}
	if v.Get("revision") != "" {
		f.Revision, err = app.Revision(v)
	}
	return f, err
}

// page shows a rule to try, or the state of its trial.
func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f, err := p.facts(r, r.URL.Query())
	if err != nil {
		p.bad(w, r, err)
		return
	}
	status := http.StatusOK
	if id := r.FormValue("run"); id != "" {
		f, err = p.state(r.Context(), f, r.URL.Query())
		switch {
		case f.Gone:
			status = http.StatusNotFound
		case err != nil:
			f.Failure, status = err.Error(), http.StatusServiceUnavailable
		}
	}
	p.render(w, r, status, f)
}

// state adds the state of the trial whose id the values hold.
func (p *Pages) state(ctx context.Context, f Facts, v url.Values) (Facts, error) {
	series := Series{Site: v.Get("site"), Device: v.Get("device"), Metric: v.Get("metric")}
	if app.ValidToken(series.Site) && app.ValidToken(series.Device) && app.ValidToken(series.Metric) {
		f.Series = series
	}
	run, err := p.source.Replay(ctx, v.Get("run"))
	if err != nil {
		f.Gone = errors.Is(err, view.ErrNotFound)
		return f, err
	}
	f.Replay, f.YAML = &run, run.Rule
	if period, ok := view.RangeOf(run.To.Sub(run.From)); ok {
		f.Period = period.Name
	}
	return f, nil
}

func (p *Pages) render(w http.ResponseWriter, r *http.Request, status int, f Facts) {
	page := app.Page{Title: f.Title(), Section: "rules", Live: "/live/rules"}
	if f.Replay != nil {
		page.Live = "/live" + r.URL.RequestURI()
	}
	p.shell.Page(w, r, status, page, Page(f))
}

func (p *Pages) bad(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, view.ErrNotFound) || errors.Is(err, view.ErrUnavailable) {
		p.rules.Fail(w, r, "The rule cannot be tried", err)
		return
	}
	p.shell.BadRequest(w, r, err)
}

// Show shows a draft from the editor as a rule to try. Rule is the rule in force
// that it would change; nil for a new one.
func (p *Pages) Show(w http.ResponseWriter, r *http.Request, d Draft, rule *Rule) {
	f := Facts{Name: d.Was, Rule: rule, Revision: d.Revision, YAML: d.YAML, Period: defaultTry, By: strings.TrimSpace(r.PostForm.Get("by"))}
	if f.Name == "" {
		f.Name = NewRule
	}
	p.render(w, r, http.StatusOK, f)
}

// form reads the form of a page of a trial.
func (p *Pages) form(w http.ResponseWriter, r *http.Request) (Facts, bool) {
	var f Facts
	err := app.Form(w, r, 2*streams.MaxReplayRule)
	if err == nil {
		f, err = p.facts(r, r.PostForm)
	}
	if err != nil {
		p.bad(w, r, err)
		return f, false
	}
	return f, true
}

// begin begins a trial.
func (p *Pages) begin(w http.ResponseWriter, r *http.Request) {
	f, ok := p.form(w, r)
	if !ok {
		return
	}
	f.YAML = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(r.PostForm.Get("yaml"))
	period, ok := view.RangeNamed(r.PostForm.Get("period"))
	if !ok {
		p.shell.BadRequest(w, r, errors.New("period must be 15m, 1h, 6h, 24h or 7d"))
		return
	}
	f.Period = period.Name
	now := p.shell.Now()
	run, err := p.source.Begin(r.Context(), Query{Rule: f.YAML, From: now.Add(-period.Span), To: now, Warm: defaultWarm})
	status := http.StatusSeeOther
	switch {
	case err != nil:
		f.Failure, status = err.Error(), http.StatusServiceUnavailable
	case run.State == streams.ReplayBusy:
		f.Failure, status = run.Error, http.StatusConflict
	case len(run.Problems) > 0:
		status = http.StatusUnprocessableEntity
		for _, problem := range run.Problems {
			f.Problems = append(f.Problems, view.RuleProblem{Field: problem.Field, Line: problem.Line, Text: problem.Text})
		}
	case run.State == streams.ReplayFailed:
		f.Failure, status = run.Error, http.StatusUnprocessableEntity
	default:
		http.Redirect(w, r, f.RunURL(run.ID), status)
		return
	}
	p.render(w, r, status, f)
}

// cancel ends a trial.
func (p *Pages) cancel(w http.ResponseWriter, r *http.Request) {
	f, ok := p.form(w, r)
	if !ok {
		return
	}
	id := r.PostForm.Get("run")
	if err := p.source.Cancel(r.Context(), id); err != nil && !errors.Is(err, view.ErrNotFound) {
		p.bad(w, r, err)
		return
	}
	http.Redirect(w, r, f.RunURL(id), http.StatusSeeOther)
}

// enable puts a rule in force as it was tried.
func (p *Pages) enable(w http.ResponseWriter, r *http.Request) {
	f, ok := p.form(w, r)
	if !ok {
		return
	}
	by, err := app.Author(w, r, r.PostForm)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	f, err = p.state(r.Context(), f, r.PostForm)
	if err != nil {
		p.render(w, r, http.StatusNotFound, f)
		return
	}
	if f.Replay.Result == nil {
		p.shell.BadRequest(w, r, errors.New("the trial has no result"))
		return
	}
	d := Draft{YAML: f.YAML}
	if f.Rule != nil && f.Rule.Name == f.Replay.Result.Rule {
		d.Was, d.Revision = f.Rule.Name, f.Revision
	}
	name, err := p.rules.Enable(r.Context(), d, by)
	if err != nil {
		p.rules.NotEnabled(w, r, d, err)
		return
	}
	http.Redirect(w, r, ui.RuleURL(name)+"?saved=1", http.StatusSeeOther)
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	f, err := p.facts(r, v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	p.shell.Stream(w, r, r.URL.RequestURI(), func() live.Content { return newContent(p, f, v) })
}

// content is the page of a trial. While it is open it asks for the state of the
// trial, which keeps the trial running.
type content struct {
	pages  *Pages
	cancel context.CancelFunc
	asking sync.WaitGroup

	mu    sync.Mutex // guards facts
	facts Facts
}

func newContent(p *Pages, f Facts, v url.Values) *content {
	ctx, cancel := context.WithCancel(context.Background())
	c := &content{pages: p, cancel: cancel, facts: f}
	c.asking.Go(func() { c.ask(ctx, v) })
	return c
}

// ask asks for the state of the trial until it is over.
func (c *content) ask(ctx context.Context, v url.Values) {
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		c.mu.Lock()
		f := c.facts
		c.mu.Unlock()
		within, cancel := context.WithTimeout(ctx, tryWithin)
		f, err := c.pages.state(within, f, v)
		cancel()
		if err == nil || f.Gone {
			c.mu.Lock()
			c.facts = f
			c.mu.Unlock()
		}
		if f.Gone || f.Replay != nil && f.Replay.State.Over() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Parts implements live.Content.
func (c *content) Parts() []live.Part {
	c.mu.Lock()
	f := c.facts
	c.mu.Unlock()
	if f.Replay == nil && !f.Gone { // nothing is known yet
		return c.pages.shell.Parts()
	}
	return c.pages.shell.Parts(live.Part{ID: "replay", Body: State(f)})
}

// Recent implements live.Content.
func (c *content) Recent() []live.Event { return nil }

// Fresh implements live.Content.
func (c *content) Fresh() []live.Event { return nil }

// Close implements live.Content.
func (c *content) Close() {
	c.cancel()
	c.asking.Wait()
}
