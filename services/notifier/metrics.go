package notifier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/notifier/policy"
)

// metrics are what the notifier counts. Channels are few and named by people,
// so they may be labels.
type metrics struct {
	decisions, held, attempts, dropped *prometheus.CounterVec
	latency                            *prometheus.HistogramVec
	senders                            prometheus.Gauge
	firing                             prometheus.Gauge
	losses                             prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Namespace: "headwater", Subsystem: "notifier", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return factory.NewGauge(prometheus.GaugeOpts{Namespace: "headwater", Subsystem: "notifier", Name: name, Help: help})
	}
	return &metrics{
		decisions: counter("decisions_total", "Anomalies by what was decided about them, replayed ones included.", "reason"),
		held:      counter("held_total", "Channels that were not notified of a decision, by reason, replayed ones included.", "reason"),
		attempts:  counter("attempts_total", "Attempts to deliver a message, by channel and outcome.", "channel", "outcome"),
		dropped:   counter("dropped_total", "Messages that will not be sent, by reason.", "reason"),
		latency: factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "headwater", Subsystem: "notifier", Name: "delivery_seconds",
			Help:    "Time from the commit of a message until its channel has taken it.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 14),
		}, []string{"channel"}),
		senders: gauge("senders", "Channels that have a sender."),
		firing:  gauge("alerts_firing", "Alerts that are firing."),
		losses: factory.NewCounter(prometheus.CounterOpts{
			Namespace: "headwater", Subsystem: "notifier", Name: "alerting_losses_total", Help: "Times that the end of ALERTING was found to be lost.",
		}),
	}
}

func (m *metrics) observe(d policy.Decision) {
	m.decisions.WithLabelValues(string(d.Reason)).Inc()
	for _, hold := range d.Held {
		m.held.WithLabelValues(string(hold)).Inc()
	}
}
