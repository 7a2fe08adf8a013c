package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/gateway"
	"headwater/streams/streamtest"
)

// BenchmarkPost sends requests to the handler until the stream has stored
// their readings: one at a time, and from many senders.
func BenchmarkPost(b *testing.B) {
	for _, n := range []int{1, 1000} {
		var body strings.Builder
		for i := range n {
			fmt.Fprintf(&body, `,{"site":"hall","device":"door-%d","metric":"temperature","value":%d.5}`, i%20, i)
		}
		text := "[" + body.String()[1:] + "]"
		post := func(b *testing.B, h http.Handler) {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, gateway.Path, strings.NewReader(text))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusAccepted {
				b.Fatalf("answer is %d: %s", w.Code, w.Body)
			}
		}
		perReading := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/reading")
		}
		b.Run(fmt.Sprintf("%d items/1 sender", n), func(b *testing.B) {
			h := start(b)
			b.ReportAllocs()
			for b.Loop() {
				post(b, h)
			}
			perReading(b)
		})
		b.Run(fmt.Sprintf("%d items/40 senders", n), func(b *testing.B) {
			h := start(b)
			// On two cores; more would fill the queue.
			b.SetParallelism(20)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					post(b, h)
				}
			})
			perReading(b)
		})
	}
}

// start runs a gateway for a benchmark.
func start(b *testing.B) http.Handler {
	b.Helper()
	s := streamtest.Run(b)
	s.Ensure(b, 8)
	cfg := gateway.DefaultConfig()
	cfg.DeviceRate, cfg.AddressRate, cfg.NewSeries = 0, 0, 0
	svc, err := gateway.New(cfg, gateway.Deps{JS: s.JS(b), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	streamtest.Eventually(b, "the gateway is ready", func() bool { return svc.Ready() == nil })
	return svc.Handler()
}
