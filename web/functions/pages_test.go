package functions_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestPages(t *testing.T) {
	for _, c := range []struct {
		state  fixture.State
		method string
		path   string
		form   string
		status int
		holds  string
	}{
		{fixture.Warehouse, "GET", "/functions", "", 200, "live: version 2"},
		{fixture.Warehouse, "GET", "/functions", "", 200, "does not run"},
		{fixture.Empty, "GET", "/functions", "", 200, "headwater fn new"},
		{fixture.Away, "GET", "/functions", "", 503, "NATS does not answer"},
		{fixture.Warehouse, "GET", "/functions/zscore", "", 200, "It said something else in 12 of 322 calls."},
		{fixture.Warehouse, "GET", "/functions/zscore", "", 200, "Roll back to this"},
		{fixture.Warehouse, "GET", "/functions/zscore", "", 200, "3 (1 crashed, 2 timeout)"},
		{fixture.Warehouse, "GET", "/functions/calibrate", "", 200, "It has written nothing."},
		{fixture.Warehouse, "GET", "/functions/nightly", "", 200, "schedule 0 6 * * mon-fri, time of warehouse"},
		{fixture.Warehouse, "GET", "/functions/nobody", "", 404, ""},
		{fixture.Hostile, "GET", "/functions/" + strings.Repeat("n", 64), "", 200, "&lt;img"},
		{fixture.Warehouse, "POST", "/functions/zscore/state", "version=1&state=live", 303, ""},
		{fixture.Warehouse, "POST", "/functions/zscore/state", "version=0&state=live", 400, "number of a version"},
		{fixture.Warehouse, "POST", "/functions/zscore/state", "version=1&state=asleep", 400, "a state is draft, shadow or live"},
		{fixture.Warehouse, "POST", "/functions/zscore/state", "version=9&state=live", 404, "no version 9"},
		{fixture.Warehouse, "GET", "/api/v1/functions", "", 200, `"beside":{"version":3`},
		{fixture.Away, "GET", "/api/v1/functions", "", 503, "cannot be read"},
		{fixture.Warehouse, "DELETE", "/api/v1/functions/zscore", "", 204, ""},
		{fixture.Warehouse, "DELETE", "/api/v1/functions/nobody", "", 404, "not deleted"},
		{fixture.Warehouse, "DELETE", "/api/v1/functions/a.b", "", 400, "name must be"},
	} {
		t.Run(c.method+string(c.state)+c.path+c.form, func(t *testing.T) {
			s := webtest.Server(t, c.state)
			res, body := webtest.Get(t, s, c.method, c.path)
			if c.method == http.MethodPost {
				res, body = webtest.Post(t, s, c.path, c.form)
			}
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("%d, want %d with %q", res.StatusCode, c.status, c.holds)
			}
			if strings.Contains(body, "<img") {
				t.Error("a text of a function became markup")
			}
		})
	}
}

// TestAPI deploys and changes through the API.
func TestAPI(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/api/v1/functions/f/versions", `{"kind":"worker","match":["*/*/*"],"state":"live"}`, 201},
		{"POST", "/api/v1/functions/f/versions", `{"kind":"wasm","match":["*/*/*"],"state":"live"}`, 400},
		{"POST", "/api/v1/functions/f/versions", `{"kind":"worker","colour":"red"}`, 400},
		{"PUT", "/api/v1/functions/f/versions/2/state", `{"state":"shadow"}`, 200},
		{"PUT", "/api/v1/functions/f/versions/two/state", `{"state":"shadow"}`, 400},
		{"PUT", "/api/v1/functions/f/versions/9/state", `{"state":"live"}`, 404},
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.status {
			t.Errorf("%s %s %s: %d, want %d", c.method, c.path, c.body, w.Code, c.status)
		}
	}
}

// TestCall sends requests to a function, whose reply is no page.
func TestCall(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, c := range []struct {
		name, body, key string
		status          int
		holds           string
	}{
		{"hook", "hello", "k1", 201, "<img> a=b hello k1"},
		{"zscore", "hello", "", 503, "does not run on requests"},
		{"hook", strings.Repeat("x", 64<<10+1), "", 400, "at most 65536 bytes"},
		{"hook", "hello", strings.Repeat("k", 129), 400, "at most 128 bytes"},
		{"a.b", "hello", "", 400, "name must be"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/api/v1/functions/"+c.name+"/call?a=b", strings.NewReader(c.body))
		r.Header.Set("Idempotency-Key", c.key)
		s.Handler().ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.holds) {
			t.Errorf("%s: %d %s, want %d with %q", c.name, w.Code, w.Body, c.status, c.holds)
		}
		if w.Code == 201 && (w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("headers %v", w.Header())
		}
	}
}
