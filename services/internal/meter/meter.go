// Package meter registers the metrics of one part of Headwater. Their names begin with
// headwater_ and the name of the part.
package meter

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Meter registers metrics. Like promauto, it panics if a name is taken or not allowed.
type Meter struct {
	factory promauto.Factory
	part    string
}

// New returns a Meter for the metrics of a part, such as bridge.
func New(registerer prometheus.Registerer, part string) Meter {
	return Meter{promauto.With(registerer), part}
}

func (m Meter) opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "headwater", Subsystem: m.part, Name: name, Help: help}
}

// Counter registers a counter.
func (m Meter) Counter(name, help string) prometheus.Counter {
	return m.factory.NewCounter(prometheus.CounterOpts(m.opts(name, help)))
}

// Counters registers a counter for each value of a label. Those of the given values exist
// from the start.
func (m Meter) Counters(name, help, label string, values ...string) *prometheus.CounterVec {
	v := m.factory.NewCounterVec(prometheus.CounterOpts(m.opts(name, help)), []string{label})
	for _, value := range values {
		v.WithLabelValues(value)
	}
	return v
}

// Gauge registers a gauge.
func (m Meter) Gauge(name, help string) prometheus.Gauge {
	return m.factory.NewGauge(prometheus.GaugeOpts(m.opts(name, help)))
}

// Gauges registers a gauge for each value of a label.
func (m Meter) Gauges(name, help, label string) *prometheus.GaugeVec {
	return m.factory.NewGaugeVec(prometheus.GaugeOpts(m.opts(name, help)), []string{label})
}

// GaugeFunc registers a gauge whose value a function returns.
func (m Meter) GaugeFunc(name, help string, value func() float64) {
	m.factory.NewGaugeFunc(prometheus.GaugeOpts(m.opts(name, help)), value)
}

// Histogram registers a histogram whose buckets begin at least and grow by a factor.
func (m Meter) Histogram(name, help string, least, factor float64, buckets int) prometheus.Histogram {
	return m.factory.NewHistogram(prometheus.HistogramOpts{
		Namespace: "headwater", Subsystem: m.part, Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(least, factor, buckets),
	})
}
