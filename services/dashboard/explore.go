package dashboard

import (
	"time"

	"headwater/services/dashboard/fleet"
	"headwater/web/explore"
	"headwater/web/view"
)

// exploreSource implements explore.Source.
type exploreSource struct{ fleet *fleet.Fleet }

// Device implements explore.Source.
func (e exploreSource) Device(site, dev string) (view.Device, bool) {
	return e.fleet.Device(site, dev, time.Now())
}

// Find implements explore.Source.
func (e exploreSource) Find(q explore.Query) ([]explore.Found, bool) {
	return e.fleet.Find(q, time.Now())
}
