package functions

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/web/ui"
	"headwater/web/view"
)

// none stands for what is not known.
const none = "–"

// seconds writes a time.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < time.Second {
		return figure.Number(float64(d.Microseconds())/1000) + " ms"
	}
	return ui.FormatDuration(d)
}

// took says how long a call takes, usually and at worst.
func (c Counts) took() string {
	if c.Calls == 0 {
		return none
	}
	return seconds(c.P50) + ", p99 " + seconds(c.P99)
}

func (c Counts) memory() string {
	if c.Memory == 0 {
		return none
	}
	return ui.FormatBytes(c.Memory)
}

// failed says how many calls failed, and why.
func (c Counts) failed() string {
	n := c.failures()
	if n == 0 {
		return "0"
	}
	var why []string
	for _, reason := range slices.Sorted(maps.Keys(c.Failures)) {
		why = append(why, ui.FormatCount(c.Failures[reason])+" "+view.Plain(reason))
	}
	return ui.FormatCount(n) + " (" + strings.Join(why, ", ") + ")"
}

func (v Version) words() string {
	if v.State == Stopped {
		return "stopped"
	}
	return string(v.State)
}

// input says on what it runs.
func (v Version) input() string {
	switch v.On {
	case "schedule":
		if v.Site == "" {
			return "schedule " + v.Cron
		}
		return "schedule " + v.Cron + ", time of " + v.Site
	case "http":
		return "HTTP requests"
	case "", "readings":
		return strings.Join(v.Match, ", ")
	}
	return v.On + " of " + strings.Join(v.Match, ", ")
}

func (v Version) limits() string {
	l := seconds(float64(v.Limits.Milliseconds)/1000) + ", " + strconv.Itoa(v.Limits.Output) + " KiB of output"
	if v.Kind == "worker" {
		return "worker: " + l
	}
	return strconv.Itoa(v.Limits.Memory) + " MiB, " + l
}

// verb is the word on the button that makes a version live.
func (f Function) verb(version int) string {
	if version == f.Previous {
		return "Roll back to this"
	}
	return "Make live"
}

// said is what a version said, in a table.
func said(text string) string {
	if text == "" {
		return "nothing"
	}
	return view.Plain(text)
}
