package dashboard

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/configstore"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/health"
	"headwater/web/view"
)

// TestSensorHealth has devices that can be believed and some that cannot, each for another
// reason, and asks the API and the pages which.
func TestSensorHealth(t *testing.T) {
	now := time.Now()
	r := newRig(t, func(r *rig) {
		store, err := configstore.Open(r.tb.Context(), r.js)
		if err == nil {
			_, _, err = store.PutFile(r.tb.Context(), "home.yaml", []byte("rules: [{name: same-again, detector: stuck}]\n"))
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	for _, device := range []string{"well", "stuck", "garbled", "behind"} {
		r.reading(device, "temperature", 20.25, now)
	}
	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "home", Device: "tired", Metric: "battery", Unit: "%"}, now.UnixNano(), 7)
	r.publish(streams.TelemetryMsg(0, streams.SourceHTTP, b.Take(now.UnixNano())))
	for i := range 20 { // of two devices in turn, as a bridge packs them
		for _, device := range []string{"behind", "well"} {
			at := now.Add(time.Duration(i) * time.Millisecond)
			if device == "behind" {
				at = at.Add(-time.Hour)
			}
			b.Value(telemetryv1.Key{Site: "home", Device: device, Metric: []string{"temperature", "humidity"}[i%2], Unit: "°C"}, at.UnixNano(), 20)
		}
		r.publish(streams.TelemetryMsg(1, streams.SourceMQTT, b.Take(now.Add(time.Duration(i)*time.Millisecond).UnixNano())))
	}
	r.bury("home", "garbled", streams.ReasonPayload)
	r.publish(streams.DerivedMsg(1, &derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{{
		Rule: "same-again", Series: &derivedv1.Series{Site: "home", Device: "stuck", Metric: "temperature"}, Phase: derivedv1.Phase_PHASE_OPEN,
		Start: now.Add(-time.Hour).UnixNano(), Time: now.UnixNano(), Learned: now.UnixNano(), Severity: derivedv1.Severity_SEVERITY_INFO,
		Evidence: &derivedv1.Evidence{Score: 1, Sentence: "It has been 20.25 for an hour."},
	}}}))
	want := map[view.FindingKind]int{view.FindingStuck: 1, view.FindingUnreadable: 1, view.FindingClock: 1, view.FindingBattery: 1}
	var got health.Report
	defer func() {
		if t.Failed() {
			t.Logf("%+v", got)
		}
	}()
	streamtest.Eventually(t, "each reason is found", func() bool {
		r.service.health.assess(time.Now()) // not only every few seconds
		_, body := r.get("/api/v1/health")
		got = health.Report{}
		return json.Unmarshal([]byte(body), &got) == nil && maps.Equal(got.Kinds, want)
	})
	if got.Devices != 5 || got.Doubtful != 4 || got.Matching != 4 || len(got.Unwatched) != 2 {
		t.Errorf("%d devices, %d doubtful, %d matching, not looked for %v", got.Devices, got.Doubtful, got.Matching, got.Unwatched)
	}
	for path, text := range map[string]string{
		"/health": "It has been 20.25 for an hour.", "/health?kind=battery": "It is at 7", "/api/v1/health?kind=clock": `"device":"behind"`,
		"/devices/home/stuck": "It may not be believed", "/api/v1/devices/home/stuck": `"kind":"stuck"`,
	} {
		if code, body := r.get(path); code != http.StatusOK || !strings.Contains(body, text) {
			t.Errorf("%s does not show %q", path, text)
		}
	}
	if _, body := r.get("/health?kind=battery"); strings.Contains(body, "garbled") {
		t.Error("a kind does not select")
	}
	if code, _ := r.get("/api/v1/health?kind=ghost"); code != http.StatusBadRequest {
		t.Errorf("an unknown kind is answered %d", code)
	}
}
