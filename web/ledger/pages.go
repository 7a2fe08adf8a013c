package ledger

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"headwater/web/app"
	"headwater/web/view"
)

// Bounds of what one may ask of the ledger.
const (
	rowsOnPage = 100
	maxRows    = 1000
	// maxMinutes bounds a range whose rows are minutes.
	maxMinutes = 7 * 24 * time.Hour
)

// Pages are the page of the ledger and the same figures in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/ledger", Role: app.Viewer, BySite: true, Handle: p.page},
		{Method: "GET", Path: "/api/v1/ledger", Role: app.Viewer, BySite: true, Handle: p.api},
	}
}

// page shows the account of a range up to now: by device, or of one device by
// minute.
func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	q, err := selection(r)
	rng, ok := RangeNamed(r.FormValue("range"))
	if !ok {
		err = errors.Join(err, errors.New("range must be 1h, 24h or 7d"))
	}
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	if q.Device != "" {
		q.Group = ByMinute
	}
	q.Size, q.To = rowsOnPage, p.shell.Now()
	q.From = q.To.Add(-rng.Span)
	wholeMinutes(&q)
	facts := Facts{Query: q, Range: rng}
	facts.Ledger, err = p.source.Ledger(r.Context(), q)
	if err != nil {
		facts.Problem = strings.TrimPrefix(err.Error(), view.ErrUnavailable.Error()+": ")
		if !errors.Is(err, view.ErrUnavailable) {
			p.shell.Log.Warn("ledger was not read", "err", err)
		}
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Ledger", Section: "ledger"}, Page(facts))
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) {
	q, err := p.query(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	account, err := p.source.Ledger(r.Context(), q)
	switch {
	case errors.Is(err, view.ErrUnavailable):
		p.shell.Fail(w, http.StatusServiceUnavailable, "The ledger cannot be read: "+err.Error()+".")
		return
	case err != nil:
		p.shell.Log.Warn("ledger was not read", "err", err)
		p.shell.Fail(w, http.StatusBadGateway, "The ledger cannot be read: "+err.Error()+".")
		return
	}
	account.Rows = app.OrEmpty(account.Rows)
	p.shell.Answer(w, r, account)
}

// query reads which part of the ledger is asked for: by default all devices in
// the last hour.
func (p *Pages) query(r *http.Request) (Query, error) {
	q, err := selection(r)
	problems := []error{err}
	q.Size, err = app.Number(r, "size", rowsOnPage, maxRows)
	if err != nil {
		problems = append(problems, err)
	}
	q.From, q.To, err = app.Span(r, p.shell.Now())
	if err == nil && q.Group == ByMinute && q.To.Sub(q.From) > maxMinutes {
		err = errors.New("by minute, the range may be 7 days at most; ask for less, or by device")
	}
	wholeMinutes(&q)
	return q, errors.Join(append(problems, err)...)
}

// wholeMinutes widens the range to whole minutes, because entries are of whole
// minutes.
func wholeMinutes(q *Query) {
	q.From = q.From.Truncate(time.Minute)
	if to := q.To.Truncate(time.Minute); to.Before(q.To) {
		q.To = to.Add(time.Minute)
	}
}

// selection reads which rows of the ledger are asked for.
func selection(r *http.Request) (Query, error) {
	q := Query{Site: r.FormValue("site"), Device: r.FormValue("device"), Group: r.FormValue("group")}
	var problems []error
	for _, p := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}} {
		if p.value != "" && !app.ValidToken(p.value) {
			problems = append(problems, app.TokenError(p.name))
		}
	}
	switch q.Group {
	case "":
		q.Group = ByDevice
	case ByDevice, ByMinute:
	default:
		problems = append(problems, errors.New("group must be device or minute"))
	}
	var err error
	q.Page, err = app.Number(r, "page", 1, app.MaxPage)
	if err != nil {
		problems = append(problems, err)
	}
	return q, errors.Join(problems...)
}
