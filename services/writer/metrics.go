package writer

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	points      *prometheus.CounterVec
	requests    *prometheus.CounterVec
	retries     prometheus.Counter
	duration    prometheus.Histogram
	size        prometheus.Histogram
	inFlight    prometheus.Gauge
	holding     prometheus.Gauge
	pending     prometheus.Gauge
	success     prometheus.Gauge
	deadLetters *prometheus.CounterVec
	mends       *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		points: f.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_writer_points_total", Help: "Points that InfluxDB stored, repeats included, by bucket.",
		}, []string{"bucket"}),
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_writer_requests_total", Help: "Requests to InfluxDB, by result: stored, refused (the points) or failed (and retried).",
		}, []string{"result"}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Name: "headwater_writer_retries_total", Help: "Requests that were retried.",
		}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_writer_request_duration_seconds", Help: "How long requests to InfluxDB took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		size: f.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_writer_batch_points", Help: "Points of one batch of readings.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_writer_requests_in_flight", Help: "Requests to InfluxDB in flight.",
		}),
		holding: f.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_writer_buckets_held", Help: "Buckets for which InfluxDB accepts no points now.",
		}),
		pending: f.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_writer_messages_pending", Help: "Messages of TELEMETRY that no writer has fetched yet.",
		}),
		success: f.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_writer_last_success_timestamp_seconds", Help: "When InfluxDB last stored points, in seconds since the Unix epoch.",
		}),
		mends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_writer_mends_total", Help: "Runs of roll-ups recomputed for readings that came too late, by result: made or failed.",
		}, []string{"result"}),
		deadLetters: f.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_writer_dead_letters_total", Help: "Points and messages that became dead letters, by reason.",
		}, []string{"reason"}),
	}
}
