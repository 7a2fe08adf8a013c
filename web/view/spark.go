package view

import (
	"strconv"
	"strings"
	"time"
)

// Size of the coordinate system in which a sparkline is drawn.
const (
	sparkWidth  = 120.0
	sparkHeight = 28.0
	sparkMargin = 3.0
)

// curve is a sparkline ready to draw: the line, the area under it and the place
// of the last point. Line is empty when there is nothing to draw.
type curve struct {
	Line, Area string
	X, Y       string
	Label      string
}

// sparkline lays out slots on the quarter of an hour that ends with the slot of
// the newest one.
func sparkline(name, unit string, slots []Slot) curve {
	if len(slots) == 0 {
		return curve{}
	}
	low, high := slots[0].Min, slots[0].Max
	for _, s := range slots {
		low, high = min(low, s.Min), max(high, s.Max)
	}
	begin := slots[len(slots)-1].Start.Add(-(SlotCount - 1) * SlotWidth)
	x := func(t time.Time) float64 {
		return sparkMargin + (sparkWidth-2*sparkMargin)*float64(t.Sub(begin))/float64((SlotCount-1)*SlotWidth)
	}
	y := func(v float64) float64 {
		if high == low {
			return sparkHeight / 2
		}
		return sparkHeight - sparkMargin - (sparkHeight-2*sparkMargin)*(v-low)/(high-low)
	}
	var line strings.Builder
	firstX, lastX, lastY := 0.0, 0.0, 0.0
	for i, s := range slots {
		px := x(s.Start)
		op := byte('L')
		if i == 0 {
			op, firstX = 'M', px
		}
		if s.Max > s.Min { // both extremes of the slot, so that a spike shows
			first, second := s.Max, s.Min
			if s.Last > (s.Min+s.Max)/2 {
				first, second = s.Min, s.Max
			}
			writePoint(&line, op, px, y(first))
			op = 'L'
			writePoint(&line, op, px, y(second))
		}
		lastX, lastY = px, y(s.Last)
		writePoint(&line, op, lastX, lastY)
	}
	c := curve{Line: line.String(), X: coordinate(lastX), Y: coordinate(lastY)}
	var area strings.Builder
	area.WriteString(c.Line)
	writePoint(&area, 'L', lastX, sparkHeight)
	writePoint(&area, 'L', firstX, sparkHeight)
	c.Area = area.String() + "Z"
	c.Label = name + ", last 15 minutes: " + FormatNumber(low) + " to " + FormatNumber(high)
	if unit != "" {
		c.Label += " " + unit
	}
	return c
}

// rateBars lays out the readings of each second as bars of one path.
func rateBars(rates []float64) string {
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
