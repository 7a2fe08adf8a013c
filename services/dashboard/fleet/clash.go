package fleet

import "time"

const (
	// clashHours is how many hours of arrival the clashes of a device are counted for.
	clashHours = 24
	// maxClashing bounds the devices whose clashes are counted.
	maxClashing = 10_000
)

// clashes are counts by hour of arrival; hour counts from the Unix epoch.
type clashes [clashHours]struct {
	hour  int64
	count uint64
}

// Clash counts readings of a device that gave another value for an event time that
// had one, which arrived in a minute, in nanoseconds since the Unix epoch. Beyond
// maxClashing devices, DroppedClashes counts them.
func (f *Fleet) Clash(site, dev string, minute int64, count uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := name{site, dev}
	c := f.clashes[n]
	if c == nil {
		if len(f.clashes) >= maxClashing {
			f.droppedClashes += count
			return
		}
		c = new(clashes)
		f.clashes[n] = c
	}
	hour := floorDiv(minute, int64(time.Hour))
	at := &c[(hour%clashHours+clashHours)%clashHours]
	switch {
	case at.hour == hour:
		at.count += count
	case at.hour < hour:
		at.hour, at.count = hour, count
	}
	f.version++
}

// DroppedClashes returns how many clashes are missing on the pages of their devices,
// because too many devices had some. The ledger has them.
func (f *Fleet) DroppedClashes() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.droppedClashes
}

// within returns the clashes of the last 24 hours.
func (c *clashes) within(now time.Time) uint64 {
	if c == nil {
		return 0
	}
	hour, total := floorDiv(now.UnixNano(), int64(time.Hour)), uint64(0)
	for _, at := range c {
		if at.hour > hour-clashHours && at.hour <= hour {
			total += at.count
		}
	}
	return total
}
