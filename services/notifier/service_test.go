package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/deadletter"
	"headwater/services/notifier/channel"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// sink is a webhook that remembers what it was sent.
type sink struct {
	*httptest.Server
	mu    sync.Mutex
	got   []channel.Payload
	calls int
	// times says when each call came.
	times []time.Time
	// answer decides the status of the n-th call, counted from 1; nil takes all.
	// It runs without the lock and may wait.
	answer func(n int, p channel.Payload) int
}

func newSink(t *testing.T, answer func(n int, p channel.Payload) int) *sink {
	t.Helper()
	s := &sink{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var p channel.Payload
		if err := json.Unmarshal(body, &p); err != nil {
			t.Errorf("payload: %v", err)
		}
		if p.Key != r.Header.Get("Idempotency-Key") {
			t.Errorf("key %q in the body, %q in the header", p.Key, r.Header.Get("Idempotency-Key"))
		}
		s.mu.Lock()
		s.calls++
		s.times = append(s.times, time.Now())
		n := s.calls
		s.mu.Unlock()
		code := http.StatusOK
		if s.answer != nil {
			code = s.answer(n, p)
		}
		if code < 300 {
			s.mu.Lock()
			s.got = append(s.got, p)
			s.mu.Unlock()
		}
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "2")
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) payloads() []channel.Payload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *sink) titles() []string {
	var all []string
	for _, p := range s.payloads() {
		all = append(all, p.Title)
	}
	return all
}

func (s *sink) await(t *testing.T, want ...string) {
	t.Helper()
	streamtest.Eventually(t, fmt.Sprintf("messages %q", want), func() bool {
		return len(s.titles()) >= len(want)
	})
	if d := cmp.Diff(want, s.titles()); d != "" {
		t.Fatal(d)
	}
}

type fixture struct {
	js  jetstream.JetStream
	cfg Config
	log *slog.Logger
	// deviceN is the number of the next device.
	deviceN int
}

func setup(t *testing.T) *fixture {
	t.Helper()
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	return &fixture{js: server.JS(t), cfg: DefaultConfig(), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// start runs the service until stop is called.
func (f *fixture) start(t *testing.T) (svc *Service, stop func()) {
	t.Helper()
	svc, _, stop = f.startCounted(t)
	return svc, stop
}

// startCounted returns what the service counts as well.
func (f *fixture) startCounted(t *testing.T) (svc *Service, reg *prometheus.Registry, stop func()) {
	t.Helper()
	reg = prometheus.NewRegistry()
	svc, err := New(f.cfg, Deps{JS: f.js, Log: f.log, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	return svc, reg, f.run(t, svc)
}

// run runs the service until stop is called.
func (f *fixture) run(t *testing.T, svc *Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (f *fixture) ready(t *testing.T, svc *Service) {
	t.Helper()
	streamtest.Eventually(t, "the notifier is ready", func() bool { return svc.Ready() == nil })
}

func (f *fixture) configure(t *testing.T, channels ...string) {
	t.Helper()
	text := strings.TrimSpace(apart) + "\nrules:\n  - {name: warm, description: It is warm., detector: limit, above: 30}\nchannels:\n  " + strings.Join(channels, "\n  ") + "\n"
	kv, err := f.js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), streams.ConfigKey, text); err != nil {
		t.Fatal(err)
	}
}

func webhookAt(name, url string) string {
	return fmt.Sprintf("- {name: %s, type: webhook, url: %q}", name, url)
}

func (f *fixture) publish(t *testing.T, anomalies ...*derivedv1.Anomaly) {
	t.Helper()
	msg, err := streams.DerivedMsg(1, &derivedv1.Commit{Anomalies: anomalies})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

// fire makes a new device fire and returns its name.
func (f *fixture) fire(t *testing.T) string {
	t.Helper()
	f.deviceN++
	device := fmt.Sprintf("d%03d", f.deviceN)
	now := time.Now().UnixNano()
	f.publish(t, anomaly("warm", device, open, now, now))
	return device
}

func firing(devices ...string) []string {
	var all []string
	for _, d := range devices {
		all = append(all, fmt.Sprintf("Warning: It is warm (%s)", d))
	}
	return all
}

func (f *fixture) deliveries(t *testing.T, channel string) []*alertingv1.Delivery {
	t.Helper()
	var all []*alertingv1.Delivery
	for _, msg := range f.messages(t, streams.StreamAlerting, streams.DeliverySubject(channel)) {
		d, err := streams.DecodeDelivery(msg.Data())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func (f *fixture) messages(t *testing.T, stream, filter string) []jetstream.Msg {
	t.Helper()
	consumer, err := f.js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.FetchNoWait(1000)
	if err != nil {
		t.Fatal(err)
	}
	var all []jetstream.Msg
	for msg := range batch.Messages() {
		all = append(all, msg)
	}
	return all
}

func (f *fixture) alert(t *testing.T, device string) *alertingv1.Alert {
	t.Helper()
	kv, err := f.js.KeyValue(t.Context(), streams.BucketAlerts)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), streams.AlertID("warm", &derivedv1.Series{Site: "s", Device: device, Metric: "t"}))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	a := &alertingv1.Alert{}
	if err := protojson.Unmarshal(entry.Value(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (f *fixture) awaitState(t *testing.T, device string, want alertingv1.State) {
	t.Helper()
	streamtest.Eventually(t, device+" is "+want.String(), func() bool { return f.alert(t, device).GetState() == want })
}

func TestFromAnomalyToMessage(t *testing.T) {
	f := setup(t)
	phone, log := newSink(t, nil), newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL), fmt.Sprintf("- {name: log, type: webhook, url: %q, resolved: false}", log.URL))
	svc, _ := f.start(t)
	f.ready(t, svc)

	now := time.Now()
	ago := now.Add(-3 * time.Hour).UnixNano()
	a := anomaly("warm", "d1", open, ago, ago)
	a.Learned = now.UnixNano()
	f.publish(t, a)
	phone.await(t, "Warning: It is warm (d1)")
	log.await(t, "Warning: It is warm (d1)")
	f.awaitState(t, "d1", alertingv1.State_STATE_FIRING)
	p := phone.payloads()[0]
	if p.Version != 1 || p.Status != channel.StatusFiring || len(p.Alerts) != 1 || p.Alerts[0].Device != "d1" || !p.Alerts[0].Started.Equal(time.Unix(0, ago)) ||
		!strings.Contains(p.Text, "Happened 3 h ago, learned now.") {
		t.Errorf("payload %+v", p)
	}

	// The same once more notifies nobody.
	f.publish(t, anomaly("warm", "d1", open, ago, ago), anomaly("warm", "d1", update, ago, now.UnixNano()))
	f.publish(t, anomaly("warm", "d1", shut, ago, now.UnixNano()))
	phone.await(t, "Warning: It is warm (d1)", "Resolved: It is warm (d1)")
	f.awaitState(t, "d1", alertingv1.State_STATE_RESOLVED)
	streamtest.Eventually(t, "two deliveries to phone", func() bool { return len(f.deliveries(t, "phone")) == 2 })
	streamtest.Eventually(t, "one delivery to log", func() bool { return len(f.deliveries(t, "log")) == 1 })
	for i, d := range f.deliveries(t, "phone") {
		if d.GetOutcome() != alertingv1.Outcome_OUTCOME_SENT || d.GetAttempts() != 1 || d.GetKey() != phone.payloads()[i].Key || len(d.GetAlertIds()) != 1 {
			t.Errorf("delivery %v", d)
		}
	}
	log.await(t, "Warning: It is warm (d1)")
}

func TestMalformedInputIsSkipped(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL))
	f.start(t)
	if _, err := f.js.Publish(t.Context(), streams.DerivedSubject(0), []byte("\xff\xff\xff")); err != nil {
		t.Fatal(err)
	}
	phone.await(t, firing(f.fire(t))...)
	letters := f.messages(t, streams.StreamDeadLetters, streams.DeadLetterSubject(streams.ServiceNotifier, streams.ReasonMalformed))
	if len(letters) != 1 {
		t.Errorf("%d dead letters", len(letters))
	}
}

func TestRetries(t *testing.T) {
	f := setup(t)
	phone := newSink(t, func(n int, p channel.Payload) int {
		switch {
		case strings.Contains(p.Title, "d002"):
			return http.StatusNotFound
		case n <= 2:
			return http.StatusInternalServerError
		default:
			return http.StatusOK
		}
	})
	f.configure(t, webhookAt("phone", phone.URL+"/hunter2"))
	f.start(t)
	var devices []string
	for range 3 {
		devices = append(devices, f.fire(t))
	}
	phone.await(t, firing(devices[0], devices[2])...)
	streamtest.Eventually(t, "three outcomes", func() bool { return len(f.deliveries(t, "phone")) == 3 })
	var outcomes []string
	for _, d := range f.deliveries(t, "phone") {
		outcomes = append(outcomes, fmt.Sprintf("%v %d %s", d.GetOutcome(), d.GetAttempts(), d.GetError()))
	}
	want := []string{"OUTCOME_SENT 3 ", "OUTCOME_FAILED 1 answered 404 Not Found", "OUTCOME_SENT 1 "}
	if d := cmp.Diff(want, outcomes); d != "" {
		t.Error(d)
	}
	letters := f.messages(t, streams.StreamDeadLetters, streams.DeadLetterSubject(streams.ServiceNotifier, streams.ReasonUndeliverable))
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	letter, err := streams.ParseDeadLetterMsg(letters[0].Subject(), letters[0].Headers(), letters[0].Data())
	if err != nil {
		t.Fatal(err)
	}
	if letter.Device != "d002" || letter.Detail != "channel phone: answered 404 Not Found" || strings.Contains(string(letter.Payload), "hunter2") {
		t.Errorf("dead letter %+v: %s", letter, letter.Payload)
	}
}

func TestRetryAfter(t *testing.T) {
	f := setup(t)
	phone := newSink(t, func(n int, _ channel.Payload) int {
		if n == 1 {
			return http.StatusTooManyRequests
		}
		return http.StatusOK
	})
	f.configure(t, webhookAt("phone", phone.URL))
	f.start(t)
	phone.await(t, firing(f.fire(t))...)
	phone.mu.Lock()
	defer phone.mu.Unlock()
	if gap := phone.times[1].Sub(phone.times[0]); gap < 2*time.Second {
		t.Errorf("tried again after %v, 2 s were asked for", gap)
	}
}

func TestGivesUp(t *testing.T) {
	f := setup(t)
	f.cfg.GiveUp = time.Millisecond
	phone := newSink(t, func(int, channel.Payload) int { return http.StatusServiceUnavailable })
	f.configure(t, webhookAt("phone", phone.URL))
	f.start(t)
	f.fire(t)
	streamtest.Eventually(t, "an outcome", func() bool { return len(f.deliveries(t, "phone")) == 1 })
	if d := f.deliveries(t, "phone")[0]; d.GetOutcome() != alertingv1.Outcome_OUTCOME_FAILED || !strings.Contains(d.GetError(), "given up after") {
		t.Errorf("delivery %v", d)
	}
}

// TestGracefulRestarts stops and starts the service all the time while alerts
// come in, and expects every message once.
func TestGracefulRestarts(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL))
	var devices []string
	for range 8 {
		svc, stop := f.start(t)
		f.ready(t, svc)
		for range 5 {
			devices = append(devices, f.fire(t))
		}
		n := len(devices) - 3
		streamtest.Eventually(t, "some messages", func() bool { return len(phone.titles()) >= n })
		stop()
	}
	f.start(t)
	phone.await(t, firing(devices...)...)
	for _, d := range devices {
		f.awaitState(t, d, alertingv1.State_STATE_FIRING)
	}
}

// TestStopWhileWaiting stops the service while a message waits for its next
// attempt; the next start delivers it at once.
func TestStopWhileWaiting(t *testing.T) {
	f := setup(t)
	var up sync.Map
	phone := newSink(t, func(int, channel.Payload) int {
		if _, ok := up.Load("up"); ok {
			return http.StatusOK
		}
		return http.StatusServiceUnavailable
	})
	f.configure(t, webhookAt("phone", phone.URL))
	_, stop := f.start(t)
	first, second := f.fire(t), f.fire(t)
	streamtest.Eventually(t, "two attempts", func() bool {
		phone.mu.Lock()
		defer phone.mu.Unlock()
		return phone.calls >= 2
	})
	start := time.Now()
	stop()
	up.Store("up", true)
	f.start(t)
	phone.await(t, firing(first, second)...)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestStopInTheMiddle stops the service while the sink has a message and has
// not answered yet: the answer is awaited, and nothing is repeated.
func TestStopInTheMiddle(t *testing.T) {
	f := setup(t)
	reached, hold := make(chan struct{}), make(chan struct{})
	phone := newSink(t, func(n int, _ channel.Payload) int {
		if n == 1 {
			close(reached)
			<-hold
		}
		return http.StatusOK
	})
	f.configure(t, webhookAt("phone", phone.URL))
	_, stop := f.start(t)
	first, second := f.fire(t), f.fire(t)
	<-reached
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	close(hold)
	<-stopped
	f.start(t)
	phone.await(t, firing(first, second)...)
	streamtest.Eventually(t, "two records", func() bool { return len(f.deliveries(t, "phone")) == 2 })
	if got := phone.titles(); len(got) != 2 {
		t.Errorf("sent %q", got)
	}
}

// alertingCreated returns when ALERTING was created, in nanoseconds since the Unix
// epoch.
func (f *fixture) alertingCreated(t *testing.T) int64 {
	t.Helper()
	stream, err := f.js.Stream(t.Context(), streams.StreamAlerting)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Created.UnixNano()
}

// record stores that the message of the key was sent to phone.
func (f *fixture) record(t *testing.T, k key) {
	t.Helper()
	d, err := streams.DeliveryMsg(&alertingv1.Delivery{Key: k.String(), Channel: "phone", Outcome: alertingv1.Outcome_OUTCOME_SENT})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.js.PublishMsg(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// holdMessage plays a sender that was killed after a message was taken by the
// channel: it holds the commit, and ends without an ack.
func (f *fixture) holdMessage(t *testing.T) key {
	t.Helper()
	consumer, err := f.js.Consumer(t.Context(), streams.StreamAlerting, streams.SenderConsumer("phone"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		c, err := streams.DecodeAlerting(msg.Data())
		if err != nil {
			t.Fatal(err)
		}
		if len(c.GetMessages()) == 0 {
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		meta, err := msg.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		return key{incarnation: f.alertingCreated(t), stored: meta.Timestamp.UnixNano(), sequence: meta.Sequence.Stream}
	}
}

// TestKilled shows what a kill repeats: between the answer of the channel and
// the record one message, with its key; between the record and the ack none. Records
// of another ALERTING, and of commits that it lost with its end, do not count: their
// sequences may be the same.
func TestKilled(t *testing.T) {
	for name, recorded := range map[string]func(key) *key{
		"before the record":                       func(key) *key { return nil },
		"after the record":                        func(k key) *key { return &k },
		"after a record that doesn't say of what": func(k key) *key { return &key{sequence: k.sequence} },
		"after a record of another stream":        func(k key) *key { return &key{incarnation: k.incarnation - 1, stored: k.stored, sequence: k.sequence} },
		"after a record of a lost commit":         func(k key) *key { return &key{incarnation: k.incarnation, stored: k.stored - 1, sequence: k.sequence} },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			away := newSink(t, func(int, channel.Payload) int { return http.StatusServiceUnavailable })
			phone := newSink(t, nil)
			f.configure(t, webhookAt("phone", away.URL))
			_, stop := f.start(t)
			first := f.fire(t)
			streamtest.Eventually(t, "an attempt", func() bool {
				away.mu.Lock()
				defer away.mu.Unlock()
				return away.calls > 0
			})
			stop()
			k := f.holdMessage(t)
			r := recorded(k)
			if r != nil {
				f.record(t, *r)
			}
			f.configure(t, webhookAt("phone", phone.URL))
			start := time.Now()
			f.start(t)
			second := f.fire(t)
			if r != nil && (r.incarnation == 0 || *r == k) {
				phone.await(t, firing(second)...)
				return
			}
			phone.await(t, firing(first, second)...)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("what was in hand was waited for: %v", took)
			}
			if got := phone.payloads()[0].Key; got != k.String() {
				t.Errorf("repeated with key %q, was %q", got, k)
			}
		})
	}
}

func TestChannelsComeAndGo(t *testing.T) {
	f := setup(t)
	phone, mail, moved := newSink(t, nil), newSink(t, nil), newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL))
	svc, _ := f.start(t)
	f.ready(t, svc)
	first := f.fire(t)
	phone.await(t, firing(first)...)

	// A new channel gets everything from now on, whether the lane or a sender learns
	// of it first.
	f.configure(t, webhookAt("phone", phone.URL), webhookAt("mail", mail.URL))
	streamtest.Eventually(t, "the lane knows the channel", func() bool {
		return len(f.configs(t)) == 2
	})
	second := f.fire(t)
	mail.await(t, firing(second)...)
	phone.await(t, firing(first, second)...)

	// A channel at a new address continues where it was.
	f.configure(t, webhookAt("phone", moved.URL), webhookAt("mail", mail.URL))
	streamtest.Eventually(t, "the lane knows the address", func() bool { return len(f.configs(t)) == 3 })
	third := f.fire(t)
	mail.await(t, firing(second, third)...)
	streamtest.Eventually(t, "the message at either address", func() bool {
		return len(phone.titles())+len(moved.titles()) == 3
	})

	// One that is gone hears nothing, and holds nothing up.
	f.configure(t, webhookAt("mail", mail.URL))
	streamtest.Eventually(t, "the consumer is gone", func() bool {
		_, err := f.js.Consumer(t.Context(), streams.StreamAlerting, streams.SenderConsumer("phone"))
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
	streamtest.Eventually(t, "the lane knows", func() bool { return len(f.configs(t)) == 4 })
	fourth := f.fire(t)
	mail.await(t, firing(second, third, fourth)...)
	if n := len(phone.titles()) + len(moved.titles()); n != 3 {
		t.Errorf("a channel that is gone was notified: %d", n)
	}
}

func TestDeletedConsumerIsRecreated(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL))
	f.start(t)
	first := f.fire(t)
	streamtest.Eventually(t, "a delivery", func() bool { return len(f.deliveries(t, "phone")) == 1 })
	if err := f.js.DeleteConsumer(t.Context(), streams.StreamAlerting, streams.SenderConsumer("phone")); err != nil {
		t.Fatal(err)
	}
	phone.await(t, firing(first, f.fire(t))...)
}

// TestMessageBeforeItsChannel shows that a message for a channel that the dispatcher
// does not know yet is delivered.
func TestMessageBeforeItsChannel(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, "[]")
	registry := prometheus.NewRegistry()
	d := &dispatcher{
		cfg: f.cfg, js: f.js, log: f.log, metrics: newMetrics(registry), reach: newReach(nil), senders: map[string]*running{}, names: &names{js: f.js},
		deadLetters: deadletter.New(f.js, f.log, registry),
		open:        func(ch config.Channel) target { return &remote{cfg: ch} },
	}
	if err := d.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	f.configure(t, webhookAt("phone", phone.URL))
	m := configured(t)
	apply(t, m, anomaly("warm", "d1", open, 1, 1))
	msg, err := streams.AlertingMsg(0, take(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	for _, msg := range f.messages(t, streams.StreamAlerting, streams.AlertingAll) {
		if err := d.commit(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	phone.await(t, firing("d1")...)
	if n := testutil.ToFloat64(d.metrics.dropped.WithLabelValues("channel_removed")); n != 1 {
		t.Errorf("the message for the channel log, which there is not, should be counted: %v", n)
	}
}

// configs returns the revisions that the lane has committed.
func (f *fixture) configs(t *testing.T) []uint64 {
	t.Helper()
	var all []uint64
	for _, msg := range f.messages(t, streams.StreamAlerting, streams.AlertingAll) {
		c, err := streams.DecodeAlerting(msg.Data())
		if err != nil {
			t.Fatal(err)
		}
		if c.GetConfig() != nil {
			all = append(all, c.GetConfig().GetRevision())
		}
	}
	return all
}

func TestSecretInAFile(t *testing.T) {
	f := setup(t)
	f.cfg.Secrets = t.TempDir()
	phone := newSink(t, nil)
	f.configure(t, "- {name: phone, type: webhook, url_file: phone.url}")
	f.start(t)
	device := f.fire(t)
	reported := func(want string) {
		t.Helper()
		streamtest.Eventually(t, "reported "+want, func() bool {
			kv, err := f.js.KeyValue(t.Context(), streams.BucketProblems)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			keys, _ := kv.Keys(t.Context())
			for _, key := range keys {
				if entry, err := kv.Get(t.Context(), key); err == nil {
					all.Write(entry.Value())
				}
			}
			return want == "" && all.Len() == 0 || want != "" && strings.Contains(all.String(), want)
		})
	}
	// The file is missing: people hear of it, the message waits, and goes when it is
	// there.
	reported(`"part":"Channel phone","text":"It cannot be used: url_file: read secret: `)
	path := filepath.Join(f.cfg.Secrets, "phone.url")
	if err := os.WriteFile(path, []byte(phone.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	phone.await(t, firing(device)...)
	reported("")
}

func TestProjectionIsRebuilt(t *testing.T) {
	f := setup(t)
	f.configure(t, "[]")
	svc, stop := f.start(t)
	f.ready(t, svc)
	one, two := f.fire(t), f.fire(t)
	now := time.Now().UnixNano()
	f.publish(t, anomaly("warm", "x", open, 5, 6), anomaly("warm", "x", shut, 5, now))
	f.awaitState(t, one, alertingv1.State_STATE_FIRING)
	f.awaitState(t, "x", alertingv1.State_STATE_RESOLVED)
	stop()
	kv, err := f.js.KeyValue(t.Context(), streams.BucketAlerts)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil || len(keys) != 3 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	for _, key := range keys {
		if err := kv.Purge(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	f.start(t)
	for _, d := range []string{one, two} {
		f.awaitState(t, d, alertingv1.State_STATE_FIRING)
	}
	f.awaitState(t, "x", alertingv1.State_STATE_RESOLVED)
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Timeout: 2 * time.Minute}.Validate()
	if err == nil || !strings.Contains(err.Error(), "--notifier-timeout") || !strings.Contains(err.Error(), "--notifier-give-up") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{}, Deps{}); err == nil {
		t.Error("accepted an empty configuration")
	}
}

func TestNotReadyBeforeTheStreams(t *testing.T) {
	server := streamtest.Run(t)
	f := &fixture{js: server.JS(t), cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler)}
	svc, _ := f.start(t)
	if svc.Ready() == nil {
		t.Error("ready without streams")
	}
	server.Ensure(t, 1)
	f.configure(t, "[]")
	f.ready(t, svc)
}

// TestLatency prints how long it takes from the publication of an anomaly until
// the webhook is called.
func TestLatency(t *testing.T) {
	f := setup(t)
	var mu sync.Mutex
	called := map[string]time.Time{}
	phone := newSink(t, func(_ int, p channel.Payload) int {
		mu.Lock()
		defer mu.Unlock()
		called[p.Alerts[0].Device] = time.Now()
		return http.StatusOK
	})
	f.configure(t, webhookAt("phone", phone.URL))
	svc, _ := f.start(t)
	f.ready(t, svc)
	var took []time.Duration
	for range 100 {
		start := time.Now()
		device := f.fire(t)
		streamtest.Eventually(t, "a call", func() bool {
			mu.Lock()
			defer mu.Unlock()
			_, ok := called[device]
			return ok
		})
		took = append(took, called[device].Sub(start))
	}
	slices.Sort(took)
	t.Logf("anomaly to webhook: p50 %v, p99 %v", took[49], took[98])
	if took[49] > time.Second {
		t.Errorf("half of the messages took more than %v", took[49])
	}
}

// TestConsumerOfAnotherStream has a request arrive that was made for an ALERTING
// that was recreated since: its consumer would skip messages.
func TestConsumerOfAnotherStream(t *testing.T) {
	f := setup(t)
	now := streams.Place{Incarnation: f.alertingCreated(t)}
	start := func() uint64 {
		t.Helper()
		c, err := f.js.Consumer(t.Context(), streams.StreamAlerting, streams.SenderConsumer("phone"))
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().Config.OptStartSeq
	}
	for range 5 {
		if _, err := f.js.Publish(t.Context(), streams.AlertingSubject(lane0), nil); err != nil {
			t.Fatal(err)
		}
	}
	late := streams.SenderConfig("phone")
	late.DeliverPolicy, late.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 70
	late.Metadata = map[string]string{metadataIncarnation: "1"}
	if _, err := f.js.CreateConsumer(t.Context(), streams.StreamAlerting, late); err != nil {
		t.Fatal(err)
	}
	for _, from := range []uint64{3, 5} {
		// The second time it exists, and continues.
		if err := ensureConsumer(t.Context(), f.js, now, "phone", from); err != nil {
			t.Fatal(err)
		}
		if got := start(); got != 3 {
			t.Errorf("the consumer begins at %d", got)
		}
	}
	if _, err := f.js.CreateConsumer(t.Context(), streams.StreamAlerting, late); err == nil {
		t.Error("the request replaces a consumer when it arrives later still")
	}
	if err := ensureConsumer(t.Context(), f.js, streams.Place{Incarnation: now.Incarnation - 1}, "phone", 1); !errors.Is(err, streams.ErrRecreated) {
		t.Errorf("for a stream that is gone: %v", err)
	}
	if got := start(); got != 3 {
		t.Errorf("the consumer begins at %d", got)
	}
}
