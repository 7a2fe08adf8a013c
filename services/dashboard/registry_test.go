package dashboard

import (
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/about"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/registry"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// send sends a request to the pages.
func (r *rig) send(method, path, kind, body string) (int, string) {
	w := httptest.NewRecorder()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", kind)
	r.service.Handler().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func (r *rig) post(path string, form url.Values) (int, string) {
	return r.send(http.MethodPost, path, "application/x-www-form-urlencoded", form.Encode())
}

// TestPeopleSayWhatDevicesAre says what a device is on its page, through the API, of several
// at once and by a table. It shows everywhere, is in the audit, and what the configuration
// file says is not changed on a page.
func TestPeopleSayWhatDevicesAre(t *testing.T) {
	r := newRig(t, func(r *rig) {
		store, err := configstore.Open(r.tb.Context(), r.js)
		if err != nil {
			t.Fatal(err)
		}
		file := "devices:\n  - {match: {device: \"door-*\"}, room: Hall, tags: {kind: door}}\n"
		if _, _, err := store.PutFile(r.tb.Context(), "home.yaml", []byte(file)); err != nil {
			t.Fatal(err)
		}
	})
	now := time.Now()
	for _, device := range []string{"door-1", "kitchen"} {
		r.reading(device, "temperature", 20.25, now)
	}
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{firing(now)}}))
	said := func(device string) about.About {
		t.Helper()
		a, err := registry.About(t.Context(), r.js, "home", device)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	r.ready()
	r.shows("/devices/home/door-1", "Hall")
	r.shows("/registry", "kind=door")
	r.shows("/api/v1/alerts", "kitchen")
	r.shows("/devices/home/kitchen/edit", "Edit kitchen")

	form := url.Values{
		"name": {"Fridge"}, "room": {"Kitchen"}, "tags": {"kind=fridge"}, "notes": {"first\r\nsecond"}, "interval": {"5m"},
		"metric": {"temperature"}, "m.name.temperature": {"Air"}, "m.precision.temperature": {"1"}, "m.low.temperature": {"-40"}, "by": {"Ann"},
	}
	if code, body := r.post("/devices/home/kitchen/edit", form); code != http.StatusSeeOther {
		t.Fatalf("%d %s", code, body)
	}
	want := about.About{
		Name: "Fridge", Room: "Kitchen", Tags: map[string]string{"kind": "fridge"}, Notes: "first\nsecond", Interval: 5 * time.Minute,
		Metrics: map[string]about.Metric{"temperature": {Name: "Air", Precision: new(1), Low: new(-40.0)}},
	}
	if got := said("kitchen"); !got.Equal(want) {
		t.Errorf("stored: %+v", got)
	}
	// What is shown does not wait for the watch.
	for path, text := range map[string]string{
		"/": "Fridge", "/devices/home/kitchen": "20.2", "/alerts": "Fridge", "/api/v1/alerts": `"device_name":"Fridge","room":"Kitchen"`,
		"/api/v1/devices": `"interval":"5m"`, "/registry?q=fridge": "home", "/devices/home/kitchen/edit": "first\nsecond",
	} {
		if _, body := r.get(path); !strings.Contains(body, text) {
			t.Errorf("%s does not show %q", path, text)
		}
	}
	r.shows("/audit", "device.describe")
	r.shows("/api/v1/audit?action=device.describe", `"who":"Ann"`)

	for name, test := range map[string]struct {
		method, path, body, problem string
	}{
		"of the file":      {http.MethodPut, "/api/v1/devices/home/door-1/about", `{"room":"Cellar"}`, "the configuration file says room"},
		"an unknown field": {http.MethodPut, "/api/v1/devices/home/kitchen/about", `{"colour":"red"}`, "colour"},
		"a long name":      {http.MethodPut, "/api/v1/devices/home/kitchen/about", `{"name":"` + strings.Repeat("x", 81) + `"}`, "name has 81 bytes"},
		"a table":          {http.MethodPost, "/api/v1/registry/import", "site,device,room\nhome,kitchen,Attic\nhome,x y,Attic\n", "line 3"},
	} {
		if code, body := r.send(test.method, test.path, "application/json", test.body); code != http.StatusBadRequest || !strings.Contains(body, test.problem) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if got := said("kitchen"); !got.Equal(want) {
		t.Errorf("a change that was refused changed %+v", got)
	}

	// All of what is shown may come back; what the file says is not stored.
	if code, body := r.send(http.MethodPut, "/api/v1/devices/home/door-1/about?by=Bob", "application/json", `{"name":"Door","room":"Hall","tags":{"kind":"door","n":"1"}}`); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, body)
	}
	if got := said("door-1"); !got.Equal(about.About{Name: "Door", Tags: map[string]string{"n": "1"}}) {
		t.Errorf("stored beside the file: %+v", got)
	}
	_, body := r.post("/registry", url.Values{"device": {"home/door-1", "home/kitchen"}, "room": {"Attic"}, "tags": {"floor=2"}, "remove_tags": {"n"}, "interval": {"10m"}})
	if !strings.Contains(body, "1 device changed") || !strings.Contains(body, "the configuration file says room") {
		t.Errorf("bulk: %s", body)
	}
	if got := said("kitchen"); got.Room != "Attic" || got.Tags["floor"] != "2" || got.Tags["kind"] != "fridge" || got.Name != "Fridge" || got.Interval != 10*time.Minute {
		t.Errorf("after the change of several: %+v", got)
	}
	for _, test := range []struct {
		name  string
		form  url.Values
		shown string
		want  time.Duration
	}{
		{"no interval", url.Values{"interval": {"soon"}}, "soon", 10 * time.Minute},
		{"tags alone", url.Values{"tags": {"floor=3"}}, "1 device changed", 10 * time.Minute},
		{"interval alone", url.Values{"interval": {"5m"}}, "1 device changed", 5 * time.Minute},
		{"removed", url.Values{"interval": {"1m"}, "clear_interval": {"1"}}, "1 device changed", 0},
	} {
		test.form.Set("device", "home/kitchen")
		_, body := r.post("/registry", test.form)
		if got := said("kitchen"); !strings.Contains(body, test.shown) || got.Interval != test.want {
			t.Errorf("%s: interval %v, %s", test.name, got.Interval, body)
		}
	}
	_, table := r.get("/registry.csv")
	if strings.Count(table, "\n") != 5 || !strings.Contains(table, "home,kitchen,,Fridge,Attic,") {
		t.Errorf("as a table: %s", table)
	}
	var form2 strings.Builder
	parts := multipart.NewWriter(&form2)
	file, err := parts.CreateFormFile("file", "devices.csv")
	if err == nil {
		_, err = io.WriteString(file, strings.Replace(table, "Fridge", "Freezer", 1))
	}
	if err != nil || parts.Close() != nil {
		t.Fatal(err)
	}
	if code, body := r.send(http.MethodPost, "/registry/import", parts.FormDataContentType(), form2.String()); code != http.StatusOK || !strings.Contains(body, "1 device changed, 1 was so already") {
		t.Errorf("import: %d %s", code, body)
	}
	if got := said("kitchen"); got.Name != "Freezer" || got.Metrics["temperature"].Name != "Air" {
		t.Errorf("after the import: %+v", got)
	}

	// It survives what is observed, and a restart.
	kv, err := r.js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), registry.Key("home", "kitchen")); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.begin(t)
	r.reading("kitchen", "temperature", 21, time.Now())
	r.shows("/", "Freezer")
}

// TestRulesMatchTheTagsOfTheRegistry tags a device on its page: the configuration that lanes
// take in has the tag that a rule matches and no other, and the page counts the series.
func TestRulesMatchTheTagsOfTheRegistry(t *testing.T) {
	r := newRig(t, nil)
	r.putFile("rules: [{name: warm, match: {tags: {kind: fridge}}, detector: limit, above: 8}]\ndevices: [{match: {device: door}, tags: {kind: door}}]\n")
	r.reading("kitchen", "temperature", 4, time.Now())
	r.reading("door", "temperature", 4, time.Now())
	r.ready()
	r.shows("/registry", "kind=door")
	say := func(device, tags string) {
		t.Helper()
		if code, body := r.send(http.MethodPut, "/api/v1/devices/home/"+device+"/about", "application/json", `{"tags":`+tags+`}`); code != http.StatusNoContent {
			t.Fatalf("%d %s", code, body)
		}
	}
	holds := func(want config.Tags) {
		t.Helper()
		var have config.Tags
		defer func() {
			if t.Failed() {
				t.Logf("it holds %v", have)
			}
		}()
		streamtest.Eventually(t, "the configuration holds the tags", func() bool {
			v, err := r.store().Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			have = v.Parts.Tags
			return have.Equal(want)
		})
	}
	say("kitchen", `{"kind":"fridge","owner":"Ann"}`)
	say("door", `{"owner":"Bob"}`)
	holds(config.Tags{"home/kitchen": {"kind": "fridge"}})
	c, err := func() (*config.Config, error) {
		v, err := r.store().Current(t.Context())
		if err != nil {
			return nil, err
		}
		return v.Config()
	}()
	if err != nil || c.Tags("home", "kitchen")["kind"] != "fridge" || c.Tags("home", "door")["kind"] != "door" {
		t.Errorf("%v", err)
	}
	type counted struct {
		Name   string
		Series int
	}
	var found struct{ Rules []counted }
	streamtest.Eventually(t, "the page counts the series", func() bool {
		_, body := r.get("/api/v1/rules")
		return json.Unmarshal([]byte(body), &found) == nil && slices.Contains(found.Rules, counted{"warm", 1})
	})
	if code, body := r.send(http.MethodPost, "/api/v1/silences?label=tag:owner%3DBo*&by=Ann&for=8h", "", ""); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	holds(config.Tags{"home/kitchen": {"kind": "fridge", "owner": "Ann"}, "home/door": {"owner": "Bob"}}) // so the silence knows it
	r.putFile("rules: [{name: warm, match: {tags: {owner: Ann}}, detector: limit, above: 8}]\n")          // asks for another tag
	holds(config.Tags{"home/kitchen": {"owner": "Ann"}, "home/door": {"owner": "Bob"}})
	say("kitchen", `{}`)
	holds(config.Tags{"home/door": {"owner": "Bob"}})
}
