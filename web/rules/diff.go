package rules

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// DiffLine is one line of a difference.
type DiffLine struct {
	// Sign is '+', '-', ' ' or, for lines that are left out, '…'.
	Sign rune
	Text string
}

// maxDiff bounds the texts that are compared, in bytes.
const maxDiff = 64 << 10

// diff returns how one text became another, line by line; nothing when they
// are alike.
func diff(before, after string) []DiffLine {
	if before == after || len(before) > maxDiff || len(after) > maxDiff {
		return nil
	}
	before, after = ended(before), ended(after)
	d, err := udiff.ToUnifiedDiff("", "", before, udiff.Lines(before, after), udiff.DefaultContextLines)
	if err != nil { // the edits are made of the text
		return nil
	}
	var out []DiffLine
	for _, h := range d.Hunks {
		if len(out) > 0 || h.FromLine > 1 {
			out = append(out, DiffLine{Sign: '…'})
		}
		for _, l := range h.Lines {
			sign := ' '
			switch l.Kind {
			case udiff.Insert:
				sign = '+'
			case udiff.Delete:
				sign = '-'
			}
			out = append(out, DiffLine{Sign: sign, Text: strings.TrimSuffix(l.Content, "\n")})
		}
	}
	return out
}

func ended(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

func diffClass(sign rune) string {
	switch sign {
	case '+':
		return "diff-add"
	case '-':
		return "diff-remove"
	case '…':
		return "diff-skip"
	}
	return "diff-same"
}

func diffWord(sign rune) string {
	switch sign {
	case '+':
		return "added: "
	case '-':
		return "removed: "
	}
	return ""
}
