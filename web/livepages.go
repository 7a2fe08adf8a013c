package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"headwater/web/view"
)

// partsOf is a content without events.
type partsOf func() []part

func (f partsOf) parts() []part   { return f() }
func (f partsOf) recent() []event { return nil }
func (f partsOf) fresh() []event  { return nil }
func (f partsOf) close()          {}

// shell returns the parts that every page has.
func (s *Server) shell() []part {
	status := s.sources.Pipeline.Status()
	return []part{
		{id: "banner", body: view.Banner(status)},
		{id: "nav-alerts", body: view.NavAlerts(status)},
		{id: "nav-deadletters", body: view.NavDeadLetters(status)},
	}
}

func (s *Server) overviewLive(w http.ResponseWriter, r *http.Request) {
	q, err := overviewQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	start := s.start(r)
	// The address is the key, and so are the commands that an empty list shows.
	s.stream(w, r, view.OverviewFacts{Query: q}.LiveURL()+" "+start.HTTP, func() content {
		return partsOf(func() []part {
			f := s.overview(q, start)
			list := part{id: "devices", body: view.DeviceList(f), shape: listShape(f)}
			for _, d := range f.Devices.Items {
				list.parts = append(list.parts, part{id: view.RowID(d), body: view.DeviceRow(d)})
			}
			return append(s.shell(), part{id: "tiles", body: view.OverviewTiles(f)}, part{id: "firing", body: view.OverviewAlerts(f)}, list)
		})
	})
}

// listShape is what, when it changes, changes more than rows of the list.
func listShape(f view.OverviewFacts) string {
	var b strings.Builder
	b.WriteString(view.FormatCount(uint64(f.Devices.Matching)))
	if f.Devices.Total == 0 || f.Devices.Matching == 0 {
		b.WriteString(" none of " + view.FormatCount(uint64(f.Devices.Total)))
	}
	for _, d := range f.Devices.Items {
		b.WriteString(" " + view.RowID(d))
	}
	return b.String()
}

func (s *Server) deviceLive(w http.ResponseWriter, r *http.Request) {
	site, device := r.PathValue("site"), r.PathValue("device")
	rng, ok := view.ChartRangeNamed(r.FormValue("range"))
	if !ok {
		http.Error(w, "unknown range", http.StatusBadRequest)
		return
	}
	at, err := s.moment(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, ok := s.device(site, device, rng, at); !ok {
		http.Error(w, "unknown device", http.StatusNotFound)
		return
	}
	s.stream(w, r, r.URL.Path+" "+rng.Name+" "+at.UTC().Format(time.RFC3339Nano), func() content {
		return &deviceContent{server: s, site: site, device: device, rng: rng, at: at, feed: s.sources.Devices.Follow(site, device)}
	})
}

// deviceContent is the page of a device with the points of its charts.
type deviceContent struct {
	server       *Server
	site, device string
	rng          view.Range
	at           time.Time
	feed         Feed
	facts        view.DeviceFacts
	marks        []byte
}

func (d *deviceContent) close() { d.feed.Close() }

func (d *deviceContent) parts() []part {
	if facts, ok := d.server.device(d.site, d.device, d.rng, d.at); ok {
		d.facts = facts
	}
	var shape strings.Builder
	for _, m := range d.facts.Device.Metrics {
		shape.WriteString(m.Name + "\x00" + m.Unit + "\x00" + string(m.Kind) + "\x00")
	}
	return append(d.server.shell(),
		part{id: "device-state", body: view.DeviceState(d.facts)},
		part{id: "latest", body: view.Latest(d.facts)},
		part{id: "charts", body: view.Charts(d.facts), shape: shape.String() + "."},
		part{id: "episodes", body: view.Episodes(d.facts)},
		part{id: "summaries", body: view.Summaries(d.facts)},
	)
}

func (d *deviceContent) recent() []event {
	return append(points(d.feed.Recent()), event{name: "episodes", data: d.episodes()})
}

func (d *deviceContent) fresh() []event {
	events := points(d.feed.Take())
	if marks := d.episodes(); !bytes.Equal(marks, d.marks) {
		d.marks = marks
		events = append(events, event{name: "episodes", data: marks})
	}
	return events
}

func (d *deviceContent) episodes() []byte {
	if d.facts.Episodes == nil {
		return []byte("[]")
	}
	b, err := json.Marshal(d.facts.Episodes)
	if err != nil { // a bound that JSON cannot express
		return []byte("[]")
	}
	return b
}

// points returns readings as one event: metric -> [[ms, value], ...].
func points(all []view.Point) []event {
	if len(all) == 0 {
		return nil
	}
	byMetric := make(map[string][][2]float64)
	for _, p := range all {
		byMetric[p.Metric] = append(byMetric[p.Metric], [2]float64{float64(p.TimeMS), p.Value})
	}
	b, err := json.Marshal(byMetric)
	if err != nil { // not finite; the bridge dead-letters such values
		return nil
	}
	return []event{{name: "points", data: b}}
}

func (s *Server) alertsLive(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, r.URL.Path, func() content {
		return partsOf(func() []part {
			a := s.alerts(resolvedShown)
			return append(s.shell(), part{id: "active", body: view.ActiveAlerts(a)}, part{id: "resolved", body: view.ResolvedAlerts(a)})
		})
	})
}

func (s *Server) pipelineLive(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, r.URL.Path, func() content {
		return partsOf(func() []part {
			p := s.sources.Pipeline.Pipeline()
			return append(s.shell(),
				part{id: "problems", body: view.PipelineProblems(p)},
				part{id: "pipeline-tiles", body: view.PipelineTiles(p)},
				part{id: "streams", body: view.PipelineStreams(p)},
				part{id: "consumers", body: view.PipelineConsumers(p)},
				part{id: "lanes", body: view.PipelineLanes(p)},
				part{id: "channels", body: view.PipelineChannels(p)},
			)
		})
	})
}

func (s *Server) deadLettersLive(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, r.URL.Path, func() content { return partsOf(s.shell) })
}
