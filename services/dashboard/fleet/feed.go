package fleet

import (
	"slices"
	"sync"

	"headwater/web/device"
)

// feedKept bounds the readings of one series that wait in a feed.
const feedKept = 512

// Feed collects the new readings of one device until it is closed.
type Feed struct {
	fleet *Fleet
	name  name

	mu      sync.Mutex // guards waiting; taken inside of the fleet's
	waiting map[string][]device.Point
}

// Follow begins to collect the readings of a device, which need not be known yet. The
// caller closes the feed.
func (f *Fleet) Follow(site, dev string) *Feed {
	feed := &Feed{fleet: f, name: name{site, dev}, waiting: make(map[string][]device.Point)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.feeds[feed.name] = append(f.feeds[feed.name], feed)
	return feed
}

// Close ends the collecting. It may be called several times.
func (d *Feed) Close() {
	f := d.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	// A new slice, because Add must not see one that changes; there are few.
	left := slices.DeleteFunc(slices.Clone(f.feeds[d.name]), func(o *Feed) bool { return o == d })
	if len(left) == 0 {
		delete(f.feeds, d.name)
		return
	}
	f.feeds[d.name] = left
}

// put adds a reading; if there are too many, the extremes are kept.
func (d *Feed) put(p device.Point) {
	d.mu.Lock()
	defer d.mu.Unlock()
	points := append(d.waiting[p.Metric], p)
	if len(points) > feedKept {
		points = thin(points)
	}
	d.waiting[p.Metric] = points
}

// Take returns the readings that came since the last Take, each series in the
// order of arrival.
func (d *Feed) Take() []device.Point {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []device.Point
	for metric, points := range d.waiting {
		out = append(out, points...)
		delete(d.waiting, metric)
	}
	return out
}

// Recent returns the latest readings of each series in memory.
func (d *Feed) Recent() []device.Point {
	f := d.fleet
	f.mu.RLock()
	defer f.mu.RUnlock()
	dev := f.devices[d.name]
	if dev == nil {
		return nil
	}
	var out []device.Point
	for _, m := range dev.metrics {
		out = append(out, m.recent[max(0, len(m.recent)-recentKept):]...)
	}
	return out
}

// thin returns about half of the points: of each four the lowest and the
// highest, in their order.
func thin(points []device.Point) []device.Point {
	out := points[:0]
	for len(points) >= 4 {
		low, high := 0, 0
		for i, p := range points[:4] {
			if p.Value < points[low].Value {
				low = i
			}
			if p.Value >= points[high].Value {
				high = i
			}
		}
		first, second := points[min(low, high)], points[max(low, high)]
		out = append(out, first, second)
		points = points[4:]
	}
	return append(out, points...)
}
