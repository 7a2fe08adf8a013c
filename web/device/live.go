package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	site, device := r.PathValue("site"), r.PathValue("device")
	rng, ok := view.RangeIn(view.LongRanges, r.FormValue("range"))
	if !ok {
		http.Error(w, "unknown range", http.StatusBadRequest)
		return
	}
	show, err := p.shown(r, rng)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, ok := p.facts(site, device, show); !ok {
		http.Error(w, "unknown device", http.StatusNotFound)
		return
	}
	key := fmt.Sprintln(r.URL.Path, rng.Name, show.At.UnixNano(), show.From.UnixNano(), show.To.UnixNano())
	p.shell.Stream(w, r, key, func() live.Content {
		return &content{pages: p, site: site, device: device, show: show, feed: p.source.Follow(site, device)}
	})
}

// content is the page of a device with the points of its charts.
type content struct {
	pages        *Pages
	site, device string
	show         Facts
	feed         Feed
	facts        Facts
	marks        []byte
}

// Close implements live.Content.
func (c *content) Close() { c.feed.Close() }

// Parts implements live.Content.
func (c *content) Parts() []live.Part {
	if facts, ok := c.pages.facts(c.site, c.device, c.show); ok {
		c.facts = facts
	}
	var shape strings.Builder
	for _, m := range c.facts.Device.Metrics {
		shape.WriteString(m.Name + "\x00" + strings.Join(m.ChartUnits(), "\x00") + "\x00" + string(m.Kind) + "\x00")
	}
	return c.pages.shell.Parts(
		live.Part{ID: "device-state", Body: StateLine(c.facts)},
		live.Part{ID: "findings", Body: Findings(c.facts.Device)},
		live.Part{ID: "troubles", Body: Troubles(c.facts.Troubles)},
		live.Part{ID: "silences", Body: ui.Silences(c.facts.Silences)},
		live.Part{ID: "latest", Body: Latest(c.facts)},
		live.Part{ID: "charts", Body: Charts(c.facts), Shape: shape.String() + "."},
		live.Part{ID: "episodes", Body: Episodes(c.facts)},
		live.Part{ID: "summaries", Body: Summaries(c.facts)},
	)
}

// Recent implements live.Content.
func (c *content) Recent() []live.Event {
	return append(points(c.feed.Recent()), live.Event{Name: "episodes", Data: c.episodes()})
}

// Fresh implements live.Content.
func (c *content) Fresh() []live.Event {
	events := points(c.feed.Take())
	if marks := c.episodes(); !bytes.Equal(marks, c.marks) {
		c.marks = marks
		events = append(events, live.Event{Name: "episodes", Data: marks})
	}
	return events
}

func (c *content) episodes() []byte {
	if c.facts.Episodes == nil {
		return []byte("[]")
	}
	b, err := json.Marshal(c.facts.Episodes)
	if err != nil { // a bound that JSON cannot express
		return []byte("[]")
	}
	return b
}

// points returns readings as one event: metric -> [[ms, value], ...]. The metric of
// a number with a unit is followed by a blank and the unit.
func points(all []Point) []live.Event {
	if len(all) == 0 {
		return nil
	}
	byMetric := make(map[string][][2]float64)
	for _, p := range all {
		key := p.Metric
		if p.Unit != "" {
			key += " " + p.Unit
		}
		byMetric[key] = append(byMetric[key], [2]float64{float64(p.TimeMS), p.Value})
	}
	b, err := json.Marshal(byMetric)
	if err != nil { // not finite; the bridge dead-letters such values
		return nil
	}
	return []live.Event{{Name: "points", Data: b}}
}
