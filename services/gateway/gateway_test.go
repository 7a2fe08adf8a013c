package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/gateway"
	"headwater/services/internal/registry"
	"headwater/streams"
	"headwater/streams/streamtest"
)

const lanes = 4

// fixture is a running gateway on streams of its own.
type fixture struct {
	*gateway.Service
	t      *testing.T
	server *streamtest.Server
	js     jetstream.JetStream
	http   *httptest.Server
	stop   func()
}

// run starts a gateway on streams; both are gone with the test.
func run(t *testing.T, change ...func(*gateway.Config)) *fixture {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, lanes)
	return runOn(t, s, change...)
}

func runOn(t *testing.T, s *streamtest.Server, change ...func(*gateway.Config)) *fixture {
	t.Helper()
	cfg := gateway.DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	js := s.JS(t)
	svc, err := gateway.New(cfg, gateway.Deps{JS: js, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	f := &fixture{Service: svc, t: t, server: s, js: js, http: httptest.NewUnstartedServer(svc.Handler())}
	// Requests carry a context that ends with the process, as process.Serve has it.
	f.http.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	f.http.Start()
	t.Cleanup(f.http.Close)
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	stopped := false
	f.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run did not end")
		}
	}
	t.Cleanup(f.stop)
	return f
}

// ready waits until the gateway is.
func (f *fixture) ready() *fixture {
	f.t.Helper()
	streamtest.Eventually(f.t, "the gateway is ready", func() bool { return f.Ready() == nil })
	return f
}

type reply struct {
	Status     int
	RetryAfter string
	Accepted   int         `json:"accepted"`
	Rejected   int         `json:"rejected"`
	Readings   int         `json:"readings"`
	Errors     []itemError `json:"errors"`
	Omitted    int         `json:"errors_omitted"`
	Error      string      `json:"error"`
	Reason     string      `json:"reason"`
	Line       int         `json:"line"`
	Column     int         `json:"column"`
}

type itemError struct {
	Index  int    `json:"index"`
	Field  string `json:"field"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

func (f *fixture) post(body string) reply {
	f.t.Helper()
	out, err := f.send(strings.NewReader(body), "Content-Type", "application/json")
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// send posts a body with headers, given as pairs.
func (f *fixture) send(body io.Reader, headers ...string) (reply, error) {
	return f.sendTo("", body, headers...)
}

// sendTo posts a body with parameters.
func (f *fixture) sendTo(query string, body io.Reader, headers ...string) (reply, error) {
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.http.URL+gateway.Path+query, body)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.http.Client().Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	out := reply{Status: response.StatusCode, RetryAfter: response.Header.Get("Retry-After")}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	if err := json.Unmarshal(text, &out); err != nil && response.Header.Get("Content-Type") == "application/json" {
		return reply{}, fmt.Errorf("body %q: %w", text, err)
	}
	return out, nil
}

// stored returns every reading in the stream as "site/device/metric=value",
// with how often it is there, and the number of messages.
func (f *fixture) stored() (readings map[string]int, messages int) {
	f.t.Helper()
	stream, err := f.js.Stream(f.t.Context(), streams.StreamTelemetry)
	if err != nil {
		f.t.Fatal(err)
	}
	readings = make(map[string]int)
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(f.t.Context(), seq)
		if err != nil {
			f.t.Fatal(err)
		}
		lane, source, err := streams.ParseTelemetry(m.Subject)
		if err != nil || source != streams.SourceHTTP {
			f.t.Fatalf("message on %s: %v", m.Subject, err)
		}
		batch, err := streams.DecodeTelemetry(m.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		if len(batch.GetSeries()) > 1000 {
			f.t.Errorf("a message holds %d readings", len(batch.GetSeries()))
		}
		dictionary := batch.Dictionary()
		for r := range batch.Readings() {
			s := dictionary[r.Series]
			if want := streams.Lane(s.Site, s.Device, lanes); want != lane {
				f.t.Errorf("%s/%s is in lane %d, want %d", s.Site, s.Device, lane, want)
			}
			readings[fmt.Sprintf("%s/%s/%s=%v", s.Site, s.Device, s.Metric, r.Value)]++
		}
		messages++
	}
	return readings, messages
}

// limit bounds the stream to n messages more than it holds; negative lifts the
// bound.
func (f *fixture) limit(n int64) {
	f.t.Helper()
	stream, err := f.js.Stream(f.t.Context(), streams.StreamTelemetry)
	if err != nil {
		f.t.Fatal(err)
	}
	info := stream.CachedInfo()
	cfg := info.Config
	cfg.MaxMsgs = -1
	if n >= 0 {
		// No bound is written as 0 or less.
		cfg.MaxMsgs = max(1, int64(info.State.Msgs)+n)
	}
	if _, err := f.js.UpdateStream(f.t.Context(), cfg); err != nil {
		f.t.Fatal(err)
	}
}

func item(device string, value int) string {
	return fmt.Sprintf(`{"site":"s","device":%q,"metric":"m","value":%d}`, device, value)
}

func TestAcceptedMeansStored(t *testing.T) {
	f := run(t).ready()
	for _, test := range []struct {
		name, body string
		want       reply
		stored     []string
	}{
		{"one item", item("a", 1), reply{Status: 202, Accepted: 1, Readings: 1}, []string{"s/a/m=1"}},
		{"array", "[" + item("b", 1) + "," + item("c", 2) + "]", reply{Status: 202, Accepted: 2, Readings: 2}, []string{"s/b/m=1", "s/c/m=2"}},
		{"several metrics", `{"site":"s","device":"d","values":{"x":1,"y":2}}`, reply{Status: 202, Accepted: 1, Readings: 2}, []string{"s/d/x=1", "s/d/y=2"}},
		{"nothing", "[]", reply{Status: 202}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, f.post(test.body)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			got, _ := f.stored()
			for _, reading := range test.stored {
				if got[reading] != 1 {
					t.Errorf("%s is stored %d times", reading, got[reading])
				}
			}
		})
	}
}

func TestRefusedItemsDoNotStopTheOthers(t *testing.T) {
	f := run(t).ready()
	got := f.post("[" + item("a", 1) + `,{"site":"s","device":"a b","metric":"m","value":1},` + item("c", 3) +
		`,{"site":"s","device":"d","metric":"m","value":1,"ts":12},{"site":"s","device":"e","metric":"m","value":1e999}]`)
	want := reply{Status: 202, Accepted: 2, Rejected: 3, Readings: 2, Errors: []itemError{
		{1, "device", "payload", `the name "a b" has characters other than A-Z, a-z, 0-9, _ and -`},
		{3, "ts", "clock", "the event time 1970-01-01T00:00:12Z is more than 7 d before its arrival"},
		{4, "value", "value", `the number "1e999" does not fit a 64-bit float`},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	readings, _ := f.stored()
	if diff := cmp.Diff(map[string]int{"s/a/m=1": 1, "s/c/m=3": 1}, readings); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestErrorsOfAnAnswerAreBounded(t *testing.T) {
	f := run(t).ready()
	got := f.post("[0" + strings.Repeat(",0", 149) + "]")
	if got.Status != 400 || got.Accepted != 0 || got.Rejected != 150 || len(got.Errors) != 100 || got.Omitted != 50 {
		t.Errorf("answer is %d: %d accepted, %d rejected, %d errors and %d more", got.Status, got.Accepted, got.Rejected, len(got.Errors), got.Omitted)
	}
	if readings, messages := f.stored(); messages != 0 {
		t.Errorf("stored %v", readings)
	}
}

func compress(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBadRequests(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.MaxBody = 1 << 20 }).ready()
	asJSON := []string{"Content-Type", "application/json"}
	zipped := append([]string{"Content-Encoding", "gzip"}, asJSON...)
	whole := compress(t, []byte(item("z", 1)))
	broken := bytes.Clone(compress(t, bytes.Repeat([]byte(item("z", 1)), 100)))
	broken[len(broken)/2] ^= 0xff
	for _, test := range []struct {
		name    string
		headers []string
		body    io.Reader
		status  int
		detail  string
		line    int
	}{
		{"no type", nil, strings.NewReader(item("a", 1)), 415, "application/json", 0},
		{"form", []string{"Content-Type", "application/x-www-form-urlencoded"}, strings.NewReader(item("a", 1)), 415, "application/json", 0},
		{"plain text", []string{"Content-Type", "text/plain"}, strings.NewReader(item("a", 1)), 415, "application/json", 0},
		{"other charset", []string{"Content-Type", "application/json; charset=latin1"}, strings.NewReader(item("a", 1)), 415, "UTF-8", 0},
		{"other encoding", append([]string{"Content-Encoding", "br"}, asJSON...), strings.NewReader("x"), 415, "gzip", 0},
		{"empty", asJSON, strings.NewReader(""), 400, "too early", 1},
		{"not JSON", asJSON, strings.NewReader("temperature=21.5"), 400, "line 1, column 2", 1},
		{"cut short", asJSON, strings.NewReader("[" + item("a", 1) + ",\n"), 400, "line 2, column 1", 2},
		{"NaN", asJSON, strings.NewReader(`{"value":NaN}`), 400, "NaN", 1},
		{"not UTF-8", asJSON, strings.NewReader("{\"site\":\"\xff\"}"), 400, "UTF-8", 1},
		{"nested", asJSON, strings.NewReader(strings.Repeat("[", 1000)), 400, "ends too early", 1},
		{"too large", asJSON, bytes.NewReader(make([]byte, 1<<20+1)), 413, "in parts", 0},
		{"too large without a length", asJSON, io.MultiReader(bytes.NewReader(make([]byte, 1<<20+1))), 413, "in parts", 0},
		{"too many items", asJSON, strings.NewReader("[0" + strings.Repeat(",0", 10_000) + "]"), 413, "more than 10000 items", 0},
		{"not gzip", zipped, strings.NewReader(item("a", 1)), 400, "not valid gzip", 0},
		{"gzip cut short", zipped, bytes.NewReader(whole[:len(whole)-9]), 400, "too early", 0},
		{"gzip damaged", zipped, bytes.NewReader(broken), 400, "", 0},
		{"gzip of nothing", zipped, bytes.NewReader(nil), 400, "too early", 0},
		{"gzip bomb", zipped, bytes.NewReader(compress(t, make([]byte, 4<<20))), 413, "200 times", 0},
		{"gzip too large", zipped, bytes.NewReader(compress(t, noise(2<<20))), 413, "in parts", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := f.send(test.body, test.headers...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Status != test.status || !strings.Contains(got.Error, test.detail) || got.Line != test.line || got.RetryAfter != "" {
				t.Errorf("answer is %+v\nwant %d with %q at line %d", got, test.status, test.detail, test.line)
			}
			if got := f.post(item("next", 1)); got.Status != 202 {
				t.Errorf("the next request is answered %+v", got)
			}
		})
	}
	if readings, _ := f.stored(); len(readings) != 1 {
		t.Errorf("stored %v", readings)
	}
}

// noise returns JSON-like text that shrinks only to about a half.
func noise(n int) []byte {
	out := make([]byte, n)
	x := uint32(1)
	for i := range out {
		x = x*1664525 + 1013904223
		out[i] = '0' + byte(x>>24)%10
	}
	return out
}

func TestCompressedBody(t *testing.T) {
	f := run(t).ready()
	for i := range 3 {
		got, err := f.send(bytes.NewReader(compress(t, []byte(item("a", i)))), "Content-Type", "application/json; charset=UTF-8", "Content-Encoding", "gzip")
		if err != nil || got.Status != 202 || got.Accepted != 1 {
			t.Errorf("answer is %+v, %v", got, err)
		}
	}
	if readings, _ := f.stored(); len(readings) != 3 {
		t.Errorf("stored %v", readings)
	}
}

func TestOtherMethods(t *testing.T) {
	f := run(t).ready()
	response, err := f.http.Client().Get(f.http.URL + gateway.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET is answered %d", response.StatusCode)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.ReadTimeout = 50 * time.Millisecond }).ready()
	body, w := io.Pipe()
	defer w.Close()
	got, err := f.send(body, "Content-Type", "application/json")
	if err != nil || got.Status != http.StatusRequestTimeout {
		t.Errorf("answer is %+v, %v", got, err)
	}
}

func TestStoredDevicesAreRegistered(t *testing.T) {
	f := run(t).ready()
	f.post(`{"site":"hall","device":"door-1","metric":"temperature","value":21.5,"unit":"°C"}`)
	f.stop()
	kv, err := f.js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), registry.Key("hall", "door-1"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(entry.Value()), `"name":"temperature","unit":"°C","kind":"value"`) {
		t.Errorf("entry is %s", entry.Value())
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	if err := gateway.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := gateway.Config{}.Validate()
	for _, field := range []string{"max-body", "queue", "read-timeout", "publish-timeout", "max-age", "max-ahead"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is missing in %v", field, err)
		}
	}
	cfg := gateway.DefaultConfig()
	cfg.Memory = 1
	if _, err := gateway.New(cfg, gateway.Deps{}); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("New: %v", err)
	}
}

// TestTooManyMetrics has a device begin more metrics than it may: their readings are refused
// by name, in each form, and those beside them are stored.
func TestTooManyMetrics(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.NewSeries = 2 }).ready()
	for _, test := range []struct {
		name, body         string
		status             int
		accepted, rejected int
	}{
		{"as many as it may", `{"site":"hall","device":"inventor","values":{"a":1,"b":2}}`, http.StatusAccepted, 1, 0},
		{"one more, alone", `{"site":"hall","device":"inventor","metric":"c","value":3}`, http.StatusBadRequest, 0, 1},
		{"one more, beside another", `{"site":"hall","device":"inventor","values":{"a":4,"d":5}}`, http.StatusAccepted, 1, 1},
		{"another device", `[{"site":"hall","device":"inventor","metric":"e","value":6},{"site":"hall","device":"honest","metric":"e","value":7}]`, http.StatusAccepted, 1, 1},
	} {
		got := f.post(test.body)
		if got.Status != test.status || got.Accepted != test.accepted || got.Rejected != test.rejected {
			t.Errorf("%s: %+v", test.name, got)
		}
		if test.rejected > 0 && (len(got.Errors) != 1 || got.Errors[0].Reason != streams.ReasonNewSeries || got.Errors[0].Field == "") {
			t.Errorf("%s: errors are %+v", test.name, got.Errors)
		}
	}
	readings, _ := f.stored()
	for _, want := range []string{"hall/inventor/a=1", "hall/inventor/b=2", "hall/inventor/a=4", "hall/honest/e=7"} {
		if readings[want] != 1 {
			t.Errorf("%s is stored %d times", want, readings[want])
		}
	}
	if len(readings) != 4 {
		t.Errorf("stored are %v", readings)
	}
}

// TestTooManyReadings has a device, and then an address, send more than it may: the answer
// is 429 and says when to send again, nothing of the request is stored, and others are
// not affected.
func TestTooManyReadings(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.DeviceRate, c.AddressRate = 1, 2 }).ready()
	readings := func(device string, n int) string {
		var items []string
		for i := range n {
			items = append(items, fmt.Sprintf(`{"site":"hall","device":%q,"metric":"m%d","value":1}`, device, i))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	from := func(address, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, gateway.Path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = address
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		return w
	}
	if got := f.post(readings("loud", 200)); got.Status != http.StatusAccepted {
		t.Fatalf("a first batch: %+v", got)
	}
	got := f.post("[" + strings.Trim(readings("quiet", 1), "[]") + "," + strings.Trim(readings("loud", 1), "[]") + "]")
	if got.Status != http.StatusTooManyRequests || got.Reason != "device-rate" || !strings.Contains(got.Error, "hall/loud") || got.RetryAfter == "" || got.RetryAfter == "0" {
		t.Errorf("a second one: %+v", got)
	}
	if got := f.post(readings("quiet", 1)); got.Status != http.StatusAccepted {
		t.Errorf("another device: %+v", got)
	}
	// Many devices at one address, none of which sends much.
	if w := from("192.0.2.9:1", readings("one", 19)); w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for i := 0; ; i++ {
		w := from("192.0.2.9:1", readings(fmt.Sprint("more", i), 190))
		if w.Code == http.StatusTooManyRequests {
			if !strings.Contains(w.Body.String(), "address-rate") || w.Header().Get("Retry-After") == "" {
				t.Errorf("%v %s", w.Header(), w.Body)
			}
			break
		}
		if i > 10 {
			t.Fatal("the address may send without end")
		}
	}
	if w := from("192.0.2.10:1", readings("elsewhere", 1)); w.Code != http.StatusAccepted {
		t.Errorf("another address: %d %s", w.Code, w.Body)
	}
	if w := from("127.0.0.1:1", readings("here", 1)); w.Code != http.StatusAccepted {
		t.Errorf("this machine: %d %s", w.Code, w.Body)
	}
}
