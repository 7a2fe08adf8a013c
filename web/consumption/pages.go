package consumption

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page of a device's meters, and their answers of the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/devices/{site}/{device}/consumption", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/api/v1/consumption", Role: app.Viewer, BySite: true, Handle: p.api},
		{Method: "GET", Path: "/api/v1/consumption.csv", Role: app.Viewer, BySite: true, Handle: p.apiCSV},
	}
}

// read reads what is asked for.
func (p *Pages) read(r *http.Request, site, device string) (Query, error) {
	q := Query{Site: site, Device: device, Metric: r.FormValue("metric"), Per: Per(r.FormValue("per")), Now: p.shell.Now()}
	var problems []error
	for _, part := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}, {"metric", q.Metric}} {
		if !app.ValidToken(part.value) {
			problems = append(problems, app.TokenError(part.name))
		}
	}
	if q.Per == "" {
		q.Per = Day
	}
	if !slices.Contains(Pers, q.Per) {
		problems = append(problems, errors.New("per must be hour, day, week or month"))
	}
	if text := r.FormValue("on"); text != "" {
		on, err := time.Parse(DateForm, text)
		if err != nil || on.Year() < 1980 || on.Year() > 2200 {
			problems = append(problems, errors.New("on must be a date like 2026-11-22, from 1980 to 2200"))
		}
		q.On = on
	}
	return q, errors.Join(problems...)
}

// Facts are what the page shows.
type Facts struct {
	Site, Device string
	// Meters are the metrics of the device that are counters.
	Meters []string
	Consumption
	// Problem is why nothing is known; empty if nothing is wrong.
	Problem string
	Now     time.Time
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	f := Facts{Site: r.PathValue("site"), Device: r.PathValue("device"), Now: p.shell.Now()}
	var err error
	if app.ValidToken(f.Site) && app.ValidToken(f.Device) {
		f.Meters, err = p.source.Meters(f.Site, f.Device)
	}
	if err != nil {
		p.shell.Log.Warn("counters are not known", "err", err)
		p.shell.Page(w, r, http.StatusServiceUnavailable, app.Page{Title: "Consumption", Section: "devices"}, ui.Failure(ui.Sentence(err.Error())))
		return
	}
	if len(f.Meters) == 0 {
		p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Not found", Section: "devices"},
			ui.NotFound("No metric of "+app.Clip(f.Site)+"/"+app.Clip(f.Device)+" is declared in counters.", []ui.Link{{Href: "/", Text: "All devices"}}))
		return
	}
	if r.FormValue("metric") == "" {
		r.Form.Set("metric", f.Meters[0])
	}
	q, err := p.read(r, f.Site, f.Device)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	status := http.StatusOK
	f.Consumption, err = p.source.Consumption(r.Context(), q)
	f.Metric, f.Per = q.Metric, q.Per
	switch {
	case errors.Is(err, view.ErrNotFound):
		p.shell.BadRequest(w, r, errors.New("metric must be one of the counters of the device"))
		return
	case err != nil:
		p.logFailure(r, q, err)
		status, f.Problem = failure(err), ui.Sentence("The history cannot be read: "+err.Error())
	}
	p.shell.Page(w, r, status, app.Page{Title: f.Device + " consumption", Section: "devices"}, Page(f))
}

// logFailure logs why the history was not read, unless nobody waits for it.
func (p *Pages) logFailure(r *http.Request, q Query, err error) {
	if r.Context().Err() == nil {
		p.shell.Log.Warn("consumption was not read", "device", q.Site+"/"+q.Device, "err", err)
	}
}

// failure is the status of an answer without the history.
func failure(err error) int {
	if errors.Is(err, view.ErrUnavailable) {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// ask answers a request of the API unless it can be fulfilled.
func (p *Pages) ask(w http.ResponseWriter, r *http.Request) (Consumption, bool) {
	q, err := p.read(r, r.FormValue("site"), r.FormValue("device"))
	if err != nil {
		p.shell.FailParameters(w, err)
		return Consumption{}, false
	}
	c, err := p.source.Consumption(r.Context(), q)
	switch {
	case errors.Is(err, view.ErrNotFound):
		p.shell.Fail(w, http.StatusNotFound, "The metric is no counter of the device.")
	case err != nil:
		p.logFailure(r, q, err)
		p.shell.Fail(w, failure(err), "The history cannot be read: "+err.Error()+".")
	}
	return c, err == nil
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) {
	if c, ok := p.ask(w, r); ok {
		p.shell.Answer(w, r, c)
	}
}

func (p *Pages) apiCSV(w http.ResponseWriter, r *http.Request) {
	c, ok := p.ask(w, r)
	if !ok {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	// The names are tokens.
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s-%s-%s.csv"`, c.Site, c.Device, c.Metric, c.From.Format(DateForm)))
	out := csv.NewWriter(w)
	head := []string{"start", "end", "used" + inUnit(c.Unit)}
	if c.priced() {
		head = append(head, "cost"+inUnit(c.Currency))
	}
	head = append(head, "used before"+inUnit(c.Unit))
	if c.priced() {
		head = append(head, "cost before"+inUnit(c.Currency))
	}
	for i := range head {
		head[i] = app.Cell(head[i])
	}
	rows := [][]string{head}
	for _, period := range c.Periods {
		row := []string{period.Start.Format(time.RFC3339), period.End.Format(time.RFC3339), cell(period.Used)}
		if c.priced() {
			row = append(row, cell(period.Cost))
		}
		row = append(row, cell(period.Before.Used))
		if c.priced() {
			row = append(row, cell(period.Before.Cost))
		}
		rows = append(rows, row)
	}
	if err := out.WriteAll(rows); err != nil && r.Context().Err() == nil {
		p.shell.Log.Warn("CSV was not written completely", "err", err)
	}
}

func inUnit(unit string) string {
	if unit == "" {
		return ""
	}
	return " (" + unit + ")"
}

// cell writes an amount; nothing if it is not known.
func cell(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// pageURL is the address of the page with another metric, time or date; empty parts stay.
func (f Facts) pageURL(metric string, per Per, on string) string {
	return ui.DeviceURL(f.Site, f.Device) + "/consumption?" + f.query(metric, per, on).Encode()
}

func (f Facts) query(metric string, per Per, on string) url.Values {
	v := url.Values{"metric": {metric}, "per": {string(per)}}
	if on != "" {
		v.Set("on", on)
	}
	return v
}

// date is a date in what is shown, by which another time of a bar shows about the same; empty
// for today.
func (f Facts) date() string {
	if f.From.IsZero() || f.Running {
		return ""
	}
	return f.To.Add(-time.Hour).Format(DateForm)
}

// csvURL is the address of the same figures as CSV.
func (f Facts) csvURL() string {
	on := ""
	if !f.From.IsZero() {
		on = f.From.AddDate(0, 0, 4).Format(DateForm) // in the year also by weeks
		if f.Per == Hour {
			on = f.From.Format(DateForm)
		}
	}
	q := f.query(f.Metric, f.Per, on)
	q.Set("site", f.Site)
	q.Set("device", f.Device)
	return "/api/v1/consumption.csv?" + q.Encode()
}
