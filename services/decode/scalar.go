package decode

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"headwater/proto/units"
)

// trim removes what wraps a payload without being part of it: a byte order
// mark, white space, and the NUL at the end of a C string.
func trim(b []byte) []byte {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(b) > 0 {
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
		// Otherwise it is a text that begins like a number, such as a version or a
		// date.
		if isNumber, err := d.number(r, payload); isNumber || err != nil {
			return err
		}
	}
	switch string(payload) {
	case "true", "false":
		r.Kind, r.Flag = Flag, payload[0] == 't'
		return nil
	case "null":
		return refuse("", "null is not a reading")
	}
	if err := binary("", payload); err != nil {
		return err
	}
	return d.text(r, payload)
}

// number sets r to the number that b spells. It returns false, without an
// error, if b is not a decimal number.
func (d *Decoder) number(r *Reading, b []byte) (bool, *Error) {
	v, err := parseFloat(b)
	if errors.Is(err, strconv.ErrSyntax) {
		return false, nil
	}
	switch {
	case err != nil:
		return true, outOfRange(b)
	case !d.exact(b, v):
		if len(b) > d.limits.Text {
			return true, tooLarge("", "the number has %d digits, more than %d", len(b), d.limits.Text)
		}
		r.Kind, r.Text = Text, string(b)
		return true, nil
	}
	// Adding zero turns -0 into 0.
	r.Kind, r.Value = Value, v+0
	return true, nil
}

// exact reports whether v is the number that b spells, as people expect it:
// below 2^53 a fraction may be rounded, and a number with an exponent is
// approximate by its form.
func (d *Decoder) exact(b []byte, v float64) bool {
	const safe = 1 << 53
	if -safe < v && v < safe || bytes.ContainsAny(b, "eE") {
		return true
	}
	whole, fraction, _ := bytes.Cut(bytes.TrimLeft(b, "+-0"), []byte{'.'})
	d.digits = strconv.AppendFloat(d.digits[:0], math.Abs(v), 'f', 0, 64)
	return bytes.Equal(whole, d.digits) && len(bytes.TrimRight(fraction, "0")) == 0
}

// numeric reports whether a bare payload has only characters of a decimal
// number. It keeps the hexadecimal forms, underscores and words for infinity
// that strconv accepts from becoming numbers.
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

func outOfRange(number []byte) *Error {
	return &Error{Reason: ReasonValue, Detail: "the number " + quote(number) + " does not fit a 64-bit float"}
}

// text makes r a reading of kind Text with a copy of b.
func (d *Decoder) text(r *Reading, b []byte) *Error {
	if len(b) > d.limits.Text {
		return tooLarge("", "the text has %d bytes, more than %d", len(b), d.limits.Text)
	}
	s := string(b)
	if notFinite(s) {
		return &Error{Reason: ReasonValue, Detail: s + " is not a number that can be stored"}
	}
	if !utf8.ValidString(s) {
		return refuse("", "%s is not UTF-8", quote(b))
	}
	r.Kind, r.Text = Text, s
	return nil
}

// flagOf returns the flag that a word spells, in any case.
func flagOf(word string) (flag, ok bool) {
	switch {
	case len(word) > len("false"):
		return false, false
	case strings.EqualFold(word, "true"), strings.EqualFold(word, "on"):
		return true, true
	case strings.EqualFold(word, "false"), strings.EqualFold(word, "off"):
		return false, true
	}
	return false, false
}

// understand makes of a reading, which is whole, what is declared of its series:
// texts that spell a flag or a number become that, and numbers come in the declared
// unit.
func (d *Decoder) understand(r *Reading, site, device string) {
	declared := d.series(site, device, r.Metric)
	if r.Kind == Text && !declared.Literal {
		d.spelled(r)
	}
	if r.Kind != Value || declared.Unit == "" {
		return
	}
	if r.Unit == "" {
		r.Unit = declared.Unit
	} else if v, ok := units.Convert(r.Value, r.Unit, declared.Unit); ok {
		r.Value, r.Unit = v, declared.Unit
	}
}

// spelled makes of a text the flag or the number that it spells, if it does.
func (d *Decoder) spelled(r *Reading) {
	if flag, ok := flagOf(r.Text); ok {
		r.Kind, r.Flag, r.Text = Flag, flag, ""
		return
	}
	text := []byte(r.Text)
	if !jsonNumber(text) {
		return
	}
	if _, err := d.number(r, text); err == nil && r.Kind == Value {
		r.Text = ""
	}
}

// jsonNumber reports whether b is a number as JSON writes it: 007, +1 and 1.2.3
// are texts.
func jsonNumber(b []byte) bool {
	return len(b) > 0 && (b[0] == '-' || '0' <= b[0] && b[0] <= '9') && jsontext.Value(b).IsValid()
}

// notFinite reports whether a word spells infinity or "not a number".
func notFinite(word string) bool {
	if len(word) > len("+infinity") {
		return false
	}
	word = strings.TrimLeft(word, "+-")
	return strings.EqualFold(word, "nan") || strings.EqualFold(word, "inf") || strings.EqualFold(word, "infinity")
}

// binary refuses what is not text: invalid UTF-8, and control characters, which
// reveal a binary payload where nothing says that it is a text.
func binary(field string, b []byte) *Error {
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
