package web_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"headwater/streams/streamtest"
	"headwater/web/channels"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// kept is a source that keeps the channel that was added.
type kept struct {
	*fixture.Source
	mu sync.Mutex
	// got is what was filled in, tested what a test was sent through; both guarded by mu.
	got    channels.Draft
	tested string
}

func (k *kept) Channels() (channels.List, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list channels.List
	if k.got.Name != "" {
		list.Channels = []channels.Channel{{Name: k.got.Name, Type: k.got.Type, To: "example.org", Resolved: k.got.Resolved, Signed: k.got.Secret != ""}}
	}
	return list, nil
}

func (k *kept) SaveChannel(_ context.Context, d channels.Draft, _ view.Author) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = d
	return nil
}

func (k *kept) TestChannel(_ context.Context, channel, _ string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tested = channel
	return nil
}

// TestAddAChannel adds a channel in Chromium and sends a test through it. The form shows what
// the chosen type needs, on a phone too.
func TestAddAChannel(t *testing.T) {
	source := &kept{Source: fixture.New(fixture.Empty, time.Time{})}
	sources := source.Sources()
	sources.Channels = source
	at := serveOn(t, webtest.ServerOf(t, sources))
	browse(t, func(ctx context.Context) {
		loaded := func(condition string) {
			t.Helper()
			streamtest.Eventually(t, condition, func() bool { // a question during the change of pages fails
				ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`Boolean(document.readyState === "complete" && `+condition+`)`))
				return err == nil && ok
			})
		}
		do(ctx, t, chromedp.Navigate(at+"/channels"), chromedp.WaitReady("#add form"))
		for kind, want := range map[string]string{"ntfy": "true false", "webhook": "true true", "shoutrrr": "true false", "webpush": "false false"} {
			do(ctx, t, chromedp.SetValue("#type-add", kind))
			if got := ask[string](ctx, t, `["#url-add", "#secret-add"].map((id) => document.querySelector(id).checkVisibility()).join(" ")`); got != want {
				t.Errorf("%s: URL and secret are shown: %s, want %s", kind, got, want)
			}
			for _, width := range []int64{1440, 390} {
				do(ctx, t, chromedp.EmulateViewport(width, 900))
				for _, theme := range []string{"light", "dark"} {
					for _, fault := range ask[[]string](ctx, t, fmt.Sprintf("document.documentElement.dataset.theme = %q, %s", theme, faults)) {
						t.Errorf("%s at %d px, %s: %s", kind, width, theme, fault)
					}
				}
			}
		}
		do(ctx, t, chromedp.SetValue("#type-add", "webhook"), chromedp.SetValue("#name-add", "office"),
			chromedp.SetValue("#url-add", "https://example.org/hunter2"), chromedp.SetValue("#secret-add", "hunter2hunter2hunter2"),
			chromedp.Click(`#add button[type="submit"]`))
		loaded(`location.search === "?done=saved" && document.querySelector("#channel-office") && !document.documentElement.outerHTML.includes("hunter2")`)
		do(ctx, t, chromedp.Click(`#channel-office .actions form button`))
		loaded(`location.search === "?done=test" && document.body.innerText.includes("The test was sent.")`)
	})
	source.mu.Lock()
	defer source.mu.Unlock()
	want := channels.Draft{Name: "office", Type: "webhook", URL: "https://example.org/hunter2", Secret: "hunter2hunter2hunter2", Format: "headwater", Resolved: true, New: true}
	if source.got != want || source.tested != "office" {
		t.Errorf("saved %+v, tested %q", source.got, source.tested)
	}
}
