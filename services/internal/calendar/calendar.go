// Package calendar turns dates and times of day at a place into moments, and says when
// something that comes back every week is in force. It is pure.
//
// Clocks of a place are changed twice a year. A time of day that a date has twice means
// the first of the two; one that it leaves out means the moment at which the clock jumps
// over it. So something from 22:00 to 06:00 lasts 9 h in one night and 7 h in another.
package calendar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Clock is a time of day in minutes since midnight, from 0 to 1440, which is the end of
// the day.
type Clock int

// endOfDay is the last Clock.
const endOfDay = 24 * 60

// errClock says what a time of day must look like.
var errClock = errors.New("must be a time of day from 00:00 to 24:00, like 22:30")

// ParseClock reads a time of day such as 22:30.
func ParseClock(text string) (Clock, error) {
	hours, minutes, found := strings.Cut(text, ":")
	h, err := strconv.Atoi(hours)
	m, err2 := strconv.Atoi(minutes)
	if !found || err != nil || err2 != nil || len(hours) > 2 || len(minutes) != 2 || h < 0 || m < 0 || m > 59 || 60*h+m > endOfDay {
		return 0, errClock
	}
	return Clock(60*h + m), nil
}

// String returns the time of day as ParseClock reads it.
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", int(c)/60, int(c)%60) }

// MarshalText implements encoding.TextMarshaler.
func (c Clock) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Clock) UnmarshalText(text []byte) (err error) {
	*c, err = ParseClock(string(text))
	return err
}

// Days is a set of days of the week.
type Days uint8

// EveryDay has all days.
const EveryDay Days = 1<<7 - 1

// dayNames are the names of the days, as time.Weekday counts them.
var dayNames = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// DayNames returns the names of the days, from mon to sun.
func DayNames() []string { return append(dayNames[1:len(dayNames):len(dayNames)], dayNames[0]) }

// ParseDays reads days that are separated by commas, such as "mon,tue", or "daily".
func ParseDays(text string) (Days, error) {
	if text == "daily" {
		return EveryDay, nil
	}
	var all Days
	for name := range strings.SplitSeq(text, ",") {
		day, err := ParseDay(strings.TrimSpace(name))
		if err != nil {
			return 0, err
		}
		all |= 1 << day
	}
	return all, nil
}

// ParseDay reads one day, such as "mon".
func ParseDay(name string) (time.Weekday, error) {
	for i, known := range dayNames {
		if strings.EqualFold(name, known) {
			return time.Weekday(i), nil
		}
	}
	return 0, errors.New("must be days such as mon,tue or daily")
}

// Has reports whether the day is one of them.
func (d Days) Has(day time.Weekday) bool { return d&(1<<day) != 0 }

// String returns the days as ParseDays reads them.
func (d Days) String() string {
	if d == EveryDay {
		return "daily"
	}
	var names []string
	for i := range time.Weekday(7) {
		if day := (i + 1) % 7; d.Has(day) {
			names = append(names, dayNames[day])
		}
	}
	return strings.Join(names, ",")
}

// MarshalText implements encoding.TextMarshaler.
func (d Days) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Days) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDays(string(text))
	return err
}

// Weekly is a span that comes back on some days of each week.
type Weekly struct {
	// Days are those on which it begins.
	Days Days `json:"days"`
	// Start and End are times of day. With an End that is not after Start it ends on the
	// next day.
	Start Clock `json:"start"`
	End   Clock `json:"end"`
}

// Validate returns what is wrong with it.
func (w Weekly) Validate() error {
	switch {
	case w.Days == 0 || w.Days > EveryDay:
		return errors.New("days must name at least one day")
	case w.Start < 0 || w.Start >= endOfDay:
		return errors.New("start must be before 24:00")
	case w.End < 0 || w.End > endOfDay:
		return errors.New("end must be at most 24:00")
	}
	return nil
}

// String says it in words, like "mon,tue 22:00 to 06:00".
func (w Weekly) String() string {
	return w.Days.String() + " " + w.Start.String() + " to " + w.End.String()
}

// In returns the span at a place that a moment is in: from start up to end.
func (w Weekly) In(at time.Time, place *time.Location) (start, end time.Time, ok bool) {
	local := at.In(place)
	year, month, day := local.Date()
	for _, back := range []int{0, 1} {
		if !w.Days.Has((local.Weekday() + time.Weekday(7-back)) % 7) {
			continue
		}
		start = Moment(year, month, day-back, w.Start, place)
		until := day - back
		if w.End <= w.Start {
			until++
		}
		end = Moment(year, month, until, w.End, place)
		if !at.Before(start) && at.Before(end) {
			return start, end, true
		}
	}
	return time.Time{}, time.Time{}, false
}

// Moment returns the first moment of a date at which the clock at a place shows a time
// of day or a later one. The day may lie outside of the month, as for time.Date.
func Moment(year int, month time.Month, day int, clock Clock, place *time.Location) time.Time {
	wall := time.Date(year, month, day, 0, int(clock), 0, 0, time.UTC)
	_, before := wall.Add(-26 * time.Hour).In(place).Zone()
	later := wall.Add(26 * time.Hour).In(place)
	_, after := later.Zone()
	first := wall.Add(-time.Duration(before) * time.Second).In(place)
	if before == after {
		return first
	}
	second := wall.Add(-time.Duration(after) * time.Second).In(place)
	change, _ := later.ZoneBounds()
	switch {
	case first.Before(change):
		return first
	case second.Before(change):
		return change.In(place)
	}
	return second
}
