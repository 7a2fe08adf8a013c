package decode

import (
	"fmt"
	"math"
	"time"
)

// Bounds between the units of a time that is a bare number. Seconds reach up
// to the year 5138; milliseconds, microseconds and nanoseconds begin in 1973.
const (
	leastMillis = 100_000_000_000
	leastMicros = leastMillis * 1000
	leastNanos  = leastMicros * 1000
)

// unixTime reads a JSON number as a time: seconds, milliseconds, microseconds
// or nanoseconds since the Unix epoch, told apart by magnitude, with or
// without a fraction. Digits below a nanosecond are dropped. It reports false
// for a time that does not fit nanoseconds in an int64.
func unixTime(number []byte) (int64, bool) {
	digits, negative := number, false
	if digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	var whole, i int64
	for ; i < int64(len(digits)) && '0' <= digits[i] && digits[i] <= '9'; i++ {
		if whole > (math.MaxInt64-9)/10 {
			return 0, false
		}
		whole = whole*10 + int64(digits[i]-'0')
	}
	unit := unitOf(whole)
	fraction := int64(0)
	if i < int64(len(digits)) && digits[i] == '.' {
		i++
		for scale := unit / 10; i < int64(len(digits)) && '0' <= digits[i] && digits[i] <= '9'; i++ {
			fraction += int64(digits[i]-'0') * scale
			scale /= 10
		}
	}
	if i < int64(len(digits)) {
		return unixTimeFloat(number)
	}
	if whole > (math.MaxInt64-fraction)/unit {
		return 0, false
	}
	ns := whole*unit + fraction
	if negative {
		ns = -ns
	}
	return ns, true
}

// unixTimeFloat reads a time with an exponent, which some devices write for
// large numbers.
func unixTimeFloat(number []byte) (int64, bool) {
	f, err := parseFloat(number)
	if err != nil || math.Abs(f) >= math.MaxInt64 {
		return 0, false
	}
	whole, fraction := math.Modf(f)
	unit := unitOf(int64(math.Abs(whole)))
	if math.Abs(whole) >= float64(math.MaxInt64/unit) {
		return 0, false
	}
	return int64(whole)*unit + int64(fraction*float64(unit)), true
}

// unitOf returns the nanoseconds in the unit of a time of that magnitude.
func unitOf(magnitude int64) int64 {
	switch {
	case magnitude < leastMillis:
		return int64(time.Second)
	case magnitude < leastMicros:
		return int64(time.Millisecond)
	case magnitude < leastNanos:
		return int64(time.Microsecond)
	}
	return 1
}

// textTime reads an RFC 3339 time. It reports isTime false for any other text,
// and fits false for a year that nanoseconds in an int64 do not reach.
func textTime(text []byte) (ns int64, isTime, fits bool) {
	if len(text) > 64 {
		return 0, false, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return 0, false, false
	}
	return t.UnixNano(), true, 1678 <= t.Year() && t.Year() <= 2261
}

// checkClock refuses an event time too far from the arrival.
func (l Limits) checkClock(t, arrival int64) *Error {
	switch {
	case t < arrival-int64(l.Past):
		return clockError("the event time %s is more than %s before its arrival", t, l.Past)
	case t > arrival+int64(l.Future):
		return clockError("the event time %s is more than %s ahead of its arrival", t, l.Future)
	}
	return nil
}

func clockError(format string, t int64, bound time.Duration) *Error {
	return &Error{
		Reason: ReasonClock, Field: "ts",
		Detail: fmt.Sprintf(format, time.Unix(0, t).UTC().Format(time.RFC3339Nano), period(bound)),
	}
}

// period writes a duration in the largest unit that it is a multiple of.
func period(d time.Duration) string {
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d >= u.length && d%u.length == 0 {
			n := d / u.length
			if n == 1 {
				return "1 " + u.name
			}
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return d.String()
}
