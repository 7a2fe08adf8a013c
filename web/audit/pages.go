package audit

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Bounds of what one page shows and of what one may ask for.
const (
	entriesOnPage = 50
	maxEntries    = 500
	// maxWho bounds the name that entries are selected by, in bytes.
	maxWho = 200
)

// Pages are the page of the audit and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: "/audit", Role: app.Administrator, Handle: p.page},
		{Method: "GET", Path: "/live/audit", Role: app.Administrator, Handle: p.shell.Live},
		{Method: "GET", Path: "/api/v1/audit", Role: app.Administrator, Handle: p.api},
	}
}

func shellPage() app.Page { return app.Page{Title: "Audit", Section: "audit", Live: "/live/audit"} }

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	q.Size = entriesOnPage
	entries, err := p.source.Audit(r.Context(), q)
	if err != nil {
		p.shell.Page(w, r, status(err), shellPage(), ui.Failure("The audit cannot be read: "+err.Error()+"."))
		return
	}
	p.shell.Page(w, r, http.StatusOK, shellPage(), Page(Facts{Query: q, Entries: entries}))
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	size, err2 := app.Number(r, "size", entriesOnPage, maxEntries)
	if err := errors.Join(err, err2); err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	q.Size = size
	entries, err := p.source.Audit(r.Context(), q)
	if err != nil {
		p.shell.Fail(w, status(err), "The audit cannot be read: "+err.Error()+".")
		return
	}
	entries.Items = app.OrEmpty(entries.Items)
	p.shell.Answer(w, r, entries)
}

// actionForm is the form of an action.
var actionForm = regexp.MustCompile(`^[a-z]{1,32}(\.[a-z]{1,32})?$`)

// query reads which entries are asked for.
func query(r *http.Request) (q Query, err error) {
	var problems []error
	q.Text, err = app.Text(r)
	if err != nil {
		problems = append(problems, err)
	}
	q.Who = strings.TrimSpace(r.FormValue("who"))
	if len(q.Who) > maxWho || !utf8.ValidString(q.Who) {
		problems = append(problems, errors.New("who must be a name of at most 200 bytes"))
	}
	q.Action = r.FormValue("action")
	if q.Action != "" && !actionForm.MatchString(q.Action) {
		problems = append(problems, errors.New("action must be like rule.save"))
	}
	if text := r.FormValue("before"); text != "" {
		q.Before, err = strconv.ParseUint(text, 10, 64)
		if err != nil {
			problems = append(problems, errors.New("before must be a sequence number"))
		}
	}
	return q, errors.Join(problems...)
}

// status returns the status of an answer that stands for an error of the source.
func status(err error) int {
	if errors.Is(err, view.ErrUnavailable) {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// Facts are what the page shows.
type Facts struct {
	Query   Query
	Entries Entries
}

// filtered reports whether the page shows a selection.
func (f Facts) filtered() bool {
	return f.Query.Who != "" || f.Query.Action != "" || f.Query.Text != ""
}

func pageURL(q Query) string {
	v := url.Values{}
	for name, value := range map[string]string{"who": q.Who, "action": q.Action, "q": q.Text} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if len(v) == 0 {
		return "/audit"
	}
	return "/audit?" + v.Encode()
}

// action is an action in words.
type action struct{ name, words string }

// actions are the actions that can be selected. An entry with another one shows its
// name.
var actions = []action{
	{"rule.save", "saved rule"},
	{"rule.delete", "deleted rule"},
	{"rule.state", "changed the state of rule"},
	{"config.file", "put file in force"},
	{"silence.add", "muted"},
	{"silence.change", "changed the silence of"},
	{"silence.end", "unmuted"},
	{"alert.acknowledge", "acknowledged"},
	{"alert.unacknowledge", "unacknowledged"},
	{"alert.comment", "commented on"},
	{"alert.assign", "assigned"},
	{"alert.resolve", "resolved"},
	{"letters.redrive", "redrove dead letters"},
	{"letters.purge", "purged dead letters"},
	{"demo.add", "added the demo"},
	{"demo.remove", "removed the demo"},
	{"login", "logged in"},
	{"logout", "logged out"},
	{"user.add", "added user"},
	{"user.change", "changed user"},
	{"user.remove", "removed user"},
	{"user.password", "changed the password of user"},
	{"user.passkey", "changed the passkeys of user"},
	{"token.add", "created token"},
	{"token.remove", "removed token"},
	{"device.add", "added device"},
	{"device.approve", "approved device"},
	{"device.unknown", "decided about unknown devices"},
	{"device.rotate", "rotated the credential of device"},
	{"device.claim", "made a claim code for device"},
	{"device.claimed", "used the claim code of device"},
	{"device.revoke", "revoked device"},
	{"edge.invite", "invited edge"},
	{"edge.join", "joined as edge"},
	{"edge.policy", "changed what is sent by edge"},
	{"edge.revoke", "revoked edge"},
	{"edge.repair", "repaired readings of edge"},
	{"board.save", "saved board"},
	{"board.delete", "deleted board"},
	{"plan.save", "saved floor plan"},
	{"plan.delete", "deleted floor plan"},
	{"annotation.add", "annotated"},
	{"annotation.remove", "removed an annotation of"},
	{"function.deploy", "deployed function"},
	{"function.state", "changed what runs of function"},
	{"function.remove", "deleted function"},
}

func actionWords(name string) string {
	for _, a := range actions {
		if a.name == name {
			return a.words
		}
	}
	return view.Plain(name)
}

// known reports whether the list of actions has the one that is selected.
func known(name string) bool { return name == "" || actionWords(name) != name }
