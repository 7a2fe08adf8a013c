package alerts_test

import (
	"net/http"
	"strings"
	"testing"

	"headwater/web/alerts"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// TestAlertAboutHeadwater has no device whose page or chart could be shown.
func TestAlertAboutHeadwater(t *testing.T) {
	var b strings.Builder
	a := view.Alert{Site: "headwater", Device: "influxdb", Metric: "health", Own: true, Started: webtest.Now}
	if err := alerts.StoryPage(view.Story{Alert: a}, webtest.Now).Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if page := b.String(); strings.Contains(page, `id="evidence"`) || strings.Contains(page, "/devices/") || !strings.Contains(page, `href="/pipeline"`) {
		t.Error(page)
	}
}

// TestMute presses the buttons: one press is for a time, and can be taken back.
func TestMute(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	const alert = "rule=humid&site=warehouse&device=door-07&metric=humidity&back=%2Falerts"
	for _, form := range []string{"&for=1h", "&for=8h&scope=device", "&for=resolved&scope=rule"} {
		res, body := webtest.Post(t, s, "/alerts/mute", alert+form)
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/alerts?muted=m1" {
			t.Errorf("%s: %d to %s %s", form, res.StatusCode, res.Header.Get("Location"), body)
		}
	}
	_, body := webtest.Get(t, s, http.MethodGet, "/alerts?muted=m1")
	for _, want := range []string{"Muted. No one is notified", `action="/silences/m1/unmute"`, "Rule humid for humidity of door-07 at warehouse", "by Ann", ">Unmute<"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	if res, _ := webtest.Post(t, s, "/silences/m1/unmute", "back=%2Fdevices%2Fwarehouse%2Fdoor-07"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices/warehouse/door-07" {
		t.Errorf("unmute: %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	for _, form := range []string{"", alert, alert + "&for=1s", alert + "&for=9000h", alert + "&for=x", alert + "&for=1h&scope=all", "for=1h", "rule=%3Cb%3E&for=1h", "for=1h&back=%2Fx&scope=rule&site=a"} {
		if res, _ := webtest.Post(t, s, "/alerts/mute", form); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", form, res.StatusCode)
		}
	}
	if res, _ := webtest.Post(t, webtest.Server(t, fixture.Away), "/alerts/mute", alert+"&for=1h"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without NATS it answers %d", res.StatusCode)
	}
}
