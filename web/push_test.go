package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"

	"headwater/streams/streamtest"
	"headwater/web/browsertest"
	"headwater/web/channels"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// registering is a source that keeps the browser that registers.
type registering struct {
	*fixture.Source
	mu  sync.Mutex
	got []channels.Subscription // guarded by mu
}

func (r *registering) AddNotified(ctx context.Context, s channels.Subscription) (channels.Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, s)
	return r.Source.AddNotified(ctx, s)
}

// TestNotifyThisDevice registers Chromium, and has its service worker show what a push
// service delivers. Chromium without a screen cannot reach a real push service, so the test
// stands in for what it would answer.
func TestNotifyThisDevice(t *testing.T) {
	source := &registering{Source: fixture.New(fixture.Warehouse, time.Time{})}
	sources := source.Sources()
	sources.Channels = source
	at := serveOn(t, webtest.ServerOf(t, sources))
	browsertest.Run(t, 5*time.Minute, func(ctx context.Context) {
		shows := func(state string) string {
			return fmt.Sprintf(`document.getElementById("this-device").dataset.shows === %q`, state)
		}
		do(ctx, t, chromedp.Navigate(strings.Replace(at, "127.0.0.1", "headwater.test", 1)+"/channels"))
		until(ctx, t, shows("insecure")+` && document.querySelector('#this-device a[href="/trust"]').offsetParent`)

		registrations := make(chan serviceworker.RegistrationID, 1)
		if err := chromedp.Listen(ctx, func(ev any) {
			if e, ok := ev.(*serviceworker.EventWorkerRegistrationUpdated); ok {
				for _, r := range e.Registrations {
					if strings.HasPrefix(r.ScopeURL, at) && !r.IsDeleted {
						select {
						case registrations <- r.RegistrationID:
						default: // the same one again; nothing else is heard while this waits
						}
					}
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		do(ctx, t, called(serviceworker.Enable, cdp.Empty{}), called(browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: "notifications"}, Setting: browser.PermissionSettingGranted, Origin: at,
		}), chromedp.Navigate(at+"/channels"))
		until(ctx, t, shows("off"))
		const subscription = `{endpoint: "https://push.example.org/send/1", getKey: (name) => new Uint8Array(name === "auth" ? 16 : 65).fill(4).buffer, options: {}}`
		ask[bool](ctx, t, `PushManager.prototype.subscribe = async (o) => { window.asked = o; return `+subscription+`; }; true`)
		do(ctx, t, chromedp.Click("#notify"))
		streamtest.Eventually(t, "the page says that it worked", func() bool { // a question during the change of pages fails
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`location.search === "?done=device" && document.body?.innerText.includes("This device is notified from now on.")`))
			return err == nil && ok
		})
		source.mu.Lock()
		got := source.got
		source.mu.Unlock()
		if len(got) != 1 || got[0].Endpoint != "https://push.example.org/send/1" || got[0].Auth != "BAQEBAQEBAQEBAQEBAQEBA" || len(got[0].P256dh) != 87 || !strings.Contains(got[0].Name, " on Linux") {
			t.Fatalf("registered %+v", got)
		}

		var id serviceworker.RegistrationID
		select {
		case id = <-registrations:
		case <-ctx.Done():
			t.Fatal("no service worker registered")
		}
		push := func(data string) {
			t.Helper()
			do(ctx, t, called(serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{Origin: at, RegistrationID: id, Data: data}))
		}
		type shown struct {
			Title, Body, Tag string
			Actions          []struct{ Action, Title string }
			URL              string
		}
		notifications := func() []shown {
			t.Helper()
			text := ask[string](ctx, t, `navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) => JSON.stringify(all.map((n) =>
				({title: n.title, body: n.body, tag: n.tag, actions: n.actions.map((a) => ({action: a.action, title: a.title})), url: n.data?.url}))))`)
			var all []shown
			if err := json.Unmarshal([]byte(text), &all); err != nil {
				t.Fatal(err)
			}
			return all
		}
		// awaitTitle delivers a message until it shows: the browser drops one that comes before
		// its worker is activated, where a push service would keep it.
		awaitTitle := func(title, data string) shown {
			t.Helper()
			var found shown
			var pushed time.Time
			streamtest.Eventually(t, "a notification "+title, func() bool {
				if time.Since(pushed) > time.Second {
					push(data)
					pushed = time.Now()
				}
				for _, n := range notifications() {
					if n.Title == title {
						found = n
					}
				}
				return found.Title != ""
			})
			return found
		}
		until(ctx, t, `navigator.serviceWorker.controller?.state === "activated"`)
		const opened = `{"title":"Critical: <b>door_01</b>","body":"It is open.","tag":"e1","url":"/devices/warehouse/door-04?at=x","stay":true,"actions":[{"action":"ack","title":"Acknowledge","url":"/act/x"}]}`
		if n := awaitTitle("Critical: <b>door_01</b>", opened); n.Body != "It is open." || n.Tag != "e1" || n.URL != "/devices/warehouse/door-04?at=x" || len(n.Actions) != 1 || n.Actions[0].Title != "Acknowledge" {
			t.Errorf("shows %+v", n)
		}
		// The end takes its place, and what is no message shows something too.
		awaitTitle("Resolved: door_01", `{"title":"Resolved: door_01","body":"It is shut.","tag":"e1"}`)
		awaitTitle("Headwater", `nonsense`)
		if n := len(notifications()); n != 2 {
			t.Errorf("%d notifications, the end takes the place of the beginning", n)
		}
	}, chromedp.Flag("host-resolver-rules", "MAP headwater.test 127.0.0.1"))
}

// called is a command to the browser whose answer does not matter.
func called[P any](command cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	})
}

// TestAppCanBeInstalled: the manifest and what it names are there for a browser without a
// session.
func TestAppCanBeInstalled(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	res, body := webtest.Get(t, s, http.MethodGet, "/manifest.webmanifest")
	var m struct {
		StartURL string `json:"start_url"`
		Display  string `json:"display"`
		Icons    []struct{ Src, Sizes, Type string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || res.Header.Get("Content-Type") != "application/manifest+json" || m.StartURL != "/" || m.Display != "standalone" || len(m.Icons) != 2 {
		t.Fatalf("%v, %s: %s", err, res.Header.Get("Content-Type"), body)
	}
	for _, icon := range m.Icons {
		if res, _ := webtest.Get(t, s, http.MethodGet, icon.Src); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), icon.Type) {
			t.Errorf("%s: %s, %s", icon.Src, res.Status, res.Header.Get("Content-Type"))
		}
	}
	res, body = webtest.Get(t, s, http.MethodGet, "/sw.js")
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/javascript") || res.Header.Get("Cache-Control") != "no-cache" || !strings.Contains(body, "showNotification") {
		t.Errorf("service worker: %v", res.Header)
	}
}
