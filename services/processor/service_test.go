package processor_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/lane"
	"headwater/services/processor"
	"headwater/services/processor/machine"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const (
	lanes  = 2
	second = int64(time.Second)
	minute = int64(time.Minute)
	epoch  = 1_700_002_800 * second
	rules  = `
rules:
  - {name: warm, detector: limit, above: 30}
  - {name: rise, detector: rate, rise: 3, within: 5m}
`
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// nats.go starts it whenever an object of a snapshot is stored; when that is
		// done before it first runs, it never ends.
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// fixture is a server with streams, and what is published into them.
type fixture struct {
	js     jetstream.JetStream
	server *streamtest.Server
	inputs [lanes][]*telemetryv1.Batch
	// sequences are those of the inputs in the stream.
	sequences [lanes][]uint64
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	return &fixture{js: server.JS(t), server: server}
}

// configure puts the rules in force.
func (f *fixture) configure(t *testing.T) {
	t.Helper()
	bucket, err := f.js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), streams.ConfigKey, rules); err != nil {
		t.Fatal(err)
	}
}

// publish sends one reading a device and a clock into all lanes.
func (f *fixture) publish(t *testing.T, at int64, value float64) {
	t.Helper()
	var builders [lanes]telemetryv1.Builder
	for d := range 8 {
		k := telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("door-%d", d), Metric: "temperature", Unit: "°C"}
		builders[streams.Lane(k.Site, k.Device, lanes)].Value(k, epoch+at, value+float64(d))
	}
	for n := range builders {
		b := builders[n].Take(epoch + at)
		b.Clock = &telemetryv1.Clock{CaughtUp: epoch + at}
		f.inputs[n] = append(f.inputs[n], b)
		msg, err := streams.TelemetryMsg(n, streams.SourceMQTT, b)
		if err != nil {
			t.Fatal(err)
		}
		ack, err := f.js.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		f.sequences[n] = append(f.sequences[n], ack.Sequence)
	}
}

// start runs a processor until the returned function is called.
func (f *fixture) start(t *testing.T) (svc *processor.Service, stop func()) {
	t.Helper()
	// It may do what its user may, and no more.
	js, err := jetstream.New(f.server.Conn(t, natsd.UserOf(streams.ServiceProcessor)))
	if err != nil {
		t.Fatal(err)
	}
	svc, err = processor.New(processor.DefaultConfig(), processor.Deps{
		JS: js, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	return svc, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// outputs returns all outputs of a lane as one commit.
func (f *fixture) outputs(t *testing.T, n int) *derivedv1.Commit {
	t.Helper()
	all := new(derivedv1.Commit)
	for _, c := range f.commits(t, n) {
		all.Summaries = append(all.Summaries, c.Summaries...)
		all.Anomalies = append(all.Anomalies, c.Anomalies...)
		all.Ledger = append(all.Ledger, c.Ledger...)
	}
	return all
}

// expected returns the outputs of one machine for the input of a lane when nothing goes
// wrong.
func (f *fixture) expected(t *testing.T, n int) *derivedv1.Commit {
	t.Helper()
	m := machine.New(n, machine.DefaultLimits(), nil)
	if err := m.Configure(1, []byte(rules)); err != nil {
		t.Fatal(err)
	}
	for i, b := range f.inputs[n] {
		msg, err := streams.TelemetryMsg(n, streams.SourceMQTT, b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply(lane.Input{Subject: msg.Subject, Sequence: f.sequences[n][i], Data: msg.Data}); err != nil {
			t.Fatal(err)
		}
	}
	body, err := m.Take(lane.Position{Incarnation: time.Unix(1, 0), Sequence: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := streams.DecodeDerived(body)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify waits for the outputs of all lanes, which must be those of one machine
// that was never stopped, each once.
func (f *fixture) verify(t *testing.T) {
	t.Helper()
	for n := range lanes {
		want := f.expected(t, n)
		if len(want.Summaries) == 0 || len(want.Anomalies) == 0 || len(want.Ledger) == 0 {
			t.Fatalf("lane %d: the input derives nothing", n)
		}
		streamtest.Eventually(t, fmt.Sprintf("all outputs of lane %d", n), func() bool {
			got := f.outputs(t, n)
			return len(got.Summaries) >= len(want.Summaries) && len(got.Anomalies) >= len(want.Anomalies) && len(got.Ledger) >= len(want.Ledger)
		})
		got := f.outputs(t, n)
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&derivedv1.Commit{}, "input", "counts", "ledger_open", "ledger_open_since")); diff != "" {
			t.Errorf("lane %d (-want +got):\n%s", n, diff)
		}
	}
}

// TestServiceOverRestarts runs the processor over a stream while it is stopped
// and started again: the outputs are those of one machine that was never
// stopped, each once.
func TestServiceOverRestarts(t *testing.T) {
	f := newFixture(t)
	svc, stop := f.start(t)
	streamtest.Eventually(t, "that the processor waits for rules", func() bool {
		err := svc.Ready()
		return err != nil && strings.Contains(err.Error(), "configuration")
	})
	f.configure(t)
	streamtest.Eventually(t, "that the processor is ready", func() bool { return svc.Ready() == nil })
	values := []float64{20, 21, 24, 25, 31, 33, 20, 20}
	for i := range 40 {
		f.publish(t, int64(i)*20*second, values[i%len(values)])
		if i == 13 || i == 26 {
			stop()
			if err := svc.Ready(); err == nil {
				t.Error("ready after it was stopped")
			}
			f.publish(t, int64(i)*20*second+second, 20)
			svc, stop = f.start(t)
		}
	}
	f.verify(t)
	stop()
}

// TestServicesShareTheLanes has a second processor join, and the first one
// leave: the outputs are those of one machine, each once.
func TestServicesShareTheLanes(t *testing.T) {
	f := newFixture(t)
	f.configure(t)
	first, stopFirst := f.start(t)
	streamtest.Eventually(t, "that the processor is ready", func() bool { return first.Ready() == nil })
	values := []float64{20, 21, 24, 25, 31, 33, 20, 20}
	stopSecond := func() {}
	for i := range 40 {
		f.publish(t, int64(i)*20*second, values[i%len(values)])
		switch i {
		case 13:
			var other *processor.Service
			other, stopSecond = f.start(t)
			streamtest.Eventually(t, "that both are ready", func() bool { return first.Ready() == nil && other.Ready() == nil })
		case 26:
			stopFirst()
		}
	}
	f.verify(t)
	stopSecond()
}

// TestServiceDeadLettersAnUndecodableBatch checks that a message which is not a batch is kept with
// its reason and does not stop the lane.
func TestServiceDeadLettersAnUndecodableBatch(t *testing.T) {
	f := newFixture(t)
	f.configure(t)
	_, stop := f.start(t)
	defer stop()
	subject := streams.TelemetrySubject(1, streams.SourceHTTP)
	if _, err := f.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: []byte("what is this?")}); err != nil {
		t.Fatal(err)
	}
	f.publish(t, 0, 20)
	f.publish(t, minute, 20)
	streamtest.Eventually(t, "a summary of what came after it", func() bool {
		got := f.outputs(t, 1)
		return len(got.Summaries) > 0
	})
	stream, err := f.js.Stream(t.Context(), streams.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), streams.DeadLetterSubject(streams.ServiceProcessor, streams.ReasonMalformed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := streams.ParseDeadLetterMsg(msg.Subject, msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	want := streams.DeadLetter{
		Service: streams.ServiceProcessor, Reason: streams.ReasonMalformed, Origin: subject, Payload: []byte("what is this?"),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(streams.DeadLetter{}, "Detail", "Arrived")); diff != "" || got.Detail == "" {
		t.Errorf("detail %q (-want +got):\n%s", got.Detail, diff)
	}
}

// TestServiceWaitsForTheStreams checks that a processor which starts before the streams exist
// says so, and can be stopped.
func TestServiceWaitsForTheStreams(t *testing.T) {
	f := &fixture{server: streamtest.Run(t)}
	svc, stop := f.start(t)
	streamtest.Eventually(t, "that the processor says what is missing", func() bool {
		err := svc.Ready()
		return err != nil && strings.Contains(err.Error(), "waiting for the streams")
	})
	stop()
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := processor.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for _, n := range []int{0, -1, 2_000_000} {
		if _, err := processor.New(processor.Config{MaxSeries: n}, processor.Deps{Metrics: prometheus.NewRegistry()}); err == nil {
			t.Errorf("%d series a lane are accepted", n)
		}
	}
}
