package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"headwater/streams"
	"headwater/web/view"
)

const (
	// defaultTry is the period that the page of a trial begins with.
	defaultTry = "24h"
	// tryEvery is how often an open page has it asked how a trial stands, and
	// tryWithin bounds one answer.
	tryEvery  = 500 * time.Millisecond
	tryWithin = 15 * time.Second
	// newRuleText is what a new rule to try begins as.
	newRuleText = "name: my-rule\nmatch: {site: \"*\", device: \"*\", metric: temperature}\ndetector: limit\nabove: 30\n"
)

// tryFacts reads which rule a page of a trial is about. The form holds what the
// address does not say.
func (s *Server) tryFacts(r *http.Request, v url.Values) (view.TryFacts, error) {
	name, err := ruleName(r)
	if err != nil {
		return view.TryFacts{}, err
	}
	f := view.TryFacts{Name: name, Period: defaultTry, YAML: newRuleText, By: rememberedAuthor(r)}
	if name != view.NewRule {
		rule, err := s.sources.Rules.Rule(name)
		if err != nil {
			return f, err
		}
		f.Rule, f.Revision, f.YAML = &rule, rule.Revision, rule.YAML
	}
	if v.Get("revision") != "" {
		f.Revision, err = revision(v)
	}
	return f, err
}

// tryPage shows a rule to try, or how its trial stands.
func (s *Server) tryPage(w http.ResponseWriter, r *http.Request) {
	f, err := s.tryFacts(r, r.URL.Query())
	if err != nil {
		s.badTry(w, r, err)
		return
	}
	status := http.StatusOK
	if id := r.FormValue("run"); id != "" {
		f, err = s.stand(r.Context(), f, r.URL.Query())
		switch {
		case f.Gone:
			status = http.StatusNotFound
		case err != nil:
			f.Failure, status = err.Error(), http.StatusServiceUnavailable
		}
	}
	s.renderTry(w, r, status, f)
}

// stand adds how the trial stands whose id the address has.
func (s *Server) stand(ctx context.Context, f view.TryFacts, v url.Values) (view.TryFacts, error) {
	series := view.ReplaySeries{Site: v.Get("site"), Device: v.Get("device"), Metric: v.Get("metric")}
	if validToken(series.Site) && validToken(series.Device) && validToken(series.Metric) {
		f.Series = series
	}
	replay, err := s.sources.Replays.Replay(ctx, v.Get("run"))
	if err != nil {
		f.Gone = errors.Is(err, ErrNotFound)
		return f, err
	}
	f.Replay, f.YAML = &replay, replay.Rule
	if p, ok := view.RangeOf(replay.To.Sub(replay.From)); ok {
		f.Period = p.Name
	}
	return f, nil
}

func (s *Server) renderTry(w http.ResponseWriter, r *http.Request, status int, f view.TryFacts) {
	page := rulesPageOf(f.Title())
	if f.Replay != nil {
		page.Live = "/live" + r.URL.RequestURI()
	}
	s.render(w, r, status, page, view.TryPage(f))
}

func (s *Server) badTry(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnavailable) {
		s.failRulePage(w, r, "The rule cannot be tried", err)
		return
	}
	s.badRequest(w, r, err)
}

// tryDraft shows a draft from the editor as a rule to try.
func (s *Server) tryDraft(w http.ResponseWriter, r *http.Request, edited view.EditorFacts) {
	draft := edited.Check.Draft
	f := view.TryFacts{Name: draft.Was, Rule: edited.Rule, Revision: draft.Revision, YAML: draft.YAML, Period: defaultTry, By: edited.By}
	if f.Name == "" {
		f.Name = view.NewRule
	}
	s.renderTry(w, r, http.StatusOK, f)
}

// tryForm reads the form of a page of a trial.
func (s *Server) tryForm(w http.ResponseWriter, r *http.Request) (view.TryFacts, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, 2*streams.MaxReplayRule)
	var f view.TryFacts
	err := r.ParseForm()
	if err != nil {
		err = fmt.Errorf("the form cannot be read: %w", err)
	} else {
		f, err = s.tryFacts(r, r.PostForm)
	}
	if err != nil {
		s.badTry(w, r, err)
		return f, false
	}
	return f, true
}

// beginTryPage begins a trial.
func (s *Server) beginTryPage(w http.ResponseWriter, r *http.Request) {
	f, ok := s.tryForm(w, r)
	if !ok {
		return
	}
	f.YAML = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(r.PostForm.Get("yaml"))
	period, ok := view.RangeNamed(r.PostForm.Get("period"))
	if !ok {
		s.badRequest(w, r, errors.New("period must be 15m, 1h, 6h, 24h or 7d"))
		return
	}
	f.Period = period.Name
	now := s.now()
	replay, err := s.sources.Replays.Begin(r.Context(), view.ReplayQuery{Rule: f.YAML, From: now.Add(-period.Span), To: now, Warm: defaultWarm})
	status := http.StatusSeeOther
	switch {
	case err != nil:
		f.Failure, status = err.Error(), http.StatusServiceUnavailable
	case replay.State == streams.ReplayBusy:
		f.Failure, status = replay.Error, http.StatusConflict
	case len(replay.Problems) > 0:
		status = http.StatusUnprocessableEntity
		for _, p := range replay.Problems {
			f.Problems = append(f.Problems, view.RuleProblem{Field: p.Field, Line: p.Line, Text: p.Text})
		}
	case replay.State == streams.ReplayFailed:
		f.Failure, status = replay.Error, http.StatusUnprocessableEntity
	default:
		http.Redirect(w, r, f.RunURL(replay.ID), status)
		return
	}
	s.renderTry(w, r, status, f)
}

// cancelTryPage ends a trial.
func (s *Server) cancelTryPage(w http.ResponseWriter, r *http.Request) {
	f, ok := s.tryForm(w, r)
	if !ok {
		return
	}
	id := r.PostForm.Get("run")
	if err := s.sources.Replays.Cancel(r.Context(), id); err != nil && !errors.Is(err, ErrNotFound) {
		s.badTry(w, r, err)
		return
	}
	http.Redirect(w, r, f.RunURL(id), http.StatusSeeOther)
}

// enableTriedPage puts a rule in force as it was tried.
func (s *Server) enableTriedPage(w http.ResponseWriter, r *http.Request) {
	f, ok := s.tryForm(w, r)
	if !ok {
		return
	}
	by, err := author(w, r, r.PostForm)
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	if f, err = s.stand(r.Context(), f, r.PostForm); err != nil {
		s.renderTry(w, r, http.StatusNotFound, f)
		return
	}
	if f.Replay.Result == nil {
		s.badRequest(w, r, errors.New("the trial has no result"))
		return
	}
	draft := view.RuleDraft{AsYAML: true, YAML: f.YAML}
	if f.Rule != nil && f.Rule.Name == f.Replay.Result.Rule {
		draft.Was, draft.Revision = f.Rule.Name, f.Revision
	}
	saved, err := s.sources.RuleStore.Save(r.Context(), draft, by)
	if err == nil && saved.State != view.RuleIsEnabled {
		saved, err = s.sources.RuleStore.SetState(r.Context(), saved.Name, saved.Revision, view.RuleIsEnabled, by)
	}
	if err != nil {
		s.notSaved(w, r, draft, view.EditorFacts{Rule: f.Rule, By: f.By}, err)
		return
	}
	http.Redirect(w, r, view.RuleURL(saved.Name)+"?saved=1", http.StatusSeeOther)
}

func (s *Server) tryLive(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	f, err := s.tryFacts(r, v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	s.stream(w, r, r.URL.RequestURI(), func() content { return s.newTryContent(f, v) })
}

// tryContent is the page of a trial. While it is open the trial is asked for,
// which keeps it going.
type tryContent struct {
	server *Server
	cancel context.CancelFunc
	asking sync.WaitGroup

	mu    sync.Mutex // guards facts
	facts view.TryFacts
}

func (s *Server) newTryContent(f view.TryFacts, v url.Values) *tryContent {
	ctx, cancel := context.WithCancel(context.Background())
	c := &tryContent{server: s, cancel: cancel, facts: f}
	c.asking.Go(func() { c.ask(ctx, v) })
	return c
}

// ask asks how the trial stands until it is over.
func (c *tryContent) ask(ctx context.Context, v url.Values) {
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		c.mu.Lock()
		f := c.facts
		c.mu.Unlock()
		within, cancel := context.WithTimeout(ctx, tryWithin)
		f, err := c.server.stand(within, f, v)
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

func (c *tryContent) parts() []part {
	c.mu.Lock()
	f := c.facts
	c.mu.Unlock()
	parts := c.server.shell()
	if f.Replay == nil && !f.Gone { // nothing is known yet
		return parts
	}
	return append(parts, part{id: "replay", body: view.TryState(f)})
}

func (c *tryContent) recent() []event { return nil }
func (c *tryContent) fresh() []event  { return nil }

func (c *tryContent) close() {
	c.cancel()
	c.asking.Wait()
}
