package view

import (
	"strconv"
	"strings"
	"unicode"
)

// Plain returns a text that devices or people wrote as one that cannot change
// how the text around it is shown: control characters and those that turn the
// direction of writing become visible.
func Plain(s string) string {
	odd := func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || TurnsDirection(r) || r == '\u2028' || r == '\u2029'
	}
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if odd(r) {
			b.WriteString(CodePoint(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// CodePoint writes a character visibly, by its number.
func CodePoint(r rune) string {
	return "⟨" + strings.ToUpper(strconv.FormatInt(int64(r), 16)) + "⟩"
}

// TurnsDirection reports whether a character changes the direction of the text
// after it.
func TurnsDirection(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x61c
}
