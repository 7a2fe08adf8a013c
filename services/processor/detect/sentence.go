package detect

import (
	"math"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
)

// times formats how often something happened.
func times(n float64) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	default:
		return figure.Number(n) + " times"
	}
}

// quantity formats v with its unit, if that is known.
func quantity(v float64, unit string) string { return with(figure.Number(v), unit) }

// Quantity formats v with its unit, if that is known, as the sentences do.
func Quantity(v float64, unit string) string { return quantity(v, unit) }

// beside formats a value and a bound with enough digits to show which is
// greater.
func beside(v, bound float64, unit string) (value, limit string) {
	texts := figure.Apart(v, bound)
	return with(texts[0], unit), with(texts[1], unit)
}

func with(number, unit string) string {
	if unit == "" {
		return number
	}
	return number + " " + unit
}

// span formats a duration in its two greatest units.
func span(d time.Duration) string {
	switch {
	case d > 0 && d < time.Millisecond:
		return "less than 1 ms"
	case d > 0 && d.Round(time.Millisecond) < time.Second:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + " ms"
	case d < 10*time.Second && d%time.Second != 0:
		return figure.Number(math.Round(d.Seconds()*10)/10) + " s"
	}
	// The smaller of the two units is rounded.
	for _, u := range [...]struct {
		from, unit time.Duration
	}{{24 * time.Hour, time.Hour}, {time.Hour, time.Minute}, {0, time.Second}} {
		if r := d.Round(u.unit); r >= u.from {
			d = r
			break
		}
	}
	var parts []string
	for _, u := range [...]struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.length; n > 0 {
			parts = append(parts, strconv.FormatInt(int64(n), 10)+" "+u.name)
			d -= n * u.length
		}
	}
	if len(parts) == 0 {
		return "0 s"
	}
	return strings.Join(parts, " ")
}

// elapsed formats the time between two event times, however far apart.
func elapsed(from, to int64) string {
	if d := to - from; d >= 0 {
		return span(time.Duration(d))
	}
	return span(math.MaxInt64)
}
