package machine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/meter"
	"headwater/streams"
)

// Metrics count what all lanes of a process do together. A nil *Metrics counts nothing.
type Metrics struct {
	readings, summaries, notNumeric prometheus.Counter
	duplicates, conflicts           prometheus.Counter
	tooLate, overLimit, uncompared  prometheus.Counter
	anomalies                       map[derivedv1.Phase]prometheus.Counter
	seriesKept                      *prometheus.GaugeVec
	received, rejected              *prometheus.CounterVec
	derived, derivedLimit           prometheus.Counter
	derivedLate, shadowed           prometheus.Counter
	failures                        *prometheus.CounterVec
}

// NewMetrics registers the metrics of the processor.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	register := meter.New(reg, streams.ServiceProcessor)
	dropped := register.Counters("dropped_total",
		"Readings that are in the history but in no summary, or change no derived series: repeats of another reading with the same or another value, readings that arrived too late, readings of series beyond the limits, readings that came too late for a derived series, and those that a device sends under the name of one.", "reason")
	anomalies := register.Counters("anomalies_total", "Transitions of episodes committed, by phase.", "phase")
	return &Metrics{
		readings:   register.Counter("readings_total", "Readings whose outputs are committed."),
		summaries:  register.Counter("summaries_total", "Summaries of windows committed, revisions included."),
		notNumeric: register.Counter("not_numeric_total", "Readings that are not finite numbers: mostly flags and texts."),
		duplicates: dropped.WithLabelValues("duplicate"), conflicts: dropped.WithLabelValues("conflict"),
		tooLate: dropped.WithLabelValues("too_late"), overLimit: dropped.WithLabelValues("series_limit"),
		uncompared: register.Counter("late_uncompared_total",
			"Readings that came too late for their windows and could not be compared with earlier ones of their event time. If one of these had another value, that clash is not counted: the history has the last value."),
		anomalies: map[derivedv1.Phase]prometheus.Counter{
			derivedv1.Phase_PHASE_OPEN:   anomalies.WithLabelValues("open"),
			derivedv1.Phase_PHASE_UPDATE: anomalies.WithLabelValues("update"),
			derivedv1.Phase_PHASE_CLOSE:  anomalies.WithLabelValues("close"),
		},
		received:    register.Counters("received_readings_total", "Readings that arrived in TELEMETRY and are committed, by source.", "source"),
		rejected:    register.Counters("received_rejected_total", "Messages of devices that became dead letters instead of readings and are committed, by source.", "source"),
		derived:     register.Counter("derived_readings_total", "Readings of derived series committed, those that replace earlier ones included."),
		derivedLate: dropped.WithLabelValues("derived_late"), shadowed: dropped.WithLabelValues("derived_name"),
		derivedLimit: register.Counter("derived_left_out_total", "Times that a device had more derived series declared than it may have; the last ones are not computed."),
		failures:     register.Counters("rule_failures_total", "Times that a rule with an expression began to fail in a lane.", "rule"),
		seriesKept:   register.Gauges("series", "Series for which a lane has state.", "lane"),
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
	m.uncompared.Add(float64(o.counts.uncompared))
	m.derived.Add(float64(o.counts.derived))
	m.derivedLate.Add(float64(o.counts.derivedLate))
	m.shadowed.Add(float64(o.counts.shadowed))
	m.derivedLimit.Add(float64(o.counts.derivedLimit))
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
