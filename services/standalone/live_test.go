package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"headwater/streams/streamtest"
)

// freeze stops all traffic through a proxy while the connections stay open, like a
// network that is lost without a reset.
func freeze(tb testing.TB, p *toxiproxy.Proxy) (thaw func()) {
	tb.Helper()
	toxic, err := p.Toxics.AddToxicJson(strings.NewReader(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		tb.Helper()
		if err := p.Toxics.RemoveToxic(tb.Context(), toxic.Name); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestLivePagesShowTheState watches pages in Chromium while readings arrive, while the stream
// is dead but open, and while the browser has no network.
func TestLivePagesShowTheState(t *testing.T) {
	at, _ := start(t, testConfig(t.TempDir()))
	p := newProxy(t, strings.TrimPrefix(at.HTTP, "http://"))
	page := "http://" + p.Listen
	value := 20.0
	reading := func() string {
		t.Helper()
		value += 0.25
		res, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader(
			fmt.Sprintf(`{"site":"home","device":"cellar-1","metric":"temperature","value":%v,"unit":"°C"}`, value)))
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("a reading is answered %s", res.Status)
		}
		return fmt.Sprint(value)
	}
	browse(t, func(ctx context.Context) {
		until := func(what, condition string) {
			t.Helper()
			shown := ""
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s: %s", what, shown)
				}
			})
			streamtest.Eventually(t, what, func() bool {
				if text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#link")?.innerText + " " + document.body.innerText`)); err == nil {
					shown = text
				}
				ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
				return err == nil && ok
			})
			shown = ""
		}
		step := func(what string, steps ...chromedp.Action[chromedp.Void]) {
			t.Helper()
			if err := chromedp.Do(ctx, steps...); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		state := func(want string) string {
			return fmt.Sprintf(`document.querySelector("#link").dataset.state === %q`, want)
		}
		shows := func(where, value string) string {
			return fmt.Sprintf(`document.querySelector(%q).innerText.includes(%q)`, where, value)
		}
		for path, where := range map[string]string{"/": "#devices .value", "/devices/home/cellar-1": "#latest .tile-value", "/pipeline": "#lanes"} {
			reading()
			streamtest.Eventually(t, "the device is known", func() bool {
				var devices struct{ Total int }
				getJSON(t, at.HTTP+"/api/v1/devices", &devices)
				return devices.Total == 1
			})
			step("open "+path, chromedp.Navigate(page+path), chromedp.WaitVisible(where))
			until(path+" is live", state("live"))
			until(path+" gives up an attempt to connect after 10 s", `((c) => c.connectTimeout === "10s" && c.reconnectMaxDelay === 8000)(document.getElementById("feed")._htmx.sse.config)`)
			for range 3 {
				if last := reading(); path != "/pipeline" {
					until(path+" shows each reading", shows(where, last))
				}
			}
			until(path+" is as the server believes", `document.documentElement.dataset.misfits === undefined`)

			thaw := freeze(t, p)
			until(path+" says that its stream is dead", state("stale")+` && /as of \d\d:\d\d:\d\d/.test(document.querySelector("#stale").innerText) && document.documentElement.hasAttribute("data-stale")`)
			last := reading()
			thaw()
			until(path+" is live again", state("live")+` && document.querySelector("#stale").innerText === "" && !document.documentElement.hasAttribute("data-stale")`)
			if path != "/pipeline" {
				until(path+" shows what came meanwhile", shows(where, last))
			}
		}
		connection := func(offline bool) chromedp.Action[chromedp.Void] {
			return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
				_, err := cdp.Call(ctx, target, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: offline, DownloadThroughput: -1, UploadThroughput: -1})
				return err
			})
		}
		thaw := freeze(t, p)
		step("no network", connection(true))
		until("the page says that the browser is offline", state("offline")+` && /offline.*as of \d\d:\d\d:\d\d/.test(document.querySelector("#stale").innerText) && document.documentElement.hasAttribute("data-stale")`)
		thaw()
		step("a network", connection(false))
		until("it is live again", state("live"))
		// A browser without a network still reaches a server on the same machine.
		step("no network", connection(true))
		until("it is live", state("live")+` && !navigator.onLine`)
	})
}
