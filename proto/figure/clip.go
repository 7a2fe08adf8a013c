package figure

import "unicode/utf8"

// mark stands at the end of a text that was cut.
const mark = "…"

// Clip returns a text of at most n bytes: s, or its beginning and the mark "…",
// cut between two characters. n must be at least 3, the length of the mark.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := max(0, n-len(mark))
	// Bytes that are no UTF-8 are cut anywhere.
	for back := 1; back < utf8.UTFMax && end > 0 && !utf8.RuneStart(s[end]); back++ {
		end--
	}
	return s[:end] + mark
}
