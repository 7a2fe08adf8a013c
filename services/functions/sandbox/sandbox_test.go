package sandbox_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/services/functions/guest/guesttest"
	"headwater/services/functions/sandbox"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/streams"

	telemetryv1 "headwater/proto/telemetry/v1"
)

// cache is shared by the tests, because compiling takes long.
var cache = sandbox.NewCache()

func TestMain(m *testing.M) {
	code := m.Run()
	if cache.Close() != nil {
		code = 1
	}
	os.Exit(code)
}

type states map[string][]byte

func (s states) Get(key []byte) ([]byte, bool) {
	v, ok := s[string(key)]
	return v, ok
}

func (s states) Set(key, value []byte) error {
	if len(value) > 1<<10 {
		return errors.New("too much")
	}
	s[string(key)] = slices.Clone(value)
	return nil
}

// do is an input that makes the module of guesttest behave in a way.
func do(what string) []byte {
	r := contract.Reading{Text: "do " + what, Time: 1}
	r.Site, r.Device, r.Metric, r.Kind = "s", "d", "do", telemetryv1.Kind_KIND_TEXT
	return contract.Append(nil, function.Readings, []contract.Reading{r})
}

func compile(tb testing.TB, limits sandbox.Limits) *sandbox.Module {
	tb.Helper()
	m, err := sandbox.Compile(tb.Context(), cache, guesttest.Code(tb), limits)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil {
			tb.Error(err)
		}
	})
	return m
}

// TestStopped lets a module do everything that it must not do. Each time it is stopped and
// blamed with the reason, and the next call works.
func TestStopped(t *testing.T) {
	m := compile(t, sandbox.Limits{Memory: 16 << 20, Output: 64 << 10, Time: 10 * time.Second})
	loop := compile(t, sandbox.Limits{Memory: 16 << 20, Output: 64 << 10, Time: 20 * time.Millisecond})
	for _, c := range []struct {
		what, reason, detail string
		module               *sandbox.Module
	}{
		{"loop", streams.ReasonTimeout, "20ms", loop},
		{"allocate", streams.ReasonMemory, "16 MiB", m},
		{"write", streams.ReasonOutput, "65536 bytes", m},
		{"panic", streams.ReasonCrashed, "index out of range", m},
		{"fail", streams.ReasonFailed, "returned 7", m},
		{"keep", streams.ReasonOutput, "too much", m},
		{"out of memory bounds", streams.ReasonCrashed, "not in its memory", m},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := c.module.Call(t.Context(), do(c.what), states{}, func(string) {})
			failure, ok := errors.AsType[*sandbox.Failure](err)
			if !ok || failure.Reason != c.reason || !strings.Contains(failure.Detail, c.detail) {
				t.Fatalf("%v, want %s with %q", err, c.reason, c.detail)
			}
			if c.module == loop {
				return // a slow machine may not do a good call in its time either
			}
			var said []string
			if _, err := c.module.Call(t.Context(), do("say"), states{}, func(line string) { said = append(said, line) }); err != nil || !slices.Equal(said, []string{"hello"}) {
				t.Errorf("after that: %v, said %q", err, said)
			}
		})
	}
}

// TestStateAndOutput counts calls in the state, and stays the same module for all of them.
func TestStateAndOutput(t *testing.T) {
	m := compile(t, sandbox.Limits{Memory: 16 << 20, Output: 64 << 10, Time: 10 * time.Second})
	kept := states{}
	for i, want := range []string{`"value":100000001}]`, `"value":100000002}]`} {
		out, err := m.Call(t.Context(), do("count"), kept, func(string) {})
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("call %d: %q, %v", i, out, err)
		}
	}
	if m.Memory() == 0 || m.Memory() > 16<<20 {
		t.Errorf("%d bytes of memory", m.Memory())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Call(ctx, do("count"), kept, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if out, err := m.Call(t.Context(), do("count"), kept, func(string) {}); err != nil || !strings.Contains(string(out), "100000003") {
		t.Errorf("after it: %q, %v", out, err)
	}
}

// TestNotAModule refuses what cannot run.
func TestNotAModule(t *testing.T) {
	for name, code := range map[string]string{"text": "hello", "empty module": "\x00asm\x01\x00\x00\x00"} {
		if m, err := sandbox.Compile(t.Context(), cache, []byte(code), sandbox.Limits{Memory: 1 << 20}); err == nil {
			t.Errorf("%s was compiled", name)
			_ = m.Close()
		}
	}
}

// BenchmarkCall is the cost of a function that does nothing.
func BenchmarkCall(b *testing.B) {
	for _, n := range []struct {
		name  string
		times int
	}{{"1", 1}, {"1000", 1000}} {
		b.Run(n.name, func(b *testing.B) {
			m := compile(b, sandbox.Limits{Memory: 16 << 20, Output: 64 << 10, Time: time.Minute})
			var all []contract.Reading
			for i := range n.times {
				r := contract.Reading{Value: float64(i) / 10, Time: int64(i) * 1e9}
				r.Site, r.Device, r.Metric, r.Unit, r.Kind = "warehouse", "door-01", "temperature", "C", telemetryv1.Kind_KIND_VALUE
				all = append(all, r)
			}
			var input []byte
			for b.Loop() {
				input = contract.Append(input[:0], function.Readings, all)
				if _, err := m.Call(b.Context(), input, states{}, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n.times), "ns/reading")
		})
	}
}
