package decode

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Reasons of an Error. The dead letters use the same tokens.
const (
	// ReasonPayload is a payload that is not a reading, or a name in it that is
	// not allowed.
	ReasonPayload = "payload"
	// ReasonValue is a number that is not finite.
	ReasonValue = "value"
	// ReasonClock is an event time too far from the arrival.
	ReasonClock = "clock"
	// ReasonTooLarge is a payload, text or unit over its limit, or too many
	// keys or items.
	ReasonTooLarge = "too-large"
)

// Error explains why a payload, a part of it, or one item of a body holds no reading.
type Error struct {
	// Reason is one of the Reason constants.
	Reason string
	// Detail is a sentence for people, without a full stop. It quotes at most a
	// few words of what was sent.
	Detail string
	// Field names the part that was refused, such as ts or values.door; empty if
	// it is the whole.
	Field string
	// Line and Column, both from 1, are where the JSON stops being valid; 0 for
	// every other error. Columns count bytes.
	Line, Column int
	// Partial reports that the rest of the payload was read: only the parts that Field and
	// Detail name were refused.
	Partial bool

	// whole means that nothing after the error can be read.
	whole bool
	// at is the byte at which the JSON stops being valid.
	at int
}

// Error returns the detail and, if known, the field.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

func refuse(field, format string, args ...any) *Error {
	return &Error{Reason: ReasonPayload, Field: field, Detail: fmt.Sprintf(format, args...)}
}

func tooLarge(field, format string, args ...any) *Error {
	return &Error{Reason: ReasonTooLarge, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// quote returns the beginning of b, escaped to be safe to show.
func quote[T []byte | string](b T) string {
	const most = 40
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(b[cut]) {
		cut--
	}
	return strconv.Quote(string(b[:cut])) + "..."
}
