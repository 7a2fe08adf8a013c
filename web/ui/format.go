package ui

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/proto/figure"
	"headwater/web/view"
)

// FormatNumber returns a number for people.
func FormatNumber(v float64) string { return figure.Number(v) }

// FormatCount returns a count with its digits grouped.
func FormatCount(n uint64) string { return figure.Count(n) }

// FormatBytes returns a size in binary units.
func FormatBytes(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, units := float64(n), "KMGTPE"
	i := -1
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	decimals := 1
	if v >= 100 {
		decimals = 0
	}
	return strconv.FormatFloat(v, 'f', decimals, 64) + " " + units[i:i+1] + "iB"
}

// FormatRate returns a number of readings a second.
func FormatRate(v float64) string {
	if v >= 100 {
		return FormatNumber(math.Round(v))
	}
	return FormatNumber(math.Round(10*v) / 10)
}

// FormatDuration returns a duration in its largest two units.
func FormatDuration(d time.Duration) string { return figure.Duration(d) }

// ISO returns a time as RFC 3339 in UTC with milliseconds, as a time element
// carries it.
func ISO(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// UTC returns a time as the server writes it. A time in UTC is then rewritten by the
// browser in its own time zone; a time in the time zone of a site stays.
func UTC(t time.Time) string {
	if zoneOf(t) == "" {
		t = t.UTC()
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

// zoneOf is the time zone of the site that a time belongs to; empty if it belongs to
// none.
func zoneOf(t time.Time) string {
	switch t.Location() {
	case time.UTC, time.Local:
		return ""
	}
	return t.Location().String()
}

// Unit returns a unit as it stands after a number.
func Unit(u string) string {
	if u == "" {
		return ""
	}
	return "\u00a0" + figure.Clip(view.Plain(u), maxUnit)
}

// maxUnit is the longest unit that is shown whole, in bytes.
const maxUnit = 19

// Plural returns a number with its noun.
func Plural[N int | int64 | uint64](n N, one, many string) string {
	return figure.Plural(n, one, many)
}

// Sentence makes a sentence of a detail.
func Sentence(detail string) string {
	detail = strings.TrimSuffix(view.Plain(detail), ".")
	if detail == "" {
		return ""
	}
	return UpperFirst(detail) + "."
}

// UpperFirst returns a text with its first letter in upper case.
func UpperFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(first)) + s[size:]
}

// Digits returns a number as a form carries it.
func Digits(n uint64) string { return strconv.FormatUint(n, 10) }

// EditorRows is the height of the editor.
func EditorRows(text string) string {
	return strconv.Itoa(min(40, max(14, strings.Count(text, "\n")+3)))
}
