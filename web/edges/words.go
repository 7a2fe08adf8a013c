package edges

import (
	"fmt"
	"strings"
	"time"

	"headwater/web/ui"
	"headwater/web/view"
)

// goesUp says in words what an edge sends besides alerts.
func goesUp(p Policy) string {
	out := view.Plain(strings.Join(p.Readings, ", "))
	switch {
	case len(p.Readings)+len(p.Summaries) == 0:
		return "nothing"
	case len(p.Readings) > 0 && p.Readings[0] == everything:
		out = "all readings"
	}
	if len(p.Summaries) == 0 {
		return out
	}
	summaries := "summaries " + view.Plain(strings.Join(p.Summaries, ", "))
	if out == "" {
		return summaries
	}
	return out + "; " + summaries
}

// plainLines is view.Plain for each line of a text.
func plainLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = view.Plain(strings.TrimSuffix(line, "\r"))
	}
	return strings.Join(lines, "\n")
}

// everything is the selection of all readings, as policies have it.
const everything = "*/*/*"

// notes are what a person should know of what an edge sends.
func notes(e Edge) (out []string) {
	for _, n := range []struct {
		count uint64
		text  string
	}{{e.Skipped, "messages removed before they could be sent"}, {e.Refused, "readings and anomalies refused"}} {
		if n.count > 0 {
			out = append(out, ui.FormatCount(n.count)+" "+n.text)
		}
	}
	return out
}

// spent says what is used of the budget of today.
func spent(e Edge) string {
	today := ui.FormatBytes(uint64(max(e.SpentToday, 0)))
	if e.Policy.Budget <= 0 {
		return today + " today, no bound"
	}
	return today + " of " + ui.FormatBytes(uint64(e.Policy.Budget)) + " today"
}

// saved says how much smaller what was sent is; empty if nothing can be said.
func saved(e Edge) string {
	if e.Whole.Bytes == 0 || e.Sent.Bytes >= e.Whole.Bytes {
		return ""
	}
	return fmt.Sprintf("%.0f%% saved", 100*(1-float64(e.Sent.Bytes)/float64(e.Whole.Bytes)))
}

// Wrong reports whether the clock differs by more than the measurement explains and a few
// seconds: the readings of the edge are then at a wrong time.
func (c Clock) Wrong() bool { return max(c.AheadMS, -c.AheadMS) > c.WithinMS+wrongMS }

const wrongMS = 5_000

// words says how far the clock is off.
func (c Clock) words() string {
	off := max(c.AheadMS, -c.AheadMS)
	within := ui.FormatDuration(time.Duration(max(c.WithinMS, 1)) * time.Millisecond)
	switch {
	case off <= c.WithinMS:
		return "right to " + within
	case c.AheadMS > 0:
		return ui.FormatDuration(time.Duration(off)*time.Millisecond) + " ahead"
	}
	return ui.FormatDuration(time.Duration(off)*time.Millisecond) + " behind"
}

// full reports whether a disk is nearly full: Headwater keeps a part of it free.
func full(d Disk) bool { return d.Total > 0 && d.Free < d.Total/10 }

func (d Disk) words() string {
	return ui.FormatBytes(d.Free) + " of " + ui.FormatBytes(d.Total) + " free"
}
