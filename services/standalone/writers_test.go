package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

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
	// writersBacklog is how many readings wait for each writer.
	writersBacklog = 60_000
	// writersMessage is how many readings a message has.
	writersMessage = 100
	// writersLatency is how much later InfluxDB answers than it could: then the
	// writers wait for it, and not for the processors of this machine.
	writersLatency = 50 * time.Millisecond
)

// BenchmarkWriters measures how fast one, two and four writers store a backlog
// in an InfluxDB whose answers take 50 ms, with one request of 500 readings in
// flight each. It prints readings a second, and how many times those of one
// writer that is.
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
	server := streamtest.Run(b)
	server.Ensure(b, streams.DefaultLanes)
	js := server.JS(b)
	database, err := influxd.Start(influxd.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := database.Close(); err != nil {
			b.Error(err)
		}
	}()
	proxy := newProxy(b, database.URL()[len("http://"):])
	delay(b, proxy, writersLatency)
	fillTelemetry(b, js, writers*writersBacklog)

	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	begin := time.Now()
	for range writers {
		s := newWriter(b, server, "http://"+proxy.Listen)
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				b.Error(err)
			}
		})
	}
	streamtest.Eventually(b, 5*time.Minute, "the backlog is stored", func() bool {
		c, err := js.Consumer(ctx, streams.StreamTelemetry, streams.ConsumerWriter)
		if err != nil {
			b.Fatal(err)
		}
		return c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
	took := time.Since(begin)
	series, err := query(b, database.URL(), "raw", `SELECT count("value") FROM "temperature"`)
	if err != nil || len(series) == 0 {
		b.Fatalf("count the readings: %v", err)
	}
	if got := int(series[0].Floats("count")[0]); got != writers*writersBacklog {
		b.Errorf("%d of %d readings are stored", got, writers*writersBacklog)
	}
	return float64(writers*writersBacklog) / took.Seconds()
}

func newWriter(b *testing.B, server *streamtest.Server, url string) *writer.Service {
	b.Helper()
	js, err := jetstream.New(server.Conn(b, natsd.UserOf(streams.ServiceWriter)))
	if err != nil {
		b.Fatal(err)
	}
	cfg := writer.DefaultConfig()
	cfg.Influx.URL, cfg.BatchPoints, cfg.InFlight = url, 500, 1
	s, err := writer.New(cfg, writer.Deps{JS: js, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// fillTelemetry publishes readings of a thousand devices, each with a time of
// its own.
func fillTelemetry(b *testing.B, js jetstream.JetStream, readings int) {
	b.Helper()
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
			b.Fatal(err)
		}
		ack, err := js.PublishMsgAsync(m)
		if err != nil {
			b.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			b.Fatal(err)
		case <-b.Context().Done():
			b.Fatal(b.Context().Err())
		}
	}
}
