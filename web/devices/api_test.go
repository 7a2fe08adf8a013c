package devices_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestRequests(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	long := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		method, path, body string
		status             int
		holds              string
	}{
		{"GET", "/api/v1/credentials", "", 200, `"claim_ends"`},
		{"POST", "/api/v1/credentials", `{"name":"door-1","devices":["hall/door-1"]}`, 201, `"token":"SECRET"`},
		{"POST", "/api/v1/credentials", `{}`, 400, "was not made"},
		{"POST", "/api/v1/credentials", `{"password":"x"}`, 400, "not the JSON"},
		{"POST", "/api/v1/credentials", `{"name":"` + long + `"}`, 400, "too large"},
		{"POST", "/api/v1/credentials/door-1/rotate", "", 200, `"token":"SECRET"`},
		{"POST", "/api/v1/credentials/door-1/rotate?overlap=-1h", "", 400, "overlap must be"},
		{"POST", "/api/v1/credentials/door-1/rotate?overlap=91d", "", 400, "overlap must be"},
		{"POST", "/api/v1/credentials/door.1/rotate", "", 400, "name must be"},
		{"POST", "/api/v1/credentials/door-1/revoke", "", 200, `"state":"revoked"`},
		{"POST", "/api/v1/credentials/door-1/approve", "", 200, `"state":"allowed"`},
		{"POST", "/api/v1/credentials/door-01/claim", "", 200, `"link":"http://example.com/claim?code=door-01.CODE"`},
		{"POST", "/api/v1/credentials/gone/claim", "", 404, "No claim code"},
		{"POST", "/api/v1/credentials/gone/revoke", "", 404, "not changed"},
		{"PUT", "/api/v1/unknown-devices", `[{"devices":"*/*","standing":"quarantined"}]`, 200, "quarantined"},
		{"PUT", "/api/v1/unknown-devices", `{}`, 400, "not the JSON"},
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.holds) {
			t.Errorf("%s %s: %d %.200s, want %d with %q", c.method, c.path, w.Code, w.Body, c.status, c.holds)
		}
	}
	w := httptest.NewRecorder()
	webtest.Server(t, fixture.Away).Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/credentials", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("without NATS: %d", w.Code)
	}
}
