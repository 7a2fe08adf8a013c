package machine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	derivedv1 "headwater/proto/derived/v1"
)

// Metrics count what all lanes of a process do together. A nil *Metrics counts nothing.
type Metrics struct {
	readings, summaries, notNumeric prometheus.Counter
	duplicates, conflicts           prometheus.Counter
	tooLate, overLimit              prometheus.Counter
	anomalies                       map[derivedv1.Phase]prometheus.Counter
	seriesKept                      *prometheus.GaugeVec
	received, rejected              *prometheus.CounterVec
	failures                        *prometheus.CounterVec
}

// NewMetrics registers the metrics of the processor.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	factory := promauto.With(reg)
	name := func(n string) string { return "headwater_processor_" + n }
	dropped := factory.NewCounterVec(prometheus.CounterOpts{
		Name: name("dropped_total"),
		Help: "Readings that are in the history but in no summary: repeats of another reading with the same or another value, readings that arrived too late, and readings of series beyond the limits.",
	}, []string{"reason"})
	anomalies := factory.NewCounterVec(prometheus.CounterOpts{
		Name: name("anomalies_total"), Help: "Transitions of episodes committed, by phase.",
	}, []string{"phase"})
	return &Metrics{
		readings:   factory.NewCounter(prometheus.CounterOpts{Name: name("readings_total"), Help: "Readings whose outputs are committed."}),
		summaries:  factory.NewCounter(prometheus.CounterOpts{Name: name("summaries_total"), Help: "Summaries of windows committed, revisions included."}),
		notNumeric: factory.NewCounter(prometheus.CounterOpts{Name: name("not_numeric_total"), Help: "Readings that are not finite numbers: mostly flags and texts."}),
		duplicates: dropped.WithLabelValues("duplicate"), conflicts: dropped.WithLabelValues("conflict"),
		tooLate: dropped.WithLabelValues("too_late"), overLimit: dropped.WithLabelValues("series_limit"),
		anomalies: map[derivedv1.Phase]prometheus.Counter{
			derivedv1.Phase_PHASE_OPEN:   anomalies.WithLabelValues("open"),
			derivedv1.Phase_PHASE_UPDATE: anomalies.WithLabelValues("update"),
			derivedv1.Phase_PHASE_CLOSE:  anomalies.WithLabelValues("close"),
		},
		received: factory.NewCounterVec(prometheus.CounterOpts{
			Name: name("received_readings_total"), Help: "Readings that arrived in TELEMETRY and are committed, by source.",
		}, []string{"source"}),
		rejected: factory.NewCounterVec(prometheus.CounterOpts{
			Name: name("received_rejected_total"), Help: "Messages of devices that became dead letters instead of readings and are committed, by source.",
		}, []string{"source"}),
		failures: factory.NewCounterVec(prometheus.CounterOpts{
			Name: name("rule_failures_total"), Help: "Times that a rule with an expression began to fail in a lane.",
		}, []string{"rule"}),
		seriesKept: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: name("series"), Help: "Series for which a lane has state.",
		}, []string{"lane"}),
	}
}

// committed counts the outputs of a commit.
func (m *Metrics) committed(o *output) {
	if m == nil {
		return
	}
	m.readings.Add(float64(o.counts.readings))
	m.summaries.Add(float64(len(o.summaries)))
	m.notNumeric.Add(float64(o.counts.notNumeric))
	m.duplicates.Add(float64(o.counts.duplicates))
	m.conflicts.Add(float64(o.counts.conflicts))
	m.tooLate.Add(float64(o.counts.tooLate))
	m.overLimit.Add(float64(o.counts.overLimit))
	for source, n := range o.counts.arrived {
		m.received.WithLabelValues(string(source)).Add(float64(n))
	}
	for source, n := range o.counts.rejected {
		m.rejected.WithLabelValues(string(source)).Add(float64(n))
	}
	for _, r := range o.rules {
		if r.Failing > 0 {
			m.failures.WithLabelValues(r.Rule).Inc()
		}
	}
	for _, a := range o.anomalies {
		m.anomalies[a.Phase].Inc()
	}
}

// series sets how many series a lane has.
func (m *Metrics) series(lane, n int) {
	if m != nil {
		m.seriesKept.WithLabelValues(strconv.Itoa(lane)).Set(float64(n))
	}
}
