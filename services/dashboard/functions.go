package dashboard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"headwater/services/internal/audit"
	"headwater/services/internal/function"
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
			Number: v.Number, State: functions.State(f.StateOf(v.Number)), Kind: string(v.Kind), Size: v.Size, Match: v.Match,
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
		Kind: function.Kind(d.Kind), Match: d.Match, Deployed: time.Now().UTC(), By: view.PrincipalOf(ctx).Name,
		Limits: function.Limits{Memory: d.Limits.Memory, Time: time.Duration(d.Limits.Milliseconds) * time.Millisecond, Output: d.Limits.Output},
	}, d.Code, function.State(d.State))
	e := audit.Entry{Action: audit.FunctionDeploy, Object: name, After: strings.Join(d.Match, "\n")}
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
