package lease

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are what a keeper counts.
type Metrics struct {
	held        prometheus.Gauge
	taken, lost prometheus.Counter
}

// NewMetrics registers the metrics of the keeper of a service.
func NewMetrics(reg prometheus.Registerer, service string) *Metrics {
	factory := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Namespace: "headwater", Subsystem: service, Name: name, Help: help})
	}
	return &Metrics{
		held: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "headwater", Subsystem: service, Name: "leases", Help: "Lanes that this process holds.",
		}),
		taken: counter("leases_taken_total", "Times that this process took a lane."),
		lost:  counter("leases_lost_total", "Times that the lease on a lane could not be renewed in time, or another worker had it."),
	}
}
