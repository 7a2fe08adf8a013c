package alerts_test

import (
	"net/http"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// TestHandle presses the buttons of alerts.
func TestHandle(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	const path = "/alerts/0f3a9c5d71b2e684-dn5mn57qoq2o/handle"
	for form, want := range map[string]int{
		"action=acknowledge&back=%2Fdevices%2Fwarehouse%2Fdoor-04": http.StatusSeeOther,
		"action=resolve": http.StatusSeeOther, "action=comment&text=x": http.StatusSeeOther,
		"action=dance": http.StatusBadRequest, "": http.StatusBadRequest, "action=acknowledge&by=a%07b": http.StatusBadRequest,
	} {
		res, body := webtest.Post(t, s, path, form)
		if res.StatusCode != want {
			t.Errorf("%q: %d, want %d: %s", form, res.StatusCode, want, body)
		}
		if to := res.Header.Get("Location"); strings.Contains(form, "back=") && to != "/devices/warehouse/door-04" || want == http.StatusSeeOther && to == "" {
			t.Errorf("%q leads to %q", form, to)
		}
	}
	if res, _ := webtest.Post(t, s, "/alerts/other/handle", "action=acknowledge"); res.StatusCode != http.StatusNotFound {
		t.Errorf("an alert that there is not: %d", res.StatusCode)
	}
	if res, _ := webtest.Post(t, s, "/alerts/r0-1/handle", "action=acknowledge"); res.StatusCode != http.StatusConflict {
		t.Errorf("an episode that is over: %d", res.StatusCode)
	}
	if res, _ := webtest.Post(t, webtest.Server(t, fixture.Away), path, "action=acknowledge"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without NATS it answers %d", res.StatusCode)
	}
	_, body := webtest.Get(t, s, http.MethodGet, "/alerts")
	for _, want := range []string{`action="` + path + `"`, `value="acknowledge"`, "by Ann", "On my way.", "assigned to Bob", "The gasket is torn.", `value="unacknowledge"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
}
