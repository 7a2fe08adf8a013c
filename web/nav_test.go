package web_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"headwater/web"
	"headwater/web/app"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// navOf returns the navigation of a page.
func navOf(body string) string {
	_, rest, _ := strings.Cut(body, `<nav aria-label="Main">`)
	nav, _, _ := strings.Cut(rest, "</nav>")
	return nav
}

// TestEveryPageIsMarked looks for the place of each page in the navigation.
func TestEveryPageIsMarked(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	elsewhere := []string{"/nowhere", "/account", "/set-up", "/claim"}
	const wall = "kiosk=1" // which has no navigation
	for _, path := range everyPage[fixture.Warehouse] {
		bare, _, _ := strings.Cut(path, "?")
		_, body := webtest.Get(t, s, http.MethodGet, path)
		nav := navOf(body)
		marked := strings.Count(nav, `aria-current="page"`) + strings.Count(nav, `aria-current="true"`)
		if want := !slices.Contains(elsewhere, bare) && !strings.Contains(path, wall); (marked > 0) != want {
			t.Errorf("%s: %d places are marked in the navigation, wanted %v", path, marked, want)
		}
		if strings.Count(nav, `aria-current="page"`) > 1 {
			t.Errorf("%s: two pages are marked as the current one", path)
		}
	}
}

var navLink = regexp.MustCompile(`href="([^"]*)"`)

// TestNavigationLeadsWhereOneMayGo opens each entry as everybody who is shown it.
func TestNavigationLeadsWhereOneMayGo(t *testing.T) {
	for _, c := range []struct {
		who, shown, hidden string
	}{
		{"viewer", "/ /alerts /channels /connect", "/credentials /people /audit"},
		{"operator", "/credentials", "/people"},
		{"administrator", "/credentials /people /audit /pipeline /trust", ""},
		{"viewer@warehouse", "/ /silences /ledger", "/rules /channels /pipeline /connect"},
	} {
		s := webtest.Server(t, fixture.Warehouse)
		cookie := "headwater=" + c.who
		_, body := webtest.Get(t, s, http.MethodGet, "/", "Cookie", cookie)
		var links []string
		for _, m := range navLink.FindAllStringSubmatch(navOf(body), -1) {
			links = append(links, m[1])
			if res, _ := webtest.Get(t, s, http.MethodGet, m[1], "Cookie", cookie); res.StatusCode >= 400 {
				t.Errorf("%s is shown %s, which answers %d", c.who, m[1], res.StatusCode)
			}
		}
		for want := range strings.FieldsSeq(c.shown) {
			if !slices.Contains(links, want) {
				t.Errorf("%s is not shown %s: %q", c.who, want, links)
			}
		}
		for hidden := range strings.FieldsSeq(c.hidden) {
			if slices.Contains(links, hidden) {
				t.Errorf("%s is shown %s", c.who, hidden)
			}
		}
	}
}

// fires is a shell whose number of firing alerts a test sets.
type fires struct {
	app.Source
	count atomic.Int64
}

func (f *fires) Status() view.Status {
	return view.Status{Firing: int(f.count.Load()), DeadLetters: 41}
}
func (f *fires) Version() uint64 { return uint64(f.count.Load()) }

// TestNavigationInTheBrowser opens the menus by mouse and keyboard, narrow and wide, and
// follows the number of firing alerts in the title and the icon.
func TestNavigationInTheBrowser(t *testing.T) {
	shell := new(fires)
	sources := fixture.New(fixture.Warehouse, time.Time{}).Sources()
	sources.Shell = shell
	s, err := web.New(web.Config{}, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	browse(t, func(ctx context.Context) {
		do(ctx, t, chromedp.Navigate(serveOn(t, s)+"/alerts"))
		until(ctx, t, `document.querySelector('#link').dataset.state === 'live'`)
		for _, width := range []int64{1440, 390, 320} {
			do(ctx, t, chromedp.EmulateViewport(width, 700))
			for i := range 4 { // Devices, Rules, Explore, System
				menu := fmt.Sprintf("document.querySelectorAll('.menu')[%d]", i)
				ask[bool](ctx, t, menu+`.querySelector('summary').click(), true`)
				until(ctx, t, menu+`.open && document.querySelectorAll('.menu[open]').length === 1`)
				for _, fault := range ask[[]string](ctx, t, faults) {
					t.Errorf("menu %d at %d px: %s", i, width, fault)
				}
			}
			do(ctx, t, chromedp.KeyEvent(kb.Escape))
			until(ctx, t, `!document.querySelector('.menu[open]') && document.activeElement === [...document.querySelectorAll('.menu > summary')].at(-1)`)
			ask[bool](ctx, t, `document.querySelector('.menu summary').click(), document.querySelector('h1').click(), true`)
			until(ctx, t, `!document.querySelector('.menu[open]')`)
			bar := ask[float64](ctx, t, `document.querySelector('.bar').getBoundingClientRect().bottom`)
			if width < 760 && bar != 700 || width > 760 && bar > 100 {
				t.Errorf("at %d px the navigation ends at %v", width, bar)
			}
		}
		for _, n := range []int64{3, 120, 0} {
			shell.count.Store(n)
			prefix, query := fmt.Sprintf("(%d) ", n), fmt.Sprintf("?firing=%d", n)
			if n == 0 {
				prefix, query = "", ""
			}
			until(ctx, t, fmt.Sprintf(`document.title === %q && document.querySelector('link[rel=icon]').href === location.origin + %q`, prefix+"Alerts · Headwater", "/icon.svg"+query))
			if got := ask[string](ctx, t, `fetch(document.querySelector('link[rel=icon]').href).then((r) => r.text())`); strings.Contains(got, "<text") != (n > 0) {
				t.Errorf("the icon of %d firing alerts is %s", n, got)
			}
		}
	})
}
