package web_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// axeScript is the script of axe-core, which `go tool task test:axe` fetches and names in
// HEADWATER_AXE; empty if it is not there. It is not in the repository for its size and its
// licence (MPL-2.0).
func axeScript(t *testing.T) string {
	t.Helper()
	name := os.Getenv("HEADWATER_AXE")
	if name == "" {
		return ""
	}
	script, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// axeRun lists the violations of any impact on the page as it is. Contrast alone depends on
// the theme.
const axeRun = `axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } }, ...%s })
	.then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.impact + ' ' + v.id + ': ' + n.html.replace(/\s+/g, ' ').slice(0, 200) + ' ' + (n.any[0] ?? n.all[0] ?? n.none[0])?.message)))`

// axe looks at the page that is open with axe-core: narrow and wide, light and dark, and with
// all that can be unfolded.
func axe(ctx context.Context, t *testing.T, script, page string) {
	t.Helper()
	if script == "" {
		return
	}
	ask[bool](ctx, t, script+"\n;true")
	for _, look := range []struct {
		width       int64
		theme, only string
		unfold      bool
	}{
		{1440, "light", "{}", false},
		{1440, "light", "{}", true},
		{1440, "dark", "{ runOnly: ['color-contrast'] }", true},
		{390, "light", "{}", true},
		{390, "dark", "{ runOnly: ['color-contrast'] }", true},
	} {
		do(ctx, t, chromedp.EmulateViewport(look.width, 900))
		// What is scrolled below the head of the page would count as hidden.
		ask[bool](ctx, t, fmt.Sprintf(`(scrollTo(0, 0), document.documentElement.dataset.theme = %q,
			document.querySelectorAll('main details').forEach((d) => { d.open = %v; }),
			new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))`, look.theme, look.unfold))
		for _, violation := range ask[[]string](ctx, t, fmt.Sprintf(axeRun, look.only)) {
			t.Errorf("axe: %s at %d px, %s, unfolded %v: %s", page, look.width, look.theme, look.unfold, violation)
		}
	}
	ask[bool](ctx, t, `(document.querySelectorAll('main details').forEach((d) => { d.open = false; }), true)`)
}
