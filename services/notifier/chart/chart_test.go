package chart

import (
	"bytes"
	"image/png"
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// warming are readings each half minute that rise from 5 and cross 8.
func warming() []Point {
	var out []Point
	for i := range 120 {
		out = append(out, Point{noon.Add(time.Duration(i) * 30 * time.Second), 5 + math.Sin(float64(i)/9)/4 + max(0, float64(i)-80)/8})
	}
	return out
}

// TestPNG draws charts and looks at their colours where they must be.
func TestPNG(t *testing.T) {
	high, far := 8.0, 900.0
	for name, c := range map[string]struct {
		chart   Chart
		nothing bool
		// at are colours by the share of the width and of the height.
		at map[[2]float64]uint8
	}{
		"nothing":       {chart: Chart{}, nothing: true},
		"one point":     {chart: Chart{Points: warming()[:1]}, nothing: true},
		"one moment":    {chart: Chart{Points: []Point{{noon, 1}, {noon, 2}}}, nothing: true},
		"no number":     {chart: Chart{Points: []Point{{noon, math.NaN()}, {noon.Add(1), math.Inf(1)}}}, nothing: true},
		"it rises":      {chart: Chart{Points: warming(), High: &high, Began: noon.Add(52 * time.Minute)}, at: map[[2]float64]uint8{{0.95, 0.5}: alarm, {0.5, 0.6}: normal, {0.5, 0.1}: paper}},
		"it is over":    {chart: Chart{Points: warming(), High: &high, Began: noon.Add(10 * time.Minute), Ended: noon.Add(20 * time.Minute)}, at: map[[2]float64]uint8{{0.25, 0.3}: alarm, {0.5, 0.1}: paper}},
		"a far bound":   {chart: Chart{Points: warming(), Low: &far, Began: noon.Add(time.Hour)}, at: map[[2]float64]uint8{}},
		"always same":   {chart: Chart{Points: []Point{{noon, 3}, {noon.Add(time.Minute), 3}}, Began: noon}, at: map[[2]float64]uint8{{0.5, 0.5}: line}},
		"large numbers": {chart: Chart{Points: []Point{{noon, -1e300}, {noon.Add(time.Minute), 1e300}}, Began: noon}, at: map[[2]float64]uint8{{0.5, 0.5}: line}},
		"a long time":   {chart: Chart{Points: []Point{{noon, 1}, {noon.AddDate(0, 1, 0), 2}}, Began: noon.AddDate(0, 0, 20)}, at: map[[2]float64]uint8{{0.5, 0.5}: line}},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := c.chart.PNG()
			if err != nil || (body == nil) != c.nothing {
				t.Fatalf("%d bytes, %v", len(body), err)
			}
			if body == nil {
				return
			}
			if len(body) > 20_000 {
				t.Errorf("%d bytes", len(body))
			}
			picture, err := png.Decode(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for at, want := range c.at {
				x, y := left+int(at[0]*(right-left)), top+int(at[1]*(bottom-top))
				if got := picture.At(x, y); got != palette[want] {
					t.Errorf("at %v it is %v, want %v", at, got, palette[want])
				}
			}
		})
	}
}

// TestLabels holds the steps of the axes to what people read easily, and to the glyphs that
// there are.
func TestLabels(t *testing.T) {
	for span, want := range map[float64]float64{1: 0.2, 10: 2, 7: 2, 0.03: 0.005, 12345: 5000} {
		if got := niceStep(span); math.Abs(got-want) > want/1e9 {
			t.Errorf("%v: %v, want %v", span, got, want)
		}
	}
	for span, want := range map[time.Duration]time.Duration{
		3 * time.Second: time.Second, time.Hour: 15 * time.Minute, 24 * time.Hour: 6 * time.Hour, 7 * 24 * time.Hour: 48 * time.Hour, 60 * 24 * time.Hour: 240 * time.Hour,
	} {
		layout, got := timeSteps(span)
		if got != want {
			t.Errorf("%v: %v, want %v", span, got, want)
		}
		for _, r := range noon.Format(layout) {
			if _, known := glyphs[r]; !known {
				t.Errorf("%q has no glyph", r)
			}
		}
	}
}
