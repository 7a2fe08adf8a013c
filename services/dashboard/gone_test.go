package dashboard

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/about"
	"headwater/services/internal/registry"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// asks reports whether InfluxDB was asked for all of the texts at once.
func (i *influxStub) asks(texts ...string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, q := range i.asked {
		has := true
		for _, text := range texts {
			has = has && strings.Contains(q, text)
		}
		if has {
			return true
		}
	}
	return false
}

// TestDevicesAreMergedAndDeleted has one device continue another, and deletes devices.
func TestDevicesAreMergedAndDeleted(t *testing.T) {
	r := newRig(t, nil)
	now := time.Now()
	earlier := now.Add(-10 * time.Minute)
	for _, device := range []string{"old", "live"} {
		entry, err := json.Marshal(registry.Device{Site: "home", Device: device, FirstSeen: earlier, Metrics: []registry.Metric{{Name: "temperature", Unit: "°C", Kind: "value"}}})
		if err != nil {
			t.Fatal(err)
		}
		r.put(streams.BucketDevices, registry.Key("home", device), entry)
	}
	if _, err := registry.SetAbout(t.Context(), r.js, "home", "old", func(about.About) (about.About, error) { return about.About{Name: "Fridge"}, nil }); err != nil {
		t.Fatal(err)
	}
	r.reading("old", "temperature", 4, earlier)
	r.reading("live", "temperature", 20, now)
	r.ready()
	r.shows("/devices/home/old", "Fridge")
	r.shows("/devices/home/live", "temperature")
	refused := func(what, method, path, form string, code int, problem string) {
		t.Helper()
		if got, body := r.send(method, path, "application/x-www-form-urlencoded", form); got != code || !strings.Contains(body, problem) {
			t.Errorf("%s: %d %s", what, got, body)
		}
	}
	gone := func(device string) {
		t.Helper()
		if code, _ := r.get("/devices/home/" + device); code != http.StatusNotFound {
			t.Errorf("%s is still there: %d", device, code)
		}
	}

	refused("into itself", http.MethodPost, "/api/v1/devices/home/old/merge?into=old", "", http.StatusBadRequest, "it has that name")
	refused("no name", http.MethodPost, "/devices/home/old/merge", "into=x+y", http.StatusBadRequest, "is not site/device")
	refused("unknown", http.MethodPost, "/api/v1/devices/home/ghost/merge?into=old", "", http.StatusNotFound, "")
	if code, body := r.post("/devices/home/old/merge", url.Values{"into": {"kitchen"}, "by": {"Ann"}}); code != http.StatusSeeOther {
		t.Fatalf("%d %s", code, body)
	}
	gone("old")
	r.shows("/devices/home/kitchen", "Fridge")
	if _, body := r.get("/devices/home/kitchen/edit"); !strings.Contains(body, "It continues home/old") {
		t.Errorf("what it continues is not said")
	}
	if code, body := r.get("/api/v1/series?site=home&device=kitchen&metric=temperature"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	if !r.influx.asks("SELECT", `("site" = 'home' AND "device" = 'kitchen' OR "site" = 'home' AND "device" = 'old')`) {
		t.Error("the history of the device that is continued was not asked for")
	}

	refused("without a confirmation", http.MethodPost, "/devices/home/kitchen/delete", "confirm=kitten", http.StatusBadRequest, "type kitchen to confirm")
	refused("it reports", http.MethodDelete, "/api/v1/devices/home/live", "", http.StatusBadRequest, "has reported within")
	refused("unknown", http.MethodDelete, "/api/v1/devices/home/ghost", "", http.StatusNotFound, "")
	r.reading("old", "temperature", 5, time.Now())
	r.shows("/devices/home/old", "temperature")
	refused("one that it continues reports", http.MethodDelete, "/api/v1/devices/home/kitchen", "", http.StatusBadRequest, "home/old has reported within")
	code, body := r.post("/devices/home/kitchen/delete", url.Values{"confirm": {"kitchen"}, "force": {"1"}})
	if code != http.StatusOK || !strings.Contains(body, "home/kitchen, home/old deleted, with the history.") {
		t.Errorf("%d %s", code, body)
	}
	gone("kitchen")
	for _, device := range []string{"kitchen", "old"} {
		if !r.influx.asks("DELETE FROM", `"device" = '`+device+`' AND time < `) {
			t.Errorf("the history of %s was not deleted", device)
		}
	}

	// What fails is said and done later, by another process if need be.
	r.influx.away.Store(true)
	if code, body := r.send(http.MethodDelete, "/api/v1/devices/home/live?force=1", "", ""); code != http.StatusOK || !strings.Contains(body, "tried again") {
		t.Errorf("%d %s", code, body)
	}
	gone("live")
	r.shows("/api/v1/audit?action=device.delete", "home/live")
	r.shows("/api/v1/audit?action=device.merge", `"who":"Ann"`)
	r.stop()
	r.influx.away.Store(false)
	r.begin(t)
	r.ready()
	streamtest.Eventually(t, "its history is deleted", func() bool { return r.influx.asks("DELETE FROM", `"device" = 'live' AND time < `) })
	gone("live")
	r.reading("live", "temperature", 21, time.Now())
	r.shows("/devices/home/live", "temperature")
}
