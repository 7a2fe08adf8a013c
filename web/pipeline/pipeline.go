package pipeline

import (
	"strconv"
	"strings"

	"headwater/web/ui"
)

// grouped returns the consumers with those that read the lanes of one stream
// under one name with a number, such as writer-0 and writer-1, as one row: the
// sums, and the latest activity.
func grouped(consumers []Consumer) []Consumer {
	type group struct{ stream, name string }
	count := make(map[group]int)
	of := func(c Consumer) (group, bool) {
		i := strings.LastIndexByte(c.Name, '-')
		if i <= 0 {
			return group{}, false
		}
		_, err := strconv.ParseUint(c.Name[i+1:], 10, 16)
		return group{c.Stream, c.Name[:i]}, err == nil
	}
	for _, c := range consumers {
		if g, ok := of(c); ok {
			count[g]++
		}
	}
	at := make(map[group]int)
	var out []Consumer
	for _, c := range consumers {
		g, ok := of(c)
		if !ok || count[g] < 2 {
			out = append(out, c)
			continue
		}
		i, seen := at[g]
		if !seen {
			c.Name = g.name + "-0 … " + g.name + "-" + strconv.Itoa(count[g]-1)
			c.Purpose = strings.Replace(c.Purpose, "lane 0", "each lane", 1)
			at[g] = len(out)
			out = append(out, c)
			continue
		}
		sum := &out[i]
		sum.Pending += c.Pending
		sum.Unacked += c.Unacked
		sum.Redelivered += c.Redelivered
		if c.Active.After(sum.Active) {
			sum.Active = c.Active
		}
	}
	return out
}

// influxNote says where InfluxDB is, which one it is and how fast it answers.
func influxNote(i Influx) string {
	note := i.URL
	if i.Version != "" {
		note += " · " + i.Version
	}
	if i.Problem == "" && i.Latency > 0 {
		note += " · " + ui.FormatDuration(i.Latency)
	}
	return note
}

// sharePercent returns a share for people.
func sharePercent(share float64) string {
	switch {
	case share == 0:
		return "0 %"
	case share < 0.001:
		return "less than 0.1 %"
	}
	return strings.TrimSuffix(percent(share), "%") + " %"
}

// percent returns a share as the width of a bar.
func percent(share float64) string {
	return strconv.FormatFloat(max(0, min(1, share))*100, 'f', 1, 64) + "%"
}
