package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/internal/audit"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/streams"
	"headwater/web/functions"
	"headwater/web/view"
)

// functionSource implements functions.Source.
type functionSource struct {
	store function.Store
	made  recorder
}

// Functions implements functions.Source.
func (s functionSource) Functions(ctx context.Context) ([]functions.Function, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	all, err := s.store.All(ctx)
	if err != nil {
		return nil, explainFunction(err)
	}
	out := make([]functions.Function, len(all))
	for i, f := range all {
		out[i] = shownFunction(f)
	}
	return out, nil
}

func shownFunction(f function.Listed) functions.Function {
	out := functions.Function{Name: f.Name, Live: f.Live, Shadow: f.Shadow, Previous: f.Previous(), Versions: []functions.Version{}}
	for _, v := range f.Versions {
		out.Versions = append(out.Versions, functions.Version{
			Number: v.Number, State: functions.State(f.StateOf(v.Number)), Kind: string(v.Kind), Size: v.Size,
			On: string(v.Trigger()), Match: v.Match, Cron: v.Cron, Site: v.Site,
			Limits:   functions.Limits{Memory: v.Limits.Memory, Milliseconds: v.Limits.Time.Milliseconds(), Output: v.Limits.Output},
			Deployed: v.Deployed, By: v.By,
		})
	}
	for _, l := range f.Status.Log {
		out.Log = append(out.Log, functions.Line(l))
	}
	// What it says of a version that is not live any more is old.
	if f.Live != 0 && f.Status.Version == f.Live {
		out.Counts, out.Problem, out.Waiting, out.Skipped = shownCounts(f.Status.Counts), f.Status.Problem, f.Status.Waiting, f.Status.Skipped
	}
	if beside := f.Status.Shadow; f.Shadow != 0 && beside != nil && beside.Version == f.Shadow {
		c := functions.Comparison{
			Version: beside.Version, Problem: beside.Problem, Counts: shownCounts(beside.Counts), Same: beside.Same, Different: beside.Different,
		}
		for _, d := range beside.Latest {
			c.Latest = append(c.Latest, functions.Difference(d))
		}
		out.Beside = &c
	}
	return out
}

func shownCounts(c function.Counts) functions.Counts {
	out := functions.Counts{
		Calls: c.Calls, Readings: c.Readings, Outputs: c.Outputs, Failures: c.Failures,
		P50: c.P50.Seconds(), P99: c.P99.Seconds(), Busy: c.Busy.Seconds(), Memory: c.Memory,
	}
	if c.Last != nil {
		last := functions.Failed(*c.Last)
		out.Last = &last
	}
	return out
}

// codeWithin bounds how long storing the code of a function may take.
const codeWithin = 30 * time.Second

// DeployFunction implements functions.Source.
func (s functionSource) DeployFunction(ctx context.Context, name string, d functions.Draft) (functions.Function, error) {
	within, cancel := context.WithTimeout(ctx, codeWithin)
	defer cancel()
	f, err := s.store.Deploy(within, name, function.Version{
		Kind: function.Kind(d.Kind), On: function.Trigger(d.On), Match: d.Match, Cron: d.Cron, Site: d.Site, Deployed: time.Now().UTC(), By: view.PrincipalOf(ctx).Name,
		Limits: function.Limits{Memory: d.Limits.Memory, Time: time.Duration(d.Limits.Milliseconds) * time.Millisecond, Output: d.Limits.Output},
	}, d.Code, function.State(d.State))
	e := audit.Entry{Action: audit.FunctionDeploy, Object: name, After: strings.TrimSpace(d.On + " " + d.Cron + strings.Join(d.Match, "\n"))}
	if err == nil {
		e.Detail = fmt.Sprintf("version %d, %s, code %.12s", f.Versions[len(f.Versions)-1].Number, d.State, f.Versions[len(f.Versions)-1].Code)
	}
	s.made.record(ctx, e, err)
	return shownFunction(function.Listed{Function: f}), explainFunction(err)
}

// SetFunctionState implements functions.Source.
func (s functionSource) SetFunctionState(ctx context.Context, name string, version int, state functions.State) (functions.Function, error) {
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	f, err := s.store.SetState(within, name, version, function.State(state))
	s.made.record(ctx, audit.Entry{Action: audit.FunctionState, Object: name, After: fmt.Sprintf("version %d: %s", version, state)}, err)
	return shownFunction(function.Listed{Function: f}), explainFunction(err)
}

// replyWithin bounds how long a reply may take: a function may take 30 s, and another request
// may come first.
const replyWithin = 35 * time.Second

// CallFunction implements functions.Source.
func (s functionSource) CallFunction(ctx context.Context, name string, c functions.Call) (functions.Reply, error) {
	nc := s.store.JS.Conn()
	if nc.Status() != nats.CONNECTED {
		return functions.Reply{}, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	within, cancel := context.WithTimeout(ctx, replyWithin)
	defer cancel()
	until, _ := within.Deadline()
	body, err := json.Marshal(contract.Call{Query: c.Query, Type: c.Type, Body: c.Body, Key: c.Key, By: view.PrincipalOf(ctx).Name, Until: until})
	if err != nil {
		return functions.Reply{}, fmt.Errorf("encode a request: %w", err)
	}
	answer, err := nc.RequestWithContext(within, streams.CallSubject(name), body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return functions.Reply{}, fmt.Errorf("%w: %s does not run on requests, or not now", view.ErrUnavailable, name)
	case err != nil:
		return functions.Reply{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	var reply contract.Reply
	if err := json.Unmarshal(answer.Data, &reply); err != nil || reply.Status < http.StatusOK {
		return functions.Reply{}, fmt.Errorf("%w: its reply cannot be read", view.ErrUnavailable)
	}
	return functions.Reply(reply), nil
}

// RemoveFunction implements functions.Source.
func (s functionSource) RemoveFunction(ctx context.Context, name string) error {
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	err := s.store.Remove(within, name)
	s.made.record(ctx, audit.Entry{Action: audit.FunctionRemove, Object: name}, err)
	return explainFunction(err)
}

// explainFunction says in the words of the pages what failed.
func explainFunction(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, function.ErrNone):
		return fmt.Errorf("%w: %w", view.ErrNotFound, err)
	case errors.Is(err, function.ErrDraft):
		return fmt.Errorf("%w: %s", functions.ErrDraft, strings.TrimPrefix(err.Error(), function.ErrDraft.Error()+": "))
	}
	return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}
