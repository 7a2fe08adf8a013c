package window

import "time"

const (
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
)

// Calendar divides time into the hours and days of a place. Days begin at
// midnight there, so they have 23 to 25 hours. Hours are counted from midnight,
// so that each lies in one day, even where the clock differs from UTC by half
// an hour. Both begin and end on a minute of UTC. A Calendar must not be used
// by two goroutines at a time.
type Calendar struct {
	zone *time.Location
	// from and to bound the day returned last.
	from, to int64
}

// NewCalendar returns the calendar of a time zone.
func NewCalendar(zone *time.Location) *Calendar { return &Calendar{zone: zone} }

// Day returns the start and the end of the day that holds t, which must lie
// within MaxTime.
func (c *Calendar) Day(t int64) (start, end int64) {
	if t < c.from || t >= c.to {
		c.from, c.to = c.midnights(t)
	}
	return c.from, c.to
}

// midnights computes what Day returns.
func (c *Calendar) midnights(t int64) (start, end int64) {
	year, month, day := time.Unix(0, t).In(c.zone).Date()
	start, end = c.begin(year, month, day), c.begin(year, month, day+1)
	// Where the clock is set back over midnight, there are two midnights.
	switch {
	case t < start:
		return c.begin(year, month, day-1), start
	case t >= end:
		return end, c.begin(year, month, day+2)
	}
	return start, end
}

// begin returns when a day begins: with the minute of midnight or, where the
// clock skips midnight, when it does.
func (c *Calendar) begin(year int, month time.Month, day int) int64 {
	t := time.Date(year, month, day, 0, 0, 0, 0, c.zone)
	if t.Hour() != 0 || t.Minute() != 0 {
		from, to := t.ZoneBounds()
		t = from
		if from.IsZero() || t.Hour() > 12 {
			t = to
		}
	}
	return Start(t.UnixNano(), time.Minute)
}

// Hour returns the start and the end of the hour that holds t: 60 minutes, or
// less before a midnight if the clock was changed by a part of an hour.
func (c *Calendar) Hour(t int64) (start, end int64) {
	from, to := c.Day(t)
	start = from + (t-from)/hour*hour
	return start, min(start+hour, to)
}
