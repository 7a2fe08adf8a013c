package ui

import (
	"fmt"
	"strconv"
	"strings"

	qr "github.com/piglig/go-qr"
)

// quietZone is the white margin of a QR code, in modules. Cameras need it.
const quietZone = 4

// qrShape returns a QR code as a path of SVG, and the length of a side with its margin,
// both in modules. A text that is too long has no path.
func qrShape(text string) (path, side string) {
	code, err := qr.EncodeText(text, qr.Medium)
	if err != nil {
		return "", "0"
	}
	var b strings.Builder
	size := code.Size()
	for y := range size {
		for x := 0; x < size; x++ {
			run := x
			for run < size && code.Module(run, y) {
				run++
			}
			if run > x {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, run-x, run-x)
				x = run
			}
		}
	}
	return b.String(), strconv.Itoa(size + 2*quietZone)
}

// QRText returns a QR code for a terminal, dark on light whatever its colours are; empty if
// the text is too long.
func QRText(text string) string {
	code, err := qr.EncodeText(text, qr.Medium)
	if err != nil {
		return ""
	}
	const margin = 2 // enough on a screen
	dark := func(x, y int) bool {
		size := code.Size()
		return x >= 0 && y >= 0 && x < size && y < size && code.Module(x, y)
	}
	var b strings.Builder
	for y := -margin; y < code.Size()+margin; y += 2 {
		b.WriteString("\x1b[30;107m") // black on white
		for x := -margin; x < code.Size()+margin; x++ {
			upper, lower := dark(x, y), dark(x, y+1)
			switch {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
