package dashboard

import (
	"context"
	"time"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/problems"
	"headwater/web/device"
	"headwater/web/view"
)

// deviceSource implements device.Source. Its alerts and summaries are those of the
// book.
type deviceSource struct {
	alertSource
	fleet *fleet.Fleet
	past  *history
	rules *ruleSource
	// health has the reasons not to believe the device.
	health *healthSource
	board  *problems.Board
	*annotationSource
}

// Metered implements device.Source.
func (d deviceSource) Metered(site, dev string) bool {
	all, err := d.rules.meters(site, dev)
	return err == nil && len(all) > 0
}

// Device implements device.Source.
func (d deviceSource) Device(site, dev string) (view.Device, bool) {
	out, ok := d.fleet.Device(site, dev, time.Now())
	out.Findings = d.health.Findings(site, dev)
	return out, ok
}

// Follow implements device.Source.
func (d deviceSource) Follow(site, dev string) device.Feed { return d.fleet.Follow(site, dev) }

// Troubles implements device.Source.
func (d deviceSource) Troubles(site, dev string) []view.Problem {
	var out []view.Problem
	for _, p := range d.board.Problems(time.Now()) {
		if !p.Quiet && p.Site == site && p.Device == dev {
			out = append(out, view.Problem{Part: p.Part, Text: p.Text, Since: p.Since})
		}
	}
	return out
}

// Series implements device.Source.
func (d deviceSource) Series(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
	return d.past.series(ctx, q)
}

// States implements device.Source.
func (d deviceSource) States(ctx context.Context, q device.StatesQuery) ([]device.Change, bool, error) {
	return d.past.states(ctx, q)
}
