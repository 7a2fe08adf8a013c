package ui

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/web/view"
)

// Size of the coordinate system in which a sparkline is drawn.
const (
	sparkWidth  = 120.0
	sparkHeight = 28.0
	sparkMargin = 3.0
)

// curve is a sparkline ready to draw: the line through the last readings of the
// slots, and the band between their extremes. Line is empty if there is nothing to
// draw.
type curve struct {
	Line, Band, Label string
}

// sparkline lays out the slots of a metric, in the unit of it, on the quarter of
// an hour that ends with the newest one.
func sparkline(name, of string, slots []view.Slot) curve {
	if len(slots) == 0 {
		return curve{}
	}
	low, high := slots[0].Min, slots[0].Max
	for _, s := range slots {
		low, high = min(low, s.Min), max(high, s.Max)
	}
	label := name + ", last 15 minutes: " + FormatNumber(low) + " to " + FormatNumber(high) + Unit(of)
	// Noise of one per cent must not look like a mountain.
	if least := 0.02 * max(math.Abs(low), math.Abs(high)); high-low < least {
		middle := (low + high) / 2
		low, high = middle-least/2, middle+least/2
	}
	begin := slots[len(slots)-1].Start.Add(-(view.SlotCount - 1) * view.SlotWidth)
	x := func(t time.Time) float64 {
		return sparkMargin + (sparkWidth-2*sparkMargin)*float64(t.Sub(begin))/float64((view.SlotCount-1)*view.SlotWidth)
	}
	y := func(v float64) float64 {
		if high == low {
			return sparkHeight / 2
		}
		return sparkHeight - sparkMargin - (sparkHeight-2*sparkMargin)*(v-low)/(high-low)
	}
	var line, band strings.Builder
	op := byte('M')
	for _, s := range slots {
		writePoint(&line, op, x(s.Start), y(s.Last))
		writePoint(&band, op, x(s.Start), y(s.Max))
		op = 'L'
	}
	for _, s := range slices.Backward(slots) {
		writePoint(&band, op, x(s.Start), y(s.Min))
	}
	if len(slots) == 1 {
		line.WriteString("h0.1") // a dot: the ends of a stroke are round
	}
	return curve{Line: line.String(), Band: band.String() + "Z", Label: label}
}

// RateBars lays out the readings of each second as bars of one path.
func RateBars(rates []float64) string {
	high := 0.0
	for _, r := range rates {
		high = max(high, r)
	}
	if high == 0 {
		return ""
	}
	step := sparkWidth / float64(len(rates))
	var b strings.Builder
	for i, r := range rates {
		if r == 0 {
			continue
		}
		left, top := float64(i)*step, sparkHeight-(sparkHeight-2)*r/high
		writePoint(&b, 'M', left, sparkHeight)
		b.WriteString("V" + coordinate(top) + "h" + coordinate(step*0.7) + "V" + coordinate(sparkHeight) + "Z")
	}
	return b.String()
}

func writePoint(b *strings.Builder, op byte, x, y float64) {
	b.WriteByte(op)
	b.WriteString(coordinate(x))
	b.WriteByte(' ')
	b.WriteString(coordinate(y))
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
