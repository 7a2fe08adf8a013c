// Package browsertest opens pages in headless Chromium. Only tests import it.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Run runs f with a tab of headless Chromium and cancels its context after the given
// time. Without Chromium the test fails in CI; elsewhere it is skipped and says so.
func Run(t testing.TB, within time.Duration, f func(context.Context), more ...chromedp.ExecAllocatorOption) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no Chromium on this machine, and CI must have one")
		}
		t.Skip("no Chromium on this machine: the pages were not tested")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), append(options, more...)...)
	defer cancel()
	ctx, cancelTab := chromedp.NewContext(ctx)
	defer cancelTab()
	ctx, cancelTime := context.WithTimeout(ctx, within)
	defer cancelTime()
	f(ctx)
}
