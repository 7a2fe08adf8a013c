package functions

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/functions/guest/guesttest"
	"headwater/services/functions/sandbox"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/services/internal/uplink"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// childEnv makes the test binary run one function until it is killed, on the nats-server of
// that URL.
const childEnv = "HEADWATER_TEST_FUNCTIONS"

func TestMain(m *testing.M) {
	if at := os.Getenv(childEnv); at != "" {
		if err := child(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The tests and their processes compile the module once: with the race detector that takes
	// ten seconds.
	folder, err := os.MkdirTemp("", "functions")
	if err == nil {
		err = os.Setenv(cacheEnv, folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if os.RemoveAll(folder) != nil {
		code = 1
	}
	os.Exit(code)
}

// cacheEnv names the folder of compiled code.
const cacheEnv = "HEADWATER_TEST_COMPILED"

// newService returns a service that uses the folder of compiled code.
func newService(js jetstream.JetStream, log *slog.Logger) (*Service, error) {
	s := New(Deps{JS: js, Log: log, Metrics: prometheus.NewRegistry()})
	var err error
	s.cache, err = sandbox.OpenCache(os.Getenv(cacheEnv))
	return s, err
}

const lanes = 2

func child(at string) error {
	nc, err := nats.Connect(at)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := newService(js, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	all, err := s.store.All(context.Background())
	if err != nil {
		return err
	}
	newRunner(s, all[0].Function, streams.FunctionConsumer(all[0].Name), lanes).run(context.Background())
	return nil
}

// bench is a nats-server with the streams, and what a test does with it.
type bench struct {
	*testing.T
	server *streamtest.Server
	js     jetstream.JetStream
	store  function.Store
	sent   int
}

func newBench(t *testing.T) *bench {
	s := streamtest.Run(t)
	s.Ensure(t, lanes)
	b := &bench{T: t, server: s, js: s.JS(t)}
	b.store = function.Store{JS: b.js}
	return b
}

// run runs a service until the test ends, changed before by some.
func (b *bench) run(change ...func(*Service)) {
	b.Helper()
	nc := b.server.Conn(b, natsd.UserOf(streams.ServiceFunctions))
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	s, err := newService(js, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range change {
		c(s)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// deploy deploys the module of guesttest and waits until the function has a consumer, from
// which on it misses nothing.
func (b *bench) deploy(name, match string, limit time.Duration, state function.State) function.Function {
	b.Helper()
	f, err := b.store.Deploy(b.Context(), name, function.Version{
		Kind: function.Wasm, Match: []string{match}, Limits: function.Limits{Memory: 16, Time: limit},
	}, guesttest.Code(b), state)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func (b *bench) awaitConsumer(durable string) {
	b.Helper()
	b.awaitConsumerOf(streams.StreamTelemetry, durable)
}

func (b *bench) awaitConsumerOf(stream, durable string) {
	b.Helper()
	streamtest.Eventually(b, "consumer "+durable, func() bool {
		_, err := b.js.Consumer(b.Context(), stream, durable)
		return err == nil
	})
}

// send stores one message with a text of the metric do for each device.
func (b *bench) send(text string, devices ...string) {
	b.Helper()
	var batch telemetryv1.Builder
	for _, device := range devices {
		b.sent++
		batch.Text(telemetryv1.Key{Site: "s", Device: device, Metric: "do"}, time.Now().UnixNano(), text)
	}
	m, err := streams.TelemetryMsg(0, streams.SourceHTTP, batch.Take(time.Now().UnixNano()))
	if err == nil {
		_, err = b.js.PublishMsg(b.Context(), m)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// outputs returns the values that a function has stored, in the order of storage, with its
// messages' origins.
func (b *bench) outputs(name string) (values []float64, origins []uint64) {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), streams.StreamTelemetry)
	if err != nil {
		b.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(b.Context(), seq)
		if err != nil {
			b.Fatal(err)
		}
		_, source, err := streams.ParseTelemetry(msg.Subject)
		if err != nil {
			b.Fatal(err)
		}
		if of, made := source.Function(); !made || of != name {
			continue
		}
		batch, err := streams.DecodeTelemetry(msg.Data)
		if err != nil {
			b.Fatal(err)
		}
		for r := range batch.Readings() {
			values = append(values, r.Value)
		}
		origins = append(origins, batch.GetOrigin().GetSequence())
	}
	return values, origins
}

// stored returns how many messages a function has stored in its lane.
func (b *bench) stored(name string) uint64 {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), streams.StreamTelemetry)
	if err != nil {
		b.Fatal(err)
	}
	subject := streams.TelemetrySubject(streams.Lane("s", "counter", lanes), streams.FunctionSource(name))
	info, err := stream.Info(b.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		b.Fatal(err)
	}
	return info.State.Subjects[subject]
}

// done waits until a function has acknowledged all that is stored.
func (b *bench) done(durable string) {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), streams.StreamTelemetry)
	if err != nil {
		b.Fatal(err)
	}
	last, err := stream.GetLastMsgForSubject(b.Context(), streams.TelemetrySubject(0, streams.SourceHTTP))
	if err != nil {
		b.Fatal(err)
	}
	streamtest.Eventually(b, durable+" has acknowledged everything", func() bool {
		c, err := b.js.Consumer(b.Context(), streams.StreamTelemetry, durable)
		return err == nil && c.CachedInfo().AckFloor.Stream >= last.Sequence
	})
}

// once checks that a counter has counted each reading exactly once.
func (b *bench) once(name string, readings int) {
	b.Helper()
	values, origins := b.outputs(name)
	slices.Sort(values)
	for i, v := range values {
		if int(v) != 100_000_001+i {
			b.Fatalf("output %d of %s is %v: one is missing or twice", i, name, v)
		}
	}
	if len(values) != readings {
		b.Errorf("%d outputs of %s for %d readings", len(values), name, readings)
	}
	if !slices.IsSorted(origins) || len(slices.Compact(slices.Clone(origins))) != len(origins) {
		b.Errorf("outputs come from %v", origins)
	}
}

// TestFunctions runs some functions beside each other, most of which misbehave.
func TestFunctions(t *testing.T) {
	b := newBench(t)
	b.run()
	b.deploy("counter", "s/good/*", 20*time.Second, function.Live)
	b.deploy("loop", "s/loop/*", 10*time.Millisecond, function.Live)
	b.deploy("bad", "s/bad/*", 20*time.Second, function.Live)
	b.deploy("idle", "*/*/*", time.Second, function.Draft)
	for _, name := range []string{"counter", "loop", "bad"} {
		b.awaitConsumer(streams.FunctionConsumer(name))
	}
	b.send("do loop", "loop")
	for range 5 {
		b.send("do count", "good", "other", "good")
	}
	wrong := map[string]string{
		"do allocate": streams.ReasonMemory, "do write": streams.ReasonOutput, "do panic": streams.ReasonCrashed,
		"do fail": streams.ReasonFailed, "do x": streams.ReasonOutput,
	}
	for _, text := range slices.Sorted(maps.Keys(wrong)) {
		b.send(text, "bad")
	}
	for _, name := range []string{"counter", "loop", "bad"} {
		b.done(streams.FunctionConsumer(name))
	}
	b.once("counter", 10)

	letters := make(map[string]int)
	stream, err := b.js.Stream(t.Context(), streams.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		d, err := streams.ParseDeadLetterMsg(msg.Subject, msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		var in struct {
			Readings []struct{ Value string }
		}
		if err := json.Unmarshal(d.Payload, &in); err != nil || len(in.Readings) != 1 {
			t.Fatalf("letter %s holds %s: %v", msg.Subject, d.Payload, err)
		}
		what := in.Readings[0].Value
		letters[what]++
		want := wrong[what]
		if what == "do loop" {
			want = streams.ReasonTimeout
		}
		if d.Service != streams.ServiceFunctions || d.Reason != want || d.Site != "s" || !strings.Contains(d.Detail, d.Origin+": ") {
			t.Errorf("%s became %+v", what, d)
		}
	}
	if len(letters) != 6 {
		t.Errorf("dead letters: %v", letters)
	}

	streamtest.Eventually(t, "the status says what happened", func() bool {
		all, err := b.store.All(t.Context())
		if err != nil || len(all) != 4 {
			t.Fatalf("%d functions, %v", len(all), err)
		}
		bad, counter, idle, loop := all[0].Status, all[1].Status, all[2].Status, all[3].Status
		return bad.Failed() >= 5 && bad.Last != nil && counter.Readings == 10 && counter.Outputs == 10 && counter.Failed() == 0 && counter.Memory > 0 &&
			idle.Calls == 0 && loop.Failures[streams.ReasonTimeout] >= 1
	})
	// What is deleted leaves nothing behind.
	for _, name := range []string{"bad", "counter", "idle", "loop"} {
		if err := b.store.Remove(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	streamtest.Eventually(t, "everything is removed", func() bool {
		for _, name := range []string{"bad", "counter", "loop"} {
			if _, err := b.js.Consumer(t.Context(), streams.StreamTelemetry, streams.FunctionConsumer(name)); err == nil {
				return false
			}
		}
		bucket, err := b.store.Bucket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = bucket.Get(t.Context(), streams.FunctionRecordKey("counter"))
		return err != nil
	})
}

// TestShadow runs a second version beside the live one, which says the same at first, and
// makes it live.
func TestShadow(t *testing.T) {
	b := newBench(t)
	b.run()
	b.deploy("f", "s/*/do", 20*time.Second, function.Live)
	b.awaitConsumer(streams.FunctionConsumer("f"))
	b.send("do count", "a")
	b.done(streams.FunctionConsumer("f"))
	f := b.deploy("f", "s/a/do", 20*time.Second, function.Shadow)
	b.awaitConsumer(streams.ShadowConsumer("f"))
	b.send("do count", "a")
	b.send("do count", "b") // only the live version wants it
	b.done(streams.ShadowConsumer("f"))
	b.done(streams.FunctionConsumer("f"))
	streamtest.Eventually(t, "the difference is known", func() bool {
		all, err := b.store.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := all[0].Status.Shadow
		// The two messages may have come in one call.
		return s != nil && s.Version == 2 && s.Different == 1 && s.Calls >= 1 && strings.Contains(s.Latest[0].Live, "counter")
	})
	b.once("f", 3)
	if _, err := b.store.SetState(t.Context(), "f", f.Shadow, function.Live); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the shadow has become live", func() bool {
		all, err := b.store.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.js.Consumer(t.Context(), streams.StreamTelemetry, streams.ShadowConsumer("f"))
		return all[0].Status.Version == 2 && err != nil
	})
	b.send("do count", "b")
	b.send("do count", "a")
	b.done(streams.FunctionConsumer("f"))
	b.once("f", 4)
}

// TestHalfDone finds what a crash leaves at each place between two steps.
func TestHalfDone(t *testing.T) {
	b := newBench(t)
	s := New(Deps{JS: b.js, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	bucket, err := b.store.Bucket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	load := func() *record {
		t.Helper()
		r, err := loadRecord(t.Context(), s, bucket, "f", function.Readings, lanes)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	output := func(device string) contract.Reading {
		return contract.Reading{Series: telemetryv1.Series{Key: telemetryv1.Key{Site: "s", Device: device, Metric: "m"}, Kind: telemetryv1.Kind_KIND_VALUE}, Time: 1, Value: 1}
	}
	// Devices of both lanes.
	var devices []contract.Reading
	for i := 0; len(devices) < lanes; i++ {
		if name := fmt.Sprint("d", i); streams.Lane("s", name, lanes) == len(devices) {
			devices = append(devices, output(name))
		}
	}
	first := load()
	zombie := load()
	first.state.values["k"], first.state.changed = []byte("1"), true
	if err := first.commit(t.Context(), streams.Place{Incarnation: 1, Sequence: 5}, devices, nil, 1); err != nil {
		t.Fatal(err)
	}
	check := func(what string, want int) {
		t.Helper()
		if values, _ := b.outputs("f"); len(values) != want {
			t.Fatalf("%s: %d outputs are stored, want %d", what, len(values), want)
		}
	}
	check("after the commit", 2)

	again := load()
	if string(again.state.values["k"]) != "1" || again.at.Sequence != 5 {
		t.Errorf("state %q at %d", again.state.values, again.at.Sequence)
	}
	if err := again.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("killed after the last output", 2)

	if err := zombie.commit(t.Context(), streams.Place{Incarnation: 1, Sequence: 5}, devices, nil, 1); !streams.IsConflict(err) {
		t.Errorf("who lost the function commits: %v", err)
	}
	check("who lost the function", 2)

	// Killed between commit and outputs, and between the outputs of two lanes.
	for i, some := range []int{0, 1} {
		next := load()
		place := streams.Place{Incarnation: 1, Sequence: uint64(6 + i)}
		next.last = stored{Version: 1, Place: uplink.Place(place), Outputs: make(map[int][]byte)}
		for lane, batch := range batchOf(devices, lanes, time.Now(), place) {
			m, err := streams.TelemetryMsg(lane, streams.FunctionSource("f"), batch)
			if err != nil {
				t.Fatal(err)
			}
			next.last.Outputs[lane] = m.Data
		}
		body, err := json.Marshal(next.last)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), streams.FunctionRecordKey("f"), body); err != nil {
			t.Fatal(err)
		}
		for lane := range some {
			if err := next.put(t.Context(), lane, next.last.Outputs[lane]); err != nil {
				t.Fatal(err)
			}
		}
		check("killed half way", 2+2*i+some)
		if err := load().publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("continued", 4+2*i)
	}
}

// TestWorker runs the example in Python on a real server: there is none at first, and the
// input waits; one fails; another answers.
func TestWorker(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on this machine (Debian: apt-get install python3): ", err)
	}
	b := newBench(t)
	b.run()
	if _, err := b.store.Deploy(t.Context(), "degrees", function.Version{
		Kind: function.Worker, Match: []string{"s/*/*"}, Limits: function.Limits{Time: 20 * time.Second},
	}, nil, function.Live); err != nil {
		t.Fatal(err)
	}
	durable := streams.FunctionConsumer("degrees")
	b.awaitConsumer(durable)
	status := func() function.Status {
		all, err := b.store.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[0].Status
	}
	send := func(value float64) {
		var batch telemetryv1.Builder
		batch.Value(telemetryv1.Key{Site: "s", Device: "d", Metric: "celsius"}, time.Now().UnixNano(), value)
		m, err := streams.TelemetryMsg(0, streams.SourceHTTP, batch.Take(time.Now().UnixNano()))
		if err == nil {
			_, err = b.js.PublishMsg(t.Context(), m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	send(20)
	streamtest.Eventually(t, "the page says that there is no worker", func() bool { return status().Problem == errNoWorker.Error() })
	at, err := url.Parse(b.server.NATS(natsd.UserOf(streams.ServiceWorker)))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := at.User.Password()
	worker := exec.CommandContext(t.Context(), python, "examples/worker.py", "degrees")
	worker.Env = append(os.Environ(), "HEADWATER_NATS="+at.Host, "HEADWATER_WORKER_PASSWORD="+password)
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = worker.Process.Kill() // it may have ended
		_ = worker.Wait()
	}()
	b.done(durable)
	send(100)
	b.done(durable)
	if values, _ := b.outputs("degrees"); !slices.Equal(values, []float64{68, 212}) {
		t.Errorf("it answered %v", values)
	}
	streamtest.Eventually(t, "the problem is over", func() bool { s := status(); return s.Problem == "" && s.Outputs == 2 })
}

// TestKilled kills the process of a function again and again while readings come, and finds
// each counted exactly once.
func TestKilled(t *testing.T) {
	b := newBench(t)
	f := b.deploy("f", "s/*/do", 20*time.Second, function.Live)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateConsumer(t.Context(), streams.StreamTelemetry, streams.FunctionConfig(streams.StreamTelemetry, streams.FunctionConsumer(f.Name))); err != nil {
		t.Fatal(err)
	}
	const kills = 4
	for i := range kills + 1 {
		// A batch of 64 messages is a step, so there are at least three.
		for range 150 {
			b.send("do count", "a")
		}
		process := exec.CommandContext(t.Context(), self)
		process.Env = append(os.Environ(), childEnv+"="+b.server.NATS(natsd.UserCore))
		said, err := process.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		log := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(said) // what there is until it is killed
			log <- string(text)
		}()
		if i == kills {
			b.done(streams.FunctionConsumer(f.Name))
		} else {
			before := b.stored(f.Name)
			streamtest.Eventually(t, "a step is stored", func() bool { return b.stored(f.Name) > before })
		}
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		text := <-log
		_ = process.Wait() // it was killed
		if t.Failed() {
			t.Log(text)
		}
	}
	b.once(f.Name, b.sent)
}
