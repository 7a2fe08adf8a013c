package device

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headwater/proto/units"
	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

const (
	// MaxExport is the largest number of series in one CSV.
	MaxExport = 20
	// maxZone bounds the name of a time zone, in bytes.
	maxZone = 64
)

// exported is one series of a CSV with its columns.
type exported struct {
	q      SeriesQuery
	series Series
	flag   bool
	next   int // the first row that is not written
}

// apiCSV answers with series as CSV: a row for each time at which one of them has a point,
// and columns that name the series and the unit.
func (p *Pages) apiCSV(w http.ResponseWriter, r *http.Request) {
	all, zone, err := p.exportQuery(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	for i := range all {
		metric, status, problem := p.drawable(all[i].q)
		if problem != "" {
			p.shell.Fail(w, status, problem)
			return
		}
		all[i].q = inUnitOf(all[i].q, metric)
		all[i].flag = metric.Kind == view.KindFlag
		if all[i].series, err = p.source.Series(r.Context(), all[i].q); err != nil {
			p.failHistory(r.Context(), w, all[i].q, err)
			return
		}
	}
	name := "headwater.csv"
	if len(all) == 1 {
		name = all[0].q.Site + "-" + all[0].q.Device + "-" + all[0].q.Metric + ".csv" // tokens
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	if err := writeCSV(w, all, zone); err != nil && r.Context().Err() == nil {
		p.shell.Log.Warn("CSV was not written completely", "err", err)
	}
}

// exportQuery reads which series are asked for, and in which time zone.
func (p *Pages) exportQuery(r *http.Request) ([]exported, *time.Location, error) {
	var problems []error
	points, err := app.Number(r, "points", MaxPoints, MaxPoints)
	problems = append(problems, err)
	from, to, err := app.Span(r, p.shell.Now())
	problems = append(problems, err)
	zone, err := readZone(r)
	problems = append(problems, err)
	names := r.Form["series"]
	if len(names) == 0 || len(names) > MaxExport {
		problems = append(problems, fmt.Errorf("series must be given 1 to %d times", MaxExport))
		names = nil
	}
	var all []exported
	for _, name := range names {
		q := SeriesQuery{From: from, To: to, Points: points}
		q.Site, q.Device, q.Metric, q.Unit = ui.SeriesOf(name)
		if !app.ValidToken(q.Site) || !app.ValidToken(q.Device) || !app.ValidToken(q.Metric) || len(q.Unit) > maxUnit {
			problems = append(problems, errors.New("series must be site.device.metric, or that and a unit after a dot"))
			break
		}
		all = append(all, exported{q: q})
	}
	return all, zone, errors.Join(problems...)
}

// readZone reads the time zone in which times are wanted; UTC by default.
func readZone(r *http.Request) (*time.Location, error) {
	name := r.FormValue("zone")
	zone, err := time.UTC, error(nil)
	if len(name) <= maxZone {
		zone, err = time.LoadLocation(name)
	}
	if err != nil || len(name) > maxZone || name == "Local" {
		return time.UTC, errors.New("zone must be a time zone such as Europe/Vienna")
	}
	return zone, nil
}

// drawable returns the metric of a query, or why it has no series of numbers.
func (p *Pages) drawable(q SeriesQuery) (metric view.Metric, status int, problem string) {
	d, ok := p.source.Device(q.Site, q.Device)
	if !ok {
		return metric, http.StatusNotFound, "No such device has reported."
	}
	for _, m := range d.Metrics {
		switch {
		case m.Name != q.Metric:
		case !m.Drawn():
			return m, http.StatusBadRequest, "The metric is text, which has no series of numbers."
		default:
			return m, 0, ""
		}
	}
	return metric, http.StatusNotFound, "The device has no such metric."
}

// inUnitOf returns a query with the unit in which it asks.
func inUnitOf(q SeriesQuery, m view.Metric) SeriesQuery {
	if q.Unit == "" {
		q.Unit = m.Unit
	}
	q.Bare = q.Unit == "" || units.Same(q.Unit, m.ChartUnits()[0])
	return q
}

// failHistory answers that the history cannot be read.
func (p *Pages) failHistory(ctx context.Context, w http.ResponseWriter, q SeriesQuery, err error) {
	if ctx.Err() == nil {
		p.shell.Log.Warn("history was not read", "device", q.Site+"/"+q.Device, "err", err)
	}
	status := http.StatusBadGateway
	if errors.Is(err, view.ErrUnavailable) {
		status = http.StatusServiceUnavailable
	}
	p.shell.Fail(w, status, "The history cannot be read: "+err.Error()+".")
}

// writeCSV writes the rows in the order of time, one after the other.
func writeCSV(w http.ResponseWriter, all []exported, zone *time.Location) error {
	out := csv.NewWriter(w)
	row := []string{"time"}
	for _, e := range all {
		name := e.q.Site + "/" + e.q.Device + " " + e.q.Metric
		if e.flag {
			row = append(row, app.Cell(name))
			continue
		}
		of := strings.TrimSpace(ui.Unit(e.q.Unit))
		if of != "" {
			of = " (" + of + ")"
		}
		for _, column := range []string{"mean", "min", "max", "last"} {
			row = append(row, app.Cell(name+" "+column+of))
		}
		row = append(row, app.Cell(name+" count"))
	}
	if err := out.Write(row); err != nil {
		return err
	}
	for {
		next, more := int64(0), false
		for _, e := range all {
			if e.next < len(e.series.TimeMS) && (!more || e.series.TimeMS[e.next] < next) {
				next, more = e.series.TimeMS[e.next], true
			}
		}
		if !more {
			break
		}
		row = append(row[:0], time.UnixMilli(next).In(zone).Format("2006-01-02T15:04:05.000Z07:00"))
		for i := range all {
			row = append(row, all[i].cells(next)...)
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// cells returns the columns of a series at a time, empty if it has no point there.
func (e *exported) cells(at int64) []string {
	i, s := e.next, e.series
	there := i < len(s.TimeMS) && s.TimeMS[i] == at
	if there {
		e.next++
	}
	switch {
	case e.flag && there:
		return []string{strconv.FormatBool(s.Mean[i] >= 0.5)}
	case e.flag:
		return []string{""}
	case !there:
		return []string{"", "", "", "", ""}
	}
	cells := make([]string, 0, 5)
	for _, column := range [][]float64{s.Mean, s.Min, s.Max, s.Last, s.Count} {
		if i < len(column) {
			cells = append(cells, strconv.FormatFloat(column[i], 'g', -1, 64))
		} else {
			cells = append(cells, "")
		}
	}
	return cells
}
