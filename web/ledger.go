package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"headwater/web/view"
)

// Bounds of what one may ask of the ledger.
const (
	ledgerRows    = 100
	maxLedgerRows = 1000
	// maxMinutes bounds a range that is told by minute.
	maxMinutes = 7 * 24 * time.Hour
)

func (s *Server) apiLedger(w http.ResponseWriter, r *http.Request) {
	q, err := s.ledgerQuery(r)
	if err != nil {
		s.bad(w, err)
		return
	}
	ledger, err := s.sources.Ledger.Ledger(r.Context(), q)
	switch {
	case errors.Is(err, ErrUnavailable):
		s.fail(w, http.StatusServiceUnavailable, "The ledger cannot be read: "+err.Error()+".")
		return
	case err != nil:
		s.log.Warn("the ledger was not read", "err", err)
		s.fail(w, http.StatusBadGateway, "The ledger cannot be read: "+err.Error()+".")
		return
	}
	ledger.Rows = orEmpty(ledger.Rows)
	s.answer(w, r, ledger)
}

// ledgerPage shows the account of a range up to now: by device, or of one device
// by minute.
func (s *Server) ledgerPage(w http.ResponseWriter, r *http.Request) {
	q, err := ledgerSelection(r)
	rng, ok := view.LedgerRangeNamed(r.FormValue("range"))
	if !ok {
		err = errors.Join(err, errors.New("range must be 1h, 24h or 7d"))
	}
	if err != nil {
		s.badRequest(w, r, err)
		return
	}
	if q.Device != "" {
		q.Group = view.LedgerByMinute
	}
	q.Size, q.To = ledgerRows, s.now()
	q.From = q.To.Add(-rng.Span)
	wholeMinutes(&q)
	facts := view.LedgerFacts{Query: q, Range: rng}
	if facts.Ledger, err = s.sources.Ledger.Ledger(r.Context(), q); err != nil {
		facts.Problem = strings.TrimPrefix(err.Error(), ErrUnavailable.Error()+": ")
		if !errors.Is(err, ErrUnavailable) {
			s.log.Warn("the ledger was not read", "err", err)
		}
	}
	s.render(w, r, http.StatusOK, view.Page{Title: "Ledger", Section: "ledger"}, view.LedgerPage(facts))
}

// ledgerQuery reads which part of the ledger is asked for: by default all
// devices, of the last hour.
func (s *Server) ledgerQuery(r *http.Request) (view.LedgerQuery, error) {
	q, err := ledgerSelection(r)
	problems := []error{err}
	if q.Size, err = number(r, "size", ledgerRows, maxLedgerRows); err != nil {
		problems = append(problems, err)
	}
	q.From, q.To, err = s.span(r)
	if err == nil && q.Group == view.LedgerByMinute && q.To.Sub(q.From) > maxMinutes {
		err = errors.New("by minute, the range may be 7 days at most; ask for less, or by device")
	}
	wholeMinutes(&q)
	return q, errors.Join(append(problems, err)...)
}

// wholeMinutes widens the range to whole minutes, as entries are of those.
func wholeMinutes(q *view.LedgerQuery) {
	q.From = q.From.Truncate(time.Minute)
	if to := q.To.Truncate(time.Minute); to.Before(q.To) {
		q.To = to.Add(time.Minute)
	}
}

// ledgerSelection reads which rows of the ledger are asked for.
func ledgerSelection(r *http.Request) (view.LedgerQuery, error) {
	q := view.LedgerQuery{Site: r.FormValue("site"), Device: r.FormValue("device"), Group: r.FormValue("group")}
	var problems []error
	for _, p := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}} {
		if p.value != "" && !validToken(p.value) {
			problems = append(problems, errors.New(p.name+" must be 1 to 64 letters, digits, hyphens or underscores"))
		}
	}
	switch q.Group {
	case "":
		q.Group = view.LedgerByDevice
	case view.LedgerByDevice, view.LedgerByMinute:
	default:
		problems = append(problems, errors.New("group must be device or minute"))
	}
	var err error
	if q.Page, err = number(r, "page", 1, maxPage); err != nil {
		problems = append(problems, err)
	}
	return q, errors.Join(problems...)
}

// span reads from and to; the last hour unless it is said.
func (s *Server) span(r *http.Request) (from, to time.Time, err error) {
	now := s.now()
	var problems []error
	if to, err = moment(r.FormValue("to"), now, now); err != nil {
		problems = append(problems, fmt.Errorf("to %w", err))
	}
	if from, err = moment(r.FormValue("from"), to, to.Add(-defaultSpan)); err != nil {
		problems = append(problems, fmt.Errorf("from %w", err))
	}
	if len(problems) == 0 {
		switch {
		case !from.Before(to):
			problems = append(problems, errors.New("from must be before to"))
		case to.Sub(from) > maxSpan:
			problems = append(problems, errors.New("the range is longer than 20 years"))
		case from.Year() < 1971 || to.Year() > 2200:
			problems = append(problems, errors.New("from and to must lie between 1971 and 2200"))
		}
	}
	return from, to, errors.Join(problems...)
}
