package bridge_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/bridge"
	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const within = streamtest.Patience

const lanes = 4

// world is a server with its streams, on which bridges can be started.
type world struct {
	*streamtest.Server
	js, devices jetstream.JetStream
	// reconnect has devices connect and send again when their connection is closed.
	reconnect bool
	// front is where the front listens; empty without one.
	front string
}

// MQTT is where clients connect.
func (w *world) MQTT() string { return cmp.Or(w.front, w.Server.MQTT()) }

func newWorld(t *testing.T) *world {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, lanes)
	return &world{Server: s, js: s.JS(t), devices: s.DevicesJS(t)}
}

// running is a bridge that runs.
type running struct {
	*bridge.Service
	metrics *prometheus.Registry
	// devices is its connection to the account of the devices.
	devices *nats.Conn
	// front is before nats-server, or nil.
	front  *front.Front
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error
}

// stop tells the bridge to stop and waits until it has drained.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	r.done.Wait()
	if r.err != nil {
		t.Errorf("Run: %v", r.err)
	}
}

// start runs a bridge on connections of its own until the test ends, and
// returns when it carries messages.
func (w *world) start(t *testing.T, edit ...func(*bridge.Config, *bridge.Deps)) *running {
	t.Helper()
	r := w.startUnready(t, edit...)
	r.carries(t)
	return r
}

// carries waits until the bridge carries messages, and does not only stand by.
func (r *running) carries(t *testing.T) {
	t.Helper()
	streamtest.Eventually(t, "the bridge carries messages", func() bool {
		return r.value(t, "headwater_bridge_leases", "") == 1 && r.Ready() == nil
	})
}

func (w *world) startUnready(t *testing.T, edit ...func(*bridge.Config, *bridge.Deps)) *running {
	t.Helper()
	seed, err := w.IssuerSeed()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{metrics: prometheus.NewRegistry(), devices: w.Conn(t, natsd.UserDevices)}
	cfg := bridge.DefaultConfig()
	deps := bridge.Deps{
		JS: stream(t, w.Conn(t, natsd.UserCore)), Devices: stream(t, r.devices),
		Devices0: w.Conn(t, natsd.UserDevices0), Front: w.Conn(t, natsd.UserDevices), Auth: w.Conn(t, natsd.UserAuth), IssuerSeed: seed, System: w.Conn(t, natsd.UserSystem),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: r.metrics,
	}
	for _, f := range edit {
		f(&cfg, &deps)
	}
	r.Service, err = bridge.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.done.Go(func() { r.err = r.Run(ctx) })
	t.Cleanup(func() { r.stop(t) })
	return r
}

func stream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// device connects a device, as soon as log-ins are answered.
func (w *world) device(t *testing.T, id string) mqtt.Client {
	t.Helper()
	var c mqtt.Client
	streamtest.Eventually(t, "the device connects", func() bool {
		c = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + w.MQTT()).SetClientID(id).
			SetAutoReconnect(w.reconnect).SetMaxReconnectInterval(time.Second).SetOrderMatters(true))
		token := c.Connect()
		return token.WaitTimeout(within) && token.Error() == nil
	})
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func publish(t *testing.T, c mqtt.Client, qos byte, topic, payload string) {
	t.Helper()
	token := c.Publish(topic, qos, false, payload)
	if !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatalf("publish on %s: %v", topic, token.Error())
	}
}

// stored reads the whole stream and returns its messages.
func stored(t *testing.T, js jetstream.JetStream, name string) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq > 0 && seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatalf("read message %d of %s: %v", seq, name, err)
		}
		all = append(all, m)
	}
	return all
}

type batch struct {
	*telemetryv1.Batch
	lane   int
	source streams.Source
}

// batches returns what TELEMETRY holds.
func (w *world) batches(t *testing.T) []batch {
	t.Helper()
	var all []batch
	for _, m := range stored(t, w.js, streams.StreamTelemetry) {
		lane, source, err := streams.ParseTelemetry(m.Subject)
		if err != nil {
			t.Fatal(err)
		}
		b, err := streams.DecodeTelemetry(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batch{b, lane, source})
	}
	return all
}

// readings returns the readings in TELEMETRY, each as a line of its series, its
// value and, if exact, its time.
func (w *world) readings(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, b := range w.batches(t) {
		dictionary := b.Dictionary()
		for r := range b.Readings() {
			s := dictionary[r.Series]
			if want := streams.Lane(s.Site, s.Device, lanes); b.lane != want {
				t.Errorf("%s/%s is in lane %d, want %d", s.Site, s.Device, b.lane, want)
			}
			var value any = r.Value
			switch r.Kind {
			case telemetryv1.Kind_KIND_FLAG:
				value = r.Flag
			case telemetryv1.Kind_KIND_TEXT:
				value = fmt.Sprintf("%q", r.Text)
			}
			all = append(all, fmt.Sprintf("%s %s/%s/%s %v%s", b.source, s.Site, s.Device, s.Metric, value, s.Unit))
		}
	}
	return all
}

// deadLetters returns the dead letters.
func (w *world) deadLetters(t *testing.T) []streams.DeadLetter {
	t.Helper()
	var all []streams.DeadLetter
	for _, m := range stored(t, w.js, streams.StreamDeadLetters) {
		d, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// value reads a metric, summed over its labels, or of one label value.
func (r *running) value(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestEachQoSArrivesOnce(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	c := w.device(t, "door-1")
	publish(t, c, 0, "sensors/hall/door-1/a", "20.5")
	publish(t, c, 1, "sensors/hall/door-1/b", "true")
	publish(t, c, 2, "sensors/hall/door-1/c", "ajar")
	publish(t, c, 1, "sensors/hall/door-1", `{"temperature":{"value":21.5,"unit":"°C"},"open":false}`)
	want := []string{
		"mqtt hall/door-1/b true", `mqtt2 hall/door-1/c "ajar"`, "mqtt hall/door-1/open false",
		"mqtt hall/door-1/temperature 21.5°C", "mqtt0 hall/door-1/a 20.5",
	}
	var got []string
	streamtest.Eventually(t, "all readings are stored", func() bool {
		got = w.readings(t)
		return len(got) >= len(want)
	})
	got = w.readings(t)
	if !equalSets(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := r.value(t, "headwater_bridge_readings_total", "1-2"); n != 4 {
		t.Errorf("%v readings with QoS 1 and 2 counted, want 4", n)
	}
	if dead := w.deadLetters(t); len(dead) != 0 {
		t.Errorf("dead letters: %+v", dead)
	}
	devices, err := w.js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the device is in the registry", func() bool {
		_, err := devices.Get(t.Context(), "hall.door-1")
		return err == nil
	})
}

func equalSets(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestBadInputBecomesDeadLetters(t *testing.T) {
	tests := []struct {
		name, topic, payload string
		reason, detail       string
	}{
		{name: "invalid JSON", topic: "sensors/hall/d/m", payload: `{"value":`, reason: streams.ReasonPayload, detail: "not valid JSON"},
		{name: "not a number", topic: "sensors/hall/d/m", payload: "NaN", reason: streams.ReasonValue, detail: "NaN"},
		{name: "infinity", topic: "sensors/hall/d/m", payload: "-Infinity", reason: streams.ReasonValue, detail: "Infinity"},
		{name: "overflow", topic: "sensors/hall/d/m", payload: "1e400", reason: streams.ReasonValue, detail: "1e400"},
		{name: "infinity in an object", topic: "sensors/hall/d", payload: `{"b":Infinity}`, reason: streams.ReasonValue, detail: "Infinity"},
		{name: "part of an object", topic: "sensors/hall/d", payload: `{"b":{"c":1e400}}`, reason: streams.ReasonValue, detail: "b.c"},
		{name: "deep nesting", topic: "sensors/hall/d/m", payload: strings.Repeat("[", 10000), reason: streams.ReasonPayload, detail: "too early"},
		{name: "binary", topic: "sensors/hall/d/m", payload: "\x00\xff\x01", reason: streams.ReasonPayload, detail: "UTF-8"},
		{name: "array", topic: "sensors/hall/d", payload: "[1,2]", reason: streams.ReasonPayload, detail: "object"},
		{name: "year of 1970", topic: "sensors/hall/d/m", payload: `{"value":1,"ts":12345}`, reason: streams.ReasonClock, detail: "1970"},
		{name: "future", topic: "sensors/hall/d/m", payload: `{"value":1,"ts":"2199-01-01T00:00:00Z"}`, reason: streams.ReasonClock, detail: "ahead"},
		{name: "too few levels", topic: "sensors/hall", payload: "1", reason: streams.ReasonTopic, detail: "too few levels"},
		{name: "too many levels", topic: "sensors/hall/d/m/x", payload: "1", reason: streams.ReasonTopic, detail: "too many levels"},
		{name: "mistyped", topic: "sensor/hall/d/m", payload: "1", reason: streams.ReasonTopic, detail: "no pattern"},
		{name: "star", topic: "sensors/*/d/m", payload: "1", reason: streams.ReasonTopic, detail: "wildcard"},
		{name: "greater than", topic: "sensors/hall/>", payload: "1", reason: streams.ReasonTopic, detail: "wildcard"},
		{name: "dot", topic: "sensors/hall/1.5/m", payload: "1", reason: streams.ReasonTopic, detail: "'.'"},
		{name: "umlaut", topic: "sensors/hall/tür/m", payload: "1", reason: streams.ReasonTopic, detail: "'ü'"},
		{name: "empty device", topic: "sensors/hall//m", payload: "1", reason: streams.ReasonTopic, detail: "device, is empty"},
		{name: "empty metric", topic: "sensors/hall/d/", payload: "1", reason: streams.ReasonTopic, detail: "metric, is empty"},
		{name: "leading slash", topic: "/sensors/hall/d", payload: "1", reason: streams.ReasonTopic, detail: "no pattern"},
		{name: "only slashes", topic: "///", payload: "1", reason: streams.ReasonTopic, detail: "no pattern"},
		{name: "long name", topic: "sensors/hall/" + strings.Repeat("d", 65) + "/m", payload: "1", reason: streams.ReasonTopic, detail: "65 characters"},
		{name: "unknown prefix of the server", topic: "$own/x", payload: "1", reason: streams.ReasonTopic, detail: "no pattern"},
		{name: "long text", topic: "sensors/hall/d/m", payload: strings.Repeat("x", 2000), reason: streams.ReasonTooLarge, detail: "2000 bytes"},
		{name: "many metrics", topic: "sensors/hall/d", payload: manyMetrics(300), reason: streams.ReasonTooLarge, detail: "256 keys"},
	}
	w := newWorld(t)
	r := w.start(t)
	c := w.device(t, "d")
	for i, test := range tests {
		publish(t, c, 1, test.topic, test.payload)
		publish(t, c, 1, "sensors/hall/after/n", fmt.Sprint(i))
	}
	dead := w.deadLetters(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at := slices.IndexFunc(dead, func(d streams.DeadLetter) bool {
				return d.Origin == test.topic && string(d.Payload) == test.payload
			})
			if at < 0 {
				t.Fatalf("no dead letter of %s with %q", test.topic, test.payload)
			}
			d := dead[at]
			if d.Service != "bridge" || d.Reason != test.reason || !strings.Contains(d.Detail, test.detail) {
				t.Errorf("got %s %s %q, want reason %s with %q", d.Service, d.Reason, d.Detail, test.reason, test.detail)
			}
			if age := time.Since(d.Arrived); age < 0 || age > time.Minute {
				t.Errorf("arrived %s ago", age)
			}
			if test.reason != streams.ReasonTopic && (d.Site != "hall" || d.Device != "d") {
				t.Errorf("of %q/%q", d.Site, d.Device)
			}
		})
	}
	if len(dead) != len(tests) {
		t.Errorf("%d dead letters, want %d", len(dead), len(tests))
	}
	if got := w.readings(t); len(got) != len(tests) {
		t.Errorf("%d of the %d messages in between are stored: %q", len(got), len(tests), got)
	}
	if n := r.value(t, "headwater_bridge_dead_letters_total", ""); int(n) != len(tests) {
		t.Errorf("%v dead letters counted, want %d", n, len(tests))
	}
}

func manyMetrics(n int) string {
	var text strings.Builder
	text.WriteString("{")
	for i := range n {
		fmt.Fprintf(&text, `"m%d":1,`, i)
	}
	return strings.TrimSuffix(text.String(), ",") + "}"
}

// TestEmptyIsAnswered has devices clear a retained message: there is no reading in
// that, and no dead letter, and yet they wait for an answer.
func TestEmptyIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	c := w.device(t, "d")
	publish(t, c, 1, "sensors/hall/d/m", "")
	publish(t, c, 2, "sensors/hall/d/m", "")
	if got, dead := w.readings(t), w.deadLetters(t); len(got) != 0 || len(dead) != 0 {
		t.Errorf("readings %q, dead letters %+v", got, dead)
	}
}

func TestTypeMayChange(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	c := w.device(t, "d")
	publish(t, c, 1, "sensors/hall/d/m", "1")
	publish(t, c, 1, "sensors/hall/d/m", "warm")
	publish(t, c, 1, "sensors/hall/d/m", "2")
	if got, want := w.readings(t), []string{"mqtt hall/d/m 1", `mqtt hall/d/m "warm"`, "mqtt hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	err := bridge.Config{Topics: []string{"a/{site}"}, Anonymous: "maybe", User: "u", Reader: "u", MaxAge: -1}.Validate()
	for _, want := range []string{"mqtt-topics", "mqtt-anonymous", "mqtt-user", "mqtt-reader", "mqtt-max-age", "mqtt-max-ahead", "mqtt-step", "mqtt-memory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in: %v", want, err)
		}
	}
	if err := bridge.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestPasswordComesFromAFile(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start(t, func(cfg *bridge.Config, _ *bridge.Deps) {
		cfg.Anonymous, cfg.User, cfg.PasswordFile = login.AnonymousNone, "devices", file
	})
	connect := func(password string) error {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + w.MQTT()).SetClientID("d").
			SetUsername("devices").SetPassword(password).SetAutoReconnect(false))
		defer c.Disconnect(0)
		token := c.Connect()
		token.WaitTimeout(within)
		return token.Error()
	}
	streamtest.Eventually(t, "the right password is taken", func() bool { return connect("s3cret") == nil })
	if connect("guess") == nil {
		t.Error("a wrong password was taken")
	}
	for name, content := range map[string]string{"missing": "", "empty": "\n"} {
		cfg := bridge.DefaultConfig()
		cfg.User, cfg.PasswordFile = "devices", filepath.Join(t.TempDir(), name)
		if content != "" {
			if err := os.WriteFile(cfg.PasswordFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := bridge.New(cfg, bridge.Deps{
			JS: w.js, Devices: w.devices, Devices0: w.devices.Conn(), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "password") {
			t.Errorf("%s file: got %v", name, err)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
