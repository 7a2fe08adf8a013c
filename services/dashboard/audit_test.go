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

	auditlog "headwater/services/internal/audit"
	"headwater/streams"
	"headwater/web/audit"
)

// TestChangesAreInTheAudit changes what people can change, by forms and through the API,
// and reads the page and the API afterwards.
func TestChangesAreInTheAudit(t *testing.T) {
	r := newRulesRig(t)
	for _, l := range []streams.DeadLetter{
		{Service: streams.ServiceBridge, Reason: streams.ReasonTopic},
		{Service: streams.ServiceWriter, Reason: streams.ReasonRejected},
	} {
		l.Arrived = time.Now()
		r.publish(l.Msg(), nil)
	}
	const rule = "name: warm\nmatch: {metric: temperature}\ndetector: limit\nabove: 8\n"
	var saved struct{ Revision uint64 }
	if code, body := r.call(http.MethodPut, "/warm?revision=0&by=anna", rule, &saved); code != http.StatusOK {
		t.Fatal(code, body)
	}
	if code, body := r.call(http.MethodPost, fmt.Sprintf("/warm/state?state=muted&revision=%d&by=anna", saved.Revision), "", &saved); code != http.StatusOK {
		t.Fatal(code, body)
	}
	if code, _ := r.call(http.MethodDelete, "/warm?revision=999&by=bob", "", nil); code != http.StatusConflict {
		t.Fatal(code)
	}
	if code, body := r.call(http.MethodDelete, fmt.Sprintf("/warm?revision=%d&by=anna", saved.Revision), "", nil); code != http.StatusOK {
		t.Fatal(code, body)
	}
	if code, body, _ := r.submit("/alerts/mute", url.Values{"rule": {"unusual"}, "scope": {"rule"}, "for": {"resolved"}, "by": {"anna"}}); code != http.StatusSeeOther {
		t.Fatal(code, body)
	}
	silences, err := r.service.silences.Silences()
	if err != nil || len(silences) != 1 {
		t.Fatal(silences, err)
	}
	if code, body := r.ask(http.MethodDelete, "/api/v1/silences/"+silences[0].ID); code != http.StatusNoContent {
		t.Fatal(code, body)
	}
	if code, body, _ := r.submit("/deadletters/redrive", url.Values{"sequence": {"2"}}); code != http.StatusOK {
		t.Fatal(code, body)
	}
	if code, body := r.ask(http.MethodDelete, "/api/v1/deadletters?through=99"); code != http.StatusOK {
		t.Fatal(code, body)
	}
	code, body := r.get("/api/v1/audit")
	var got audit.Entries
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatal(code, err, body)
	}
	want := []string{
		"unknown user letters.purge up to № 99 done: 2 letters",
		"unknown user letters.redrive № 2 done: 0 redriven, 0 refused again, 1 kept, 0 failed, 0 gone",
		"unknown user silence.end rule unusual done: until resolved ->",
		"anna silence.add rule unusual done: -> until resolved",
		"anna rule.delete warm done",
		"bob rule.delete warm failed: someone else has changed it meanwhile",
		"anna rule.state warm done: enabled -> muted",
		"anna rule.save warm done",
	}
	if len(got.Items) != len(want) {
		t.Fatalf("%d entries, want %d: %s", len(got.Items), len(want), body)
	}
	for i, e := range got.Items {
		text := strings.Join([]string{e.Who, e.Action, e.Object, e.Result}, " ")
		switch {
		case e.Detail != "":
			text += ": " + e.Detail
		case strings.HasSuffix(e.Action, ".state") || strings.HasPrefix(e.Action, "silence."):
			text += ": " + strings.TrimSpace(e.Before+" -> "+e.After)
		}
		if text != want[i] || e.From != "192.0.2.1" || e.Service != streams.ServiceDashboard || time.Since(e.At) > time.Hour {
			t.Errorf("entry %d: %q from %q of %s, want %q", i, text, e.From, e.Service, want[i])
		}
	}
	if e := got.Items[len(want)-1]; e.Before != "" || !strings.Contains(e.After, "above: 8") {
		t.Errorf("the rule before %q and after %q", e.Before, e.After)
	}
	if e := got.Items[4]; !strings.Contains(e.Before, "above: 8") || e.After != "" {
		t.Errorf("the deleted rule before %q and after %q", e.Before, e.After)
	}
	r.shows("/audit?action=rule.state", "changed the state of rule")
}

// TestAChangeDoesNotNeedTheAudit changes a rule while the stream of the audit does not
// exist, as in an installation whose services are upgraded one by one.
func TestAChangeDoesNotNeedTheAudit(t *testing.T) {
	r := newRulesRig(t)
	if err := r.js.DeleteStream(t.Context(), streams.StreamAudit); err != nil {
		t.Fatal(err)
	}
	const rule = "name: warm\nmatch: {metric: temperature}\ndetector: limit\nabove: 8\n"
	if code, body := r.call(http.MethodPut, "/warm?revision=0&by=anna", rule, nil); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	r.shows("/audit", "Nothing has been changed yet")
}

// TestWhoAsks shows what the address of a request becomes.
func TestWhoAsks(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1:1234": "192.0.2.1", "[2001:db8::7]:80": "2001:db8::7", "nonsense": ""} {
		q := httptest.NewRequest(http.MethodGet, "/", nil)
		q.RemoteAddr = remote
		withAddress(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			if got := addressOf(q.Context()); got != want {
				t.Errorf("%s: %q, want %q", remote, got, want)
			}
		})).ServeHTTP(httptest.NewRecorder(), q)
	}
	recorder{}.record(t.Context(), auditlog.Entry{}, nil)
}
