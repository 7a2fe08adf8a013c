package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/registry"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/deadletters"
	"headwater/web/device"
)

const within = streamtest.Patience

// influxStub answers as InfluxDB does, and may be away.
type influxStub struct {
	away    atomic.Bool
	mu      sync.Mutex
	answers map[string]string // by a part of the query
	asked   []string
}

func (i *influxStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.away.Load() {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Influxdb-Version", "1.8.10")
	if r.URL.Path == "/ping" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q := r.FormValue("q")
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, r.FormValue("db")+"/"+r.FormValue("rp")+" "+q)
	for part, answer := range i.answers {
		if strings.Contains(q, part) {
			_, _ = io.WriteString(w, answer)
			return
		}
	}
	_, _ = io.WriteString(w, `{"results":[{"statement_id":0}]}`)
}

// rig is a dashboard on a nats-server and an InfluxDB of its own.
type rig struct {
	// configure, if not nil, changes the configuration.
	configure func(*Config)

	tb      testing.TB
	server  *streamtest.Server
	js      jetstream.JetStream
	influx  *influxStub
	url     string // of the InfluxDB
	service *Service
	stop    func()
}

func newRig(t *testing.T, prepare func(*rig)) *rig {
	t.Helper()
	r := &rig{tb: t, server: streamtest.Run(t), influx: &influxStub{answers: make(map[string]string)}}
	r.js = r.server.JS(t)
	r.server.Ensure(t, 2)
	influxServer := httptest.NewServer(r.influx)
	t.Cleanup(influxServer.Close)
	if prepare != nil {
		prepare(r)
	}
	r.url = influxServer.URL
	r.begin(t)
	return r
}

// begin starts a dashboard, which must not run already.
func (r *rig) begin(t *testing.T) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Influx.URL = r.url
	if r.configure != nil {
		r.configure(&cfg)
	}
	service, err := New(cfg, Deps{
		JS: r.server.JS(t), DevicesJS: r.server.DevicesJS(t), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.service = service
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := service.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = func() { cancel(); done.Wait() }
	t.Cleanup(r.stop)
}

func (r *rig) ready() {
	r.tb.Helper()
	streamtest.Eventually(r.tb, "the dashboard is ready", func() bool { return r.service.Ready() == nil })
}

func (r *rig) publish(m *nats.Msg, err error) {
	r.tb.Helper()
	if err != nil {
		r.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.tb.Context(), within)
	defer cancel()
	if _, err := r.js.PublishMsg(ctx, m); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) reading(device, metric string, v float64, at time.Time) {
	r.tb.Helper()
	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "home", Device: device, Metric: metric, Unit: "°C"}, at.UnixNano(), v)
	lane := streams.Lane("home", device, 2)
	r.publish(streams.TelemetryMsg(lane, streams.SourceMQTT, b.Take(at.UnixNano())))
}

func (r *rig) clock(lane int, at time.Time) {
	r.tb.Helper()
	r.publish(streams.TelemetryMsg(lane, streams.SourceMQTT, &telemetryv1.Batch{Arrival: at.UnixNano(), Clock: &telemetryv1.Clock{CaughtUp: at.UnixNano()}}))
}

func (r *rig) put(bucket, key string, value []byte) {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(r.tb.Context(), within)
	defer cancel()
	kv, err := r.js.KeyValue(ctx, bucket)
	if err != nil {
		r.tb.Fatal(err)
	}
	if _, err := kv.Put(ctx, key, value); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) get(path string) (int, string) {
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// shows waits until a page or an answer of the API holds a text.
func (r *rig) shows(path, want string) {
	r.tb.Helper()
	body := ""
	defer func() {
		if r.tb.Failed() {
			r.tb.Logf("%s: %.3000s", path, body)
		}
	}()
	streamtest.Eventually(r.tb, path+" shows "+want, func() bool {
		_, body = r.get(path)
		return strings.Contains(body, want)
	})
}

func firing(started time.Time) *alertingv1.Alert {
	return &alertingv1.Alert{
		Id: "a1", Rule: "too-warm", Series: &derivedv1.Series{Site: "home", Device: "kitchen", Metric: "temperature"},
		State: alertingv1.State_STATE_FIRING, Severity: derivedv1.Severity_SEVERITY_CRITICAL,
		Started: started.UnixNano(), Updated: started.UnixNano(), Learned: started.UnixNano(),
		Evidence: &derivedv1.Evidence{Sentence: "It is 31 °C, above 30 °C.", High: new(float64)},
	}
}

func TestReadingsShowWhatIsThereAndWhatComes(t *testing.T) {
	now := time.Now()
	r := newRig(t, func(r *rig) {
		r.reading("kitchen", "temperature", 20.25, now.Add(-time.Minute)) // before the dashboard starts
		r.reading("long-ago", "temperature", 1, now.Add(-time.Hour))
	})
	r.ready()
	r.shows("/", "20.25")
	r.reading("kitchen", "temperature", 21.75, now)
	r.reading("hall", "humidity", 44, now)
	r.shows("/", "21.75")
	r.shows("/", "hall")
	r.shows("/api/v1/devices?q=kitchen", `"value":21.75`)
	r.shows("/devices/home/kitchen", "21.75")
}

func TestOddMessagesAreSkipped(t *testing.T) {
	r := newRig(t, func(r *rig) {
		for _, subject := range []string{streams.TelemetrySubject(0, streams.SourceMQTT), streams.DerivedSubject(0), streams.AlertingSubject(0), streams.DeliverySubject("phone")} {
			r.publish(&nats.Msg{Subject: subject, Data: []byte("\xff\xff nonsense")}, nil)
		}
		r.put(streams.BucketDevices, "home.x", []byte("{"))
		r.put(streams.BucketAlerts, "x", []byte("{"))
	})
	r.ready()
	r.reading("kitchen", "temperature", 21.5, time.Now())
	r.shows("/", "21.5")
}

func TestRegistryMakesDevicesKnown(t *testing.T) {
	body, err := json.Marshal(registry.Device{Site: "home", Device: "attic", FirstSeen: time.Now().Add(-time.Hour), Metrics: []registry.Metric{{Name: "open", Kind: "flag"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(r *rig) { r.put(streams.BucketDevices, registry.Key("home", "attic"), body) })
	r.shows("/api/v1/devices/home/attic", `"state":"unknown"`) // the clock has not run for long enough
	r.shows("/devices/home/attic", "open")
	kv, err := r.js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), registry.Key("home", "attic")); err != nil {
		t.Fatal(err)
	}
	r.shows("/devices/home/attic", "Not found")
}

func TestAlertsComeFromBothSources(t *testing.T) {
	started := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	r := newRig(t, func(r *rig) {
		old := firing(started.Add(-time.Hour))
		old.State, old.Ended = alertingv1.State_STATE_RESOLVED, started.Add(-30*time.Minute).UnixNano()
		r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{firing(started.Add(-time.Hour))}}))
		r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{old}}))
		body, err := protojson.Marshal(firing(started))
		if err != nil {
			r.tb.Fatal(err)
		}
		r.put(streams.BucketAlerts, "a1", body)
	})
	r.reading("kitchen", "temperature", 31, time.Now())
	r.shows("/api/v1/alerts", `"state":"firing"`)
	r.shows("/api/v1/alerts", `"resolved_total":1`)
	r.shows("/api/v1/devices/home/kitchen", `"state":"firing"`)
	r.shows("/", "above 30 °C")
	// The anomaly of the alert is on the chart.
	r.shows("/api/v1/series?site=home&device=kitchen&metric=temperature", `"rule":"too-warm"`)

	over := firing(started)
	over.State, over.Ended, over.Learned = alertingv1.State_STATE_RESOLVED, time.Now().UnixNano(), time.Now().UnixNano()
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{over}}))
	r.shows("/alerts", "No alerts firing")
	r.shows("/api/v1/devices/home/kitchen", `"state":"ok"`)
}

func TestDerivedShowsWindowsAndAnomalies(t *testing.T) {
	r := newRig(t, nil)
	start := time.Now().Add(-2 * time.Minute).Truncate(time.Minute)
	series := &derivedv1.Series{Site: "home", Device: "kitchen", Metric: "temperature"}
	r.reading("kitchen", "temperature", 31, time.Now())
	r.publish(streams.DerivedMsg(1, &derivedv1.Commit{
		Input: &derivedv1.Position{Sequence: 77},
		Summaries: []*derivedv1.WindowSummary{{
			Series: series, Unit: "°C", Start: start.UnixNano(), Width: int64(time.Minute), Count: 12, Min: 1, Max: 33.25, Mean: 2, Revision: 2,
		}},
		Anomalies: []*derivedv1.Anomaly{{
			Rule: "door-left-open", Series: series, Start: start.UnixNano(), Time: start.UnixNano(), Phase: derivedv1.Phase_PHASE_OPEN,
			Severity: derivedv1.Severity_SEVERITY_WARNING, Evidence: &derivedv1.Evidence{Sentence: "It rose by 9 °C within 5 min."},
		}},
	}))
	r.shows("/devices/home/kitchen", "33.25")
	r.shows("/devices/home/kitchen", "revision 2")
	r.shows("/devices/home/kitchen", "It rose by 9 °C within 5 min.")
	r.shows("/api/v1/pipeline", `"processed":77`)
}

// TestNoNegativeZero has -0 come in on every way, and looks for it in what the API
// and the pages tell.
func TestNoNegativeZero(t *testing.T) {
	minus := math.Copysign(0, -1)
	now := time.Now()
	r := newRig(t, nil)
	series := &derivedv1.Series{Site: "home", Device: "kitchen", Metric: "temperature"}
	r.reading("kitchen", "temperature", minus, now)
	evidence := &derivedv1.Evidence{Sentence: "It fell.", Value: minus, Low: new(minus), High: new(5.0), Baseline: 2}
	r.publish(streams.DerivedMsg(1, &derivedv1.Commit{
		Input: &derivedv1.Position{Sequence: 77},
		Summaries: []*derivedv1.WindowSummary{{
			Series: series, Start: now.Truncate(time.Minute).UnixNano(), Width: int64(time.Minute), Count: 12, Min: minus, Max: minus, Mean: minus, First: minus,
			Last: minus, TimeMean: minus, Rate: minus, P50: minus, P90: minus, P95: minus, P99: minus, Revision: 1,
		}},
		Anomalies: []*derivedv1.Anomaly{{
			Rule: "r", Series: series, Start: now.UnixNano(), Time: now.UnixNano(), Phase: derivedv1.Phase_PHASE_OPEN,
			Severity: derivedv1.Severity_SEVERITY_WARNING, Evidence: evidence,
		}},
	}))
	r.shows("/devices/home/kitchen", "It fell.")
	r.influx.mu.Lock()
	r.influx.answers["GROUP BY"] = `{"results":[{"statement_id":0,"series":[{"name":"temperature","columns":["time","min","max","mean","count"],"values":[[1700000000000000000,-0,-0,-0,5000]]}]}]}`
	r.influx.mu.Unlock()
	found := regexp.MustCompile(`[^0-9A-Za-z.+]-0[^0-9.]`)
	for path, holds := range map[string]string{
		"/api/v1/devices/home/kitchen": `"value":0,`,
		"/api/v1/series?site=home&device=kitchen&metric=temperature&points=100&from=2023-11-14T22:13:20Z&to=2023-11-14T23:13:20Z": `"min":[0],"max":[0],"mean":[0]`,
		"/api/v1/series?site=home&device=kitchen&metric=temperature":                                                              `"low":0,"high":5`,
		"/devices/home/kitchen": `bounds 0 to 5`,
	} {
		_, body := r.get(path)
		if !strings.Contains(body, holds) {
			t.Errorf("%s does not hold %s: %s", path, holds, body)
		}
		if at := found.FindStringIndex(html.UnescapeString(body)); at != nil {
			t.Errorf("%s: %.80s", path, html.UnescapeString(body)[max(0, at[0]-30):])
		}
	}
}

func TestPipeline(t *testing.T) {
	r := newRig(t, func(r *rig) {
		if _, err := r.js.CreateConsumer(r.tb.Context(), streams.StreamAlerting, streams.SenderConfig("phone")); err != nil {
			r.tb.Fatal(err)
		}
		for i, outcome := range []alertingv1.Outcome{alertingv1.Outcome_OUTCOME_SENT, alertingv1.Outcome_OUTCOME_FAILED} {
			r.publish(streams.DeliveryMsg(&alertingv1.Delivery{Key: fmt.Sprint(i), Channel: "phone", Outcome: outcome, Time: time.Now().UnixNano(), Title: "CRITICAL", Error: "503 from the push service"}))
		}
	})
	r.reading("kitchen", "temperature", 20, time.Now())
	r.clock(0, time.Now())
	for _, want := range []string{
		`"name":"$MQTT_msgs"`, `"name":"TELEMETRY"`, `"name":"sender-phone"`, `"name":"writer-1"`, `"version":"1.8.10"`,
		`"sent":1,"failed":1`, "was not delivered: 503 from the push service", `"caught_up"`,
	} {
		r.shows("/api/v1/pipeline", want)
	}
	r.shows("/pipeline", "sends the notifications of channel phone")
}

func TestInfluxAway(t *testing.T) {
	r := newRig(t, func(r *rig) { r.influx.away.Store(true) })
	r.reading("kitchen", "temperature", 20.5, time.Now())
	r.shows("/", "InfluxDB does not answer")
	r.shows("/api/v1/series?site=home&device=kitchen&metric=temperature", `"source":"memory"`)
	if _, body := r.get("/api/v1/series?site=home&device=kitchen&metric=temperature"); !strings.Contains(body, `"mean":[20.5]`) {
		t.Errorf("what is remembered: %s", body)
	}
	r.influx.away.Store(false)
	streamtest.Eventually(t, "the banner is gone", func() bool {
		_, body := r.get("/")
		return !strings.Contains(body, "InfluxDB does not answer")
	})
}

func TestHistory(t *testing.T) {
	r := newRig(t, nil)
	r.reading("kitchen", "temperature", 20.5, time.Now())
	r.shows("/api/v1/devices/home/kitchen", "20.5")
	r.influx.mu.Lock()
	r.influx.answers["GROUP BY"] = `{"results":[{"statement_id":0,"series":[{"name":"temperature","columns":["time","min","max","mean","count"],"values":[[1700000000000000000,1,9,4,500],[1700000010000000000,2,3,2.5,700]]}]}]}`
	r.influx.answers["LIMIT 2000"] = `{"results":[{"statement_id":0,"series":[{"name":"temperature","columns":["time","value"],"values":[[1700000000000000001,4],[1700000000500000000,5]]}]}]}`
	r.influx.mu.Unlock()

	_, body := r.get("/api/v1/series?site=home&device=kitchen&metric=temperature&points=1000&from=2023-11-14T22:13:20Z&to=2023-11-14T23:13:20Z")
	var s device.Series
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err, body)
	}
	if s.BucketMS != 3604 || s.Source != "history" || fmt.Sprint(s.TimeMS, s.Min, s.Max, s.Mean) != "[1700000000000 1700000010000] [1 2] [9 3] [4 2.5]" {
		t.Errorf("buckets: %s", body)
	}
	// There are no more readings than points: the readings themselves.
	_, body = r.get("/api/v1/series?site=home&device=kitchen&metric=temperature&points=2000&from=2023-11-14T22:13:20Z&to=2023-11-14T23:13:20Z")
	if !strings.Contains(body, `"bucket_ms":0`) || !strings.Contains(body, `"time_ms":[1700000000000,1700000000500],"min":[4,5],"max":[4,5],"mean":[4,5]`) {
		t.Errorf("readings: %s", body)
	}
	r.influx.mu.Lock()
	defer r.influx.mu.Unlock()
	for _, q := range r.influx.asked {
		if strings.HasPrefix(q, "headwater/ledger ") { // the balance asks by itself
			continue
		}
		if !strings.HasPrefix(q, "headwater/raw SELECT") || !strings.Contains(q, `"site" = 'home' AND "device" = 'kitchen'`) {
			t.Errorf("it asked %s", q)
		}
	}
}

func TestHistoryOfAFlag(t *testing.T) {
	r := newRig(t, nil)
	var b telemetryv1.Builder
	b.Flag(telemetryv1.Key{Site: "home", Device: "door", Metric: "open"}, time.Now().UnixNano(), true)
	r.publish(streams.TelemetryMsg(0, streams.SourceHTTP, b.Take(time.Now().UnixNano())))
	r.shows("/api/v1/devices/home/door", `"value":true`)
	r.influx.mu.Lock()
	r.influx.answers[`SELECT "flag"`] = `{"results":[{"statement_id":0,"series":[{"name":"open","columns":["time","flag"],"values":[[5000000,true],[4000000,true],[3000000,true],[2000000,false],[1000000,false]]}]}]}`
	r.influx.mu.Unlock()
	if _, body := r.get("/api/v1/series?site=home&device=door&metric=open"); !strings.Contains(body, `"kind":"flag"`) || !strings.Contains(body, `"time_ms":[1,3,5],"min":[0,1,1]`) {
		t.Errorf("the flag: %s", body)
	}
}

// TestHistoryOfStates asks for the states of a flag, before the range too.
func TestHistoryOfStates(t *testing.T) {
	r := newRig(t, nil)
	var b telemetryv1.Builder
	b.Flag(telemetryv1.Key{Site: "home", Device: "door", Metric: "open"}, time.Now().UnixNano(), true)
	r.publish(streams.TelemetryMsg(0, streams.SourceHTTP, b.Take(time.Now().UnixNano())))
	r.shows("/api/v1/devices/home/door", `"value":true`)
	const start = 1700000000
	at := func(seconds int) string { return strconv.Itoa(start+seconds) + "000000000" }
	r.influx.mu.Lock()
	r.influx.answers[`last("flag")`] = `{"results":[{"statement_id":0,"series":[{"name":"open","columns":["time","state"],"values":[[` + at(-500) + `,true]]}]},` +
		`{"statement_id":1,"series":[{"name":"open","columns":["time","state"],"values":[[` + at(60) + `,true],[` + at(40) + `,false],[` + at(30) + `,false],[` + at(10) + `,true]]}]}]}`
	r.influx.mu.Unlock()
	_, body := r.get("/api/v1/states?site=home&device=door&metric=open&from=2023-11-14T22:13:20Z&to=2023-11-14T22:15:00Z")
	var s device.States
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err, body)
	}
	if got := fmt.Sprint(s.Spans, s.Days, s.More); got != "[{1700000000000 1700000030000 on} {1700000030000 1700000060000 off} {1700000060000 1700000100000 on}] [{2023-11-14 off 1 30000} {2023-11-14 on 1 70000}] false" {
		t.Errorf("the states: %s", got)
	}
	r.influx.mu.Lock()
	defer r.influx.mu.Unlock()
	if !slices.ContainsFunc(r.influx.asked, func(q string) bool {
		return strings.Contains(q, `time >= 1697408000000000000 AND time < 1700000000000000000; SELECT "flag" AS "state"`)
	}) {
		t.Errorf("it asked %q", r.influx.asked)
	}
}

func TestDeadLetters(t *testing.T) {
	r := newRig(t, nil)
	if _, body := r.get("/deadletters"); !strings.Contains(body, "No dead letters") {
		t.Errorf("an empty stream: %.500s", body)
	}
	arrived := time.Now().Add(-time.Hour)
	for i := range 700 {
		l := streams.DeadLetter{Service: "bridge", Reason: streams.ReasonPayload, Detail: fmt.Sprint("letter ", i), Origin: "sensors/home/kitchen/x", Site: "home", Device: "kitchen", Arrived: arrived, Payload: []byte(fmt.Sprint("body ", i))}
		if i%100 == 0 {
			l.Service, l.Reason = "writer", streams.ReasonRejected
		}
		r.publish(l.Msg(), nil)
	}
	r.publish(&nats.Msg{Subject: streams.DeadLetterSubject("bridge", "odd"), Data: []byte("no headers")}, nil)

	page := func(query string) deadletters.Letters {
		t.Helper()
		var out deadletters.Letters
		code, body := r.get("/api/v1/deadletters?size=5" + query)
		if err := json.Unmarshal([]byte(body), &out); err != nil || code != http.StatusOK {
			t.Fatal(code, err, body)
		}
		return out
	}
	newest := page("")
	if newest.Total != 701 || len(newest.Items) != 5 || newest.Items[0].Reason != streams.ReasonMalformed || newest.Items[1].Detail != "letter 699" || string(newest.Items[1].Payload) != "body 699" {
		t.Errorf("the newest: %+v", newest)
	}
	if len(newest.Counts) != 3 || newest.Counts[0].Count != 693 {
		t.Errorf("counts: %+v", newest.Counts)
	}
	if next := page(fmt.Sprint("&before=", newest.Next)); next.Items[0].Sequence >= newest.Items[4].Sequence {
		t.Errorf("the next page begins with %d", next.Items[0].Sequence)
	}
	rare := page("&service=writer&reason=rejected")
	if len(rare.Items) != 5 || rare.Items[4].Detail != "letter 200" || rare.Next == 0 {
		t.Errorf("few among many: %+v", rare)
	}
	if last := page(fmt.Sprint("&service=writer&reason=rejected&before=", rare.Next)); len(last.Items) != 2 || last.Next != 0 {
		t.Errorf("the last of them: %+v", last)
	}
	if none := page("&service=nobody"); len(none.Items) != 0 || none.Next != 0 {
		t.Errorf("none: %+v", none)
	}
	// The one with which sensor health follows the stream stays.
	left := func() int {
		stream, err := r.js.Stream(t.Context(), streams.StreamDeadLetters)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Consumers
	}
	streamtest.Eventually(t, "sensor health follows the stream", func() bool { return left() > 0 })
	if n := left(); n != 1 {
		t.Errorf("%d consumers are left behind", n-1)
	}
}

// ask sends a request that changes something.
func (r *rig) ask(method, path string) (int, string) {
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

// TestLettersThatNoServiceRedrives shows what is said of letters that nobody redrives,
// and that none of them is lost.
func TestLettersThatNoServiceRedrives(t *testing.T) {
	r := newRig(t, nil)
	for _, l := range []streams.DeadLetter{
		{Service: streams.ServiceBridge, Reason: streams.ReasonTopic},
		{Service: streams.ServiceWriter, Reason: streams.ReasonRejected},
		{Service: streams.ServiceNotifier, Reason: streams.ReasonUndeliverable},
		{Service: streams.ServiceProcessor, Reason: streams.ReasonMalformed},
	} {
		l.Arrived = time.Now()
		r.publish(l.Msg(), nil)
	}
	if code, body := r.ask(http.MethodPost, "/api/v1/deadletters/1/redrive"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no bridge runs") {
		t.Errorf("without a bridge: %d %s", code, body)
	}
	var out deadletters.Redrive
	code, body := r.ask(http.MethodPost, "/api/v1/deadletters/redrive?through=99")
	if err := json.Unmarshal([]byte(body), &out); err != nil || code != http.StatusOK {
		t.Fatal(code, err, body)
	}
	if out.Failed != 1 || out.Kept != 3 || len(out.Letters) != 4 || out.Next != 0 {
		t.Errorf("of all: %+v", out)
	}
	for i, want := range []string{"no bridge runs", "InfluxDB refused", "a notification", "between services"} {
		if i < len(out.Letters) && !strings.Contains(out.Letters[i].Detail, want) {
			t.Errorf("letter %d: %q holds no %q", i+1, out.Letters[i].Detail, want)
		}
	}
	var page deadletters.Letters
	if _, body := r.get("/api/v1/deadletters"); json.Unmarshal([]byte(body), &page) != nil || page.Total != 4 {
		t.Errorf("%d letters are left, want all 4", page.Total)
	}
}

// TestPurgeReachesOnlySoFar shows that a purge spares what came after people
// looked.
func TestPurgeReachesOnlySoFar(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		l := streams.DeadLetter{Service: streams.ServiceBridge, Reason: streams.ReasonTopic, Arrived: time.Now()}
		if i%4 == 0 {
			l.Reason = streams.ReasonValue
		}
		r.publish(l.Msg(), nil)
	}
	for _, c := range []struct{ path, want string }{
		{"/10", `{"purged":1}`},
		{"?through=10&reason=topic", `{"purged":6}`},
		{"?through=10&reason=topic", `{"purged":0}`},
		{"?through=20&service=writer", `{"purged":0}`},
		{"?through=18446744073709551615&reason=value", `{"purged":5}`},
		{"?through=20", `{"purged":8}`},
	} {
		if code, body := r.ask(http.MethodDelete, "/api/v1/deadletters"+c.path); code != http.StatusOK || body != c.want {
			t.Errorf("%s: %d %s, want %s", c.path, code, body, c.want)
		}
	}
}

// TestNATSAwayAndBack shows that pages stay up while nats-server is away, say so,
// and go on with what came afterwards.
func TestNATSAwayAndBack(t *testing.T) {
	r := newRig(t, nil)
	r.reading("kitchen", "temperature", 20.5, time.Now())
	r.shows("/", "20.5")
	nc := r.service.js.Conn()
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the connection is back", func() bool { return nc.Status() == nats.CONNECTED })
	r.reading("kitchen", "temperature", 22.5, time.Now())
	r.shows("/", "22.5")

	r.server.Shutdown()
	r.shows("/", "NATS does not answer")
	r.shows("/", "22.5")
	if code, body := r.get("/deadletters"); code != http.StatusServiceUnavailable || !strings.Contains(body, "NATS does not answer") {
		t.Errorf("dead letters: %d", code)
	}
}

func TestWithoutStreamsItIsNotReadyAndSaysWhy(t *testing.T) {
	s := streamtest.Run(t)
	service, err := New(DefaultConfig(), Deps{JS: s.JS(t), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = service.Run(ctx) })
	defer done.Wait()
	defer cancel()
	streamtest.Eventually(t, "it names the stream", func() bool {
		err := service.Ready()
		return err != nil && strings.Contains(err.Error(), streams.StreamTelemetry) && strings.Contains(err.Error(), streams.BucketDevices)
	})
	r := rig{tb: t, service: service}
	r.shows("/pipeline", "it has not been made")
	s.Ensure(t, 2) // somebody makes them later
	streamtest.Eventually(t, "it is ready", func() bool { return service.Ready() == nil })
}

func TestConfigNamesEveryProblem(t *testing.T) {
	cfg := DefaultConfig()
	if err := cfg.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	cfg.Influx.URL, cfg.Influx.Timeout = "nonsense", 0
	if _, err := New(cfg, Deps{}); err == nil || !strings.Contains(err.Error(), "influx-url") || !strings.Contains(err.Error(), "influx-timeout") {
		t.Errorf("%v", err)
	}
}
