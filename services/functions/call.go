package functions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/functions/sandbox"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/streams"
)

// failure is a failed call, and how long it took.
type failure struct {
	sandbox.Failure

	took time.Duration
}

func tooMany() *failure {
	return &failure{Failure: sandbox.Failure{Reason: streams.ReasonOutput, Detail: fmt.Sprintf("more than %d readings for one message", maxOutputs)}}
}

// maxDetail bounds why a call failed, in bytes.
const maxDetail = 1 << 10

// blame tells what is the function's fault from what is not.
func blame(err error) (*failure, error) {
	var f *failure
	switch of, ok := errors.AsType[*sandbox.Failure](err); {
	case err == nil:
		return nil, nil
	case ok:
		f = &failure{Failure: *of}
	case errors.Is(err, contract.ErrFailed):
		f = &failure{Failure: sandbox.Failure{Reason: streams.ReasonFailed, Detail: err.Error()}}
	case errors.Is(err, contract.ErrOutput):
		f = &failure{Failure: sandbox.Failure{Reason: streams.ReasonOutput, Detail: err.Error()}}
	default:
		return nil, err
	}
	f.Detail = f.Detail[:min(len(f.Detail), maxDetail)]
	return f, nil
}

// caller prepares a version.
func (s *Service) caller(ctx context.Context, name string, v function.Version) (caller, error) {
	if v.Kind == function.Worker {
		return &worker{s: s, name: name, limits: v.Limits}, nil
	}
	code, err := s.store.Code(ctx, v)
	if err != nil {
		return nil, err
	}
	m, err := sandbox.Compile(ctx, s.cache, code, bounds(v.Limits))
	if err != nil {
		return nil, err
	}
	return wasm{m}, nil
}

// wasm is a module in the sandbox.
type wasm struct{ module *sandbox.Module }

func (w wasm) call(ctx context.Context, input []byte, st *overlay, log func(string)) ([]byte, error) {
	return w.module.Call(ctx, input, st, log)
}

func (w wasm) memory() uint64 { return w.module.Memory() }

func (w wasm) close() { _ = w.module.Close() } // nothing of it is needed any more

// worker is one of any number of programs that take requests over NATS. A request that none
// answers in time is tried again, because its worker may have been killed.
type worker struct {
	s      *Service
	name   string
	limits function.Limits
}

// workerAttempts is how many workers may fail to answer before the input is a dead letter.
const workerAttempts = 3

// errNoWorker is returned while there is no worker. The input waits.
var errNoWorker = errors.New("no worker is connected")

func (w *worker) call(ctx context.Context, input []byte, _ *overlay, _ func(string)) ([]byte, error) {
	for range workerAttempts {
		within, cancel := context.WithTimeout(ctx, w.limits.Time)
		answer, err := w.s.js.Conn().RequestWithContext(within, streams.WorkSubject(w.name), input)
		cancel()
		switch {
		case err == nil && len(answer.Data) > w.limits.Output<<10:
			return nil, &sandbox.Failure{Reason: streams.ReasonOutput, Detail: fmt.Sprintf("more than %d bytes of output", w.limits.Output<<10)}
		case err == nil && !json.Valid(answer.Data):
			return nil, &sandbox.Failure{Reason: streams.ReasonOutput, Detail: "its answer is not JSON"}
		case err == nil:
			return answer.Data, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrNoResponders):
			return nil, errNoWorker
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout):
			return nil, fmt.Errorf("ask a worker: %w", err)
		}
	}
	return nil, &sandbox.Failure{Reason: streams.ReasonTimeout, Detail: fmt.Sprintf("no worker answered within %s, tried %d times", w.limits.Time, workerAttempts)}
}

func (w *worker) memory() uint64 { return 0 }

func (w *worker) close() {}
