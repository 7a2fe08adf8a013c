package ui

import (
	"image"
	"image/color"
	"strconv"
	"strings"
	"testing"

	qr "github.com/piglig/go-qr"
)

// TestQRCanBeRead draws the path as a browser does, and reads it back.
func TestQRCanBeRead(t *testing.T) {
	const text = "http://192.168.1.20:8080/trust"
	path, side := qrShape(text)
	modules, err := strconv.Atoi(side)
	if err != nil {
		t.Fatal(err)
	}
	const scale = 4
	picture := image.NewGray(image.Rect(0, 0, modules*scale, modules*scale))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for run := range strings.SplitSeq(strings.TrimSuffix(path, "z"), "z") {
		fields := strings.FieldsFunc(run, func(r rune) bool { return strings.ContainsRune("M hv-", r) })
		var n [3]int
		for i := range n {
			if n[i], err = strconv.Atoi(fields[i]); err != nil {
				t.Fatalf("%q: %v", run, err)
			}
		}
		for y := n[1] * scale; y < (n[1]+1)*scale; y++ {
			for x := n[0] * scale; x < (n[0]+n[2])*scale; x++ {
				picture.SetGray(x, y, color.Gray{})
			}
		}
	}
	if got, err := qr.Decode(picture); err != nil || got != text {
		t.Errorf("it reads %q, %v", got, err)
	}
	if path, _ := qrShape(strings.Repeat("x", 5000)); path != "" {
		t.Error("a text that is too long has a code")
	}
}

// TestQRCanBeReadFromATerminal draws each character as a terminal does, and reads it back.
func TestQRCanBeReadFromATerminal(t *testing.T) {
	const text = "http://192.168.1.20:8080/set-up?code=ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	rows := strings.Split(strings.TrimSuffix(QRText(text), "\n"), "\n")
	const scale = 4
	picture := image.NewGray(image.Rect(0, 0, len(rows)*2*scale, len(rows)*2*scale))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for y, row := range rows {
		row, light := strings.CutPrefix(strings.TrimSuffix(row, "\x1b[0m"), "\x1b[30;107m")
		if !light {
			t.Fatalf("the row %q is not dark on light", row)
		}
		for x, r := range []rune(row) {
			for half, dark := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
				for i := range scale * scale {
					if dark {
						picture.SetGray(x*scale+i%scale, (2*y+half)*scale+i/scale, color.Gray{})
					}
				}
			}
		}
	}
	if got, err := qr.Decode(picture); err != nil || got != text {
		t.Errorf("it reads %q, %v", got, err)
	}
	if QRText(strings.Repeat("x", 5000)) != "" {
		t.Error("a text that is too long has a code")
	}
}
