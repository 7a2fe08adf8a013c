package figure

import (
	"errors"
	"math"
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

// Duration returns a duration for people in its two largest units, the smaller
// one rounded: "350 ms", "2.5 s", "1 min 58 s", "2 h 5 min" or "3 d 4 h". Below 0
// counts as 0. headwaterDuration in web/static/figure.js writes the same.
func Duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Millisecond:
		return "less than 1 ms"
	case d.Round(time.Millisecond) < time.Second:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + " ms"
	case d < 10*time.Second && d%time.Second != 0:
		return Number(math.Round(d.Seconds()*10)/10) + " s"
	}
	for _, u := range [...]struct{ from, smaller time.Duration }{
		{24 * time.Hour, time.Hour}, {time.Hour, time.Minute}, {0, time.Second},
	} {
		if r := d.Round(u.smaller); r >= u.from {
			d = r
			break
		}
	}
	var parts []string
	for _, u := range [...]struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.length; n > 0 && len(parts) < 2 {
			parts = append(parts, strconv.FormatInt(int64(n), 10)+" "+u.name)
			d -= n * u.length
		}
	}
	return strings.Join(parts, " ")
}

// FormatDuration returns a duration as people write it in the configuration and
// as ParseDuration reads it, without parts that are zero: "90ms", "1m30s", "2d"
// or "1d12h".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	sign := ""
	if d < 0 {
		sign = "-"
	}
	const day = 24 * time.Hour
	days := ""
	if n := (d / day).Abs(); n > 0 {
		days = strconv.FormatInt(int64(n), 10) + "d"
	}
	rest := (d % day).Abs().String()
	if rest == "0s" {
		return sign + days
	}
	if strings.HasSuffix(rest, "m0s") {
		rest = strings.TrimSuffix(rest, "0s")
	}
	if strings.HasSuffix(rest, "h0m") {
		rest = strings.TrimSuffix(rest, "0m")
	}
	return sign + days + rest
}
