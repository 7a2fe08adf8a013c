package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	readings prometheus.Counter
	dropped  *prometheus.CounterVec
	commit   prometheus.Histogram
	batch    prometheus.Histogram
}

// newMetrics registers the metrics. Waiting returns how many readings wait.
func newMetrics(registerer prometheus.Registerer, waiting func() int) metrics {
	factory := promauto.With(registerer)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_gateway_queue_readings", Help: "Readings that wait for the next commit.",
	}, func() float64 { return float64(waiting()) })
	return metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_gateway_requests_total", Help: "Requests, by status code.",
		}, []string{"code"}),
		readings: factory.NewCounter(prometheus.CounterOpts{
			Name: "headwater_gateway_readings_total", Help: "Readings stored.",
		}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_gateway_dropped_total", Help: "Items refused, by reason; the answer to the sender lists them.",
		}, []string{"reason"}),
		commit: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_gateway_commit_duration_seconds", Help: "Time to store a commit.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		batch: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_gateway_commit_readings", Help: "Readings in a commit.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}),
	}
}
