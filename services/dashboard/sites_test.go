package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/accounts"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/deadletters"
)

// accountsRig is a rig with an administrator, and with a function that asks with a token of
// an operator who is limited to sites, or with that of an administrator for no site.
func accountsRig(t *testing.T) (r *rig, ask func(site, method, path, form string) (int, string)) {
	t.Helper()
	r = newRig(t, nil)
	store := r.service.access.accounts
	code, err := store.NewSetUp(t.Context(), false)
	if err == nil {
		_, err = store.SetUp(t.Context(), code, "anna", "correct horse battery")
	}
	tokens := map[string]string{}
	for _, site := range []string{"", "home", "shed"} {
		token := accounts.Token{Name: "all" + site, Role: accounts.Administrator}
		if site != "" {
			token.Role, token.Sites = accounts.Operator, []string{site, "attic"}
		}
		if err == nil {
			tokens[site], err = store.AddToken(t.Context(), token)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, func(site, method, path, form string) (int, string) {
		t.Helper()
		req := httptest.NewRequest(method, path, strings.NewReader(form))
		req.Header.Set("Authorization", "Bearer "+tokens[site])
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, req)
		return w.Code, w.Body.String()
	}
}

// bury stores a dead letter of a device.
func (r *rig) bury(site, device, reason string) {
	r.tb.Helper()
	l := streams.DeadLetter{Service: streams.ServiceBridge, Reason: reason, Site: site, Device: device, Arrived: time.Now(), Payload: []byte("x")}
	r.publish(l.Msg(), nil)
}

// TestSitesAreApart asks for what is stored as operators of two sites.
func TestSitesAreApart(t *testing.T) {
	r, ask := accountsRig(t)
	now := time.Now()
	r.reading("kitchen", "temperature", 20, now)
	for i := range 5 {
		r.bury([]string{"home", "shed"}[i%2], fmt.Sprint("device-", i), streams.ReasonPayload)
	}
	r.bury("", "", streams.ReasonTopic)
	get := func(site, path string, into any) {
		t.Helper()
		code, body := ask(site, http.MethodGet, path, "")
		if err := json.Unmarshal([]byte(body), into); err != nil || code != http.StatusOK {
			t.Fatal(path, code, err, body)
		}
	}
	var all struct {
		Total, Matching int
		Devices         []any
	}
	streamtest.Eventually(t, "the device is there", func() bool { get("home", "/api/v1/devices", &all); return all.Total == 1 })
	if get("shed", "/api/v1/devices", &all); all.Total != 0 || len(all.Devices) != 0 || all.Matching != 0 {
		t.Errorf("devices of another site: %+v", all)
	}
	if code, _ := ask("shed", http.MethodGet, "/api/v1/devices/home/kitchen", ""); code != http.StatusNotFound {
		t.Errorf("a device of another site: %d", code)
	}
	for site, want := range map[string]int{"home": 3, "shed": 2, "": 6} {
		var page deadletters.Letters
		if get(site, "/api/v1/deadletters?size=10", &page); len(page.Items) != want || page.Total != uint64(want) {
			t.Errorf("letters of %q: %d, in all %d, want %d: %v", site, len(page.Items), page.Total, want, page.Counts)
		}
	}
	var page deadletters.Letters
	if get("home", "/api/v1/deadletters?size=2", &page); len(page.Items) != 2 || page.Next == 0 || len(page.Counts) != 1 || page.Counts[0].Count != 3 {
		t.Errorf("a page of letters: %+v", page)
	}
	first := page.Items[0].Sequence
	if code, _ := ask("shed", http.MethodGet, fmt.Sprint("/api/v1/deadletters/", first), ""); code != http.StatusNotFound {
		t.Errorf("a letter of another site: %d", code)
	}
	var done deadletters.Redrive
	if code, body := ask("shed", http.MethodPost, fmt.Sprintf("/api/v1/deadletters/%d/redrive", first), ""); json.Unmarshal([]byte(body), &done) != nil || done.Gone != 1 {
		t.Errorf("redrive of a letter of another site: %d %s", code, body)
	}
	if code, body := ask("home", http.MethodPost, fmt.Sprintf("/api/v1/deadletters/%d/redrive", first), ""); !strings.Contains(body, "no bridge runs") {
		t.Errorf("redrive of an own letter: %d %s", code, body)
	}
	if code, body := ask("home", http.MethodGet, "/api/v1/ledger?range=1h", ""); code != http.StatusOK {
		t.Errorf("the ledger: %d %s", code, body)
	}
	r.influx.mu.Lock()
	defer r.influx.mu.Unlock()
	if last := r.influx.asked[len(r.influx.asked)-1]; strings.Count(last, `("site" = 'home' OR "site" = 'attic')`) != 4 {
		t.Errorf("the ledger asks for more than its sites: %s", last)
	}
}

// TestWaitingDevicesAreApproved has devices that nobody has approved.
func TestWaitingDevicesAreApproved(t *testing.T) {
	r, ask := accountsRig(t)
	r.ready()
	for _, device := range []string{"door-1", "door-2", "door-2"} {
		r.bury("shed", device, streams.ReasonQuarantined)
	}
	post := func(path string, form url.Values, want int) string {
		t.Helper()
		code, body := ask("", http.MethodPost, path, form.Encode())
		if code != want {
			t.Fatalf("%s: %d %.500s", path, code, body)
		}
		return body
	}
	shows := func(what string, holds ...string) {
		t.Helper()
		streamtest.Eventually(t, what, func() bool {
			_, body := ask("", http.MethodGet, "/credentials", "")
			for _, want := range holds {
				if want, not := strings.CutPrefix(want, "no "); strings.Contains(body, want) == not {
					return false
				}
			}
			return true
		})
	}
	const first, second = `aria-label="Approve shed/door-1"`, `aria-label="Approve shed/door-2"`
	shows("nobody waits", "Who may connect", "no "+first)
	post("/unknown-devices", url.Values{"others": {"quarantined"}}, http.StatusSeeOther)
	shows("two wait", first, second)
	post("/credentials", url.Values{"devices": {"shed/door-2"}, "give": {"none"}}, http.StatusSeeOther)
	shows("one waits", first, "no "+second, "none: approved as it is")
}
