package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"headwater/web/access"
	"headwater/web/app"
	"headwater/web/view"
)

// gate is who sends every request; nobody without a role.
type gate app.Principal

// accounts are accounts whose gate is of the test.
type accounts struct {
	access.Source
	gate
}

// Authenticate implements app.Gate.
func (a accounts) Authenticate(r *http.Request) (app.Principal, error) { return a.gate.Authenticate(r) }

func (g gate) Authenticate(*http.Request) (app.Principal, error) {
	if g.Role == 0 {
		return app.Principal{}, app.ErrNobody
	}
	return app.Principal(g), nil
}

var everybody = []gate{
	{},
	{Name: "vera", Role: app.Viewer, Person: true},
	{Name: "otto", Role: app.Operator, Person: true},
	{Name: "anna", Role: app.Administrator, Person: true},
	{Name: "victor", Role: app.Viewer, Person: true, Sites: []string{"elsewhere"}},
	{Name: "olga", Role: app.Operator, Person: true, Sites: []string{"elsewhere", "there"}},
}

// wildcard is a part of a pattern that stands for any text.
var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// TestEveryRouteByRole calls every route as nobody, in each role, and as a viewer and an
// operator of another site.
func TestEveryRouteByRole(t *testing.T) {
	for _, who := range everybody {
		shell := app.New(app.Config{Gate: who}, newSource(), slog.New(slog.DiscardHandler))
		all := routes(Config{}, shell, newSource().sources())
		reached := ""
		for i, r := range all {
			all[i].Handle = func(http.ResponseWriter, *http.Request) { reached = r.Pattern() }
		}
		handler, err := shell.Handler(all)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			method, path := r.Method, wildcard.ReplaceAllString(strings.TrimSuffix(r.Path, "{$}"), "7")
			if method == "" { // whatever has no other route
				method, path = http.MethodGet, path+"nowhere"
			}
			reached = ""
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			page := !strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/live/")
			want, status := "", http.StatusForbidden
			switch {
			case r.Role != app.Public && who.Role >= r.Role && len(who.Sites) > 0 && !r.BySite:
			case who.Role >= r.Role && len(who.Sites) > 0 && strings.Contains(r.Path, "{site}"):
				status = http.StatusNotFound
			case r.Role == app.Public || who.Role >= r.Role:
				want, status = r.Pattern(), http.StatusOK
			case who.Role == 0 && page && method == http.MethodGet:
				status = http.StatusSeeOther
			case who.Role == 0:
				status = http.StatusUnauthorized
			}
			if reached != want || w.Code != status {
				t.Errorf("%s %s as %q at %q: %d, reached %q; want %d, %q", method, path, who.Role, who.Sites, w.Code, reached, status, want)
			}
			if len(who.Sites) == 0 || !strings.Contains(r.Path, "{site}") || who.Role < r.Role {
				continue
			}
			path, reached = wildcard.ReplaceAllString(strings.ReplaceAll(r.Path, "{site}", who.Sites[0]), "7"), ""
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
			if reached != r.Pattern() {
				t.Errorf("%s %s as %q at %q reached %q", method, path, who.Role, who.Sites, reached)
			}
		}
	}
}

// TestRolesFitWhatRoutesDo holds the declared roles against the rule of the table in
// README.md: what needs no log-in is listed, and a viewer changes nothing but the own
// account.
func TestRolesFitWhatRoutesDo(t *testing.T) {
	public := []string{
		"GET /api/v1/openapi.json", "GET /static/", "GET /log-in", "POST /log-in", "POST /log-out", "GET /log-in/oidc", "GET /log-in/oidc/callback", "POST /log-in/passkey/begin", "POST /log-in/passkey", "GET /set-up", "POST /set-up",
		"GET /trust", "GET /trust/ca.crt", "GET /claim", "POST /claim", "GET /act/{token}", "POST /act/{token}", "GET /sw.js", "GET /icon.png", "GET /icon.svg", "GET /offline", "GET /manifest.webmanifest",
	}
	own := []string{
		"POST /account/password", "POST /account/log-out", "POST /account/passkeys/begin", "POST /account/passkeys", "POST /account/passkeys/{id}/remove",
	}
	// These only show what would become of a message.
	shown := []string{"POST /deadletters/try", "POST /api/v1/decode"}
	shell := app.New(app.Config{}, newSource(), slog.New(slog.DiscardHandler))
	for _, r := range routes(Config{}, shell, newSource().sources()) {
		if (r.Role == app.Public) != slices.Contains(public, r.Pattern()) {
			t.Errorf("%s is for %s", r.Pattern(), r.Role)
		}
		changes := r.Method != http.MethodGet && r.Method != ""
		if changes && r.Role != app.Public && r.Role < app.Operator && !slices.Contains(append(own, shown...), r.Pattern()) {
			t.Errorf("%s changes something and is for %s", r.Pattern(), r.Role)
		}
		deletes := r.Method == http.MethodDelete || strings.HasSuffix(r.Path, "/delete") || strings.HasSuffix(r.Path, "/purge")
		undone := strings.Contains(r.Path, "silences") || strings.Contains(r.Path, "overrides") || strings.Contains(r.Path, "replays") || strings.Contains(r.Path, "annotations") || strings.HasSuffix(r.Path, "/acknowledge")
		if deletes && !undone && r.Role != app.Administrator {
			t.Errorf("%s deletes something and is for %s", r.Pattern(), r.Role)
		}
	}
}

func TestRouteWithoutRoleIsRefused(t *testing.T) {
	shell := app.New(app.Config{}, newSource(), slog.New(slog.DiscardHandler))
	for _, role := range []app.Role{0, -1, app.Administrator + 1} {
		_, err := shell.Handler([]app.Route{{Method: "GET", Path: "/secret", Role: role, Handle: shell.NotFound}})
		if err == nil || !strings.Contains(err.Error(), "GET /secret") {
			t.Errorf("a route of role %d: %v", role, err)
		}
	}
}

// TestNobodySeesNothing looks at what nobody gets: no state of the installation, and a
// way back after the log-in.
func TestNobodySeesNothing(t *testing.T) {
	sources := newSource().sources()
	sources.Access = accounts{gate: gate{}}
	s, err := New(Config{}, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) (*http.Response, string) {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		body, err := io.ReadAll(w.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		return w.Result(), string(body)
	}
	if res, _ := ask("GET", "/alerts?x=1&y=2"); res.Header.Get("Location") != "/log-in?next=%2Falerts%3Fx%3D1%26y%3D2" {
		t.Errorf("the page leads to %q", res.Header.Get("Location"))
	}
	if res, body := ask("GET", "/api/v1/devices"); res.Header.Get("WWW-Authenticate") == "" || !strings.Contains(body, "Bearer") {
		t.Errorf("the API says %q, %s", res.Header.Get("WWW-Authenticate"), body)
	}
	if res, body := ask("POST", "/alerts/mute"); res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `href="/log-in"`) ||
		strings.Contains(body, "nav-alerts") || strings.Contains(body, `id="banner"`) {
		t.Errorf("a form of nobody: %d %s", res.StatusCode, body)
	}
}

// TestAuthorIsWhoHasLoggedIn sends another name than that of the log-in.
func TestAuthorIsWhoHasLoggedIn(t *testing.T) {
	for _, who := range []gate{{Name: "otto", Role: app.Operator}, {Role: app.Administrator, Open: true}} {
		var form, api view.Author
		shell := app.New(app.Config{Gate: who}, newSource(), slog.New(slog.DiscardHandler))
		handler, err := shell.Handler([]app.Route{{Method: "POST", Path: "/", Role: app.Operator, Handle: func(w http.ResponseWriter, r *http.Request) {
			form, _ = app.Author(w, r, r.URL.Query())
			api, _ = app.AuthorOfAPI(r)
		}}})
		if err != nil {
			t.Fatal(err)
		}
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/?by=mallory", nil))
		want := who.Name
		if want == "" {
			want = "mallory" // nobody can tell
		}
		if form.Who != want || api.Who != want {
			t.Errorf("%+v: the author of a form is %q, of the API %q", who, form.Who, api.Who)
		}
	}
}
