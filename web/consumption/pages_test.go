package consumption_test

import (
	"net/http"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestPage(t *testing.T) {
	const page = "/devices/warehouse/door-05/consumption"
	const of = "?site=warehouse&device=door-05&metric=energy"
	for _, c := range []struct {
		state  fixture.State
		path   string
		status int
		holds  string
	}{
		{fixture.Warehouse, "/devices/warehouse/door-05", 200, `href="` + page + `"`},
		{fixture.Warehouse, page, 200, `aria-label="energy by day`},
		{fixture.Warehouse, page, 200, "Used so far"},
		{fixture.Warehouse, page + "?per=hour&on=2026-10-25", 200, "02:00 CEST"},
		{fixture.Warehouse, page + "?per=hour&on=2026-10-25", 200, "02:00 CET<"},
		{fixture.Warehouse, page + "?per=hour&on=2026-03-29", 200, `viewBox="0 0 230.00 200.00"`},
		{fixture.Warehouse, page + "?per=week&on=2025-06-01", 200, "Weeks of 2025"},
		{fixture.Warehouse, page + "?per=month&on=2025-06-01", 200, "on=2026-01-01"},
		{fixture.Warehouse, page + "?metric=water", 200, "Nothing is known of this time"},
		{fixture.Warehouse, page + "?metric=gas", 400, "one of the counters"},
		{fixture.Warehouse, page + "?per=minute", 400, "per must be"},
		{fixture.Warehouse, page + "?on=yesterday", 400, "on must be"},
		{fixture.Warehouse, "/devices/warehouse/door-01/consumption", 404, "declared in counters"},
		{fixture.Away, page, 503, "NATS does not answer"},
		{fixture.Warehouse, "/api/v1/consumption" + of + "&per=month&on=2025-06-01", 200, `"later":"2026-01-01"`},
		{fixture.Warehouse, "/api/v1/consumption.csv" + of + "&on=2025-10-01", 200, "2025-10-26T00:00:00+02:00,2025-10-27T00:00:00+01:00,"},
		{fixture.Hostile, "/api/v1/consumption.csv" + of, 200, "start,end,"},
		{fixture.Warehouse, "/api/v1/consumption?site=a&device=b", 400, "metric must be"},
		{fixture.Warehouse, "/api/v1/consumption.csv?site=a&device=b&metric=gas", 404, "no counter"},
	} {
		t.Run(string(c.state)+c.path, func(t *testing.T) {
			res, body := webtest.Get(t, webtest.Server(t, c.state), http.MethodGet, c.path)
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("%d, want %d with %q", res.StatusCode, c.status, c.holds)
			}
		})
	}
}
