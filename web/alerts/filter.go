package alerts

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"headwater/web/app"
	"headwater/web/view"
)

// stateMuted selects the active alerts that are muted, whatever their state.
const stateMuted = "muted"

// stateFlapping selects the alerts that flap, whatever their state.
const stateFlapping = "flapping"

// states are what a list may be narrowed to.
var states = []string{view.AlertFiring, view.AlertAcknowledged, stateMuted, stateFlapping, view.AlertResolved}

// maxName bounds the name of a person in a filter, in bytes.
const maxName = 100

// Query narrows the lists of alerts. Empty parts match any.
type Query struct{ State, Site, Rule, Assignee string }

// query reads which alerts are asked for.
func query(r *http.Request) (Query, error) {
	q := Query{State: r.FormValue("state"), Site: r.FormValue("site"), Rule: r.FormValue("rule"), Assignee: strings.TrimSpace(r.FormValue("assignee"))}
	var problems []error
	if q.State != "" && !slices.Contains(states, q.State) {
		problems = append(problems, errors.New("state must be "+strings.Join(states[:len(states)-1], ", ")+" or "+states[len(states)-1]))
	}
	if q.Site != "" && !app.ValidToken(q.Site) {
		problems = append(problems, app.TokenError("site"))
	}
	if q.Rule != "" && !app.ValidToken(q.Rule) {
		problems = append(problems, app.TokenError("rule"))
	}
	if len(q.Assignee) > maxName || !utf8.ValidString(q.Assignee) {
		problems = append(problems, errors.New("assignee must be a name of at most 100 bytes"))
	}
	return q, errors.Join(problems...)
}

func (q Query) matches(a view.Alert) bool {
	switch {
	case q.Site != "" && q.Site != a.Site, q.Rule != "" && q.Rule != a.Rule, q.Assignee != "" && !strings.EqualFold(q.Assignee, a.Assignee):
		return false
	case q.State == stateMuted:
		return a.Mute != nil
	case q.State == stateFlapping:
		return !a.Flapping.IsZero()
	}
	return q.State == "" || q.State == a.State
}

// values returns the query as it stands in an address.
func (q Query) values() string {
	v := url.Values{}
	for name, value := range map[string]string{"state": q.State, "site": q.Site, "rule": q.Rule, "assignee": q.Assignee} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// Facts are what the page of alerts shows.
type Facts struct {
	Query Query
	view.Alerts
	// Sites and Rules are those that a list may be narrowed to.
	Sites, Rules []string
}

// facts returns the alerts that a query asks for, at most resolved of those that are
// resolved.
func (p *Pages) facts(q Query, resolved int) Facts {
	most := resolved
	if q != (Query{}) {
		most = maxResolved
	}
	all := p.source.Alerts(most)
	f := Facts{Query: q}
	for _, a := range slices.Concat(all.Active, all.Resolved) {
		f.Sites, f.Rules = append(f.Sites, a.Site), append(f.Rules, a.Rule)
	}
	for _, names := range []*[]string{&f.Sites, &f.Rules} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	if q != (Query{}) {
		other := func(a view.Alert) bool { return !q.matches(a) }
		all.Active, all.Resolved = slices.DeleteFunc(all.Active, other), slices.DeleteFunc(all.Resolved, other)
		all.ResolvedTotal = len(all.Resolved)
		all.Resolved = all.Resolved[:min(resolved, len(all.Resolved))]
	}
	f.Alerts = all.About(p.source.About)
	return f
}
