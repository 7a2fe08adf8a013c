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
	refused            *prometheus.CounterVec
	repeated, empty    prometheus.Counter
	resumes            *prometheus.CounterVec
	roundSeconds       prometheus.Histogram
	clock              prometheus.Gauge
	waiting            prometheus.Gauge
}

// Values of the label qos.
const (
	qosKept  = "1-2"
	qosLossy = "0"
)

// Reasons why a message with QoS 1 or 2 is refused.
const (
	refusedOverflow = "overflow"
	refusedTooLarge = "too-large"
	refusedTooLate  = "timeout"
	// refusedConnection is for messages that the connection dropped, which get no answer.
	refusedConnection = "connection"
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
		messages:    vector("messages_total", "Messages of devices that were processed, by QoS.", "qos"),
		readings:    vector("readings_total", "Readings stored, by QoS.", "qos"),
		deadLetters: vector("dead_letters_total", "Messages that became dead letters, by reason.", "reason"),
		dropped:     vector("dropped_total", "Messages with QoS 0, or readings in them, that were lost, by reason.", "reason"),
		closed:      vector("connections_closed_total", "Connections of devices that nats-server closed, by reason.", "reason"),
		redriven:    vector("redriven_total", "Dead letters of redrive requests, by outcome.", "outcome"),
		refused:     vector("refused_total", "Messages with QoS 1 and 2 that were refused, so that nats-server closes the connection and the device sends again, by reason.", "reason"),
		repeated:    counter("repeated_messages_total", "Messages that were stored but not answered, and were then answered without being stored again."),
		empty:       counter("empty_messages_total", "Messages without a payload, which clear a retained message in MQTT."),
		resumes:     vector("resumes_total", "Times that the lanes were loaded again, by cause.", "cause"),
		roundSeconds: factory.NewHistogram(prometheus.HistogramOpts{
			Namespace: "headwater", Subsystem: "bridge", Name: "commit_seconds", Help: "Time to store the batches of a round.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		clock:   gauge("clock_seconds", "Time up to which everything that arrived is stored, since the Unix epoch."),
		waiting: gauge("waiting_messages", "Messages of devices with QoS 1 and 2 that wait to be stored."),
	}
	for _, qos := range []string{qosKept, qosLossy} {
		m.messages.WithLabelValues(qos)
		m.readings.WithLabelValues(qos)
	}
	for _, reason := range []string{dropOverflow, dropRefused, dropConnection, dropStore} {
		m.dropped.WithLabelValues(reason)
	}
	for _, reason := range []string{refusedOverflow, refusedTooLarge, refusedTooLate, refusedConnection} {
		m.refused.WithLabelValues(reason)
	}
	return m
}
