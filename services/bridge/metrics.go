package bridge

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	messages, readings *prometheus.CounterVec
	deadLetters        *prometheus.CounterVec
	dropped            *prometheus.CounterVec
	closed             *prometheus.CounterVec
	redriven           *prometheus.CounterVec
	repeated           prometheus.Counter
	resumes            *prometheus.CounterVec
	incarnations       prometheus.Counter
	staleAcks          prometheus.Counter
	roundSeconds       prometheus.Histogram
	clock              prometheus.Gauge
	waiting            prometheus.Gauge
}

// Values of the label qos.
const (
	qosKept  = "1-2"
	qosLossy = "0"
)

// Reasons of the drops of messages with QoS 0.
const (
	dropOverflow   = "overflow"
	dropRefused    = "refused"
	dropConnection = "connection"
	dropStore      = "store"
)

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Namespace: "headwater", Subsystem: "bridge", Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Namespace: "headwater", Subsystem: "bridge", Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return factory.NewGauge(prometheus.GaugeOpts{Namespace: "headwater", Subsystem: "bridge", Name: name, Help: help})
	}
	m := &metrics{
		messages:     vector("messages_total", "Messages of devices read.", "qos"),
		readings:     vector("readings_total", "Readings stored.", "qos"),
		deadLetters:  vector("dead_letters_total", "Messages that could not be taken, by reason.", "reason"),
		dropped:      vector("dropped_total", "Messages with QoS 0, or the readings in them, that were lost, by reason.", "reason"),
		closed:       vector("connections_closed_total", "Connections of devices that nats-server closed, by reason.", "reason"),
		redriven:     vector("redriven_total", "Dead letters that were to be redriven, by what became of them.", "outcome"),
		repeated:     counter("repeated_messages_total", "Messages read again whose readings had been stored before, and passed over."),
		resumes:      vector("resumes_total", "Times that reading began anew at the last acknowledged message, by cause.", "cause"),
		incarnations: counter("input_incarnations_total", "Times that the stream of the devices was found made anew: what it held is gone."),
		staleAcks:    counter("stale_acks_total", "Times that the durable consumer had an ack from before a reset."),
		roundSeconds: factory.NewHistogram(prometheus.HistogramOpts{
			Namespace: "headwater", Subsystem: "bridge", Name: "commit_seconds", Help: "Time until the batches of a step were stored.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		clock:   gauge("clock_seconds", "Up to when everything that arrived has been stored, since the Unix epoch."),
		waiting: gauge("waiting_messages", "Messages of devices that are kept and not yet stored as readings."),
	}
	for _, qos := range []string{qosKept, qosLossy} {
		m.messages.WithLabelValues(qos)
		m.readings.WithLabelValues(qos)
	}
	for _, reason := range []string{dropOverflow, dropRefused, dropConnection, dropStore} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}
