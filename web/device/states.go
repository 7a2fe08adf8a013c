package device

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"time"

	"headwater/proto/figure"
	"headwater/web/app"
	"headwater/web/view"
)

// StatesQuery asks for the states of a flag or a text in [From, To).
type StatesQuery struct {
	Site, Device, Metric string
	// Kind is view.KindFlag or view.KindText.
	Kind     view.Kind
	From, To time.Time
}

// Change is a reading with another value than the previous one.
type Change struct {
	At    time.Time
	Value string
}

// States is what a flag or a text did in a range.
type States struct {
	Site   string    `json:"site"`
	Device string    `json:"device"`
	Metric string    `json:"metric"`
	Kind   view.Kind `json:"kind"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	// More reports whether only the end of the range is there, because there were too
	// many readings or changes.
	More  bool   `json:"more"`
	Spans []Span `json:"spans"`
	Days  []Day  `json:"days"`
	// Episodes, Silences and Annotations are as of Series.
	Episodes    []view.Episode    `json:"episodes"`
	Silences    []view.Silence    `json:"silences"`
	Annotations []view.Annotation `json:"annotations"`
}

// Span is a time in one state. The last one is in force until To or now.
type Span struct {
	FromMS int64  `json:"from_ms"`
	ToMS   int64  `json:"to_ms"`
	Value  string `json:"value"`
}

// Day is what a state did on a day.
type Day struct {
	Day   string `json:"day"`
	Value string `json:"value"`
	// Count is how often the state began.
	Count int `json:"count"`
	// MS is how long it was in force, in milliseconds.
	MS int64 `json:"ms"`
}

// Bounds of an answer: of the spans and of the days the newest are there, and a text is cut.
const (
	maxSpans     = 5000
	maxDays      = 400
	maxStateText = 80
)

// spans returns the states in [from, to) and not after now. The first change may be before
// from, and is cut there.
func spans(changes []Change, from, to, now time.Time) []Span {
	if now.Before(to) {
		to = now
	}
	out := []Span{}
	for i, c := range changes {
		begin, end := c.At, to
		if i+1 < len(changes) {
			end = changes[i+1].At
		}
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		if begin.Before(end) {
			out = append(out, Span{begin.UnixMilli(), end.UnixMilli(), figure.Clip(c.Value, maxStateText)})
		}
	}
	return out
}

// days counts the states by the days of a zone, the newest day first. A state begins where
// its span does, unless that is where the range begins.
func days(all []Span, from time.Time, zone *time.Location) []Day {
	type key struct{ day, value string }
	byDay := make(map[key]*Day)
	at := func(t time.Time, value string) *Day {
		k := key{t.Format(time.DateOnly), value}
		if byDay[k] == nil {
			byDay[k] = &Day{Day: k.day, Value: value}
		}
		return byDay[k]
	}
	oldest := time.Time{}
	if n := len(all); n > 0 {
		oldest = time.UnixMilli(all[n-1].ToMS).In(zone).AddDate(0, 0, -maxDays)
	}
	for _, s := range all {
		begin, end := time.UnixMilli(s.FromMS).In(zone), time.UnixMilli(s.ToMS)
		if s.FromMS > from.UnixMilli() && begin.After(oldest) {
			at(begin, s.Value).Count++
		}
		for begin.Before(end) {
			next := time.Date(begin.Year(), begin.Month(), begin.Day()+1, 0, 0, 0, 0, zone)
			if !next.After(begin) { // a zone without that midnight
				next = begin.Add(24 * time.Hour)
			}
			if next.After(end) {
				next = end
			}
			if begin.After(oldest) {
				at(begin, s.Value).MS += next.Sub(begin).Milliseconds()
			}
			begin = next.In(zone)
		}
	}
	out := []Day{}
	for _, d := range byDay {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Day) int { return cmp.Or(cmp.Compare(b.Day, a.Day), cmp.Compare(a.Value, b.Value)) })
	return out
}

func (p *Pages) apiStates(w http.ResponseWriter, r *http.Request) {
	q, zone, err := p.statesQuery(r)
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	d, ok := p.source.Device(q.Site, q.Device)
	i := slices.IndexFunc(d.Metrics, func(m view.Metric) bool { return m.Name == q.Metric })
	switch {
	case !ok:
		p.shell.Fail(w, http.StatusNotFound, "No such device has reported.")
		return
	case i < 0:
		p.shell.Fail(w, http.StatusNotFound, "The device has no such metric.")
		return
	case d.Metrics[i].Kind == view.KindNumber:
		p.shell.Fail(w, http.StatusBadRequest, "The metric is a number, which has no states.")
		return
	}
	q.Kind = d.Metrics[i].Kind
	changes, more, err := p.source.States(r.Context(), q)
	if err != nil {
		p.failHistory(r.Context(), w, SeriesQuery{Site: q.Site, Device: q.Device}, err)
		return
	}
	out := States{Site: q.Site, Device: q.Device, Metric: q.Metric, Kind: q.Kind, From: q.From, To: q.To, More: more}
	out.Spans = spans(changes, q.From, q.To, p.shell.Now())
	counted := q.From
	if n := len(out.Spans) - maxSpans; n > 0 {
		out.Spans, out.More = out.Spans[n:], true
	}
	if out.More && len(out.Spans) > 0 {
		counted = time.UnixMilli(out.Spans[0].FromMS) // when the first state began is not known
	}
	out.Days = days(out.Spans, counted, zone)
	out.Episodes = p.episodes(SeriesQuery{Site: q.Site, Device: q.Device, Metric: q.Metric, From: q.From, To: q.To}, 1)
	out.Silences = p.silences(q.Site, q.Device, q.Metric, q.From, q.To)
	out.Annotations = app.OrEmpty(p.source.AnnotationsOf(q.Site, q.Device, q.From, q.To))
	p.shell.Answer(w, r, out)
}

// statesQuery reads whose states are asked for, and by the days of which zone they are
// counted.
func (p *Pages) statesQuery(r *http.Request) (q StatesQuery, zone *time.Location, err error) {
	q = StatesQuery{Site: r.FormValue("site"), Device: r.FormValue("device"), Metric: r.FormValue("metric")}
	var problems []error
	for _, part := range []struct{ name, value string }{{"site", q.Site}, {"device", q.Device}, {"metric", q.Metric}} {
		if !app.ValidToken(part.value) {
			problems = append(problems, app.TokenError(part.name))
		}
	}
	q.From, q.To, err = app.Span(r, p.shell.Now())
	problems = append(problems, err)
	zone, err = readZone(r)
	return q, zone, errors.Join(append(problems, err)...)
}
