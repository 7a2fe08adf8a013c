package influxd_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/configstore"
	"headwater/services/processor"
	"headwater/services/standalone/influxd"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestOneValuePerInstant sends other values for event times that have one
// already, in messages of their own, past several writers: history and summaries
// end with the last of each.
func TestOneValuePerInstant(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	js := server.JS(t)
	db := start(t, influxd.Config{Dir: t.TempDir()})
	c := connectEnsured(t, db)
	store, err := configstore.Open(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.PutFile(t.Context(), "rules.yaml", []byte("auto: off\n")); err != nil {
		t.Fatal(err)
	}
	p, err := processor.New(processor.DefaultConfig(), processor.Deps{
		JS: server.JS(t), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("processor: %v", err)
		}
	})
	for range 3 {
		runWriter(t, server.JS(t), db.URL())
	}

	const instants, rounds = 50, 4
	lane := streams.Lane("w", "door-1", lanes)
	minute := time.Now().Add(-2 * time.Minute).Truncate(time.Minute).UnixNano()
	publish := func(build func(*telemetryv1.Builder)) {
		t.Helper()
		var b telemetryv1.Builder
		build(&b)
		m, err := streams.TelemetryMsg(lane, streams.SourceMQTT, b.Take(time.Now().UnixNano()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		for i := range instants {
			publish(func(b *telemetryv1.Builder) {
				b.Value(telemetryv1.Key{Site: "w", Device: "door-1", Metric: "temperature"}, minute+int64(i)*1e9, float64(i+1000*round))
			})
		}
	}
	m, err := streams.TelemetryMsg(lane, streams.SourceMQTT, &telemetryv1.Batch{Clock: &telemetryv1.Clock{CaughtUp: time.Now().UnixNano()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}

	const last = 1000 * (rounds - 1)
	streamtest.Eventually(t, "the summary is of the last values", func() bool {
		series, err := c.Query(t.Context(), "headwater", "1m", `SELECT count, min, max FROM temperature`, nil)
		return err == nil && len(series) == 1 &&
			fmt.Sprint(series[0].Values) == fmt.Sprintf("[[%d %d %d]]", instants, last, last+instants-1)
	})
	streamtest.Eventually(t, "all commits are stored", func() bool {
		n, err := streams.Unprocessed(t.Context(), js, streams.StreamDerived, streams.WriterDerivedConsumer(lane))
		return err == nil && n == 0 && drained(t, js)
	})
	series, err := c.Query(t.Context(), "headwater", "raw", `SELECT value FROM temperature`, nil)
	if err != nil || len(series) != 1 || len(series[0].Times) != instants {
		t.Fatalf("history: %v, %v", series, err)
	}
	for i, v := range series[0].Floats("value") {
		if v != float64(i+last) {
			t.Errorf("instant %d is %v, want %d", i, v, i+last)
		}
	}
}
