package decode

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// trim removes what wraps a payload without being part of it: a byte order
// mark, white space, and the NUL with which C programs end a string.
func trim(b []byte) []byte {
	if b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")); len(b) > 0 {
		first, last := 0, len(b)
		for first < last && space(b[first]) {
			first++
		}
		for first < last && (space(b[last-1]) || b[last-1] == 0) {
			last--
		}
		b = b[first:last]
	}
	return b
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// bare decodes a payload that is not JSON: a number, true, false or a text.
func (d *Decoder) bare(r *Reading, payload []byte) *Error {
	if numeric(payload) {
		v, err := parseFloat(payload)
		switch {
		case err == nil:
			r.Kind, r.Value = Value, v
			return nil
		case errors.Is(err, strconv.ErrRange):
			return outOfRange("", payload)
		}
		// A text that begins like a number, such as a version or a date.
	}
	switch string(payload) {
	case "true", "false":
		r.Kind, r.Flag = Flag, payload[0] == 't'
		return nil
	case "null":
		return refuse("", "null is not a reading")
	}
	return d.text(r, "", payload)
}

// numeric says whether a bare payload consists of the characters of a decimal
// number only. It keeps the hexadecimal forms, underscores and the words for
// infinity that strconv knows from becoming numbers.
func numeric(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

// parseFloat parses a number that is not empty without copying it.
func parseFloat(b []byte) (float64, error) {
	// ParseFloat keeps its argument only in the error, which does not leave
	// this package.
	return strconv.ParseFloat(unsafe.String(unsafe.SliceData(b), len(b)), 64)
}

func outOfRange(field string, number []byte) *Error {
	return &Error{Reason: ReasonValue, Field: field, Detail: "the number " + quote(number) + " does not fit a 64-bit float"}
}

// text makes r a reading of kind Text with a copy of b.
func (d *Decoder) text(r *Reading, field string, b []byte) *Error {
	if len(b) > d.limits.Text {
		return tooLarge(field, "the text has %d bytes, more than %d", len(b), d.limits.Text)
	}
	s := string(b)
	if notFinite(s) {
		return &Error{Reason: ReasonValue, Field: field, Detail: s + " is not a number that can be stored"}
	}
	if err := plain(field, b); err != nil {
		return err
	}
	r.Kind, r.Text = Text, s
	return nil
}

// notFinite says whether a word is one of the spellings of infinity and of
// "not a number".
func notFinite(word string) bool {
	if len(word) > len("+infinity") {
		return false
	}
	word = strings.TrimLeft(word, "+-")
	return strings.EqualFold(word, "nan") || strings.EqualFold(word, "inf") || strings.EqualFold(word, "infinity")
}

// plain refuses what is not text: invalid UTF-8 and control characters, which
// betray a binary payload.
func plain(field string, b []byte) *Error {
	if !utf8.Valid(b) {
		return refuse(field, "%s is not UTF-8", quote(b))
	}
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return refuse(field, "the text %s has control characters", quote(b))
		}
	}
	return nil
}
