package view

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"headwater/proto/figure"
)

// htmxConfig keeps htmx from adding styles of its own, from evaluating code and
// from loading extensions other than SSE. A live update leaves open what a person
// has opened.
const htmxConfig = `{"includeIndicatorCSS":false,"extensions":"sse","defaultTimeout":15000,"morphIgnore":["data-htmx-powered","open"]}`

// Link is a link with its text.
type Link struct{ Href, Text string }

func current(is bool) string {
	if is {
		return "page"
	}
	return "false"
}

func severityClass(s Severity) string {
	switch s {
	case SeverityCritical, SeverityWarning:
		return string(s)
	}
	return string(SeverityInfo)
}

func severityWord(s Severity) string {
	c := severityClass(s)
	return strings.ToUpper(c[:1]) + c[1:]
}

// short returns a count that fits in a badge.
func short(n uint64) string {
	switch {
	case n < 1000:
		return strconv.FormatUint(n, 10)
	case n < 1_000_000:
		return strconv.FormatUint(n/1000, 10) + "k"
	}
	return strconv.FormatUint(n/1_000_000, 10) + "M"
}

// DeviceURL is the address of a device's page.
func DeviceURL(site, device string) string {
	return "/devices/" + url.PathEscape(site) + "/" + url.PathEscape(device)
}

// RowID is the id of the row of a device on the overview.
func RowID(d Device) string { return "d-" + d.Site + "." + d.Device }

// unit returns a unit as it stands after a number.
func unit(u string) string {
	if u == "" {
		return ""
	}
	u = plain(u)
	if r := []rune(u); len(r) > maxUnit {
		u = string(r[:maxUnit]) + "…"
	}
	return "\u00a0" + u
}

// maxUnit is the longest unit that is shown whole, in characters.
const maxUnit = 16

// plain returns a text that devices or people wrote as one that cannot change
// how the text around it is shown: control characters and those that turn the
// direction of writing become visible.
func plain(s string) string {
	odd := func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || bidi(r) || r == '\u2028' || r == '\u2029'
	}
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if odd(r) {
			b.WriteString(codePoint(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func codePoint(r rune) string {
	return "⟨" + strings.ToUpper(strconv.FormatInt(int64(r), 16)) + "⟩"
}

func plural[N int | int64 | uint64](n N, one, many string) string {
	return figure.Plural(n, one, many)
}

// reasonWords explain the reasons of dead letters.
func reasonWords(reason string) string {
	switch reason {
	case "topic":
		return "The topic does not have the form sensors/<site>/<device>/<metric>."
	case "payload":
		return "The message could not be understood as a reading."
	case "value":
		return "The value is not a finite number."
	case "clock":
		return "The time of the reading is too far in the past or in the future."
	case "too-large":
		return "The message is larger than what is taken."
	case "rejected":
		return "InfluxDB refused the point."
	case "malformed":
		return "The stored message is damaged."
	case "undeliverable":
		return "A notification could not be delivered."
	}
	return ""
}

// payloadText returns bytes for people: as text when they are, with control
// characters made visible, else as a hex dump of at most hexBytes.
func payloadText(b []byte) (text string, isText bool) {
	cut := b
	for i := 0; i < utf8.UTFMax && len(cut) > 0 && !utf8.Valid(cut); i++ {
		cut = cut[:len(cut)-1] // the payload may have been cut inside a character
	}
	if utf8.Valid(cut) && len(cut) > 0 || len(b) == 0 {
		readable := 0
		var s strings.Builder
		for _, r := range string(cut) {
			switch {
			case r == '\n' || r == '\t' || unicode.IsPrint(r) && !bidi(r):
				s.WriteRune(r)
				readable++
			default:
				s.WriteString(codePoint(r))
			}
		}
		if total := utf8.RuneCount(cut); readable*10 >= total*7 {
			return s.String(), true
		}
	}
	return hexDump(b[:min(len(b), hexBytes)]), false
}

const hexBytes = 512

// bidi says whether a character changes the direction of the text after it.
func bidi(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x61c
}

func hexDump(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for i, c := range b {
		if i > 0 {
			if i%16 == 0 {
				s.WriteByte('\n')
			} else {
				s.WriteByte(' ')
			}
		}
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// sharePercent returns a share for people.
func sharePercent(share float64) string {
	if share > 0 && share < 0.001 {
		return "less than 0.1 %"
	}
	return strings.TrimSuffix(percent(share), "%") + " %"
}

// percent returns a share as the width of a bar.
func percent(share float64) string {
	return strconv.FormatFloat(max(0, min(1, share))*100, 'f', 1, 64) + "%"
}
