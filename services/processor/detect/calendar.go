package detect

import (
	"math"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// calendar converts event times to the local time of a site. What it caches is
// not part of a state.
type calendar struct {
	location *time.Location
	// from and until bound the time in which local time is ahead of UTC by offset.
	from, until, offset int64
}

// local returns the local time as nanoseconds since 1 January 1970. It jumps
// where clocks are put forward or back.
func (c *calendar) local(t int64) int64 {
	if c.location == nil {
		return t
	}
	if t < c.from || t >= c.until {
		at := time.Unix(0, t).In(c.location)
		_, offset := at.Zone()
		c.offset = int64(offset) * int64(time.Second)
		from, until := at.ZoneBounds()
		c.from, c.until = bound(from, math.MinInt64), bound(until, math.MaxInt64)
	}
	return t + c.offset
}

// bound returns the time in nanoseconds, or none where there is none.
func bound(t time.Time, none int64) int64 {
	if t.IsZero() || t.Year() < 1700 || t.Year() > 2250 {
		return none
	}
	return t.UnixNano()
}

// floor returns how many whole lengths have passed.
func floor(local int64, length time.Duration) int64 {
	n := local / int64(length)
	if local%int64(length) < 0 {
		n--
	}
	return n
}

// hourOfWeek counts from Sunday, 0 o'clock, given the hours since 1970.
func hourOfWeek(hours int64) int {
	// 1 January 1970 was a Thursday.
	const thursday = 4 * 24
	return int(((hours+thursday)%168 + 168) % 168)
}

// clock formats minutes after midnight.
func clock(minutes int) string {
	s := strconv.Itoa(minutes % 60)
	if len(s) < 2 {
		s = "0" + s
	}
	return strconv.Itoa(minutes/60) + ":" + s
}
