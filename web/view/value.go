package view

import (
	"encoding/json"
	"math"

	"headwater/proto/figure"
)

// Kind is the type of a metric's values.
type Kind string

// The kinds of values.
const (
	KindNumber Kind = "value"
	KindFlag   Kind = "flag"
	KindText   Kind = "text"
)

// Value is the value of one reading. The zero Value means that there is none.
type Value struct {
	Kind   Kind
	Number float64
	Flag   bool
	Text   string
}

// Number returns a numeric value; -0 is 0.
func Number(v float64) Value { return Value{Kind: KindNumber, Number: figure.Zero(v)} }

// Flag returns a value that is true or false.
func Flag(v bool) Value { return Value{Kind: KindFlag, Flag: v} }

// Text returns a value that is a text.
func Text(v string) Value { return Value{Kind: KindText, Text: v} }

// String returns the value for people, without its unit.
func (v Value) String() string {
	switch v.Kind {
	case KindNumber:
		return figure.Number(v.Number)
	case KindFlag:
		if v.Flag {
			return "on"
		}
		return "off"
	case KindText:
		return Plain(v.Text)
	}
	return "–"
}

// MarshalJSON writes the value as a number, a bool or a string, and no value or
// one that JSON cannot express as null.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.Kind {
	case KindNumber:
		if math.IsNaN(v.Number) || math.IsInf(v.Number, 0) {
			return []byte("null"), nil
		}
		return json.Marshal(v.Number)
	case KindFlag:
		return json.Marshal(v.Flag)
	case KindText:
		return json.Marshal(v.Text)
	}
	return []byte("null"), nil
}
