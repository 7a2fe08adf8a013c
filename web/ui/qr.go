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
