// Package point writes readings and window summaries as InfluxDB line
// protocol. It is pure: it takes plain values and appends bytes.
//
// The measurement is the metric; the tags are device and site; a reading has
// one of the fields value (float), flag (bool) and text, according to its
// kind, so that a metric that changes its type still fits; times are
// nanoseconds. Whatever the names and texts hold, each call appends exactly
// one line: names that are valid in Headwater come out unchanged, a control
// character or backslash in any other becomes "_", and a line break in a text
// becomes the two characters `\n`.
package point

import (
	"math"
	"strconv"
)

// Series names what a point belongs to. None of the names may be empty.
type Series struct {
	Site, Device, Metric string
}

// AppendValuePrefix appends what all numeric readings of a series begin with.
// It is built once for many readings.
func AppendValuePrefix(dst []byte, s Series) []byte { return append(appendKey(dst, s), "value="...) }

// AppendFlagPrefix is AppendValuePrefix for bools.
func AppendFlagPrefix(dst []byte, s Series) []byte { return append(appendKey(dst, s), "flag="...) }

// AppendTextPrefix is AppendValuePrefix for texts.
func AppendTextPrefix(dst []byte, s Series) []byte { return append(appendKey(dst, s), "text="...) }

// AppendValue appends a numeric reading at the time t, in nanoseconds since the
// Unix epoch. InfluxDB refuses values that are not finite.
func AppendValue(dst, prefix []byte, v float64, t int64) []byte {
	dst = append(dst, prefix...)
	dst = appendFloat(dst, v)
	return appendTime(dst, t)
}

// AppendFlag appends a reading of a bool.
func AppendFlag(dst, prefix []byte, v bool, t int64) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendBool(dst, v)
	return appendTime(dst, t)
}

// AppendText appends a reading of a text.
func AppendText(dst, prefix []byte, v string, t int64) []byte {
	dst = append(dst, prefix...)
	dst = appendText(dst, v)
	return appendTime(dst, t)
}

// Summary is what one series did in one window.
type Summary struct {
	Series
	// Start of the window in nanoseconds since the Unix epoch; it is the time of
	// the point.
	Start                                  int64
	Min, Max, Mean, First, Last, Deviation float64
	Count                                  uint64
	Revision                               uint32
}

// AppendSummary appends a window summary. A summary with a higher revision
// replaces the one before, because both have the same series and time.
func AppendSummary(dst []byte, s *Summary) []byte {
	dst = appendKey(dst, s.Series)
	dst = append(dst, "count="...)
	dst = strconv.AppendUint(dst, s.Count, 10)
	dst = append(dst, "i,deviation="...)
	dst = appendFloat(dst, s.Deviation)
	dst = append(dst, ",first="...)
	dst = appendFloat(dst, s.First)
	dst = append(dst, ",last="...)
	dst = appendFloat(dst, s.Last)
	dst = append(dst, ",max="...)
	dst = appendFloat(dst, s.Max)
	dst = append(dst, ",mean="...)
	dst = appendFloat(dst, s.Mean)
	dst = append(dst, ",min="...)
	dst = appendFloat(dst, s.Min)
	dst = append(dst, ",revision="...)
	dst = strconv.AppendUint(dst, uint64(s.Revision), 10)
	dst = append(dst, 'i')
	return appendTime(dst, s.Start)
}

// appendKey appends measurement and tags and the space after them. The tags
// are in the order that InfluxDB keeps them in, which saves it the sorting.
func appendKey(dst []byte, s Series) []byte {
	dst = appendName(dst, s.Metric, false)
	dst = append(dst, ",device="...)
	dst = appendName(dst, s.Device, true)
	dst = append(dst, ",site="...)
	dst = appendName(dst, s.Site, true)
	return append(dst, ' ')
}

// appendName appends a measurement or the value of a tag. Versions of InfluxDB
// differ in what a backslash before a comma or at the end of a name means, so
// none is let through.
func appendName(dst []byte, name string, tag bool) []byte {
	for i := range len(name) {
		switch c := name[i]; {
		case c == ',' || c == ' ' || c == '=' && tag:
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f || c == '\\':
			dst = append(dst, '_')
		case c == '#' && i == 0: // would begin a comment
			dst = append(dst, '_')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func appendText(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\\n`...)
		case '\r':
			dst = append(dst, `\\r`...)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendFloat appends a text that reads back as v. Most sensors send up to
// three decimals, and those are written as an integer of thousandths with a
// point in it, three times as fast as in general. It is exact: a division is
// rounded to the nearest float64, and so is the reading of a decimal.
func appendFloat(dst []byte, v float64) []byte {
	const scale, bound = 1000, 1e15
	n := int64(math.Round(v * scale))
	if float64(n)/scale != v || n <= -bound || n >= bound {
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	dst = strconv.AppendInt(dst, n/scale, 10)
	rest := n % scale
	if rest == 0 {
		return dst
	}
	dst = append(dst, '.', byte('0'+rest/100))
	if rest %= 100; rest != 0 {
		dst = append(dst, byte('0'+rest/10))
		if rest %= 10; rest != 0 {
			dst = append(dst, byte('0'+rest))
		}
	}
	return dst
}

func appendTime(dst []byte, t int64) []byte {
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, t, 10)
	return append(dst, '\n')
}
