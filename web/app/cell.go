package app

import "strings"

// formula are the characters with which a spreadsheet begins a formula, or with which Cell
// begins a text.
const formula = "=+-@\t\r\n'"

// Cell returns a text for CSV that no spreadsheet takes for a formula.
func Cell(s string) string {
	if s != "" && strings.IndexByte(formula, s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// OfCell returns what Cell was given.
func OfCell(s string) string {
	if len(s) > 1 && s[0] == '\'' && strings.IndexByte(formula, s[1]) >= 0 {
		return s[1:]
	}
	return s
}
