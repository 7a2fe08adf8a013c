// Package chart draws the chart of one alert as a small picture, for mail. It is pure.
package chart

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strconv"
	"time"
)

// Size of a picture, in pixels. Mail shows it at half of that, so that it is sharp on a phone.
const (
	Width  = 1200
	Height = 440
)

// Edges of what is drawn, which leave room for the labels, in pixels.
const (
	left, right, top, bottom = 150, Width - 30, 24, Height - 58
	// wide is the width of the line of the series.
	wide = 5
	// maxTicks bounds the labels of an axis.
	maxTicks = 6
)

// Chart is what is drawn.
type Chart struct {
	// Points are in the order of time. Two at one moment are drawn as a line between them.
	Points []Point
	// Low and High bound what is normal; nil when that side is open.
	Low, High *float64
	// Began and Ended bound the alert; Ended is zero while it is ongoing. Its time zone is
	// that of the labels.
	Began, Ended time.Time
}

// Point is one value.
type Point struct {
	At    time.Time
	Value float64
}

// The colours of the palette, each the index of one.
const (
	paper = iota
	grid
	ink
	normal
	bound
	alarm
	line
)

var palette = color.Palette{
	paper:  color.RGBA{0xff, 0xff, 0xff, 0xff},
	grid:   color.RGBA{0xdd, 0xe3, 0xe8, 0xff},
	ink:    color.RGBA{0x4a, 0x55, 0x60, 0xff},
	normal: color.RGBA{0xe6, 0xf4, 0xea, 0xff},
	bound:  color.RGBA{0xc2, 0x41, 0x0c, 0xff},
	alarm:  color.RGBA{0xfd, 0xe7, 0xe1, 0xff},
	line:   color.RGBA{0x0b, 0x63, 0xb5, 0xff},
}

// PNG returns the picture, or nil if there is nothing to see: fewer than two points at
// different times.
func (c Chart) PNG() ([]byte, error) {
	c.Points = slices.DeleteFunc(slices.Clone(c.Points), func(p Point) bool { return !drawable(p.Value) })
	if len(c.Points) < 2 || !c.Points[len(c.Points)-1].At.After(c.Points[0].At) {
		return nil, nil
	}
	d := drawing{Paletted: image.NewPaletted(image.Rect(0, 0, Width, Height), palette)}
	d.scale(c)
	d.ground(c)
	d.axes(c)
	d.bounds(c)
	d.series(c)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.DefaultCompression}).Encode(&out, d); err != nil {
		return nil, fmt.Errorf("encode the chart: %w", err)
	}
	return out.Bytes(), nil
}

// drawable reports whether a number fits a scale.
func drawable(v float64) bool { return math.Abs(v) <= 1e300 }

// drawing is a picture and its scales.
type drawing struct {
	*image.Paletted

	from, to    time.Time
	low, high   float64
	step        float64
	firstYTick  float64
	totalYTicks int
}

// scale makes room for all points and, unless that would flatten them, for the bounds.
func (d *drawing) scale(c Chart) {
	d.from, d.to = c.Points[0].At, c.Points[len(c.Points)-1].At
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range c.Points {
		low, high = min(low, p.Value), max(high, p.Value)
	}
	span := high - low
	for _, b := range []*float64{c.Low, c.High} {
		if b != nil && drawable(*b) && (span == 0 || math.Abs(*b-(low+high)/2) < 5*span) {
			low, high = min(low, *b), max(high, *b)
		}
	}
	if high-low < 1e-9*max(math.Abs(high), math.Abs(low), 1e-9) {
		low, high = low-max(1, math.Abs(low)/10), high+max(1, math.Abs(high)/10)
	}
	margin := (high - low) * 0.08
	d.low, d.high = low-margin, high+margin
	d.step = niceStep(d.high - d.low)
	d.firstYTick = math.Ceil(d.low/d.step) * d.step
	d.totalYTicks = int((d.high-d.firstYTick)/d.step) + 1
}

// niceStep returns a step of 1, 2 or 5 times a power of ten that gives at most maxTicks.
func niceStep(span float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(span/maxTicks)))
	for _, m := range []float64{1, 2, 5, 10} {
		if span/(m*power) <= maxTicks {
			return m * power
		}
	}
	return 20 * power
}

func (d *drawing) x(at time.Time) int {
	share := float64(at.Sub(d.from)) / float64(d.to.Sub(d.from))
	return left + int(math.Round(min(max(share, 0), 1)*(right-left)))
}

func (d *drawing) y(v float64) int {
	share := (v - d.low) / (d.high - d.low)
	return bottom - int(math.Round(min(max(share, 0), 1)*(bottom-top)))
}

// ground shades the time of the alert, and what is normal before it.
func (d *drawing) ground(c Chart) {
	began, ended := d.x(c.Began), right
	if !c.Ended.IsZero() {
		ended = d.x(c.Ended)
	}
	low, high := bottom, top
	if c.Low != nil {
		low = d.y(*c.Low)
	}
	if c.High != nil {
		high = d.y(*c.High)
	}
	if c.Low != nil || c.High != nil {
		d.fill(left, high, right, low, normal)
	}
	d.fill(began, top, max(ended, began+4), bottom, alarm)
}

func (d *drawing) axes(c Chart) {
	for i := range d.totalYTicks {
		v := d.firstYTick + float64(i)*d.step
		if math.Abs(v) < d.step/1e6 {
			v = 0
		}
		y := d.y(v)
		d.fill(left, y, right, y+2, grid)
		label := strconv.FormatFloat(v, 'g', 6, 64)
		d.text(left-14-textWidth(label), y-textHeight/2, label)
	}
	layout, step := timeSteps(d.to.Sub(d.from))
	zone := c.Began.Location()
	first := d.from.In(zone)
	// Ticks lie on round times of the clock there.
	_, offset := first.Zone()
	shift := time.Duration(offset) * time.Second
	for at := first.Add(shift).Truncate(step).Add(-shift); !at.After(d.to); at = at.Add(step) {
		if at.Before(d.from) {
			continue
		}
		x, label := d.x(at), at.In(zone).Format(layout)
		d.fill(x, bottom, x+2, bottom+8, ink)
		d.text(min(max(x-textWidth(label)/2, 0), Width-textWidth(label)), bottom+18, label)
	}
	d.fill(left, bottom, right, bottom+2, ink)
}

// timeSteps returns how times are written on an axis of a span, and the step between them.
func timeSteps(span time.Duration) (layout string, step time.Duration) {
	for _, s := range []struct {
		layout string
		step   time.Duration
	}{
		{"15:04:05", time.Second},
		{"15:04:05", 5 * time.Second},
		{"15:04:05", 15 * time.Second},
		{"15:04", time.Minute},
		{"15:04", 5 * time.Minute},
		{"15:04", 15 * time.Minute},
		{"15:04", 30 * time.Minute},
		{"15:04", time.Hour},
		{"15:04", 3 * time.Hour},
		{"15:04", 6 * time.Hour},
		{"01-02 15:04", 12 * time.Hour},
		{"01-02", 24 * time.Hour},
	} {
		if span/s.step <= maxTicks {
			return s.layout, s.step
		}
	}
	return "01-02", max(48*time.Hour, (span / maxTicks).Round(24*time.Hour))
}

// bounds draws the bounds of what is normal as broken lines.
func (d *drawing) bounds(c Chart) {
	for _, b := range []*float64{c.Low, c.High} {
		if b == nil || *b < d.low || *b > d.high {
			continue
		}
		for x := left; x < right; x += 24 {
			d.fill(x, d.y(*b)-1, min(x+14, right), d.y(*b)+2, bound)
		}
	}
}

// series draws the points and the line between them, which breaks where the series was
// silent for much longer than usual.
func (d *drawing) series(c Chart) {
	gaps := make([]time.Duration, 0, len(c.Points))
	for i, p := range c.Points[1:] {
		if gap := p.At.Sub(c.Points[i].At); gap > 0 {
			gaps = append(gaps, gap)
		}
	}
	slices.Sort(gaps)
	longest := 5 * gaps[len(gaps)/2]
	for i, p := range c.Points {
		x, y := d.x(p.At), d.y(p.Value)
		d.dot(x, y)
		if i == 0 || p.At.Sub(c.Points[i-1].At) > longest {
			continue
		}
		fromX, fromY := d.x(c.Points[i-1].At), d.y(c.Points[i-1].Value)
		steps := max(abs(x-fromX), abs(y-fromY), 1)
		for s := range steps {
			d.dot(fromX+(x-fromX)*s/steps, fromY+(y-fromY)*s/steps)
		}
	}
}

func (d *drawing) dot(x, y int) {
	const r = wide / 2
	for dy := -r; dy <= r; dy++ {
		for dx := -r; dx <= r; dx++ {
			if dx*dx+dy*dy <= r*r+1 {
				d.SetColorIndex(x+dx, y+dy, line)
			}
		}
	}
}

func (d *drawing) fill(x0, y0, x1, y1 int, colour uint8) {
	x0, x1 = max(x0, 0), min(x1, Width)
	for y := max(y0, 0); y < min(y1, Height) && x0 < x1; y++ {
		row := d.Pix[d.PixOffset(x0, y) : d.PixOffset(x1-1, y)+1]
		for i := range row {
			row[i] = colour
		}
	}
}

func abs(n int) int { return max(n, -n) }
