package influxd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/dashboard"
	"headwater/services/internal/influx"
	"headwater/services/internal/registry"
	"headwater/services/standalone/influxd"
	"headwater/services/writer/point"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/ui"
	"headwater/web/view"
)

// TestLatestValuesSurviveARestart starts a dashboard over a fleet of 10,000
// devices that last reported before its memory begins, while InfluxDB is away
// and then slow: the latest values come back, with their age.
func TestLatestValuesSurviveARestart(t *testing.T) {
	const devices = 10_000
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	db := start(t, influxd.Config{Dir: t.TempDir()})
	c := connectEnsured(t, db)
	ledger := influx.Bucket{Database: "headwater", Policy: influx.PolicyLedger}
	ensure(t, c, ledger)
	now := time.Now().Truncate(time.Second)
	week := now.Add(-7 * 24 * time.Hour)

	js := server.JS(t)
	bucket, err := js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	know := func(device string, metrics ...registry.Metric) {
		body, err := json.Marshal(registry.Device{Site: "w", Device: device, FirstSeen: week.Add(-time.Hour), Metrics: metrics})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), registry.Key("w", device), body); err != nil {
			t.Fatal(err)
		}
	}
	number := func(device string) point.Series {
		return point.Series{Site: "w", Device: device, Metric: "temperature"}
	}
	temperature := registry.Metric{Name: "temperature", Unit: "°C", Kind: "value"}
	var raws, entries []byte
	for i := range devices {
		device := fmt.Sprint("d", i)
		know(device, temperature)
		raws = point.AppendValue(raws, point.AppendValuePrefix(nil, number(device)), float64(i), week.Add(time.Duration(i)*time.Millisecond).UnixNano())
	}
	// An hourly sensor that is not due, one that says a text in place of its
	// numbers, a door, and one that reports while the dashboard starts.
	know("hourly", temperature)
	know("broken", temperature, registry.Metric{Name: "temperature", Unit: "°C", Kind: "text"})
	know("door", registry.Metric{Name: "open", Kind: "flag"})
	know("live", temperature)
	for i := range 30 {
		at := now.Add(-50*time.Minute - time.Duration(i)*time.Hour)
		for _, device := range []string{"hourly", "live", "broken"} {
			raws = point.AppendValue(raws, point.AppendValuePrefix(nil, number(device)), 21.5, at.UnixNano())
			entries = point.AppendEntry(entries, &point.Entry{Site: "w", Device: device, Source: "mqtt", Minute: at.Truncate(time.Minute).UnixNano(), Key: uint64(i), Readings: 1, Last: 1})
		}
	}
	raws = point.AppendText(raws, point.AppendTextPrefix(nil, number("broken")), "<b>no sensor</b>", now.Add(-40*time.Minute).UnixNano())
	raws = point.AppendFlag(raws, point.AppendFlagPrefix(nil, point.Series{Site: "w", Device: "door", Metric: "open"}), true, week.UnixNano())
	for policy, lines := range map[string][]byte{raw.Name(): raws, ledger.Name(): entries} {
		if err := c.Write(t.Context(), policy, string(lines)); err != nil {
			t.Fatal(err)
		}
	}
	// The pipeline has run all the time: the clock ticks about once a second.
	for at := now.Add(-16 * time.Minute); !at.After(now); at = at.Add(time.Second) {
		publish(t, server, &telemetryv1.Batch{Arrival: at.UnixNano(), Clock: &telemetryv1.Clock{CaughtUp: at.UnixNano()}})
	}

	target, err := url.Parse(db.URL())
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	away.Store(true)
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		select { // a slow database
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	d := runService(t, server, proxy.URL)
	ask := func(path string) string {
		w := httptest.NewRecorder()
		d.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Body.String()
	}

	shows := func(path, want string) {
		t.Helper()
		streamtest.Eventually(t, path+" shows "+want, func() bool { return strings.Contains(ask(path), want) })
	}
	shows("/api/v1/devices/w/d77", `"state":"unknown"`)
	shows("/api/v1/devices/w/d77", `"waiting":true`)
	shows("/devices/w/d77", "not read yet")
	shows("/", "are not known yet: InfluxDB does not answer")
	shows("/api/v1/pipeline", `"part":"Latest values"`)

	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "w", Device: "live", Metric: "temperature", Unit: "°C"}, now.UnixNano(), 33)
	publish(t, server, b.Take(now.UnixNano()))
	shows("/api/v1/devices/w/live", `"value":33`)

	away.Store(false)
	began := time.Now()
	streamtest.EventuallyWithin(t, 2*time.Minute, "all latest values are read", func() bool {
		return !strings.Contains(ask("/api/v1/devices?size=1000&page=1"), `"waiting":true`) &&
			!strings.Contains(ask("/api/v1/pipeline"), "Latest values") && shown(t, ask, "d9999").Metrics[0].Value != nil
	})
	t.Logf("the latest values of %d devices in %v", devices+4, time.Since(began))
	for page := 1; page <= 11; page++ {
		if body := ask(fmt.Sprint("/api/v1/devices?size=1000&page=", page)); strings.Contains(body, `"value":null`) || strings.Contains(body, `"waiting":true`) {
			t.Errorf("page %d has no values: %.300s", page, body)
		}
	}
	if d := shown(t, ask, "d77"); d.Metrics[0].Value != 77.0 || !d.Metrics[0].Time.Equal(week.Add(77*time.Millisecond)) || !d.LastSeen.Equal(d.Metrics[0].Time) || d.State != view.StateSilent {
		t.Errorf("a week ago: %+v", d)
	}
	if d := shown(t, ask, "hourly"); d.Metrics[0].Value != 21.5 || d.State != view.StateOK || !d.LastSeen.Equal(now.Add(-50*time.Minute)) {
		t.Errorf("hourly: %+v", d)
	}
	if d := shown(t, ask, "broken"); d.Metrics[0].Value != 21.5 || d.Metrics[0].Odd == nil || d.Metrics[0].Odd.Value != "<b>no sensor</b>" {
		t.Errorf("a text among numbers: %+v", d)
	}
	if d := shown(t, ask, "door"); d.Metrics[0].Value != true {
		t.Errorf("a flag: %+v", d)
	}
	if d := shown(t, ask, "live"); d.Metrics[0].Value != 33.0 || !d.LastSeen.Equal(now) {
		t.Errorf("live: %+v", d)
	}
	shows("/devices/w/d77", ">77<")
	shows("/devices/w/d77", ui.ISO(week.Add(77*time.Millisecond)))
	for path, want := range map[string]string{"/devices/w/broken": "21.5", "/?q=broken": "21.5"} {
		shows(path, want)
		shows(path, "&lt;b&gt;no sensor&lt;/b&gt;")
	}
}

// told is a device as the API returns it.
type told struct {
	State    view.State
	LastSeen time.Time `json:"last_seen"`
	Metrics  []struct {
		Value any
		Time  time.Time
		Odd   *struct{ Value any }
	}
}

func shown(t *testing.T, ask func(string) string, name string) (d told) {
	t.Helper()
	if err := json.Unmarshal([]byte(ask("/api/v1/devices/w/"+name)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func publish(t *testing.T, server *streamtest.Server, b *telemetryv1.Batch) {
	t.Helper()
	m, err := streams.TelemetryMsg(0, streams.SourceMQTT, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.JS(t).PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// runService runs a dashboard until the test ends.
func runService(t *testing.T, server *streamtest.Server, url string) *dashboard.Service {
	t.Helper()
	cfg := dashboard.DefaultConfig()
	cfg.Influx.URL = url
	d, err := dashboard.New(cfg, dashboard.Deps{
		JS: server.JS(t), DevicesJS: server.DevicesJS(t), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return d
}
