package lane

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/streams"
	"headwater/streams/streamtest"
)

// adder is a machine that sums its input, times the factor of its configuration, and emits
// the sum at every third input.
type adder struct {
	state struct {
		Sum, Factor int
	}
	outputs []output
	changed bool
	// fail makes Take fail as a broken connection would.
	fail func() error
}

type output struct{ Input, Sum int }

type adderCommit struct {
	Position Position
	Config   *ConfigChange
	Outputs  []output
}

func (a *adder) Configure(_ uint64, content []byte) error {
	factor, err := strconv.Atoi(string(content))
	if err == nil {
		a.state.Factor = factor
	}
	return err
}

func (a *adder) Apply(in Input) (int, error) {
	n, err := strconv.Atoi(string(in.Data))
	if err != nil {
		return 0, err
	}
	a.state.Sum += n * a.state.Factor
	a.changed = true
	if n%3 == 0 {
		a.outputs = append(a.outputs, output{n, a.state.Sum})
	}
	return 1, nil
}

func (a *adder) Pending() int { return len(a.outputs) }

func (a *adder) Take(pos Position, config *ConfigChange) ([]byte, error) {
	if err := a.fail(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(adderCommit{pos, config, a.outputs})
	a.outputs = nil
	return body, err
}

func (a *adder) Snapshot(all bool) ([]Chunk, error) {
	if !all && !a.changed {
		return nil, nil
	}
	a.changed = false
	data, err := json.Marshal(a.state)
	return []Chunk{{ID: "sum", Data: data}}, err
}

func (a *adder) Restore(chunks []Chunk) error {
	for _, chunk := range chunks {
		if err := json.Unmarshal(chunk.Data, &a.state); err != nil {
			return err
		}
	}
	return nil
}

type fixture struct {
	js   jetstream.JetStream
	cfg  Config
	deps Deps

	mu          sync.Mutex
	deadLetters []string
}

func newFixture(t *testing.T) *fixture {
	server := streamtest.Run(t)
	server.Ensure(t, 1)
	return fixtureOf(server.JS(t), 0)
}

func fixtureOf(js jetstream.JetStream, lane int) *fixture {
	f := &fixture{js: js}
	f.cfg = Config{
		Service: "test", Lane: lane, InputStream: streams.StreamTelemetry, InputFilters: []string{streams.TelemetryFilter(lane)},
		OutputStream: streams.StreamDerived, OutputSubject: streams.DerivedSubject(lane),
		Format: 1,
		ReadCommit: func(body []byte) (Position, *ConfigChange, error) {
			var c adderCommit
			err := json.Unmarshal(body, &c)
			return c.Position, c.Config, err
		},
	}
	f.deps = Deps{
		JS: f.js, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry(), "test"),
		DeadLetter: func(_ context.Context, in Input, _ error) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.deadLetters = append(f.deadLetters, string(in.Data))
			return nil
		},
	}
	return f
}

func (f *fixture) configure(t *testing.T, factor int) {
	t.Helper()
	bucket, err := f.js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), streams.ConfigKey, strconv.Itoa(factor)); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) publish(t *testing.T, payload string) {
	t.Helper()
	if _, err := f.js.Publish(t.Context(), streams.TelemetrySubject(0, streams.SourceMQTT), []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

// start runs an owner of the lane until the returned function is called.
func (f *fixture) start(t *testing.T, fail func() error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := Run(ctx, f.cfg, f.deps, func() Machine { return &adder{fail: fail} }, NewStatus()); err != nil {
			t.Error(err)
		}
	}()
	return func() { cancel(); <-done }
}

func never() error { return nil }

// commits returns all commits of the lane in order.
func (f *fixture) commits(t *testing.T) []adderCommit {
	t.Helper()
	var out []adderCommit
	for _, msg := range f.stored(t) {
		var c adderCommit
		if err := json.Unmarshal(msg.Data, &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// verify checks that there is one output of each input 1..n, and that every configuration
// is in force after the position of the commit that carries it.
func (f *fixture) verify(t *testing.T, n int) {
	t.Helper()
	var got []output
	type from struct{ after, factor int }
	var factors []from
	for _, c := range f.commits(t) {
		got = append(got, c.Outputs...)
		if c.Config != nil {
			factor, err := strconv.Atoi(string(c.Config.Content))
			if err != nil {
				t.Fatal(err)
			}
			factors = append(factors, from{int(c.Position.Sequence), factor})
		}
	}
	var want []output
	sum, factor := 0, 0
	for i := 1; i <= n; i++ {
		for len(factors) > 0 && factors[0].after < i {
			factor, factors = factors[0].factor, factors[1:]
		}
		sum += i * factor
		if i%3 == 0 {
			want = append(want, output{i, sum})
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d outputs, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("output %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func (f *fixture) await(t *testing.T, n int) {
	t.Helper()
	streamtest.Eventually(t, fmt.Sprintf("the output of input %d", n), func() bool {
		commits := f.commits(t)
		for i := len(commits) - 1; i >= 0; i-- {
			if outputs := commits[i].Outputs; len(outputs) > 0 {
				return outputs[len(outputs)-1].Input == n
			}
		}
		return false
	})
}

// TestOutputsOnce runs two owners of one lane at a time, which fence each other off. They
// fail at random and are replaced, and the configuration changes in between. Every output
// must be there exactly once, and be the same as from a single run without faults.
func TestOutputsOnce(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	fail := func() error {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(40) == 0 {
			return errors.New("broken on purpose")
		}
		return nil
	}
	f := newFixture(t)
	f.configure(t, 1)
	const n = 900
	stops := []func(){f.start(t, fail), f.start(t, fail)}
	for i := 1; i <= n; i++ {
		f.publish(t, strconv.Itoa(i))
		switch i {
		case 200, 500:
			f.configure(t, i)
		case 150, 300, 450, 600, 750:
			stops[0]()
			stops = append(stops[1:], f.start(t, fail))
		}
	}
	f.await(t, n)
	for _, stop := range stops {
		stop()
	}
	f.verify(t, n)
}

// TestRestartFromSnapshot purges the input that a snapshot covers: the next owner must have
// its state all the same.
func TestRestartFromSnapshot(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 2)
	stop := f.start(t, never)
	for i := 1; i <= 30; i++ {
		f.publish(t, strconv.Itoa(i))
	}
	f.await(t, 30)
	stop()
	stream, err := f.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop = f.start(t, never)
	for i := 31; i <= 60; i++ {
		f.publish(t, strconv.Itoa(i))
	}
	f.await(t, 60)
	stop()
	f.verify(t, 60)
}

// TestDamagedSnapshot flips a byte of the newest snapshot: the previous one and
// the input give the same state.
func TestDamagedSnapshot(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 1)
	for round := range 3 {
		stop := f.start(t, never)
		for i := 1; i <= 30; i++ {
			f.publish(t, strconv.Itoa(round*30+i))
		}
		f.await(t, round*30+30)
		stop()
	}
	objects, err := f.js.ObjectStore(t.Context(), streams.BucketSnapshots)
	if err != nil {
		t.Fatal(err)
	}
	list, err := objects.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newest := list[0]
	for _, info := range list {
		if cmp.Compare(info.ModTime.UnixNano(), newest.ModTime.UnixNano()) > 0 {
			newest = info
		}
	}
	data, err := objects.GetBytes(t.Context(), newest.Name)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(data)
	data[0] ^= 1
	if _, err := objects.PutBytes(t.Context(), newest.Name, data); err != nil {
		t.Fatal(err)
	}
	stop := f.start(t, never)
	for i := 91; i <= 120; i++ {
		f.publish(t, strconv.Itoa(i))
	}
	f.await(t, 120)
	stop()
	f.verify(t, 120)
}

func TestPoisonIsSkipped(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 1)
	defer f.start(t, never)()
	f.publish(t, "not a number")
	f.publish(t, "3")
	f.await(t, 3)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.deadLetters) != 1 || f.deadLetters[0] != "not a number" {
		t.Errorf("dead letters: %q", f.deadLetters)
	}
}

func TestUnusableConfiguration(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 5)
	defer f.start(t, never)()
	f.publish(t, "3")
	f.await(t, 3)
	bucket, err := f.js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), streams.ConfigKey, "nonsense"); err != nil {
		t.Fatal(err)
	}
	f.publish(t, "6")
	f.await(t, 6)
	commits := f.commits(t)
	if sum := commits[len(commits)-1].Outputs[0].Sum; sum != 45 {
		t.Errorf("sum %d, want 45: the previous configuration stays in force", sum)
	}
}
