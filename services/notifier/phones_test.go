package notifier

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/links"
	"headwater/services/internal/webpush"
	"headwater/services/internal/webpush/webpushtest"
	"headwater/services/notifier/channel"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// startWithPhones is start with a push service that the test runs.
func (f *fixture) startWithPhones(t *testing.T, service *webpushtest.Service) *Service {
	t.Helper()
	svc, err := New(f.cfg, Deps{JS: f.js, Log: f.log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	usual := svc.open
	svc.open = func(ch config.Channel) target {
		to := usual(ch)
		if p, ok := to.(*phones); ok {
			p.client = service.Client()
		}
		return to
	}
	f.run(t, svc)
	return svc
}

func (f *fixture) register(t *testing.T, name string, b *webpushtest.Browser) webpush.Device {
	t.Helper()
	d, err := f.push(t).Save(t.Context(), webpush.Device{Subscription: b.Subscription, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (f *fixture) push(t *testing.T) *webpush.Store {
	t.Helper()
	store, err := webpush.Open(t.Context(), f.js)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestPhones sends to browsers through a push service that decrypts: one takes everything,
// one is gone, one fails for a while. A channel without any browser refuses.
func TestPhones(t *testing.T) {
	f := setup(t)
	f.configure(t, "- {name: phones, type: webpush}")
	service := webpushtest.New(t)
	svc := f.startWithPhones(t, service)
	f.ready(t, svc)

	f.fire(t)
	streamtest.Eventually(t, "an outcome", func() bool { return len(f.deliveries(t, "phones")) == 1 })
	if d := f.deliveries(t, "phones")[0]; d.GetOutcome() != alertingv1.Outcome_OUTCOME_FAILED || !strings.Contains(d.GetError(), "no phone or browser is registered") {
		t.Errorf("without a browser: %v", d)
	}

	anna, gone, flaky := service.Browser(t), service.Browser(t), service.Browser(t)
	phone := f.register(t, "Anna's phone", anna)
	f.register(t, "Old phone", gone)
	f.register(t, "Tablet", flaky)
	gone.Answer(http.StatusGone)
	flaky.Answer(http.StatusServiceUnavailable)
	device := f.fire(t)
	streamtest.Eventually(t, "the second outcome", func() bool { return len(f.deliveries(t, "phones")) == 2 })
	if d := f.deliveries(t, "phones")[1]; d.GetOutcome() != alertingv1.Outcome_OUTCOME_SENT || d.GetAttempts() != pushTries {
		t.Errorf("with a browser that fails: %v", d)
	}
	if len(anna.Got()) != 1 || flaky.Tried() != pushTries || gone.Tried() != 1 {
		t.Errorf("sent %q; %d and %d attempts", anna.Got(), flaky.Tried(), gone.Tried())
	}
	var n channel.Notification
	if err := json.Unmarshal([]byte(anna.Got()[0]), &n); err != nil || n.Title != "Warning: It is warm ("+device+")" || !strings.Contains(n.Body, "31 °C is above 30 °C.") || n.Tag == "" {
		t.Errorf("%v: %+v", err, n)
	}
	key, err := f.push(t).LinkKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []links.Action{links.Acknowledge, links.Mute} {
		l, err := links.Parse(key, strings.TrimPrefix(n.Actions[i].URL, links.Path), time.Now())
		if err != nil || l.Action != want || l.Episode != n.Tag || l.Channel != "phones" {
			t.Errorf("button %+v: %v, %+v", n.Actions[i], err, l)
		}
	}
	left, err := f.push(t).Devices(t.Context())
	if err != nil || len(left) != 2 || left[0].Name != "Anna's phone" || left[1].Name != "Tablet" {
		t.Errorf("%v: left %v", err, left)
	}

	// A test reaches the device that was asked for alone, and its answer says what failed.
	if err := f.test(t, streams.ChannelTest{Channel: "phones", Device: phone.ID}); err != "" {
		t.Errorf("test: %s", err)
	}
	if got := anna.Got(); len(got) != 2 || !strings.Contains(got[1], "Test of the channel phones") || flaky.Tried() != pushTries {
		t.Errorf("test: sent %q, %d attempts at the other", got, flaky.Tried())
	}
	if err := f.test(t, streams.ChannelTest{Channel: "phones", Device: webpush.IDOf(flaky.Subscription.Endpoint)}); !strings.Contains(err, "Tablet: answered 503 Service Unavailable") {
		t.Errorf("test of a device that fails: %q", err)
	}
	if err := f.test(t, streams.ChannelTest{Channel: "nobody"}); err != "there is no channel nobody" {
		t.Errorf("test of no channel: %q", err)
	}
	if n := len(f.deliveries(t, "phones")); n != 2 {
		t.Errorf("%d outcomes are recorded, tests included", n)
	}
}

// test asks for a test and returns why it failed.
func (f *fixture) test(t *testing.T, asked streams.ChannelTest) string {
	t.Helper()
	body, err := asked.Encode()
	if err != nil {
		t.Fatal(err)
	}
	msg, err := f.js.Conn().Request(streams.ChannelTests, body, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var answer streams.ChannelTested
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Error
}

// TestPhonesStayPublic: who may register a browser must not reach this network with it.
func TestPhonesStayPublic(t *testing.T) {
	keys, err := webpush.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	to := webpushtest.New(t).Browser(t).Subscription
	pusher := channel.Pusher{Client: channel.NewPushClient(), Keys: keys}
	for _, host := range []string{"127.0.0.1:8222", "[::1]", "10.1.2.3", "192.168.1.5", "169.254.169.254", "[::ffff:127.0.0.1]", "100.64.0.1", "[fd12::1]", "0.0.0.0", "2130706433", "localhost"} {
		to.Endpoint = "https://" + host + "/send/hunter2"
		if err := pusher.Push(t.Context(), to, channel.Message{Title: "x"}); err == nil || strings.Contains(err.Error(), "hunter2") ||
			!strings.Contains(err.Error(), "not in the public internet") && !strings.Contains(err.Error(), "lookup ") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestActions: only a message about one alert that fires has buttons.
func TestActions(t *testing.T) {
	now := time.Now()
	for name, m := range map[string]*alertingv1.Message{"over": about(resolvedState, "a"), "acknowledged": about(alertingv1.State_STATE_ACKNOWLEDGED, "a"), "two": about(firingState, "a", "b")} {
		if all := actions([]byte("key"), "phone", m, now); all != nil {
			t.Errorf("%s: %v", name, all)
		}
	}
	if all := actions([]byte("key"), "phone", about(firingState, "a"), now); len(all) != 2 || all[0].Title != "Acknowledge" || all[1].Title != "Silence 1 h" {
		t.Errorf("firing: %v", all)
	}
	if all := actions(nil, "phone", about(firingState, "a"), now); all != nil {
		t.Errorf("without a key: %v", all)
	}
}
