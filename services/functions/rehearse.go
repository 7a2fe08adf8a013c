package functions

import (
	"context"
	"errors"
	"fmt"

	"headwater/services/functions/sandbox"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/streams"
)

// Rehearsal runs code on batches one after the other, from an empty state, and stores
// nothing. It is for one goroutine.
type Rehearsal struct {
	cache  *sandbox.Cache
	module *sandbox.Module
	state  *state
}

// NewRehearsal compiles code. The caller closes it.
func NewRehearsal(ctx context.Context, code []byte, l function.Limits) (*Rehearsal, error) {
	cache := sandbox.NewCache()
	m, err := sandbox.Compile(ctx, cache, code, bounds(l))
	if err != nil {
		return nil, errors.Join(err, cache.Close())
	}
	return &Rehearsal{cache, m, newState(nil)}, nil
}

// Call runs the function on one batch, which is the JSON of the contract, and returns its
// outputs, one line each.
func (r *Rehearsal) Call(ctx context.Context, batch []byte, log func(string)) ([]string, error) {
	trigger, readings, err := contract.ParseInput(batch, streams.ValidToken)
	if err != nil {
		return nil, fmt.Errorf("the input: %w", err)
	}
	st := &overlay{below: r.state}
	data, err := r.module.Call(ctx, contract.Append(nil, trigger, readings), st, log)
	if err != nil {
		return nil, err
	}
	outputs, err := contract.Parse(data, readings, streams.ValidToken)
	if err != nil {
		return nil, err
	}
	said := lines(outputs)
	if trigger == function.HTTP {
		reply, err := contract.ParseReply(data)
		if err != nil {
			return nil, err
		}
		said = append(said, fmt.Sprintf("reply %d %s %q", reply.Status, reply.Type, reply.Body))
	}
	st.apply()
	return said, nil
}

// Close frees it.
func (r *Rehearsal) Close() error { return errors.Join(r.module.Close(), r.cache.Close()) }

// bounds are the limits as the sandbox has them.
func bounds(l function.Limits) sandbox.Limits {
	return sandbox.Limits{Memory: l.Memory << 20, Output: l.Output << 10, Time: l.Time}
}
