package device

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"headwater/proto/units"
	"headwater/web/app"
	"headwater/web/view"
)

const (
	// MaxPoints is the largest number of buckets that one request may ask for.
	MaxPoints     = 5000
	defaultPoints = 600
	// maxUnit bounds a unit, in bytes.
	maxUnit = 64
)

func (p *Pages) apiDevice(w http.ResponseWriter, r *http.Request) {
	f, ok := p.facts(r.PathValue("site"), r.PathValue("device"), Facts{Range: view.Ranges[len(view.Ranges)-1]})
	if !ok {
		p.shell.Fail(w, http.StatusNotFound, "No such device has reported.")
		return
	}
	p.shell.Answer(w, r, struct {
		view.Device
		Episodes  []view.Episode `json:"episodes"`
		Summaries []summary      `json:"summaries"`
	}{f.Device, app.OrEmpty(f.Episodes), summaries(f.Summaries)})
}

// summary is a window summary with its width in milliseconds.
type summary struct {
	Summary
	WidthMS int64 `json:"width_ms"`
}

func summaries(in []Summary) []summary {
	out := make([]summary, len(in))
	for i, s := range in {
		out[i] = summary{s, s.Width.Milliseconds()}
	}
	return out
}

func (p *Pages) apiSeries(w http.ResponseWriter, r *http.Request) {
	q, err := p.seriesQuery(r)
	with := strings.FieldsFunc(r.FormValue("with"), func(r rune) bool { return r == ',' })
	if slices.ContainsFunc(with, func(column string) bool { return column != "last" && column != "count" }) {
		err = errors.Join(err, errors.New("with must be last, count or both with a comma between"))
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	metric, status, problem := p.drawable(q)
	if problem != "" {
		p.shell.Fail(w, status, problem)
		return
	}
	of := len(metric.ChartUnits())
	q = inUnitOf(q, metric)
	series, err := p.source.Series(r.Context(), q)
	series.Source = "history"
	switch {
	case errors.Is(err, view.ErrUnavailable):
		series = remembered(q, &metric)
	case err != nil:
		p.failHistory(r.Context(), w, q, err)
		return
	}
	if !slices.Contains(with, "last") {
		series.Last = nil
	}
	if !slices.Contains(with, "count") {
		series.Count = nil
	}
	series.Site, series.Device, series.Metric = q.Site, q.Device, q.Metric
	series.Unit, series.Kind, series.From, series.To = q.Unit, metric.Kind, q.From, q.To
	series.TimeMS = app.OrEmpty(series.TimeMS)
	series.Min, series.Max, series.Mean = app.OrEmpty(series.Min), app.OrEmpty(series.Max), app.OrEmpty(series.Mean)
	series.Episodes = p.episodes(q, of)
	series.Silences = p.silences(q.Site, q.Device, q.Metric, q.From, q.To)
	series.Annotations = app.OrEmpty(p.source.AnnotationsOf(q.Site, q.Device, q.From, q.To))
	p.shell.Answer(w, r, series)
}

// episodes returns the anomalies of a series of a metric that has that many units.
func (p *Pages) episodes(q SeriesQuery, of int) []view.Episode {
	out := []view.Episode{}
	for _, e := range p.source.Episodes(q.Site, q.Device, q.From, q.To) {
		if e.Metric == q.Metric && (of == 1 || e.Unit == "" || units.Same(e.Unit, q.Unit)) {
			out = append(out, e)
		}
	}
	return out
}

// silences returns those that can mute alerts of a series in [from, to) and do not come back
// every week.
func (p *Pages) silences(site, device, metric string, from, to time.Time) []view.Silence {
	out := []view.Silence{}
	for _, silence := range p.source.SilencesOf(site, device) {
		ofOther := silence.Metric != "" && !strings.ContainsAny(silence.Metric, "*?") && silence.Metric != metric
		if silence.Weekly == nil && !ofOther && silence.From.Before(to) && (silence.Until.IsZero() || silence.Until.After(from)) {
			out = append(out, silence)
		}
	}
	return out
}

// remembered returns what replaces the history while the database is unavailable:
// the slots of the sparkline.
func remembered(q SeriesQuery, m *view.Metric) Series {
	out := Series{Source: "memory", Tier: "raw", BucketMS: view.SlotWidth.Milliseconds()}
	if !units.Same(q.Unit, m.Unit) {
		return out // what is remembered is in the unit of the latest number
	}
	for _, slot := range m.Spark {
		if slot.Start.Before(q.From.Add(-view.SlotWidth)) || !slot.Start.Before(q.To) {
			continue
		}
		out.TimeMS = append(out.TimeMS, slot.Start.UnixMilli())
		out.Min = append(out.Min, slot.Min)
		out.Max = append(out.Max, slot.Max)
		out.Mean = append(out.Mean, slot.Last)
	}
	return out
}

// seriesQuery reads which series is asked for, and which part of it.
func (p *Pages) seriesQuery(r *http.Request) (SeriesQuery, error) {
	q := SeriesQuery{Site: r.FormValue("site"), Device: r.FormValue("device"), Metric: r.FormValue("metric"), Unit: r.FormValue("unit")}
	var problems []error
	for _, part := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}, {"metric", q.Metric}} {
		if !app.ValidToken(part.value) {
			problems = append(problems, app.TokenError(part.name))
		}
	}
	if len(q.Unit) > maxUnit {
		problems = append(problems, fmt.Errorf("unit must have at most %d bytes", maxUnit))
	}
	var err error
	q.Points, err = app.Number(r, "points", defaultPoints, MaxPoints)
	if err != nil {
		problems = append(problems, err)
	}
	q.From, q.To, err = app.Span(r, p.shell.Now())
	problems = append(problems, err)
	return q, errors.Join(problems...)
}
