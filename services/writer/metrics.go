package writer

import (
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/meter"
	"headwater/streams"
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
	register := meter.New(r, streams.ServiceWriter)
	return &metrics{
		points:      register.Counters("points_total", "Points that InfluxDB stored, repeats included, by bucket.", "bucket"),
		requests:    register.Counters("requests_total", "Requests to InfluxDB, by result: stored, refused (the points) or failed (and retried).", "result"),
		retries:     register.Counter("retries_total", "Requests that were retried."),
		duration:    register.Histogram("request_duration_seconds", "How long requests to InfluxDB took.", 0.001, 2, 16),
		size:        register.Histogram("batch_points", "Points of one batch of readings.", 1, 4, 9),
		inFlight:    register.Gauge("requests_in_flight", "Requests to InfluxDB in flight."),
		holding:     register.Gauge("buckets_held", "Buckets for which InfluxDB accepts no points now."),
		pending:     register.Gauge("messages_pending", "Messages of TELEMETRY that no writer has fetched yet."),
		success:     register.Gauge("last_success_timestamp_seconds", "When InfluxDB last stored points, in seconds since the Unix epoch."),
		mends:       register.Counters("mends_total", "Runs of roll-ups recomputed for readings that came too late, by result: made or failed.", "result"),
		deadLetters: register.Counters("dead_letters_total", "Points and messages that became dead letters, by reason.", "reason"),
	}
}
