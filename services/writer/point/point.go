// Package point writes readings and window summaries as InfluxDB line
// protocol. It is pure: it takes plain values and appends bytes.
//
// The measurement is the metric; the tags are device, site and, for numbers that came
// with one, unit; a reading has one of the fields value (float), flag (bool) and text,
// according to its kind, so a metric may change its type; times are nanoseconds.
// Whatever the names and texts contain, each call appends exactly one point: names that
// are valid in Headwater are unchanged; in other names a control character or backslash
// becomes "_". A text is quoted and is read back byte for byte; InfluxDB accepts line
// breaks within quotes.
package point

import (
	"math"
	"strconv"
)

// Series identifies the series of a point. Only the unit may be empty; it is a name of
// package units and counts for numbers alone.
type Series struct {
	Site, Device, Metric, Unit string
}

// AppendValuePrefix appends the beginning that all numeric readings of a series share.
// It is built once for many readings.
func AppendValuePrefix(dst []byte, s Series) []byte { return append(appendKey(dst, s), "value="...) }

// AppendFlagPrefix is AppendValuePrefix for bools.
func AppendFlagPrefix(dst []byte, s Series) []byte {
	s.Unit = ""
	return append(appendKey(dst, s), "flag="...)
}

// AppendTextPrefix is AppendValuePrefix for texts.
func AppendTextPrefix(dst []byte, s Series) []byte {
	s.Unit = ""
	return append(appendKey(dst, s), "text="...)
}

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
	// Window becomes a tag, so that windows of several kinds can share a bucket; no tag
	// if it is empty.
	Window string
	// Time of the point in nanoseconds since the Unix epoch.
	Time                                   int64
	Min, Max, Mean, First, Last, Deviation float64
	TimeMean, Rate, P50, P90, P95, P99     float64
	// Count is 0 for a window that no longer exists. Then only the count and the
	// revision are written.
	Count    uint64
	Revision uint32
}

// AppendSummary appends a window summary. A later revision replaces an earlier one,
// because both have the same series, window and time.
func AppendSummary(dst []byte, s *Summary) []byte {
	dst = appendTags(dst, s.Series)
	if s.Window != "" {
		dst = append(dst, ",window="...)
		dst = appendName(dst, s.Window, true)
	}
	dst = append(dst, " count="...)
	dst = strconv.AppendUint(dst, s.Count, 10)
	dst = append(dst, 'i')
	if s.Count > 0 {
		for _, f := range [...]struct {
			name  string
			value float64
		}{
			{",deviation=", s.Deviation},
			{",first=", s.First},
			{",last=", s.Last},
			{",max=", s.Max},
			{",mean=", s.Mean},
			{",min=", s.Min},
			{",p50=", s.P50},
			{",p90=", s.P90},
			{",p95=", s.P95},
			{",p99=", s.P99},
			{",rate=", s.Rate},
		} {
			dst = appendFloat(append(dst, f.name...), f.value)
		}
	}
	dst = append(dst, ",revision="...)
	dst = strconv.AppendUint(dst, uint64(s.Revision), 10)
	dst = append(dst, 'i')
	if s.Count > 0 {
		dst = appendFloat(append(dst, ",time_mean="...), s.TimeMean)
	}
	return appendTime(dst, s.Time)
}

// appendKey appends measurement and tags and the space after them.
func appendKey(dst []byte, s Series) []byte { return append(appendTags(dst, s), ' ') }

// appendTags appends measurement and tags. The tags are in InfluxDB's own order, which
// saves it the sorting.
func appendTags(dst []byte, s Series) []byte {
	dst = appendName(dst, s.Metric, false)
	dst = append(dst, ",device="...)
	dst = appendName(dst, s.Device, true)
	dst = append(dst, ",site="...)
	dst = appendName(dst, s.Site, true)
	if s.Unit != "" {
		dst = append(dst, ",unit="...)
		dst = appendName(dst, s.Unit, true)
	}
	return dst
}

// appendName appends a measurement or the value of a tag. Versions of InfluxDB differ in
// the meaning of a backslash before a comma or at the end of a name, so backslashes are
// replaced.
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
		if c := text[i]; c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}

// appendFloat appends a text that reads back as v. Most sensors send up to three
// decimals. Such a value is written as an integer of thousandths with a point in it,
// which is three times as fast as the general way. It is exact: a division is rounded
// to the nearest float64, and so is the reading of a decimal.
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
