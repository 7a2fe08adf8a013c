package influxd_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxdb/models"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/standalone/influxd"
	"headwater/services/writer"
	"headwater/services/writer/point"
	"headwater/streams"
	"headwater/streams/streamtest"
)

const lanes = 2

// runWriter runs a writer on the streams of a nats-server; stop waits for its
// end.
func runWriter(tb testing.TB, js jetstream.JetStream, url string) (stop func()) {
	tb.Helper()
	cfg := writer.DefaultConfig()
	cfg.Influx.URL = url
	s, err := writer.New(cfg, writer.Deps{JS: js, Log: slog.New(slog.NewTextHandler(tb.Output(), nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	tb.Cleanup(stop)
	return stop
}

// drained reports whether the writers have nothing left to do.
func drained(tb testing.TB, js jetstream.JetStream) bool {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n, err := streams.Unprocessed(ctx, js, streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		tb.Fatal(err)
	}
	return n == 0
}

func publishReadings(tb testing.TB, js jetstream.JetStream, batch, n int, from int64) {
	tb.Helper()
	var b telemetryv1.Builder
	for i := range n {
		key := telemetryv1.Key{Site: "w", Device: fmt.Sprint("door-", i%20), Metric: "temperature"}
		b.Value(key, from+int64(batch*n+i)*1e6, float64(i%400)/10)
	}
	m, err := streams.TelemetryMsg(batch%lanes, streams.SourceMQTT, b.Take(from))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := js.PublishMsg(ctx, m); err != nil {
		tb.Fatal(err)
	}
}

// TestWritersStoreEveryReadingOnce has two writers and an InfluxDB that is
// restarted under them.
func TestWritersStoreEveryReadingOnce(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	js := server.JS(t)
	dir := t.TempDir()
	db, err := influxd.Start(influxd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(db.URL(), "http://")
	for range 2 {
		runWriter(t, server.JS(t), db.URL())
	}

	const batches, size = 200, 500
	from := time.Now().UnixNano() - batches*size*1e6
	for i := range batches {
		publishReadings(t, js, i, size, from)
		switch i {
		case batches / 4:
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		case batches / 2:
			db, err = influxd.Start(influxd.Config{Dir: dir, Addr: addr})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
		}
	}
	m, err := streams.DerivedMsg(1, &derivedv1.Commit{Summaries: []*derivedv1.WindowSummary{{
		Series: &derivedv1.Series{Site: "w", Device: "door-1", Metric: "temperature"}, Window: "1m", Start: from, Width: 60e9,
		Count: 3, Min: 1, Max: 4, Mean: 2, First: 1, Last: 4, Deviation: 0.5, Revision: 2,
		TimeMean: 2.5, Rate: 0.25, P50: 1.5, P90: 3, P95: 3.5, P99: 4,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}

	c := connect(t, db)
	streamtest.Eventually(t, "the writers are done", func() bool { return drained(t, js) })
	if n := count(t, c); n != batches*size {
		t.Errorf("%d points of %d", n, batches*size)
	}
	streamtest.Eventually(t, "the summary is stored", func() bool {
		series, err := c.Query(t.Context(), "headwater", "1m", `SELECT * FROM temperature WHERE device = 'door-1'`, nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(series) == 1 && series[0].Times[0] == from && fmt.Sprint(series[0].Columns, series[0].Values) ==
			"[count deviation device first last max mean min p50 p90 p95 p99 rate revision site time_mean] "+
				"[[3 0.5 door-1 1 4 4 2 1 1.5 3 3.5 4 0.25 2 w 2.5]]"
	})
}

// TestRefusedByTheRealOne has readings that InfluxDB itself refuses.
func TestRefusedByTheRealOne(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	js := server.JS(t)
	db := start(t, influxd.Config{Dir: t.TempDir()})
	c := connectEnsured(t, db)
	// Somebody else's points have made the field a text.
	if err := c.Write(t.Context(), raw.Name(), `humidity,device=x,site=w value="a" `+fmt.Sprint(time.Now().UnixNano())); err != nil {
		t.Fatal(err)
	}
	var b telemetryv1.Builder
	now := time.Now().UnixNano()
	for i := range 100 {
		b.Value(telemetryv1.Key{Site: "w", Device: "door-1", Metric: "temperature"}, now+int64(i), 1)
	}
	b.Value(telemetryv1.Key{Site: "w", Device: "door-2", Metric: "humidity"}, now, 2)
	b.Value(telemetryv1.Key{Site: "w", Device: "door-3", Metric: "temperature"}, 1, 3) // of 1970
	m, err := streams.TelemetryMsg(0, streams.SourceMQTT, b.Take(now))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	runWriter(t, js, db.URL())
	streamtest.Eventually(t, "the writer is done", func() bool { return drained(t, js) })
	if n := count(t, c); n != 100 {
		t.Errorf("%d points of 100", n)
	}
	stream, err := js.Stream(t.Context(), streams.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range []string{"door-2: field type conflict", "door-3: points beyond retention policy"} {
		m, err := stream.GetMsg(t.Context(), uint64(seq+1))
		if err != nil {
			t.Fatal(err)
		}
		d, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
		device, reason, _ := strings.Cut(want, ": ")
		if err != nil || d.Device != device || !strings.Contains(d.Detail, reason) {
			t.Errorf("dead letter %+v, %v", d, err)
		}
	}
}

// FuzzLineProtocol has InfluxDB's own parser read what point writes.
func FuzzLineProtocol(f *testing.F) {
	f.Add("w", "door-1", "temperature", "open", 21.7, int64(1700000000000000000))
	f.Add("a,b", "c d", "e=f", "x\" 1\ny,z=1 v=2 3\\", -0.001, int64(-1))
	f.Add("#", `a\`, "#m", "\r\n\x00", 1e300, int64(5))
	f.Fuzz(func(t *testing.T, site, device, metric, text string, v float64, at int64) {
		if site == "" || device == "" || metric == "" || at < models.MinNanoTime || at > models.MaxNanoTime || v != v || v-v != 0 {
			return
		}
		s := point.Series{Site: site, Device: device, Metric: metric}
		lines := point.AppendText(nil, point.AppendTextPrefix(nil, s), text, at)
		lines = point.AppendValue(lines, point.AppendValuePrefix(nil, s), v, at)
		points, err := models.ParsePointsString(string(lines))
		if err != nil || len(points) != 2 {
			t.Fatalf("%d points of %q, %v", len(points), lines, err)
		}
		for i, value := range []any{text, v} {
			fields, err := points[i].Fields()
			if err != nil || len(fields) != 1 || fields[[]string{"text", "value"}[i]] != value || points[i].UnixNano() != at || len(points[i].Tags()) != 2 {
				t.Errorf("%q reads as %v %v %v, %v", lines, points[i].Tags(), fields, points[i].UnixNano(), err)
			}
			if streams.ValidToken(device) && points[i].Tags().GetString("device") != device {
				t.Errorf("device %q became %q", device, points[i].Tags().GetString("device"))
			}
		}
	})
}

// BenchmarkWriter measures readings out of TELEMETRY into InfluxDB.
func BenchmarkWriter(b *testing.B) {
	server := streamtest.Run(b)
	server.Ensure(b, lanes)
	js := server.JS(b)
	db, err := influxd.Start(influxd.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	const size = 1000
	published, from := 0, time.Now().UnixNano()-24*int64(time.Hour)
	for b.Loop() {
		b.StopTimer()
		for range 100 {
			publishReadings(b, js, published, size, from)
			published++
		}
		b.StartTimer()
		stop := runWriter(b, server.JS(b), db.URL())
		streamtest.Eventually(b, "the writer is done", func() bool { return drained(b, js) })
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(published*size), "ns/reading")
	b.ReportMetric(float64(published*size)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkWrite measures encoded points by the official client, without NATS.
func BenchmarkWrite(b *testing.B) {
	db, err := influxd.Start(influxd.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	c, err := influx.New(influx.Config{URL: db.URL(), Database: "headwater", Timeout: 30 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if err := c.Ensure(b.Context(), raw); err != nil {
		b.Fatal(err)
	}
	const size, devices = 5000, 20
	var text []byte
	var prefixes [devices][]byte
	for d := range prefixes {
		prefixes[d] = point.AppendValuePrefix(nil, point.Series{Site: "w", Device: fmt.Sprint("door-", d), Metric: "temperature"})
	}
	from := time.Now().UnixNano() - 24*int64(time.Hour)
	n := 0
	for b.Loop() {
		text = text[:0]
		for range size {
			text = point.AppendValue(text, prefixes[n%devices], float64(n%400)/10, from+int64(n)*1e6)
			n++
		}
		if err := c.Write(b.Context(), raw.Name(), string(text)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "readings/s")
}
