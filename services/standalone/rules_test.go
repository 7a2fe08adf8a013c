package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"headwater/streams/streamtest"
)

// TestRuleMadeOnThePage makes a rule with the keyboard alone, sends a reading
// and sees the alert, whose page leads back to the rule and mutes it.
func TestRuleMadeOnThePage(t *testing.T) {
	at, _ := start(t, testConfig(t.TempDir()))
	reading := func(value float64, when time.Time) {
		t.Helper()
		res, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader(
			fmt.Sprintf(`{"site":"home","device":"cellar-1","metric":"temperature","value":%v,"ts":%d,"unit":"°C"}`, value, when.UnixMilli())))
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("a reading is answered %s", res.Status)
		}
	}
	now := time.Now()
	reading(12, now.Add(-2*time.Second))
	streamtest.Eventually(t, "the device is known", func() bool {
		var devices struct{ Total int }
		getJSON(t, at.HTTP+"/api/v1/devices", &devices)
		return devices.Total == 1
	})
	shown := "" // the page as it was seen last
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the page: %s", shown)
		}
	})
	browse(t, func(ctx context.Context) {
		step := func(what string, steps ...chromedp.Action[chromedp.Void]) {
			t.Helper()
			if err := chromedp.Do(ctx, steps...); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		until := func(what, condition string) {
			t.Helper()
			streamtest.Eventually(t, what, func() bool {
				// A page that is changing can't be queried.
				if text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname + "\n" + document.body.innerText`)); err == nil {
					shown = text
				}
				ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
				return err == nil && ok
			})
		}
		// into presses Tab until a field has the focus, like a person without a mouse.
		into := func(field string) {
			t.Helper()
			for range 60 {
				step("Tab", chromedp.KeyEvent(kb.Tab))
				id, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.activeElement.id`))
				must(t, err)
				if id == field {
					return
				}
			}
			t.Fatalf("Tab does not lead to %s", field)
		}
		step("open the page", chromedp.Navigate(at.HTTP+"/rules/new"), chromedp.WaitVisible(`#f-name`))
		into("f-name")
		step("the name", chromedp.KeyEvent("too-warm-here"))
		into("f-match-device")
		step("the device", chromedp.KeyEvent("cellar-*"))
		until("the preview shows what matches", `document.querySelector("#preview").innerText.includes("cellar-1")`)
		into("f-detector")
		step("another detector", chromedp.KeyEvent("r")) // rate
		until("its fields show", `document.activeElement.value === "rate" && document.querySelector("#f-rise").checkVisibility() && !document.querySelector("#f-above").checkVisibility()`)
		step("the first again", chromedp.KeyEvent(kb.ArrowUp))
		until("its fields show", `document.querySelector("#f-above").checkVisibility() && !document.querySelector("#f-rise").checkVisibility()`)
		into("f-above")
		step("a slip", chromedp.KeyEvent("warm"+kb.Enter))
		until("what is wrong stands beside the field", `document.querySelector("#f-above-problem")?.innerText.includes("must be a number") && document.querySelector("#f-name").value === "too-warm-here"`)
		until("which has the focus", `document.activeElement.id === "f-above"`)
		step("the bound", chromedp.KeyEvent(kb.End+strings.Repeat(kb.Backspace, len("warm"))+"25"+kb.Enter))
		until("it is saved", `location.pathname === "/rules/too-warm-here" && document.body.innerText.includes("Saved.")`)

		// The rule is in force within two seconds. It does not judge earlier readings.
		later := now
		streamtest.Eventually(t, "an alert of the new rule", func() bool {
			later = later.Add(100 * time.Millisecond)
			reading(26.5, later)
			var alerts struct{ Active []struct{ Rule string } }
			getJSON(t, at.HTTP+"/api/v1/alerts", &alerts)
			return len(alerts.Active) == 1 && alerts.Active[0].Rule == "too-warm-here"
		})
		step("open the alerts", chromedp.Navigate(at.HTTP+"/alerts"), chromedp.WaitVisible(`#active details.mute summary`))
		step("what can be muted", chromedp.Focus(`#active details.mute summary`), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`#active .mute-for button`))
		step("mute it for the first of the times", chromedp.Focus(`#active .mute-for button`), chromedp.KeyEvent(kb.Enter))
		until("it is muted", `location.pathname === "/alerts" && document.querySelector("#active .muted")?.innerText.includes("muted")`)
		step("take it back", chromedp.Focus(`#active .muted button`), chromedp.KeyEvent(kb.Enter))
		until("it is not muted", `location.pathname === "/alerts" && document.querySelector("#active details.mute") && !document.querySelector("#active .muted")`)
	})
	var rule struct{ State, YAML string }
	getJSON(t, at.HTTP+"/api/v1/rules/too-warm-here", &rule)
	if rule.State != "enabled" || !strings.Contains(rule.YAML, "above: 25") {
		t.Errorf("in force is %+v", rule)
	}
}
