package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/standalone/influxd"
	"headwater/services/writer"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const (
	// writersBacklog is the number of waiting readings for each writer.
	writersBacklog = 60_000
	// writersMessage is how many readings a message has.
	writersMessage = 100
	// writersLatency delays InfluxDB's responses, so that the writers wait for InfluxDB
	// and not for the processors of this machine.
	writersLatency = 50 * time.Millisecond
)

// BenchmarkWriters measures how fast one, two and four writers store a backlog
// in an InfluxDB whose answers take 50 ms, with one request of 500 readings in
// flight each. It prints readings a second, and the ratio to one writer.
func BenchmarkWriters(b *testing.B) {
	one := 0.0 // readings a second of one writer
	for _, writers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			rate := 0.0
			for b.Loop() {
				rate = measureWriters(b, writers)
			}
			b.ReportMetric(rate, "readings/s")
			switch {
			case writers == 1:
				one = rate
			case one > 0: // It has been measured in this run.
				b.ReportMetric(rate/one, "x-one")
			}
		})
	}
}

// measureWriters returns how many readings a second the writers store.
func measureWriters(b *testing.B, writers int) float64 {
	d := newDesk(b)
	delay(b, d.proxy, writersLatency)
	d.publish(writers * writersBacklog)
	begin := time.Now()
	stop := d.start(writers)
	defer stop()
	streamtest.EventuallyWithin(b, 5*time.Minute, "the backlog is stored", func() bool { return d.unacknowledged() == 0 })
	took := time.Since(begin)
	if got := d.stored(); got != writers*writersBacklog {
		b.Errorf("%d of %d readings are stored", got, writers*writersBacklog)
	}
	return float64(writers*writersBacklog) / took.Seconds()
}

// TestAnswersThatAreLostStoreEachReadingOnce cuts the connection when InfluxDB reports
// success.
func TestAnswersThatAreLostStoreEachReadingOnce(t *testing.T) {
	d := newDesk(t)
	stop := d.start(1)
	defer stop()
	d.publish(writersMessage)
	streamtest.Eventually(t, "the first readings are stored", func() bool { return d.unacknowledged() == 0 })
	heal := swallow(t, d.proxy)
	// The same series as before, because InfluxDB's index has races between queries and new
	// series.
	for range 5 {
		d.publish(writersMessage)
	}
	streamtest.Eventually(t, "readings are stored that the writer does not know of", func() bool {
		return d.stored() > writersMessage && d.unacknowledged() == 5
	})
	heal()
	streamtest.Eventually(t, "all is acknowledged", func() bool { return d.unacknowledged() == 0 })
	if got := d.stored(); got != 6*writersMessage {
		t.Errorf("%d of %d readings are stored", got, 6*writersMessage)
	}
	letters, err := d.js.Stream(t.Context(), streams.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	if n := letters.CachedInfo().State.Msgs; n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// desk is what writers use: streams, and an InfluxDB behind a proxy.
type desk struct {
	testing.TB
	server   *streamtest.Server
	js       jetstream.JetStream
	database *influxd.Server
	proxy    *toxiproxy.Proxy
}

func newDesk(tb testing.TB) *desk {
	tb.Helper()
	server := streamtest.Run(tb)
	server.Ensure(tb, streams.DefaultLanes)
	database, err := influxd.Start(influxd.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := database.Close(); err != nil {
			tb.Error(err)
		}
	})
	proxy := newProxy(tb, strings.TrimPrefix(database.URL(), "http://"))
	return &desk{TB: tb, server: server, js: server.JS(tb), database: database, proxy: proxy}
}

// start runs writers with one request of 500 readings in flight each. Stop stops them and
// waits.
func (d *desk) start(writers int) (stop func()) {
	d.Helper()
	ctx, cancel := context.WithCancel(d.Context())
	var running sync.WaitGroup
	for range writers {
		s := d.writer()
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				d.Error(err)
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

func (d *desk) writer() *writer.Service {
	d.Helper()
	js, err := jetstream.New(d.server.Conn(d, natsd.UserOf(streams.ServiceWriter)))
	if err != nil {
		d.Fatal(err)
	}
	cfg := writer.DefaultConfig()
	cfg.Influx.URL, cfg.BatchPoints, cfg.InFlight = "http://"+d.proxy.Listen, 500, 1
	s, err := writer.New(cfg, writer.Deps{JS: js, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		d.Fatal(err)
	}
	return s
}

// unacknowledged returns how many messages of TELEMETRY no writer has acknowledged.
func (d *desk) unacknowledged() int {
	d.Helper()
	n, err := streams.Unprocessed(d.Context(), d.js, streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		d.Fatal(err)
	}
	return int(n)
}

// stored returns how many readings InfluxDB has.
func (d *desk) stored() int {
	d.Helper()
	series, err := query(d, d.database.URL(), "raw", `SELECT count("value") FROM "temperature"`)
	if err != nil {
		d.Fatalf("count the readings: %v", err)
	}
	if len(series) == 0 {
		return 0
	}
	return int(series[0].Floats("count")[0])
}

// publish publishes readings of a thousand devices, each with a time of its own.
func (d *desk) publish(readings int) {
	d.Helper()
	at := time.Now().Add(-time.Hour).UnixNano()
	var acks []jetstream.PubAckFuture
	for n := 0; n < readings; n += writersMessage {
		var batch telemetryv1.Builder
		for i := n; i < n+writersMessage; i++ {
			key := telemetryv1.Key{Site: "bench", Device: fmt.Sprintf("device-%03d", i%1000), Metric: "temperature"}
			batch.Value(key, at+int64(i), float64(i%50))
		}
		m, err := streams.TelemetryMsg(n/writersMessage%streams.DefaultLanes, streams.SourceHTTP, batch.Take(at))
		if err != nil {
			d.Fatal(err)
		}
		ack, err := d.js.PublishMsgAsync(m)
		if err != nil {
			d.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			d.Fatal(err)
		case <-d.Context().Done():
			d.Fatal(d.Context().Err())
		}
	}
}
