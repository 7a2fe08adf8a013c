package lease

import (
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/meter"
)

// Metrics are what a keeper counts.
type Metrics struct {
	held        prometheus.Gauge
	taken, lost prometheus.Counter
}

// NewMetrics registers the metrics of the keeper of a service.
func NewMetrics(reg prometheus.Registerer, service string) *Metrics {
	register := meter.New(reg, service)
	return &Metrics{
		held:  register.Gauge("leases", "Lanes that this process holds."),
		taken: register.Counter("leases_taken_total", "Times that this process took a lane."),
		lost:  register.Counter("leases_lost_total", "Times that the lease on a lane could not be renewed in time, or another worker had it."),
	}
}
