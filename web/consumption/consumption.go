package consumption

import (
	"math"
	"strconv"
	"time"

	"headwater/web/ui"
)

// priced reports whether costs are known.
func (c Consumption) priced() bool {
	return c.Currency != "" || c.Total.Cost != nil || c.Before.Cost != nil
}

// perWords are the times of a bar as a link names them.
var perWords = map[Per]string{Hour: "Hours", Day: "Days", Week: "Weeks", Month: "Months"}

// title names what is shown.
func (c Consumption) title() string {
	switch c.Per {
	case Hour:
		return c.From.Format("Monday, 2 January 2006")
	case Day:
		return c.From.Format("January 2006")
	case Week:
		year, _ := c.From.ISOWeek()
		return "Weeks of " + strconv.Itoa(year)
	}
	return c.From.Format("2006")
}

// beforeWords name the time before.
func (c Consumption) beforeWords() string {
	return map[Per]string{Hour: "the day before", Day: "the month before", Week: "the year before", Month: "the year before"}[c.Per]
}

// label names a period in the table.
func (c Consumption) label(p Period) string {
	switch c.Per {
	case Hour:
		text := p.Start.Format("15:04")
		if c.twice(p) {
			text += " " + p.Start.Format("MST")
		}
		return text
	case Day:
		return p.Start.Format("Mon 2 Jan")
	case Week:
		_, week := p.Start.ISOWeek()
		return "Week " + strconv.Itoa(week) + ", from " + p.Start.Format("2 Jan")
	}
	return p.Start.Format("January")
}

// twice reports whether the time of day comes twice on the day.
func (c Consumption) twice(p Period) bool {
	n := 0
	for _, o := range c.Periods {
		if o.Start.Format("15:04") == p.Start.Format("15:04") {
			n++
		}
	}
	return n > 1
}

// tick is the text below a bar; empty for those between.
func (c Consumption) tick(i int) string {
	start := c.Periods[i].Start
	switch c.Per {
	case Hour:
		if start.Hour()%6 == 0 && start.Minute() == 0 {
			return start.Format("15:04")
		}
	case Day:
		if i%7 == 0 {
			return start.Format("2")
		}
	case Week:
		if i%13 == 0 {
			return strconv.Itoa(i + 1)
		}
	default:
		return start.Format("Jan")
	}
	return ""
}

// amount writes an amount with its unit.
func amount(v *float64, unit string) string {
	if v == nil {
		return "–"
	}
	return number(*v) + ui.Unit(unit)
}

// inWords names a unit after what is in it.
func inWords(unit string) string {
	if unit == "" {
		return ""
	}
	return " in" + ui.Unit(unit)
}

// money writes a cost.
func money(v *float64, currency string) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v, 'f', 2, 64) + ui.Unit(currency)
}

// number writes a sum with at most three digits after the point.
func number(v float64) string { return ui.FormatNumber(math.Round(v*1000) / 1000) }

// change says by how much now is more or less than before; empty if that says nothing.
func change(now, before *float64) string {
	if now == nil || before == nil || *before <= 0 {
		return ""
	}
	percent := math.Round(100 * (*now - *before) / *before)
	switch {
	case percent > 0:
		return strconv.FormatFloat(percent, 'f', -1, 64) + " % more"
	case percent < 0:
		return strconv.FormatFloat(-percent, 'f', -1, 64) + " % less"
	}
	return "as much"
}

// Sizes of the drawing, which is stretched to the width of the page.
const (
	barStep   = 10.0
	barHeight = 200.0
)

// bar is one rectangle.
type bar struct{ X, Y, Width, Height string }

// top is the greatest amount of the chart, rounded up so that its quarters are short.
func (c Consumption) top() float64 {
	most := 0.0
	for _, p := range c.Periods {
		for _, v := range []*float64{p.Used, p.Before.Used} {
			if v != nil {
				most = max(most, *v)
			}
		}
	}
	if most <= 0 || math.IsInf(most, 0) {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{1, 2, 4, 6, 8} {
		if most <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}

// layout places the bar of an amount: narrow and in front, or wide and behind.
func (c Consumption) layout(i int, v *float64, share float64) (bar, bool) {
	if v == nil || !(*v > 0) {
		return bar{}, false
	}
	height := min(barHeight, barHeight**v/c.top())
	width := barStep * share
	return bar{
		X: coordinate(barStep*float64(i) + (barStep-width)/2), Y: coordinate(barHeight - height),
		Width: coordinate(width), Height: coordinate(height),
	}, true
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func (c Consumption) viewBox() string {
	return "0 0 " + coordinate(barStep*float64(len(c.Periods))) + " " + coordinate(barHeight)
}

// scale are the amounts at the lines of the chart, from the top.
func (c Consumption) scale() []string {
	top := c.top()
	return []string{number(top), number(top / 2), "0"}
}

// summary is the chart in one sentence, for those who do not see it.
func (c Consumption) summary() string {
	return c.Metric + " by " + string(c.Per) + ", " + c.title() + ": " + amount(c.Total.Used, c.Unit) + "; the table below has the figures"
}

// tip is the text of a bar.
func (c Consumption) tip(p Period) string {
	text := c.label(p) + ": " + amount(p.Used, c.Unit)
	if p.Cost != nil {
		text += ", " + money(p.Cost, c.Currency)
	}
	if p.Before.Used != nil {
		text += "; " + c.beforeWords() + " " + amount(p.Before.Used, c.Unit)
	}
	return text
}

// begun are the periods that have begun.
func (c Consumption) begun(now time.Time) []Period {
	n := 0
	for n < len(c.Periods) && c.Periods[n].Start.Before(now) {
		n++
	}
	return c.Periods[:n]
}

// known reports whether anything is known.
func (c Consumption) known() bool { return c.Total.Used != nil || c.Before.Used != nil }
