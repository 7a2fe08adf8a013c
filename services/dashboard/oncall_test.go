package dashboard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"headwater/services/internal/oncall"
	"headwater/streams"
	pages "headwater/web/oncall"
)

// TestOnCall declares a rota on the page, has people stand in, and then lets a file declare it.
func TestOnCall(t *testing.T) {
	const declared = `# who has the phone
rotas:
  - {name: duty, handover: mon 09:00, time_zone: Europe/Berlin, people: [{name: Ann, notify: [phone]}, {name: Ben, notify: [phone]}]}
quiet_hours:
  - {from: "22:00", until: "07:00", time_zone: UTC}
escalation:
  - {after: 10m, notify: [duty]}
`
	r := newRulesRig(t)
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	state := func() (out pages.State) {
		t.Helper()
		status, body := ask(http.MethodGet, "/api/v1/oncall")
		if err := json.Unmarshal([]byte(body), &out); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		return out
	}
	declare := func(revision uint64, text string) (int, string) {
		status, body, _ := r.submit("/oncall/declaration", url.Values{"revision": {strconv.FormatUint(revision, 10)}, "text": {text}})
		return status, body
	}
	first := state().Revision
	if status, body := declare(first, strings.Replace(declared, "notify: [phone]}, ", "notify: [fax]}, ", 1)); status != http.StatusBadRequest || !strings.Contains(body, "Line 3: rotas[0].people[0].notify[0] &#34;fax&#34; is not a channel") || strings.Contains(body, "kept from before") {
		t.Errorf("a channel that is not there: %d %s", status, body)
	}
	if status, body := declare(first, "rules: []\n"); status != http.StatusBadRequest || !strings.Contains(body, "is not a field here") {
		t.Errorf("another section: %d", status)
	}
	if status, body := declare(first, declared); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ := declare(first, declared+"\n"); status != http.StatusConflict {
		t.Errorf("late: %d", status)
	}
	now := state()
	if len(now.Rotas) != 1 || now.Rotas[0].Handover != "mon 09:00" || len(now.Rotas[0].Shifts) < 2 || len(now.Quiet) != 1 || len(now.Steps) != 1 {
		t.Fatalf("declared %+v", now)
	}
	other := now.Rotas[0].People[0].Name
	if now.Rotas[0].Shifts[0].Name == other {
		other = now.Rotas[0].People[1].Name
	}
	// The first person is on call until the handover: one press.
	if status, body, _ := r.submit("/oncall/overrides", url.Values{"rota": {"duty"}, "who": {other}}); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	after := state().Rotas[0]
	if s := after.Shifts[0]; s.Name != other || s.Reason != pages.StandsIn || !s.Until.Equal(now.Rotas[0].Shifts[0].Until) || len(after.Overrides) != 1 {
		t.Errorf("stands in: %+v", after)
	}
	kv, err := r.js.KeyValue(t.Context(), streams.BucketSilences)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), streams.OverridesKey)
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := oncall.Decode(entry.Value()); err != nil || len(stored) != 1 || stored[0].Who != other {
		t.Errorf("the bucket holds %+v, %v", stored, err)
	}
	for query, want := range map[string]int{
		"rota=duty&who=Nobody": http.StatusBadRequest, "rota=night&who=Ann": http.StatusNotFound,
		"rota=duty&who=Ann&until=2026-01-01T00:00": http.StatusBadRequest, "rota=duty&who=phone&from=2126-01-01T00:00&until=2126-01-02T00:00": http.StatusOK,
	} {
		if status, body := ask(http.MethodPost, "/api/v1/oncall/overrides?"+query); status != want {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	for _, o := range state().Rotas[0].Overrides {
		if status, _ := ask(http.MethodDelete, "/api/v1/oncall/overrides/"+o.ID); status != http.StatusNoContent {
			t.Errorf("end of %+v: %d", o, status)
		}
	}
	if left := state().Rotas[0]; len(left.Overrides) != 0 || left.Shifts[0].Reason != pages.Turn {
		t.Errorf("after the overrides: %+v", left)
	}
	for _, action := range []string{"oncall.declare", "oncall.override", "oncall.return"} {
		r.shows("/audit", action)
	}

	// A file that does not mention them leaves them as they are; one that does is in charge.
	r.putFile(fileRules + "lateness: 1m\n")
	r.shows("/oncall", "who has the phone")
	r.putFile(fileRules + "rotas: []\nescalation: []\n")
	r.shows("/oncall", "declared and changed in rules.yaml")
	if status, body := declare(state().Revision, declared); status != http.StatusBadRequest || !strings.Contains(body, "declared in a file and is changed there: rules.yaml") {
		t.Errorf("a file is in charge: %d", status)
	}
}
