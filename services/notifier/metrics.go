package notifier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/internal/meter"
	"headwater/services/internal/oncall"
	"headwater/services/notifier/group"
	"headwater/services/notifier/policy"
	"headwater/streams"
)

// metrics are what the notifier counts. Channels are few and named by people,
// so they may be labels.
type metrics struct {
	decisions, held, grouped, quiet, attempts, dropped *prometheus.CounterVec
	latency                                            *prometheus.HistogramVec
	senders                                            prometheus.Gauge
	firing, acknowledged                               prometheus.Gauge
	losses                                             prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	register := meter.New(reg, streams.ServiceNotifier)
	factory := promauto.With(reg)
	return &metrics{
		decisions: register.Counters("decisions_total", "Anomalies by what was decided about them, replayed ones included.", "reason"),
		held:      register.Counters("held_total", "Channels that were not notified of a decision, by reason, replayed ones included.", "reason"),
		grouped:   register.Counters("grouped_total", "Alerts of which a channel is to be notified, by what becomes of them in their group, replayed ones included.", "reason"),
		quiet:     register.Counters("quiet_total", "Alerts of which a channel is to be notified, by what its quiet hours do, replayed ones included.", "reason"),
		attempts: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_notifier_attempts_total", Help: "Attempts to deliver a message, by channel and outcome.",
		}, []string{"channel", "outcome"}),
		dropped: register.Counters("dropped_total", "Messages that will not be sent, by reason.", "reason"),
		latency: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headwater_notifier_delivery_seconds", Help: "Time from the commit of a message until its channel has taken it.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 14),
		}, []string{"channel"}),
		senders:      register.Gauge("senders", "Channels that have a sender."),
		firing:       register.Gauge("alerts_firing", "Alerts that are firing and that nobody has acknowledged."),
		acknowledged: register.Gauge("alerts_acknowledged", "Alerts that are firing and that somebody has acknowledged."),
		losses:       register.Counter("alerting_losses_total", "Times that the end of ALERTING was found to be lost."),
	}
}

func (m *metrics) gathered(r group.Reason) { m.grouped.WithLabelValues(string(r)).Inc() }

func (m *metrics) hushed(h oncall.Hush) { m.quiet.WithLabelValues(string(h)).Inc() }

func (m *metrics) observe(d policy.Decision) {
	m.decisions.WithLabelValues(string(d.Reason)).Inc()
	for _, hold := range d.Held {
		m.held.WithLabelValues(string(hold)).Inc()
	}
}
