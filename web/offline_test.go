package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"headwater/streams/streamtest"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// TestOfflinePage stops the server behind an open page: the next page says so, and opens by
// itself when the server is there again.
func TestOfflinePage(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	browse(t, func(ctx context.Context) {
		do(ctx, t, chromedp.Navigate(server.URL+"/trust"))
		until(ctx, t, `window.htmx`)
		ask[bool](ctx, t, `navigator.serviceWorker.ready.then((r) => new Promise((done) => {
			const look = () => r.active?.state === 'activated' ? done(true) : setTimeout(look, 20);
			look();
		}))`)
		until(ctx, t, `navigator.serviceWorker.controller`)
		down.Store(true)
		do(ctx, t, chromedp.Navigate(server.URL+"/people"))
		heading(ctx, t, "Headwater cannot be reached")
		if got := ask[string](ctx, t, `location.pathname + ' ' + getComputedStyle(document.querySelector('.panel')).borderTopStyle`); got != "/people solid" {
			t.Errorf("the page stands at, and looks like, %q", got)
		}
		down.Store(false)
		// As a browser does; or the page has just looked by itself, and is gone.
		_, _ = chromedp.Run(ctx, chromedp.Evaluate[bool](`window.dispatchEvent(new Event('online'))`))
		heading(ctx, t, "People and tokens")
	})
}

// heading waits until the page, or the one after it, has a heading.
func heading(ctx context.Context, t *testing.T, want string) {
	t.Helper()
	streamtest.Eventually(t, "the heading is "+want, func() bool { // while a page is replaced, it cannot be asked
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector('h1')?.textContent ?? ''`))
		return err == nil && got == want
	})
}
