package bridge

import (
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/meter"
	"headwater/streams"
)

type metrics struct {
	messages, readings *prometheus.CounterVec
	deadLetters        *prometheus.CounterVec
	dropped            *prometheus.CounterVec
	closed             *prometheus.CounterVec
	redriven           *prometheus.CounterVec
	refused, limited   *prometheus.CounterVec
	repeated, empty    prometheus.Counter
	formats, ignored   *prometheus.CounterVec
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
	refusedRate     = "device-rate"
	// refusedConnection is for messages that the connection dropped, which get no answer.
	refusedConnection = "connection"
)

// Reasons of the drops of messages with QoS 0.
const (
	dropOverflow   = "overflow"
	dropRefused    = "refused"
	dropConnection = "connection"
	dropStore      = "store"
	dropRate       = "device-rate"
)

func newMetrics(registerer prometheus.Registerer) *metrics {
	register := meter.New(registerer, streams.ServiceBridge)
	return &metrics{
		messages:    register.Counters("messages_total", "Messages of devices that were processed, by QoS.", "qos", qosKept, qosLossy),
		readings:    register.Counters("readings_total", "Readings stored, by QoS.", "qos", qosKept, qosLossy),
		deadLetters: register.Counters("dead_letters_total", "Messages that became dead letters, by reason.", "reason"),
		dropped: register.Counters("dropped_total", "Messages with QoS 0, or readings in them, that were lost, by reason.", "reason",
			dropOverflow, dropRefused, dropConnection, dropStore, dropRate),
		closed:   register.Counters("connections_closed_total", "Connections of devices that nats-server closed, by reason.", "reason"),
		redriven: register.Counters("redriven_total", "Dead letters of redrive requests, by outcome.", "outcome"),
		refused: register.Counters("refused_total", "Messages with QoS 1 and 2 that were refused, so that nats-server closes the connection and the device sends again, by reason.", "reason",
			refusedOverflow, refusedTooLarge, refusedTooLate, refusedConnection, refusedRate),
		limited: register.Counters("limited_total", "Messages that had to wait because their device sends too much, and readings refused because it has begun too many metrics, by reason.", "reason",
			limitedRate, limitedSeries),
		repeated:     register.Counter("repeated_messages_total", "Messages that were stored but not answered, and were then answered without being stored again."),
		empty:        register.Counter("empty_messages_total", "Messages without a payload, which clear a retained message in MQTT."),
		formats:      register.Counters("format_messages_total", "Messages on topics that are not Headwater's own, by the format or the mapping that took them.", "format"),
		ignored:      register.Counters("ignored_messages_total", "Messages that were understood and hold no reading, such as commands and descriptions, by format.", "format"),
		resumes:      register.Counters("resumes_total", "Times that the lanes were loaded again, by cause.", "cause"),
		roundSeconds: register.Histogram("commit_seconds", "Time to store the batches of a round.", 0.0005, 2, 14),
		clock:        register.Gauge("clock_seconds", "Time up to which everything that arrived is stored, since the Unix epoch."),
		waiting:      register.Gauge("waiting_messages", "Messages of devices with QoS 1 and 2 that wait to be stored."),
	}
}

// format counts a message that a format or a mapping took.
func (m *metrics) format(name string, nothing bool) {
	m.formats.WithLabelValues(name).Inc()
	if nothing {
		m.ignored.WithLabelValues(name).Inc()
	}
}
