package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/meter"
	"headwater/streams"
)

type metrics struct {
	requests *prometheus.CounterVec
	readings prometheus.Counter
	dropped  *prometheus.CounterVec
	limited  *prometheus.CounterVec
	lost     prometheus.Counter
	commit   prometheus.Histogram
	batch    prometheus.Histogram
}

// newMetrics registers the metrics. Waiting returns how many readings wait.
func newMetrics(registerer prometheus.Registerer, waiting func() int) metrics {
	register := meter.New(registerer, streams.ServiceGateway)
	register.GaugeFunc("queue_readings", "Readings that wait for the next commit.", func() float64 { return float64(waiting()) })
	return metrics{
		requests: register.Counters("requests_total", "Requests, by status code.", "code"),
		readings: register.Counter("readings_total", "Readings stored."),
		dropped:  register.Counters("dropped_total", "Items refused, by reason; the answer to the sender lists them.", "reason"),
		limited:  register.Counters("limited_total", "Requests refused with 429 because a device or an address sent too much, by reason.", "reason", reasonDeviceRate, reasonAddressRate),
		lost:     register.Counter("lines_lost_total", "Lines over UDP that were not stored: refused, or too many at once."),
		commit:   register.Histogram("commit_duration_seconds", "Time to store a commit.", 0.0005, 2, 16),
		batch:    register.Histogram("commit_readings", "Readings in a commit.", 1, 4, 9),
	}
}
