package detect

import (
	"math"
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

// elapsed formats the time between two event times, however far apart.
func elapsed(from, to int64) string {
	if d := to - from; d >= 0 {
		return figure.Duration(time.Duration(d))
	}
	return figure.Duration(math.MaxInt64)
}
