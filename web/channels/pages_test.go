package channels_test

import (
	"net/http"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// TestTestShowsTheAnswer sends a test that is taken, and one that is not.
func TestTestShowsTheAnswer(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	if res, _ := webtest.Post(t, s, "/channels/phones/test", ""); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/channels?done=test" {
		t.Errorf("taken: %s to %s", res.Status, res.Header.Get("Location"))
	}
	const answer = "telegram answered 403 Forbidden: Forbidden: bot was blocked by the user"
	if res, body := webtest.Post(t, s, "/channels/duty/test", ""); res.StatusCode != http.StatusBadGateway || strings.Count(body, answer[1:]) < 2 {
		t.Errorf("refused: %s", res.Status)
	}
	if res, body := webtest.Post(t, s, "/api/v1/channels/duty/test", ""); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, answer[1:]) {
		t.Errorf("refused: %s %s", res.Status, body)
	}
	if res, body := webtest.Get(t, s, http.MethodGet, "/api/v1/channels"); res.StatusCode != http.StatusOK || !strings.Contains(body, `"name":"office","type":"webhook","to":"192.168.1.20:8000","resolved":false,"format":"alertmanager","signed":true,"read_only":true,"deliveries":[]`) {
		t.Errorf("list: %s %s", res.Status, body)
	}
	if res, body := webtest.Get(t, webtest.Server(t, fixture.Away), http.MethodGet, "/channels"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "cannot be reached now") {
		t.Errorf("away: %s", res.Status)
	}
}
