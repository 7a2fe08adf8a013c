package silences_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

func TestSilencesAPI(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	code, body := ask(http.MethodPost, "/api/v1/silences?device=door-07&for=8h&by=Ann")
	var made view.Silence
	if err := json.Unmarshal([]byte(body), &made); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	if made.ID == "" || made.Device != "door-07" || made.Rule != "" || made.Author != "Ann" || made.UntilResolved || made.Until.Sub(made.From) != 8*time.Hour {
		t.Errorf("made %+v", made)
	}
	if code, body := ask(http.MethodPost, "/api/v1/silences?rule=humid&for=resolved"); code != http.StatusOK || !strings.Contains(body, `"until_resolved":true`) || strings.Contains(body, `"until":`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body := ask(http.MethodGet, "/api/v1/silences"); code != http.StatusOK || !strings.Contains(body, `"silences":[{"id":"m1"`) {
		t.Errorf("%d %s", code, body)
	}
	for path, want := range map[string]int{"/api/v1/silences/m1": http.StatusNoContent, "/api/v1/silences/gone": http.StatusNotFound} {
		if code, _ := ask(http.MethodDelete, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	for _, query := range []string{"", "?for=1h", "?rule=humid", "?rule=humid&for=-1h", "?rule=humid&for=1h&by=%0a"} {
		if code, _ := ask(http.MethodPost, "/api/v1/silences"+query); code != http.StatusBadRequest {
			t.Errorf("%q: %d", query, code)
		}
	}
	if _, body := ask(http.MethodGet, "/api/v1/alerts"); !strings.Contains(body, `"mute":{"id":"m1"`) {
		t.Errorf("alerts do not say what is muted: %s", body)
	}
}

// TestForm fills the form in: with what is wrong it comes back as it was, a preview
// changes nothing, and what is saved is what was asked for.
func TestForm(t *testing.T) {
	source := fixture.New(fixture.Warehouse, time.Time{})
	s := webtest.ServerOf(t, source.Sources())
	weekly := url.Values{
		"device": {"door-*"}, "severity": {"warning"}, "label": {"team=cold*, floor=2"}, "days": {"sat", "sun"}, "start": {"22:00"}, "end": {"06:00"},
		"from": {"2026-03-01T08:00"}, "comment": {"Doors are oiled."},
	}
	with := func(name string, values ...string) string {
		v := maps.Clone(weekly)
		v[name] = values
		return v.Encode()
	}
	res, body := webtest.Post(t, s, "/silences", with("do", "preview"))
	for _, want := range []string{"It would mute 1 alert now.", `value="door-*"`, `value="sun" checked`, `value="22:00"`, `value="team=cold*, floor=2"`, "Doors are oiled."} {
		if res.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("the preview (%d) does not have %s", res.StatusCode, want)
		}
	}
	if made := source.Muted(); made != nil {
		t.Fatalf("a preview made %v", made)
	}
	if res, body := webtest.Post(t, s, "/silences", weekly.Encode()); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/silences?saved=m1" {
		t.Fatalf("%d to %s %s", res.StatusCode, res.Header.Get("Location"), body)
	}
	made := *source.Muted()
	if made.Device != "door-*" || made.Severity != view.SeverityWarning || len(made.Labels) != 2 || made.Labels[0] != (view.RuleLabel{Name: "team", Value: "cold*"}) ||
		*made.Weekly != (view.Weekly{Days: "sat,sun", Start: "22:00", End: "06:00"}) || !made.Until.IsZero() || made.UntilResolved || made.Comment != "Doors are oiled." ||
		made.From.Format(time.RFC3339) != "2026-03-01T08:00:00+01:00" {
		t.Errorf("made %+v of %+v", made, made.Weekly)
	}
	for name, form := range map[string]string{
		"two ends": with("for", "8h") + "&until=2126-01-01T00:00", "nothing": "", "no end": "rule=x", "no label": with("label", "team"), "no moment": with("from", "soon"),
		"in the past": "rule=x&until=2026-01-01T00:00", "a label twice": with("label", "a=1,a=2"), "weekly until resolved": with("for", "resolved"),
	} {
		if res, body := webtest.Post(t, s, "/silences", form); res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "Not saved: ") {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	_, body = webtest.Get(t, s, http.MethodGet, "/silences?edit=m2")
	for _, want := range []string{"Edit a silence", `name="id" value="m2"`, `value="01:00"`, `value="sun" checked`, `id="s-from" name="from" type="datetime-local" value="20`} {
		if !strings.Contains(body, want) {
			t.Errorf("the form of a silence does not have %s", want)
		}
	}
	if res, _ := webtest.Post(t, s, "/silences", with("id", "gone")); res.StatusCode != http.StatusNotFound {
		t.Errorf("a silence that is not there is changed: %d", res.StatusCode)
	}
	for _, id := range []string{"m1", "gone"} {
		if res, _ := webtest.Post(t, s, "/silences/"+id+"/end", ""); res.StatusCode != http.StatusSeeOther {
			t.Errorf("end of %s: %d", id, res.StatusCode)
		}
	}
}

// TestShownWhereItHasAnEffect looks at the page of a device and of a rule.
func TestShownWhereItHasAnEffect(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, path := range []string{"/devices/warehouse/door-04", "/rules/too-warm", "/rules/door-left-open"} {
		_, body := webtest.Get(t, s, http.MethodGet, path)
		for _, want := range []string{`href="/silences#s-m2"`, "Every alert at warehouse", "sun 01:00 to 04:00"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not have %s", path, want)
			}
		}
	}
	if _, body := webtest.Get(t, s, http.MethodGet, "/alerts"); !strings.Contains(body, "by Ann: The pump is repaired.") {
		t.Error("an alert does not say why it is muted")
	}
}
