package view

import "time"

// Range is a span of time up to now that the charts can show.
type Range struct {
	// Name is what a link says and carries, Words the same in a sentence.
	Name, Words string
	Span        time.Duration
}

// Ranges are the spans to choose from; the second is the default.
var Ranges = [...]Range{
	{"15m", "15 minutes", 15 * time.Minute},
	{"1h", "hour", time.Hour},
	{"6h", "6 hours", 6 * time.Hour},
	{"24h", "24 hours", 24 * time.Hour},
	{"7d", "7 days", 7 * 24 * time.Hour},
}

// LongRanges are Ranges and longer ones, which are read from roll-ups.
var LongRanges = append(Ranges[:len(Ranges):len(Ranges)],
	Range{"30d", "30 days", 30 * 24 * time.Hour},
	Range{"1y", "year", 366 * 24 * time.Hour},
)

// RangeNamed returns the range of that name, or the default for an empty name.
func RangeNamed(name string) (Range, bool) { return RangeIn(Ranges[:], name) }

// RangeIn returns the range of that name among those, or the default for an empty name.
func RangeIn(ranges []Range, name string) (Range, bool) {
	if name == "" {
		return Ranges[1], true
	}
	for _, r := range ranges {
		if r.Name == name {
			return r, true
		}
	}
	return Range{}, false
}

// RangeOf returns the range of that span.
func RangeOf(span time.Duration) (Range, bool) {
	for _, r := range Ranges {
		if r.Span == span {
			return r, true
		}
	}
	return Range{}, false
}
