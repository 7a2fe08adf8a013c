package replay_test

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/replay"
)

func TestReplaysOfTheAPI(t *testing.T) {
	const rule = `"rule": "{name: warm, detector: limit, above: 30}"`
	for _, c := range []struct {
		state        fixture.State
		method, path string
		body         string
		status       int
		holds        string
	}{
		{fixture.Warehouse, "POST", "", `{` + rule + `}`, 202, `"state":"warming"`},
		{fixture.Warehouse, "POST", "", `{` + rule + `, "from": "-2d", "to": "-1d", "warm": "2d"}`, 202, `"id":"running"`},
		{fixture.Warehouse, "POST", "", `{` + rule + `, "from": "2026-03-13T00:00:00Z", "to": "2026-03-14T00:00:00Z"}`, 202, `"id":"running"`},
		{fixture.Warehouse, "POST", "", `{"rule": "{name: warm}"}`, 422, "detector: is missing"},
		{fixture.Warehouse, "POST", "", `{` + rule + `, "from": "yesterday"}`, 400, "from must be"},
		{fixture.Warehouse, "POST", "", `{` + rule + `, "to": "tomorrow"}`, 400, "to must be"},
		{fixture.Warehouse, "POST", "", `{` + rule + `, "warm": "a while"}`, 400, "warm must be"},
		{fixture.Warehouse, "POST", "", `{"rules": []}`, 400, "unknown field"},
		{fixture.Warehouse, "POST", "", `{"rule": "` + strings.Repeat("x", 200_000) + `"}`, 400, "too large"},
		{fixture.Warehouse, "POST", "", ``, 400, "not the JSON"},
		{fixture.Large, "POST", "", `{` + rule + `}`, 409, "another replay"},
		{fixture.Away, "POST", "", `{` + rule + `}`, 503, "no processor"},
		{fixture.Warehouse, "GET", "/running", ``, 200, `"done":0.42`},
		{fixture.Warehouse, "GET", "/done", ``, 200, `"per_week":14`},
		{fixture.Warehouse, "GET", "/unknown", ``, 404, "Replay not found"},
		{fixture.Away, "GET", "/done", ``, 503, "NATS does not answer"},
		{fixture.Warehouse, "DELETE", "/running", ``, 204, ""},
		{fixture.Warehouse, "DELETE", "/unknown", ``, 404, "Replay not found"},
	} {
		w := httptest.NewRecorder()
		webtest.Server(t, c.state).Handler().ServeHTTP(w, httptest.NewRequest(c.method, "/api/v1/replays"+c.path, strings.NewReader(c.body)))
		body, err := io.ReadAll(w.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || !strings.Contains(string(body), c.holds) {
			t.Errorf("%s %s %.80s in %s: %d %.300s, want %d with %q", c.method, c.path, c.body, c.state, w.Code, body, c.status, c.holds)
		}
	}
}

// TestReplayComparesByDevice checks the figures beside each other: what the rule
// would have raised, and what was raised by it and by others.
func TestReplayComparesByDevice(t *testing.T) {
	w := httptest.NewRecorder()
	webtest.Server(t, fixture.Warehouse).Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/replays/done", nil))
	var run replay.Replay
	if err := json.Unmarshal(w.Body.Bytes(), &run); err != nil {
		t.Fatal(err)
	}
	want := []replay.Row{
		{Site: "warehouse", Device: "door-04", Would: 2, PerWeek: 14, Same: 1, Others: 1},
		{Site: "warehouse", Device: "door-07", Would: 1, PerWeek: 7},
	}
	if rows := run.Rows(); len(rows) != 2 || rows[0] != want[0] || rows[1] != want[1] {
		t.Errorf("rows %+v, want %+v", rows, want)
	}
	if same, others := run.Reals(); same != 1 || others != 1 {
		t.Errorf("%d by the rule and %d by others, want one each", same, others)
	}
}
