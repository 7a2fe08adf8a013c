//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"headwater/services/standalone/bench/stack"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// outageLength is the environment variable with the length of the outage in
// BenchmarkOutage, such as 10m.
const outageLength = "HEADWATER_OUTAGE"

const (
	outageRate = 1000 // readings a second
	outageBody = 100  // readings in one request
)

// outage is a stack of real processes, the writer's way to InfluxDB through a
// proxy, and a load that counts what was acknowledged.
type outage struct {
	*testing.B
	stack *stack.Stack
	js    jetstream.JetStream
	calls chan string
	acked atomic.Int64
	from  time.Time
}

// BenchmarkOutage cuts the writer off from InfluxDB under load. Everything runs as a
// process of its own, 1,000 readings a second come over HTTP, and an alert is raised in
// the middle. Everything that was acknowledged must be stored once. It prints the writer's
// heap after a collection and its resident memory before, during and after the outage, how
// often the writer tried, and how fast the backlog drained under the same load.
func BenchmarkOutage(b *testing.B) {
	away := 15 * time.Second
	if v := os.Getenv(outageLength); v != "" {
		var err error
		away, err = time.ParseDuration(v)
		if err != nil {
			b.Fatalf("%s: %v", outageLength, err)
		}
	}
	for b.Loop() {
		runOutage(b, away)
	}
}

func runOutage(b *testing.B, away time.Duration) {
	ctx, cancel := context.WithTimeout(b.Context(), 2*away+8*time.Minute)
	defer cancel()
	o := &outage{B: b, calls: make(chan string, 64), from: time.Now()}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "firing") {
			o.calls <- string(body)
		}
	}))
	defer hook.Close()
	bin := b.TempDir()
	if err := stack.Build(ctx, bin); err != nil {
		b.Fatal(err)
	}
	s, err := stack.New(stack.Config{Bin: bin, Dir: b.TempDir(), Sync: natsd.SyncSecond, Rules: fmt.Sprintf(e2eRules, hook.URL)})
	if err != nil {
		b.Fatal(err)
	}
	o.stack = s
	defer func() {
		if err := s.Close(30 * time.Second); err != nil {
			b.Error(err)
		}
	}()
	proxy := newProxy(b, s.InfluxAddress)
	s.WriterInflux = proxy.Listen
	if err := s.Start(ctx); err != nil {
		b.Fatal(err)
	}
	nc, err := s.Connect(natsd.UserCore)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	o.js, err = jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}

	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { o.load(stop) })
	o.sleep(ctx, min(away, time.Minute))
	before, asked, resident := o.heap(), o.failed(), o.resident()

	proxy.Stop()
	o.sleep(ctx, away/2)
	alert := o.alert(ctx)
	o.sleep(ctx, away/2-alert)
	during, probes, residentDuring := o.heap(), o.failed()-asked, o.resident()
	lag := o.metric("headwater_writer_messages_pending")
	if lag == 0 {
		b.Error("the gauge shows no lag")
	}
	if reason := s.Node(stack.Writer).Ready(ctx); reason == nil || !strings.Contains(reason.Error(), "held") {
		b.Errorf("the writer says %v of itself", reason)
	}

	stored := o.stored()
	began := time.Now()
	if err := proxy.Start(); err != nil {
		b.Fatal(err)
	}
	streamtest.EventuallyWithin(b, 2*away+time.Minute, "the backlog is stored", func() bool { return o.lag(streams.StreamTelemetry) < 2*outageRate/outageBody })
	drained := time.Since(began)
	rate := (o.stored() - stored) / drained.Seconds()
	streamtest.EventuallyWithin(b, 2*away+time.Minute, "the summaries are stored", func() bool { return o.lag(streams.StreamDerived) < 100 })
	summaries := time.Since(began)
	o.sleep(ctx, min(away, 30*time.Second))
	after, residentAfter := o.heap(), o.resident()
	close(stop)
	load.Wait()
	streamtest.Eventually(b, "all is stored", func() bool {
		return o.lag(streams.StreamTelemetry) == 0 && o.lag(streams.StreamDerived) == 0
	})
	got, want := o.points(), int(o.acked.Load())
	if got != want {
		b.Errorf("%d readings were acknowledged and %d are stored", want, got)
	}
	b.Logf("InfluxDB was away for %v; the alert took %v; heap of the writer after a collection: %.2f MB before, %.2f MB during, %.2f MB after",
		away, alert.Round(time.Millisecond), before/1e6, during/1e6, after/1e6)
	b.Logf("resident memory of the writer: %.1f MB before, %.1f MB during, %.1f MB after", resident/1e6, residentDuring/1e6, residentAfter/1e6)
	b.Logf("%.0f requests failed; %.0f messages waited; drained in %v, the summaries in %v, at %.0f readings/s; %d of %d stored",
		probes, lag, drained.Round(time.Millisecond), summaries.Round(time.Millisecond), rate, got, want)
	b.ReportMetric(float64(want-got), "lost")
	b.ReportMetric(100*(during-before)/before, "%heap-during")
	b.ReportMetric(100*(after-before)/before, "%heap-after")
	b.ReportMetric(rate/outageRate, "x-ingest")
	b.ReportMetric(probes/away.Seconds(), "asked/s")
}

func (o *outage) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
		o.Fatal(ctx.Err())
	case <-time.After(d):
	}
}

// load posts readings with times of their own at a steady rate.
func (o *outage) load(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second * outageBody / outageRate)
	defer tick.Stop()
	for n := int64(0); ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		var body strings.Builder
		body.WriteByte('[')
		at := time.Now().UnixNano()
		for i := range outageBody {
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"site":"hall","device":"calm-%03d","metric":"temperature","value":%d,"ts":%d}`, i, 15+n%10, at)
		}
		body.WriteByte(']')
		if err := o.post(body.String()); err != nil {
			o.Errorf("post readings: %v", err)
			return
		}
		o.acked.Add(outageBody)
	}
}

func (o *outage) post(body string) error {
	resp, err := http.Post("http://"+o.stack.GatewayAddress+"/api/v1/telemetry", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}

// alert raises an alert and returns how long its notification took.
func (o *outage) alert(ctx context.Context) time.Duration {
	o.Helper()
	began := time.Now()
	if err := o.post(fmt.Sprintf(`{"site":"hall","device":"hot","metric":"temperature","value":35,"ts":%d}`, began.UnixNano())); err != nil {
		o.Fatal(err)
	}
	o.acked.Add(1)
	select {
	case <-ctx.Done():
		o.Fatal("no alert came")
	case <-o.calls:
	}
	return time.Since(began)
}

// heap returns the bytes of the writer's heap after a collection.
func (o *outage) heap() float64 {
	o.Helper()
	least := math.Inf(1)
	for range 5 {
		// The heap varies with the messages in flight; its minimum is what stays.
		resp, err := http.Get(o.stack.Node(stack.Writer).Admin() + "/debug/pprof/heap?gc=1")
		if err != nil {
			o.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		least = min(least, o.metric("go_memstats_heap_alloc_bytes"))
		o.sleep(o.Context(), 200*time.Millisecond)
	}
	return least
}

// metric returns a metric of the writer, summed over all labels.
func (o *outage) metric(name string, labels ...string) float64 {
	o.Helper()
	resp, err := http.Get(o.stack.Node(stack.Writer).Admin() + "/metrics")
	if err != nil {
		o.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		o.Fatal(err)
	}
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		matches := true
		for _, pair := range m.GetLabel() {
			matches = matches && (len(labels) == 0 || pair.GetValue() == labels[0])
		}
		if matches {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

func (o *outage) resident() float64 {
	o.Helper()
	return o.metric("process_resident_memory_bytes")
}

func (o *outage) failed() float64 {
	o.Helper()
	return o.metric("headwater_writer_requests_total", "failed")
}

func (o *outage) stored() float64 {
	o.Helper()
	return o.metric("headwater_writer_points_total", "headwater/raw")
}

// lag returns how far the writers are behind the end of a stream, in messages.
func (o *outage) lag(stream string) int {
	o.Helper()
	lanes := streams.DefaultLanes
	names := []string{streams.ConsumerWriter}
	if stream == streams.StreamDerived {
		names = nil
		for lane := range lanes {
			names = append(names, streams.WriterDerivedConsumer(lane))
		}
	}
	lag := 0
	for _, name := range names {
		n, err := streams.Unprocessed(o.Context(), o.js, stream, name)
		if err != nil {
			o.Fatal(err)
		}
		lag = max(lag, int(n))
	}
	return lag
}

// points returns how many readings InfluxDB has.
func (o *outage) points() int {
	o.Helper()
	series, err := query(o, "http://"+o.stack.InfluxAddress, "raw", fmt.Sprintf(
		`SELECT count("value") FROM "temperature" WHERE "site"='hall' AND time >= %d`, o.from.UnixNano()))
	if err != nil || len(series) == 0 {
		o.Fatalf("count the readings: %v", err)
	}
	return int(series[0].Floats("count")[0])
}
