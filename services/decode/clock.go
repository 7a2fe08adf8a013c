package decode

import (
	"fmt"
	"math"
	"strings"
	"time"

	"headwater/proto/figure"
)

// Bounds between the units of a time that is a bare number. Seconds reach up
// to the year 5138; milliseconds, microseconds and nanoseconds begin in 1973.
const (
	leastMillis = 100_000_000_000
	leastMicros = leastMillis * 1000
	leastNanos  = leastMicros * 1000
)

// unixTime reads a JSON number as a time: seconds, milliseconds, microseconds
// or nanoseconds since the Unix epoch, distinguished by magnitude, with or
// without a fraction. It drops digits below a nanosecond. It returns false for
// a time that does not fit nanoseconds in an int64.
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

// moment is an event time as sent.
type moment struct {
	// ns is in nanoseconds since the Unix epoch, as if the zone were UTC when
	// wall is set.
	ns int64
	// given is false for a payload without a time.
	given bool
	// wall means that the time has no time zone.
	wall bool
	// text is the time as it was sent, for the error of a time without a zone.
	text string
}

const timeForm = "a time is a number of seconds, milliseconds, microseconds or nanoseconds since 1970, or a text such as 2026-03-14T15:09:26Z"

func numberTime(number []byte) (moment, *Error) {
	ns, fits := unixTime(number)
	if !fits {
		return moment{}, beyondCalendars(number)
	}
	return moment{ns: ns, given: true}, nil
}

func beyondCalendars(text []byte) *Error {
	return &Error{Reason: ReasonClock, Field: "ts", Detail: quote(text) + " is beyond every calendar: " + timeForm}
}

// wallLayouts are the spellings of ISO 8601 that devices use, without a zone;
// zoneLayouts are the spellings of a zone. Go accepts a fraction of a second
// after the seconds of any layout.
var (
	wallLayouts = [...]string{"2006-01-02T15:04:05", "2006-01-02T15:04"}
	zoneLayouts = [...]string{"Z07:00", "Z0700", "Z07"}
)

// textTime reads a number in quotes, or ISO 8601: with or without seconds, with
// a space instead of the T, and with a zone as Z, +01:00, +0100, +01 or none.
func textTime(text []byte) (moment, *Error) {
	if jsonNumber(text) {
		return numberTime(text)
	}
	if len(text) > 64 {
		return moment{}, notTime(text, "")
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	wall := false
	if err != nil {
		t, wall, err = looseTime(text)
		if err != nil {
			return moment{}, notTime(text, missing(text))
		}
	}
	if t.Year() < 1678 || t.Year() > 2261 {
		return moment{}, beyondCalendars(text)
	}
	m := moment{ns: t.UnixNano(), given: true, wall: wall}
	if wall {
		m.text = string(text)
	}
	return m, nil
}

// looseTime reads the forms of ISO 8601 that are not in RFC 3339.
func looseTime(text []byte) (t time.Time, wall bool, err error) {
	s := strings.ToUpper(string(text))
	if len(s) > len("2006-01-02") && s[len("2006-01-02")] == ' ' {
		s = s[:len("2006-01-02")] + "T" + strings.TrimLeft(s[len("2006-01-02"):], " ")
	}
	// A space before the zone is common, too: 2026-03-14 15:09:26 +0100.
	s = strings.Replace(s, " ", "", 1)
	for _, layout := range wallLayouts {
		for _, zone := range zoneLayouts {
			t, err = time.Parse(layout+zone, s)
			if err == nil {
				return t, false, nil
			}
		}
		t, err = time.Parse(layout, s)
		if err == nil {
			return t, true, nil
		}
	}
	return time.Time{}, false, err
}

// missing names the part that a text needs to be a time, if that is clear.
func missing(text []byte) string {
	if _, err := time.Parse(time.DateOnly, string(text)); err == nil {
		return "it has no time of day; "
	}
	if _, err := time.Parse(time.TimeOnly, string(text)); err == nil {
		return "it has no date; "
	}
	return ""
}

func notTime(text []byte, why string) *Error {
	return refuse("ts", "%s is not a time: %s%s", quote(text), why, timeForm)
}

// place gives the reading its event time, or the time of its arrival if the
// payload has none. A time without a zone is in the zone of the site.
func (d *Decoder) place(r *Reading, when moment, site string, arrival int64) *Error {
	if !when.given {
		r.Time, r.HasTime = arrival, false
		return nil
	}
	if when.wall {
		zone := d.zone(site)
		if zone == nil {
			return refuse("ts", "%s has no time zone: end it with Z or an offset such as +01:00", quote(when.text))
		}
		t := time.Unix(0, when.ns).UTC()
		when.ns = time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone).UnixNano()
	}
	if err := d.limits.checkClock(when.ns, arrival); err != nil {
		return err
	}
	r.Time, r.HasTime = when.ns, true
	return nil
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
		Detail: fmt.Sprintf(format, time.Unix(0, t).UTC().Format(time.RFC3339Nano), figure.Duration(bound)),
	}
}
