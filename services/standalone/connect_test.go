package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"headwater/streams/streamtest"
)

// TestConnectADevice waits on the page with real programs of devices: it says why no
// reading comes, and turns green with the first one.
func TestConnectADevice(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Bridge.User, cfg.Bridge.PasswordFile = "device", filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(cfg.Bridge.PasswordFile, []byte("right"), 0o600))
	at, _ := start(t, cfg)
	host, port, err := net.SplitHostPort(at.MQTT)
	must(t, err)
	publish := func(topic, payload string, more ...string) {
		t.Helper()
		// A refused client ends with an error, and says so.
		_ = exec.CommandContext(t.Context(), "mosquitto_pub", append([]string{"-h", host, "-p", port, "-q", "1", "-t", topic, "-m", payload}, more...)...).Run()
	}
	browse(t, func(ctx context.Context) {
		shown := ""
		shows := func(what string, texts ...string) {
			t.Helper()
			streamtest.Eventually(t, what, func() bool {
				text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#waiting").innerText`))
				if err == nil {
					shown = text
				}
				for _, one := range texts {
					if !strings.Contains(shown, one) {
						return false
					}
				}
				return true
			})
		}
		defer func() {
			if t.Failed() {
				t.Log(shown)
			}
		}()
		must(t, chromedp.Do(ctx, chromedp.Navigate(at.HTTP+"/"), chromedp.Click(`main a[href="/connect"]`), chromedp.WaitVisible("#waiting")))
		shows("nothing came", "Waiting for home/kitchen", "Nothing has come since", "--mqtt 0.0.0.0:1883")
		command, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#command-step-1").innerText`))
		must(t, err)
		if want := fmt.Sprintf("mosquitto_pub -h %s -p %s -q 1 -t sensors/home/kitchen/temperature -m 21.5", host, port); command != want {
			t.Errorf("the command is %q, want %q", command, want)
		}

		publish("sensors/home/kitchen/temperature", "1", "-u", "device", "-P", "wrong", "-i", "kitchen")
		shows("the log-in was refused", "Something came, but no reading", "Log-in refused", `Device "kitchen"`)
		publish("home/living room/temperature", "1")
		shows("the topic is unknown", "Topic unknown", "The nearest topic that is read is sensors/home/living_room/temperature.")
		publish("sensors/home/kitchen", "temperature 21")
		shows("it is not readable", "Not readable", "temperature 21")
		publish("sensors/home/kitchen/temperature", `{"value":1,"ts":12}`)
		shows("the clock is off", "Clock off", "1970-01-01")
		curl := exec.CommandContext(t.Context(), "curl", "-sS", at.HTTP+"/api/v1/telemetry", "-d", "{}")
		must(t, curl.Run())
		shows("the request was refused", "HTTP request refused", "Content-Type")

		must(t, exec.CommandContext(t.Context(), "sh", "-c", command).Run())
		shows("the reading came", "Connected.", "home/kitchen", "temperature 21.5")
		if green, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!document.querySelector("#waiting .verdict-closed")`)); err != nil || !green {
			t.Errorf("the page is green: %t, %v", green, err)
		}
	})
}
