package dashboard

import (
	"time"

	"headwater/services/dashboard/fleet"
	"headwater/web/overview"
)

// overviewSource implements overview.Source.
type overviewSource struct {
	alertSource
	fleet *fleet.Fleet
}

// Devices implements overview.Source.
func (o overviewSource) Devices(q overview.Query) overview.Devices {
	return o.fleet.Devices(q, time.Now())
}

// Rates implements overview.Source.
func (o overviewSource) Rates() (now float64, seconds []float64) { return o.fleet.Rates(time.Now()) }
