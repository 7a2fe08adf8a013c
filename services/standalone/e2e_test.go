package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/browsertest"
)

const e2eRules = `
windows: [10s]
lateness: 1m
rules:
  - name: too-warm
    description: It is too warm at a door.
    match: {site: hall, metric: temperature}
    detector: limit
    above: 30
    severity: critical
channels:
  - name: hook
    type: webhook
    url: %s
`

// TestEndToEnd follows readings through all of Headwater: from a real MQTT
// client and from HTTP into the real InfluxDB, into a summary, an anomaly, an
// alert, the call of a webhook, and onto the pages in a real browser.
func TestEndToEnd(t *testing.T) {
	calls := make(chan string, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- string(body)
	}))
	defer hook.Close()
	dir := t.TempDir()
	cfg := testConfig(dir)
	cfg.File.Path = filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(cfg.File.Path, fmt.Appendf(nil, e2eRules, hook.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	at, _ := start(t, cfg)
	client := device(t, at.MQTT, "door-01")
	now := time.Now().Truncate(10 * time.Second)
	reading := func(value float64, at time.Time) string {
		return fmt.Sprintf(`{"value":%v,"ts":%d,"unit":"°C"}`, value, at.UnixMilli())
	}
	// Two readings in the previous window, and one in the present one.
	publish(t, client, "sensors/hall/door-01/temperature", reading(20, now.Add(-8*time.Second)))
	publish(t, client, "sensors/hall/door-01/temperature", reading(22, now.Add(-2*time.Second)))
	publish(t, client, "sensors/hall/door-01/temperature", reading(21.5, now))
	resp, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader(
		fmt.Sprintf(`[{"site":"hall","device":"door-02","metric":"temperature","value":19.5,"ts":%d,"unit":"°C"}]`, now.UnixMilli())))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("POST: %s\n%s", resp.Status, body)
	}
	resp, err = http.Get(at.HTTP + "/api/v1/telemetry")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
		t.Errorf("GET where readings are posted is answered %s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}

	t.Run("points are in InfluxDB", func(t *testing.T) {
		streamtest.Eventually(t, "four points", func() bool {
			series, err := query(t, at.Influx, "raw", `SELECT "value" FROM "temperature" WHERE "site"='hall' GROUP BY "device"`)
			if err != nil || len(series) != 2 {
				return false
			}
			return len(series[0].Values) == 3 && len(series[1].Values) == 1 && series[1].Floats("value")[0] == 19.5
		})
	})
	t.Run("the summary is in InfluxDB", func(t *testing.T) {
		streamtest.Eventually(t, "the summary of the full window", func() bool {
			series, err := query(t, at.Influx, "10s", fmt.Sprintf(
				`SELECT "count","min","max","mean","first","last" FROM "temperature" WHERE "device"='door-01' AND time = %d`, now.Add(-10*time.Second).UnixNano()))
			if err != nil || len(series) != 1 {
				return false
			}
			for column, want := range map[string]float64{"count": 2, "min": 20, "max": 22, "mean": 21, "first": 20, "last": 22} {
				got := series[0].Floats(column)
				if len(got) == 1 && math.IsNaN(got[0]) {
					// InfluxDB stores the fields of a point one by one, and a query may see
					// only some of them.
					return false
				}
				if len(got) != 1 || got[0] != want {
					t.Fatalf("%s is %v, want %v", column, got, want)
				}
			}
			return true
		})
	})
	t.Run("an alert fires and calls the webhook", func(t *testing.T) {
		begin := time.Now()
		publish(t, client, "sensors/hall/door-01/temperature", reading(34.5, now.Add(time.Second)))
		call := awaitCall(t, calls)
		t.Logf("webhook called %s after the publish: %s", time.Since(begin).Round(time.Millisecond), call)
		if !strings.Contains(call, "firing") || !strings.Contains(call, "too-warm") || !strings.Contains(call, "door-01") {
			t.Errorf("call: %s", call)
		}
		var alerts struct {
			Active []struct{ Rule, Device, State string }
		}
		streamtest.Eventually(t, "the alert in the API", func() bool {
			getJSON(t, at.HTTP+"/api/v1/alerts", &alerts)
			return len(alerts.Active) == 1 && alerts.Active[0].State == "firing" && alerts.Active[0].Rule == "too-warm"
		})
	})
	t.Run("what does not decode is a dead letter and stops nothing", func(t *testing.T) {
		publish(t, client, "sensors/hall/door-01/temperature", `{"value":`)
		publish(t, client, "somewhere/else", `1`)
		publish(t, client, "sensors/hall/door-03/temperature", `18`)
		streamtest.Eventually(t, "the reading behind", func() bool {
			series, err := query(t, at.Influx, "raw", `SELECT "value" FROM "temperature" WHERE "device"='door-03'`)
			return err == nil && len(series) == 1
		})
		var dead struct {
			DeadLetters []struct{ Reason, Detail string } `json:"dead_letters"`
		}
		getJSON(t, at.HTTP+"/api/v1/deadletters", &dead)
		reasons := make(map[string]bool)
		for _, d := range dead.DeadLetters {
			reasons[d.Reason] = d.Detail != ""
		}
		if !reasons["payload"] || !reasons["topic"] {
			t.Errorf("dead letters: %+v", dead)
		}
	})
	t.Run("pages follow live", func(t *testing.T) {
		browse(t, func(ctx context.Context) {
			row := `tr:has(a[href="/devices/hall/door-01"])`
			must(t, chromedp.Do(ctx, chromedp.Navigate(at.HTTP+"/"), chromedp.WaitVisible(row)))
			latest, err := chromedp.Run(ctx, chromedp.Text(row))
			must(t, err)
			if !strings.Contains(latest, "34.5") {
				t.Errorf("overview shows %q, want 34.5", latest)
			}
			const points = `Number(document.querySelector("#chart-temperature").dataset.points)`
			must(t, chromedp.Do(ctx, chromedp.Navigate(at.HTTP+"/devices/hall/door-01"), chromedp.WaitVisible(`#chart-temperature canvas`)))
			before, err := chromedp.Run(ctx, chromedp.Poll[int](points+` >= 4 && `+points))
			must(t, err)
			_, err = chromedp.Run(ctx, chromedp.Evaluate[bool](`window.untouched = true`))
			must(t, err)
			publish(t, client, "sensors/hall/door-01/temperature", reading(33.25, now.Add(3*time.Second)))
			after, err := chromedp.Run(ctx, chromedp.Poll[int](fmt.Sprintf(`window.untouched && %s > %d && %[1]s`, points, before)))
			if err != nil {
				t.Fatalf("the new point did not come to the chart: %v", err)
			}
			if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.body.innerText.includes("33.25")`)); err != nil {
				t.Fatalf("the new value did not come to the page: %v", err)
			}
			t.Logf("the chart went from %d to %d points without a reload", before, after)
		})
	})
	t.Run("the alert is resolved", func(t *testing.T) {
		publish(t, client, "sensors/hall/door-01/temperature", reading(25, now.Add(4*time.Second)))
		if call := awaitCall(t, calls); !strings.Contains(call, "resolved") {
			t.Errorf("call: %s", call)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func awaitCall(t *testing.T, calls <-chan string) string {
	t.Helper()
	select {
	case call := <-calls:
		return call
	case <-time.After(10 * time.Second):
		t.Fatal("the webhook was not called")
		return ""
	}
}

// browse runs f with a tab of headless Chromium.
func browse(t *testing.T, f func(context.Context)) {
	t.Helper()
	browsertest.Run(t, 5*time.Minute, f)
}

func TestTakenPort(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	address := strings.TrimPrefix(taken.URL, "http://")
	for flag, change := range map[string]func(*Config){
		"--http": func(c *Config) { c.HTTP = address },
		"--mqtt": func(c *Config) { c.MQTT = address },
	} {
		t.Run(flag, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			change(&cfg)
			expectFailure(t, cfg, address, flag)
		})
	}
}

func TestUnusableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expectFailure(t, testConfig(file), file, "--data")
	dir := t.TempDir()
	start(t, testConfig(dir))
	expectFailure(t, testConfig(dir), dir, "in use by another Headwater")
}

func TestReplicatedNeedsACluster(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Durability = streams.Replicated
	expectFailure(t, cfg, "--durability", "three nats-servers", "deploy/README.md")
}

func expectFailure(t *testing.T, cfg Config, wants ...string) {
	t.Helper()
	err := Run(t.Context(), newProcess(t), cfg)
	if err == nil {
		t.Fatal("it started")
	}
	if text := err.Error(); strings.Contains(text, "\n") {
		t.Errorf("more than one line: %s", text)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

// TestDemo starts the demo, checks its devices and rules, and ends it. One of its rules
// is changed before, and stays.
func TestDemo(t *testing.T) {
	cfg := testConfig(t.TempDir())
	on, off := true, false
	cfg.Demo = &on
	devices := func(at Addresses) int {
		var list struct{ Devices []json.RawMessage }
		getJSON(t, at.HTTP+"/api/v1/devices", &list)
		return len(list.Devices)
	}
	rules := func(at Addresses) string {
		var list struct{ Rules []struct{ Name string } }
		getJSON(t, at.HTTP+"/api/v1/rules", &list)
		var names []string
		for _, r := range list.Rules {
			names = append(names, r.Name)
		}
		return strings.Join(names, " ")
	}
	at, stop := start(t, cfg)
	streamtest.Eventually(t, "20 devices", func() bool { return devices(at) == 20 })
	var alerts struct {
		Resolved []struct{ Acknowledged *struct{} }
	}
	streamtest.Eventually(t, "past alerts, some acknowledged", func() bool {
		getJSON(t, at.HTTP+"/api/v1/alerts", &alerts)
		acknowledged := 0
		for _, a := range alerts.Resolved {
			if a.Acknowledged != nil {
				acknowledged++
			}
		}
		return acknowledged >= 3 && len(alerts.Resolved) > acknowledged
	})
	var month struct {
		Min []float64 `json:"min"`
	}
	getJSON(t, at.HTTP+"/api/v1/series?site=demo&device=door-04&metric=temperature&from=-30d&points=60", &month)
	if len(month.Min) < 50 {
		t.Errorf("the month has %d points", len(month.Min))
	}
	var silent struct {
		State    string
		LastSeen time.Time `json:"last_seen"`
	}
	streamtest.Eventually(t, "the silent device was last seen hours ago", func() bool {
		getJSON(t, at.HTTP+"/api/v1/devices/demo/door-20", &silent)
		return silent.State != "ok" && !silent.LastSeen.IsZero() && time.Since(silent.LastSeen) > 4*time.Hour
	})
	var book struct {
		Totals struct{ Received, Stored, Missing uint64 }
	}
	streamtest.Eventually(t, "the ledger counts the past and closes", func() bool {
		getJSON(t, at.HTTP+"/api/v1/ledger?from=-30d", &book)
		return book.Totals.Received > 80_000 && book.Totals.Stored+1000 > book.Totals.Received && book.Totals.Missing == 0
	})
	streamtest.Eventually(t, "the rules of the demo", func() bool { return rules(at) == "door-left-open too-warm unusual" })
	var warm struct{ Revision uint64 }
	getJSON(t, at.HTTP+"/api/v1/rules/too-warm", &warm)
	res, err := http.Post(fmt.Sprintf("%s/api/v1/rules/too-warm/state?state=muted&revision=%d", at.HTTP, warm.Revision), "application/json", nil)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("muted: %s", res.Status)
	}
	stop()
	cfg.Demo = nil
	at, stop = start(t, cfg)
	streamtest.Eventually(t, "20 devices again, without being asked", func() bool { return devices(at) == 20 })
	stop()
	cfg.Demo = &off
	at, _ = start(t, cfg)
	streamtest.Eventually(t, "the rule that was changed", func() bool { return rules(at) == "too-warm unusual" })
	series, err := query(t, at.Influx, "raw", `SELECT count("value") FROM "temperature" WHERE "site"='demo'`)
	if err != nil || len(series) != 0 {
		t.Errorf("history of the demo is still there: %v, %v", series, err)
	}
}
