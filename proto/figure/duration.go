package figure

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// unitWords are the units that people write as words.
var unitWords = map[string]string{
	"second": "s", "seconds": "s", "sec": "s", "minute": "m", "minutes": "m", "min": "m", "mins": "m",
	"hour": "h", "hours": "h", "day": "d", "days": "d",
}

// ParseDuration parses a duration written by a person. It accepts what
// time.ParseDuration accepts, optionally after whole days, such as 2d or 1d12h,
// and one number with a unit as a word, such as "2 minutes". A sign precedes
// all of it.
func ParseDuration(text string) (time.Duration, error) {
	s := text
	if number, unit, found := strings.Cut(s, " "); found {
		if short, known := unitWords[unit]; known {
			s = number + short
		}
	}
	before, rest, found := strings.Cut(s, "d")
	if !found {
		return time.ParseDuration(s)
	}
	digits := strings.TrimLeft(before, "+-")
	sign := before[:len(before)-len(digits)]
	days, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || len(sign) > 1 || strings.ContainsAny(rest, "+-") {
		return 0, errors.New(strconv.Quote(text) + " is not a time")
	}
	d := time.Duration(days) * 24 * time.Hour
	if rest != "" {
		more, err := time.ParseDuration(rest)
		if err != nil {
			return 0, err
		}
		d += more
	}
	if d < 0 { // days and hours of 292 years each
		return 0, errors.New(strconv.Quote(text) + " is too long")
	}
	if sign == "-" {
		d = -d
	}
	return d, nil
}
