package cost_test

import (
	"net/http"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestPage(t *testing.T) {
	for _, c := range []struct {
		state  fixture.State
		path   string
		status int
		holds  string
	}{
		{fixture.Warehouse, "/cost", 200, "$109.39"},
		{fixture.Warehouse, "/cost", 200, `value="5m, 1m, 30s, 1s"`},
		{fixture.Warehouse, "/cost?every=2h&devices=3", 200, "every 2 h"},
		{fixture.Warehouse, "/cost?every=10s,1m&free=none", 200, `value="none" selected`},
		{fixture.Warehouse, "/cost?devices=0", 400, "Devices must be 1 to"},
		{fixture.Warehouse, "/cost?devices=many&every=often", 400, "Devices must be a whole number; every must be times"},
		{fixture.Warehouse, "/cost?payload=%3Cb%3E", 400, `value="&lt;b&gt;"`},
		{fixture.Warehouse, "/cost?every=" + strings.Repeat("1s,", 400), 400, "every must be"},
		{fixture.Hostile, "/cost", 200, "&lt;img src=x"},
		{fixture.Warehouse, "/api/v1/cost?every=1s", 200, `"part":"broker"`},
		{fixture.Warehouse, "/api/v1/cost?keep=-1", 400, "keep must be"},
	} {
		t.Run(string(c.state)+c.path, func(t *testing.T) {
			res, body := webtest.Get(t, webtest.Server(t, c.state), http.MethodGet, c.path)
			if res.StatusCode != c.status || !strings.Contains(strings.ToLower(body), strings.ToLower(c.holds)) {
				t.Errorf("%d, want %d with %q", res.StatusCode, c.status, c.holds)
			}
			if strings.Contains(body, "<img") {
				t.Error("a text of the prices became markup")
			}
		})
	}
}
