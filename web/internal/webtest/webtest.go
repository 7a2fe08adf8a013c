// Package webtest is what the tests of the features share: a server of fixtures,
// requests to it, and golden files of components.
package webtest

import (
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"

	"headwater/web"
	"headwater/web/internal/fixture"
	"headwater/web/view"
)

var update = flag.Bool("update", false, "write the golden files from the current pages")

// Now is the moment of all golden files.
var Now = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// Server returns the dashboard in a state of the world.
func Server(t *testing.T, state fixture.State) *web.Server {
	t.Helper()
	return ServerOf(t, fixture.New(state, time.Time{}).Sources())
}

// ServerOf returns the dashboard of sources.
func ServerOf(t *testing.T, sources web.Sources) *web.Server {
	t.Helper()
	s, err := web.New(web.Config{}, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Get sends a request without a body. Header holds names and values in turn.
func Get(t *testing.T, s *web.Server, method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	return send(t, s, httptest.NewRequest(method, path, nil), header)
}

// Post sends a form as a browser does.
func Post(t *testing.T, s *web.Server, path, form string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, s, r, header)
}

func send(t *testing.T, s *web.Server, r *http.Request, header []string) (*http.Response, string) {
	t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	res := w.Result()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// Golden compares the components that pages returns for each state of the world
// with the files in testdata that a person has looked at, by their names. Run with
// -update after a look at the gallery. In the hostile state it also shows that
// nothing a device wrote becomes markup.
func Golden(t *testing.T, pages func(t *testing.T, s *fixture.Source) map[string]templ.Component) {
	t.Helper()
	seen := 0
	for _, state := range []fixture.State{fixture.Warehouse, fixture.Empty, fixture.Away, fixture.Hostile} {
		for name, component := range pages(t, fixture.New(state, Now)) {
			seen++
			t.Run(string(state)+"/"+name, func(t *testing.T) {
				var b strings.Builder
				if err := component.Render(view.WithPrincipal(t.Context(), view.Anonymous()), &b); err != nil {
					t.Fatal(err)
				}
				compare(t, filepath.Join("testdata", string(state)+"-"+name+".golden.html"), strings.ReplaceAll(b.String(), "><", ">\n<")+"\n")
				if state == fixture.Hostile {
					staysText(t, b.String())
				}
			})
		}
	}
	if files, err := filepath.Glob("testdata/*.golden.html"); err != nil || len(files) != seen {
		t.Errorf("%d golden files for %d pages (%v)", len(files), seen, err)
	}
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page changed (-want +got):\n%s", diff)
	}
}

func staysText(t *testing.T, html string) {
	t.Helper()
	for _, bad := range []string{"<img", "<script", "</script", "javascript:", " style=", "\u2028", "\u202e"} {
		if at := strings.Index(strings.ToLower(html), bad); at >= 0 {
			t.Errorf("it holds %q: …%.80s…", bad, html[at:])
		}
	}
}
