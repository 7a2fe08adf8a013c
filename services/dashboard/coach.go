package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/coach"
	"headwater/services/internal/config"
	"headwater/services/internal/process"
	"headwater/services/rule"
	"headwater/streams"
	"headwater/web/rules"
	"headwater/web/view"
)

const (
	// adviseOn is the period that proposals are computed on, and leastHistory how much of it
	// there must be.
	adviseOn     = 7 * 24 * time.Hour
	leastHistory = 24 * time.Hour
	// adviseWithin bounds the replays of one rule together.
	adviseWithin = 5 * time.Minute
	// adviseAsk is the pause between questions about a replay, adviseBusy that before a
	// processor is asked again that runs another one.
	adviseAsk  = 300 * time.Millisecond
	adviseBusy = 2 * time.Second
	// adviceKept is how long a proposal is shown, and maxAdvice for how many rules.
	adviceKept = time.Hour
	maxAdvice  = 200
	// maxAsked is how many rules may wait.
	maxAsked = 8
	// learnFor is how long before the period a detector begins that does not learn.
	learnFor = time.Hour
)

// errTooSlow is why proposals were not computed to the end.
var errTooSlow = fmt.Errorf("it took more than %s", figure.Duration(adviseWithin))

// noiseCoach computes with which settings rules would raise fewer alerts, one rule at a
// time, by replaying them. It keeps what it found in memory.
type noiseCoach struct {
	log     *slog.Logger
	rules   *ruleSource
	replays *replays
	asked   chan string

	mu     sync.Mutex
	advice map[string]rules.Advice // by the name of the rule; guarded by mu
}

func newCoach(log *slog.Logger, source *ruleSource, r *replays) *noiseCoach {
	return &noiseCoach{log: log, rules: source, replays: r, asked: make(chan string, maxAsked), advice: make(map[string]rules.Advice)}
}

// Advice implements rules.Source.
func (r *ruleSource) Advice(name string) rules.Advice {
	return r.coach.of(name, r.inForce(name).revision)
}

// Advise implements rules.Source.
func (r *ruleSource) Advise(name string) error {
	known, _, err := r.ready()
	if err != nil {
		return err
	}
	k, ok := known[name]
	if !ok {
		return view.ErrNotFound
	}
	return r.coach.ask(name, k.revision)
}

// of returns what is known of a rule as it is.
func (c *noiseCoach) of(name string, revision uint64) rules.Advice {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.advice[name]
	if a.Revision != revision || a.State.Over() && c.rules.now().Sub(a.At) > adviceKept {
		return rules.Advice{}
	}
	return a
}

// ask has proposals computed for a rule.
func (c *noiseCoach) ask(name string, revision uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.advice[name]; a.Revision == revision && a.State == rules.AdviceRunning {
		return nil
	}
	select {
	case c.asked <- name:
	default:
		return fmt.Errorf("%w: other rules are being tried; try again in a few minutes", view.ErrUnavailable)
	}
	for other, a := range c.advice {
		if len(c.advice) >= maxAdvice && a.State.Over() {
			delete(c.advice, other)
		}
	}
	c.advice[name] = rules.Advice{State: rules.AdviceRunning, Revision: revision, At: c.rules.now()}
	return nil
}

// run computes what is asked for until ctx ends.
func (c *noiseCoach) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-c.asked:
			k := c.rules.inForce(name)
			a, err := c.compute(ctx, k)
			if err != nil {
				c.log.Warn("proposals for a rule were not computed", "rule", name, "err", err)
				a.State, a.Why = rules.AdviceFailed, err.Error()
			}
			a.Revision, a.At = k.revision, c.rules.now()
			c.mu.Lock()
			c.advice[name] = a
			c.mu.Unlock()
		}
	}
}

// compute replays a rule as it is, and then with other settings.
func (c *noiseCoach) compute(ctx context.Context, k knownRule) (rules.Advice, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, adviseWithin, errTooSlow)
	defer cancel()
	out := rules.Advice{State: rules.AdviceDone}
	to := c.rules.now()
	base, err := c.replay(ctx, k.Rule.Rule, k.Text, to)
	if err != nil {
		return out, err
	}
	from := base.From
	if base.Since.After(from) {
		from = base.Since
	}
	out.From, out.To, out.Before = from, base.To, base.Began
	switch covered := base.To.Sub(from); {
	case base.Since.IsZero() || covered < leastHistory:
		if base.Since.IsZero() {
			covered = 0
		}
		out.Why = fmt.Sprintf("there are readings of %s only, and a day is needed", figure.Duration(covered))
		return out, nil
	case base.Began < coach.Least:
		out.Why = fmt.Sprintf("the rule as it is now would have raised only %s on the stored readings", figure.Plural(base.Began, "alert", "alerts"))
		return out, nil
	}
	trials := coach.Trials(k.Rule.Rule, episodesOf(base))
	var tried []coach.Tried
	texts := make(map[string]string) // of the changed rules, by their settings
	for _, t := range trials {
		if coach.Enough(base.Began, tried, t.Kind) {
			continue
		}
		text, err := changed(k.Text, t.Settings)
		if err != nil {
			continue // a bound that the rule does not allow
		}
		result, err := c.replay(ctx, k.Rule.Rule, text, to)
		if err != nil {
			return out, err
		}
		tried = append(tried, coach.Tried{Trial: t, Alerts: result.Began})
		texts[settingWords(t.Settings)] = text
	}
	for _, p := range coach.Propose(base.Began, tried) {
		words := settingWords(p.Settings)
		out.Proposals = append(out.Proposals, rules.Proposal{Words: words, Was: wasWords(p.Settings), Alerts: p.Alerts, YAML: texts[words]})
	}
	if len(out.Proposals) == 0 {
		out.Why = "no setting that was tried raises clearly fewer alerts"
		if len(trials) == 0 {
			out.Why = "the rule has no setting with which it would raise fewer alerts"
		}
	}
	return out, nil
}

func episodesOf(r *streams.ReplayResult) []coach.Episode {
	var out []coach.Episode
	for _, a := range r.Alerts {
		end := a.End
		if end.IsZero() {
			end = r.To
		}
		out = append(out, coach.Episode{Length: end.Sub(a.Start), Value: a.Value})
	}
	return out
}

// changed returns the text of a rule with settings.
func changed(text string, settings []coach.Setting) (string, error) {
	for _, s := range settings {
		var err error
		if text, err = config.SetField(text, s.Field, s.Now); err != nil {
			return "", err
		}
	}
	return text, nil
}

func settingWords(settings []coach.Setting) string {
	var out []string
	for _, s := range settings {
		out = append(out, s.Field+": "+s.Now)
	}
	return strings.Join(out, ", ")
}

func wasWords(settings []coach.Setting) string {
	var out []string
	for _, s := range settings {
		out = append(out, s.Field+": "+s.Was)
	}
	return strings.Join(out, ", ")
}

// replay replays the text of a rule on the days before a time.
func (c *noiseCoach) replay(ctx context.Context, r rule.Rule, text string, to time.Time) (*streams.ReplayResult, error) {
	request := streams.ReplayRequest{ID: rand.Text(), Rule: text, From: to.Add(-adviseOn).UTC(), To: to.UTC(), Warm: learnFor}
	if r.Detector.Learns() {
		request.Warm = adviseOn
	}
	body, err := request.Encode()
	if err != nil {
		return nil, err
	}
	status, err := c.replays.start(ctx, body)
	for err == nil && status.State == streams.ReplayBusy {
		if !process.Sleep(ctx, adviseBusy) {
			return nil, context.Cause(ctx)
		}
		status, err = c.replays.start(ctx, body)
	}
	for err == nil && !status.State.Over() {
		if !process.Sleep(ctx, adviseAsk) {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return nil, errors.Join(context.Cause(ctx), c.replays.Cancel(end, request.ID))
		}
		status, err = c.replays.ask(ctx, streams.ReplaySubject(request.ID), nil)
	}
	switch {
	case err != nil:
		return nil, err
	case status.Result == nil:
		return nil, errors.New(status.Error)
	}
	return status.Result, nil
}
