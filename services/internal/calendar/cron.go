package calendar

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Cron are times as crontab(5) writes them: minute, hour, day of the month, month and day of
// the week, each *, or numbers, ranges and steps with commas. Days of the week may be names,
// and 7 is Sunday. If both days are limited, one of them must fit.
//
// Times that the clock shows twice count once, and those that it skips come with the change
// of the clock. With * for the hour, all hours that pass count.
type Cron struct {
	minutes, hours, days, months, weekdays uint64
	anyHour, anyDay, anyWeekday            bool
}

// cronFields are the fields with their smallest and largest numbers.
var cronFields = []struct {
	name     string
	from, to int
}{{"minute", 0, 59}, {"hour", 0, 23}, {"day of the month", 1, 31}, {"month", 1, 12}, {"day of the week", 0, 7}}

// ParseCron reads them.
func ParseCron(text string) (Cron, error) {
	words := strings.Fields(text)
	if len(words) != len(cronFields) {
		return Cron{}, errors.New("cron needs minute, hour, day of the month, month and day of the week, such as 0 7 * * mon-fri")
	}
	var sets [5]uint64
	for i, f := range cronFields {
		for part := range strings.SplitSeq(words[i], ",") {
			set, ok := cronPart(part, f.from, f.to, i == 4)
			if !ok {
				return Cron{}, fmt.Errorf("cron: %q is no %s from %d to %d", part, f.name, f.from, f.to)
			}
			sets[i] |= set
		}
	}
	c := Cron{
		minutes: sets[0], hours: sets[1], days: sets[2], months: sets[3], weekdays: sets[4] | sets[4]>>7&1,
		anyHour: strings.HasPrefix(words[1], "*"), anyDay: words[2] == "*", anyWeekday: words[4] == "*",
	}
	// A leap day comes again within 8 years.
	if _, ok := c.Next(time.Unix(0, 0), time.UTC); !ok {
		return Cron{}, errors.New("cron: no year has such a day")
	}
	return c, nil
}

// cronPart reads one of *, 5, 5-9, */2 and 5-9/2.
func cronPart(text string, from, to int, weekday bool) (set uint64, ok bool) {
	text, step, stepped := strings.Cut(text, "/")
	by := 1
	if stepped {
		n, err := strconv.Atoi(step)
		if err != nil || n < 1 || n > to {
			return 0, false
		}
		by = n
	}
	number := func(s string) (int, bool) {
		if day, err := ParseDay(s); weekday && err == nil {
			return int(day), true
		}
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= from && n <= to
	}
	if text != "*" {
		low, high, ranged := strings.Cut(text, "-")
		if from, ok = number(low); !ok {
			return 0, false
		}
		switch {
		case ranged:
			if to, ok = number(high); !ok || to < from {
				return 0, false
			}
		case !stepped:
			to = from
		}
	}
	for n := from; n <= to; n += by {
		set |= 1 << n
	}
	return set, true
}

// cronYears is how many years Next looks ahead: 2100 is no leap year.
const cronYears = 9

// Next returns the first time after a moment; false if there is none in the next years.
func (c Cron) Next(after time.Time, place *time.Location) (time.Time, bool) {
	year, month, day := after.In(place).Date()
	// The days are those of the calendar, not of the zone: each has its date.
	for ahead := range cronYears * 366 {
		date := time.Date(year, month, day+ahead, 0, 0, 0, 0, time.UTC)
		if !c.on(date) {
			continue
		}
		if at, ok := c.within(date, after, place); ok {
			return at, true
		}
	}
	return time.Time{}, false
}

// on reports whether a date is one of its days.
func (c Cron) on(date time.Time) bool {
	day, weekday := c.days>>date.Day()&1 == 1, c.weekdays>>date.Weekday()&1 == 1
	if c.anyDay || c.anyWeekday {
		day = day && weekday
	} else {
		day = day || weekday
	}
	return day && c.months>>date.Month()&1 == 1
}

// within returns the first time of a date after a moment.
func (c Cron) within(date, after time.Time, place *time.Location) (time.Time, bool) {
	year, month, day := date.Date()
	if c.anyHour {
		end := Moment(year, month, day+1, 0, place)
		at := Moment(year, month, day, 0, place)
		if next := after.Truncate(time.Minute).Add(time.Minute); next.After(at) {
			at = next
		}
		for ; at.Before(end); at = at.Add(time.Minute) {
			if local := at.In(place); c.minutes>>local.Minute()&1 == 1 && c.hours>>local.Hour()&1 == 1 {
				return at, true
			}
		}
		return time.Time{}, false
	}
	for hours := c.hours; hours != 0; hours &= hours - 1 {
		for minutes := c.minutes; minutes != 0; minutes &= minutes - 1 {
			clock := Clock(60*bits.TrailingZeros64(hours) + bits.TrailingZeros64(minutes))
			if at := Moment(year, month, day, clock, place); at.After(after) {
				return at, true
			}
		}
	}
	return time.Time{}, false
}
