// Package sandbox runs WebAssembly without files, network or clock: a module reaches what it
// is given by the host, and nothing else. What it sees is the same each time, its clock and
// its random numbers too, so that a call that is repeated after a crash answers the same.
//
// A module is a reactor of WASI preview 1. It exports
//
//	handle(size i32) i32       called with the bytes of the input; 0 when it is done
//
// and imports from "headwater" what it needs of
//
//	input(at i32, size i32)                                       copies the input to at
//	output(at i32, size i32)                                      appends to the output
//	log(at i32, size i32)                                         writes a line of the log
//	get(key i32, size i32, at i32, room i32) i32                  copies the state of a key to at and
//	                                                              returns its size, -1 if there is none;
//	                                                              nothing is copied if the room is too small
//	set(key i32, size i32, at i32, length i32)                    sets the state of a key; no bytes delete it
package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"headwater/streams"
)

// Limits are those of one call.
type Limits struct {
	// Memory and Output are in bytes. Memory is a multiple of 64 KiB.
	Memory, Output int
	Time           time.Duration
}

// State is what a function keeps from call to call, by key.
type State interface {
	Get(key []byte) ([]byte, bool)
	// Set fails if the state would become too large.
	Set(key, value []byte) error
}

// Failure is why a call was stopped. Reason is one of a dead letter.
type Failure struct{ Reason, Detail string }

// Error says both.
func (f *Failure) Error() string { return f.Reason + ": " + f.Detail }

// pageSize is the unit of the memory of a module, in bytes.
const pageSize = 64 << 10

// maxComplaint bounds what is kept of what a module writes to its standard error, and one
// line of its log, in bytes.
const maxComplaint = 1 << 10

// startTime bounds the start of an instance.
const startTime = 10 * time.Second

// Cache keeps compiled code, so that a module is compiled once.
type Cache struct{ cache wazero.CompilationCache }

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{wazero.NewCompilationCache()} }

// OpenCache returns a cache that keeps compiled code in a folder too, for other processes of
// the same version of Headwater.
func OpenCache(folder string) (*Cache, error) {
	cache, err := wazero.NewCompilationCacheWithDir(folder)
	if err != nil {
		return nil, fmt.Errorf("open the folder of compiled code: %w", err)
	}
	return &Cache{cache}, nil
}

// Close frees what is compiled; no module may be in use.
func (c *Cache) Close() error { return c.cache.Close(context.Background()) }

// Module is one compiled module with an instance that is used again for each call. It is for
// one goroutine.
type Module struct {
	limits   Limits
	runtime  wazero.Runtime
	compiled wazero.CompiledModule

	instance api.Module
	handle   api.Function
	complain *head
}

// call is what the host's functions of one call work with.
type call struct {
	limits Limits
	input  []byte
	output []byte
	state  State
	log    func(string)
}

type callKey struct{}

// Compile compiles a module. The caller closes it.
func Compile(ctx context.Context, cache *Cache, code []byte, limits Limits) (*Module, error) {
	m := &Module{limits: limits, complain: &head{}}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(cache.cache).
		WithCloseOnContextDone(true).WithMemoryLimitPages(uint32(limits.Memory/pageSize)).WithDebugInfoEnabled(false))
	if err := m.compile(ctx, code); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Module) compile(ctx context.Context, code []byte) (err error) {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, m.runtime); err != nil {
		return fmt.Errorf("prepare WASI: %w", err)
	}
	if err := m.host(ctx); err != nil {
		return err
	}
	if m.compiled, err = m.runtime.CompileModule(ctx, code); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	exported, ok := m.compiled.ExportedFunctions()["handle"]
	i32 := []api.ValueType{api.ValueTypeI32}
	if !ok || !bytes.Equal(exported.ParamTypes(), i32) || !bytes.Equal(exported.ResultTypes(), i32) {
		return errors.New("the module exports no function handle that takes and returns one i32")
	}
	return nil
}

// host makes the functions that a module may import.
func (m *Module) host(ctx context.Context) error {
	b := m.runtime.NewHostModuleBuilder("headwater")
	add := func(name string, params int, results []api.ValueType, f func(c *call, memory api.Memory, stack []uint64)) {
		types := make([]api.ValueType, params)
		for i := range types {
			types[i] = api.ValueTypeI32
		}
		b = b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			c, ok := ctx.Value(callKey{}).(*call)
			if !ok {
				panic(&Failure{streams.ReasonCrashed, name + " was called outside of handle"})
			}
			f(c, mod.Memory(), stack)
		}), types, results).Export(name)
	}
	add("input", 2, nil, func(c *call, memory api.Memory, stack []uint64) {
		if int(uint32(stack[1])) != len(c.input) || !memory.Write(uint32(stack[0]), c.input) {
			panic(&Failure{streams.ReasonCrashed, "input was called with a place that is not in its memory, or another size"})
		}
	})
	add("output", 2, nil, func(c *call, memory api.Memory, stack []uint64) {
		data := span(memory, stack[0], stack[1])
		if len(c.output)+len(data) > c.limits.Output {
			panic(&Failure{streams.ReasonOutput, fmt.Sprintf("more than %d bytes of output", c.limits.Output)})
		}
		c.output = append(c.output, data...)
	})
	add("log", 2, nil, func(c *call, memory api.Memory, stack []uint64) {
		c.log(string(clip(span(memory, stack[0], stack[1]))))
	})
	add("get", 4, []api.ValueType{api.ValueTypeI32}, func(c *call, memory api.Memory, stack []uint64) {
		key, room := span(memory, stack[0], stack[1]), span(memory, stack[2], stack[3])
		value, ok := c.state.Get(key)
		stack[0] = api.EncodeI32(-1)
		if ok {
			if len(value) <= len(room) {
				copy(room, value)
			}
			stack[0] = api.EncodeI32(int32(len(value)))
		}
	})
	add("set", 4, nil, func(c *call, memory api.Memory, stack []uint64) {
		key, value := span(memory, stack[0], stack[1]), span(memory, stack[2], stack[3])
		if err := c.state.Set(key, value); err != nil {
			panic(&Failure{streams.ReasonOutput, err.Error()})
		}
	})
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("prepare the functions of the host: %w", err)
	}
	return nil
}

// span returns a part of the memory of a module, which stays valid until the host returns.
func span(memory api.Memory, at, size uint64) []byte {
	data, ok := memory.Read(uint32(at), uint32(size))
	if !ok {
		panic(&Failure{streams.ReasonCrashed, "a function of the host was called with a place that is not in its memory"})
	}
	return data
}

// Call runs the function once. A *Failure says that the module is to blame; its instance is
// gone then, and the next call starts another. The output stays valid.
func (m *Module) Call(ctx context.Context, input []byte, state State, log func(string)) ([]byte, error) {
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	c := &call{limits: m.limits, input: input, state: state, log: log}
	within, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, c), m.limits.Time)
	defer cancel()
	result, err := m.handle.Call(within, uint64(uint32(len(input))))
	if err != nil {
		failure := m.explain(ctx, within, err)
		m.stop()
		return nil, failure
	}
	if code := uint32(result[0]); code != 0 {
		said := m.complain.String()
		m.stop()
		return nil, &Failure{streams.ReasonFailed, strings.TrimSpace(fmt.Sprintf("handle returned %d %s", code, said))}
	}
	return c.output, nil
}

// start makes an instance if there is none.
func (m *Module) start(ctx context.Context) error {
	if m.instance != nil {
		return nil
	}
	m.complain.Reset()
	within, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	instance, err := m.runtime.InstantiateModule(within, m.compiled, wazero.NewModuleConfig().WithName("").
		WithStderr(m.complain).WithStartFunctions("_initialize"))
	if err != nil {
		return m.explain(ctx, within, err)
	}
	m.instance, m.handle = instance, instance.ExportedFunction("handle")
	return nil
}

// explain says why a call ended. If the caller's context has ended, that is the reason.
func (m *Module) explain(ctx, within context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failure, ok := errors.AsType[*Failure](err); ok {
		return failure
	}
	said := m.complain.String()
	exit, exited := errors.AsType[*sys.ExitError](err)
	switch {
	case within.Err() != nil || exited && exit.ExitCode() == sys.ExitCodeDeadlineExceeded:
		return &Failure{streams.ReasonTimeout, fmt.Sprintf("it did not end within %s", m.limits.Time)}
	case strings.Contains(said, "out of memory"), strings.Contains(err.Error(), "memory"):
		return &Failure{streams.ReasonMemory, fmt.Sprintf("it needs more than %d MiB of memory", m.limits.Memory>>20)}
	case said != "":
		return &Failure{streams.ReasonCrashed, said}
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return &Failure{streams.ReasonCrashed, string(clip([]byte(text)))}
}

// stop ends the instance.
func (m *Module) stop() {
	if m.instance != nil {
		_ = m.instance.Close(context.Background()) // it may have ended by itself
	}
	m.instance, m.handle = nil, nil
}

// Memory returns how much memory the instance has, in bytes.
func (m *Module) Memory() uint64 {
	if m.instance == nil || m.instance.Memory() == nil {
		return 0
	}
	return uint64(m.instance.Memory().Size())
}

// Close frees the module.
func (m *Module) Close() error {
	m.stop()
	if err := m.runtime.Close(context.Background()); err != nil {
		return fmt.Errorf("close the runtime of a module: %w", err)
	}
	return nil
}

func clip(text []byte) []byte { return text[:min(len(text), maxComplaint)] }

// head keeps the beginning of what is written to it.
type head struct{ bytes.Buffer }

// Write implements io.Writer.
func (t *head) Write(p []byte) (int, error) {
	if room := maxComplaint - t.Len(); room > 0 {
		t.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
