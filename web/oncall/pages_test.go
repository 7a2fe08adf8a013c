package oncall_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// TestStandIn presses the button with which somebody takes over, fills in the form for
// another time, and fills it in wrongly.
func TestStandIn(t *testing.T) {
	source := fixture.New(fixture.Warehouse, time.Time{})
	s := webtest.ServerOf(t, source.Sources())
	if res, body := webtest.Post(t, s, "/oncall/overrides", "rota=duty&who=Ben"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/oncall?done=override" {
		t.Fatalf("%s %s", res.Status, body)
	}
	if made := source.StoodIn(); made.Who != "Ben" || made.Rota != "duty" || made.Author == "" {
		t.Errorf("made %+v", made)
	}
	form := url.Values{"rota": {"duty"}, "who": {"duty-room"}, "from": {"2026-11-30T22:00"}, "until": {"2026-12-01T05:00:00Z"}, "comment": {"Ann is ill."}}
	if res, _ := webtest.Post(t, s, "/oncall/overrides", form.Encode()); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.Status)
	}
	if made := source.StoodIn(); made.From.UTC().Format(time.RFC3339) != "2026-11-30T21:00:00Z" || made.Until.UTC().Format(time.RFC3339) != "2026-12-01T05:00:00Z" || made.Comment != "Ann is ill." {
		t.Errorf("made %+v", made)
	}
	form.Set("until", "soon")
	if res, body := webtest.Post(t, s, "/oncall/overrides", form.Encode()); res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "Until must be a time") || !strings.Contains(body, `value="Ann is ill."`) {
		t.Errorf("a wrong time: %s", res.Status)
	}
	if res, body := webtest.Get(t, s, http.MethodPost, "/api/v1/oncall/overrides?rota=duty&who=Cleo&by=Ann"); res.StatusCode != http.StatusOK || !strings.Contains(body, `"who":"Cleo"`) || !strings.Contains(body, `"author":"Ann"`) {
		t.Errorf("%s %s", res.Status, body)
	}
	for path, want := range map[string]int{"/api/v1/oncall/overrides/o1": http.StatusNoContent, "/api/v1/oncall/overrides/gone": http.StatusNotFound} {
		if res, _ := webtest.Get(t, s, http.MethodDelete, path); res.StatusCode != want {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for _, id := range []string{"o1", "gone"} {
		if res, _ := webtest.Post(t, s, "/oncall/overrides/"+id+"/end", ""); res.StatusCode != http.StatusSeeOther {
			t.Errorf("end of %s: %s", id, res.Status)
		}
	}
	if res, body := webtest.Get(t, s, http.MethodGet, "/api/v1/oncall"); res.StatusCode != http.StatusOK || !strings.Contains(body, `"handover":"mon 09:00"`) || !strings.Contains(body, `"reason":"override"`) {
		t.Errorf("%s %s", res.Status, body)
	}
	if res, _ := webtest.Get(t, webtest.Server(t, fixture.Away), http.MethodGet, "/oncall"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("away: %s", res.Status)
	}
}

// TestDeclare saves the text, one that is wrong, and one that is late.
func TestDeclare(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	post := func(revision, text string) (int, string) {
		res, body := webtest.Post(t, s, "/oncall/declaration", url.Values{"revision": {revision}, "text": {text}}.Encode())
		return res.StatusCode, body
	}
	if status, _ := post("7", "rotas: []\r\n"); status != http.StatusSeeOther {
		t.Errorf("saved: %d", status)
	}
	if status, body := post("7", "rotas: {}\r\n"); status != http.StatusBadRequest || !strings.Contains(body, "Not saved: Line 1: rotas: must be a list") || !strings.Contains(body, "rotas: {}\n</textarea>") {
		t.Errorf("wrong: %d", status)
	}
	if status, body := post("6", "rotas: []\n"); status != http.StatusConflict || !strings.Contains(body, "rotas: []\n</textarea>") {
		t.Errorf("late: %d", status)
	}
	if _, body := webtest.Get(t, webtest.Server(t, fixture.Large), http.MethodGet, "/oncall"); strings.Contains(body, "<textarea") || !strings.Contains(body, "changed in /etc/headwater/warehouse.yaml") {
		t.Error("what a file declares can be edited, or it is not said where it is")
	}
}
