package dashboard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/silence"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/view"
)

// TestMutedAlerts mutes an alert by the API: the bucket holds it as the notifier takes
// it in, pages say so, the badge does not count it; what is over mutes nothing.
func TestMutedAlerts(t *testing.T) {
	started := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	r := newRig(t, func(r *rig) {
		old := []silence.Silence{{ID: "old", Match: silence.Match{Rule: "x"}, From: started, Until: started.Add(time.Minute), Author: "jo"}}
		body, err := silence.Encode(old)
		if err != nil {
			r.tb.Fatal(err)
		}
		r.put(streams.BucketSilences, streams.SilencesKey, body)
	})
	alert := firing(started)
	alert.Opened = started.UnixNano()
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{alert}}))
	r.reading("kitchen", "temperature", 31, time.Now())
	r.shows("/api/v1/alerts", `"state":"firing"`)
	if n := r.service.Status().Firing; n != 1 {
		t.Fatalf("the badge counts %d, want 1", n)
	}
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	stored := func() []silence.Silence {
		kv, err := r.js.KeyValue(t.Context(), streams.BucketSilences)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := kv.Get(t.Context(), streams.SilencesKey)
		if err != nil {
			t.Fatal(err)
		}
		all, err := silence.Decode(entry.Value())
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(all, func(one silence.Silence) bool { return one.Ended(time.Now()) })
	}
	for query, want := range map[string]string{
		"device=kit*&severity=critical": `"firing":1,"matching":1,"held":1,"alerts":[{`, "device=kit*&from=2126-01-01T00:00": `"firing":1,"matching":1,"held":0,"alerts":[{`,
		"device=cellar": `"firing":1,"matching":0,"held":0,"alerts":[]`,
	} {
		if code, body := ask(http.MethodGet, "/api/v1/silences/preview?"+query); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("the preview of %s is %d %s", query, code, body)
		}
	}
	for _, length := range []string{"8h", "resolved"} {
		code, body := ask(http.MethodPost, "/api/v1/silences?rule=too-warm&site=home&device=kitchen&metric=temperature&by=Ann&for="+length)
		var made view.Silence
		if err := json.Unmarshal([]byte(body), &made); err != nil || code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
		if all := stored(); len(all) != 1 || all[0].ID != made.ID || all[0].Author != "Ann" {
			t.Errorf("the bucket holds %v", all)
		}
		if n := r.service.Status().Firing; n != 0 {
			t.Errorf("the badge counts %d of a muted alert", n)
		}
		if _, body := r.get("/alerts"); !strings.Contains(body, "/silences/"+made.ID+"/unmute") || !strings.Contains(body, "by Ann") {
			t.Errorf("the page does not say what is muted: %s", body)
		}
		if code, _ := ask(http.MethodDelete, "/api/v1/silences/"+made.ID); code != http.StatusNoContent {
			t.Errorf("unmute: %d", code)
		}
		if _, body := ask(http.MethodGet, "/api/v1/silences?expired=1"); !strings.Contains(body, made.ID) || !strings.Contains(body, `"state":"expired"`) {
			t.Errorf("what has ended is not listed: %s", body)
		}
		if n := r.service.Status().Firing; n != 1 || len(stored()) != 0 {
			t.Errorf("the badge counts %d, the bucket holds %v", n, stored())
		}
	}
	// Somebody else's silence comes by the bucket.
	body, err := silence.Encode([]silence.Silence{{ID: "theirs", Match: silence.Match{Device: "kitchen"}, From: started, Until: time.Now().Add(time.Hour), Author: "jo"}})
	if err != nil {
		t.Fatal(err)
	}
	r.put(streams.BucketSilences, streams.SilencesKey, body)
	streamtest.Eventually(t, "the badge counts nothing", func() bool { return r.service.Status().Firing == 0 })
}
