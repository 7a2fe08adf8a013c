package web_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"headwater/web/annotations"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// TestWriteOnAChart writes about a moment with the mouse and with keys, and about a period of
// the whole site. The charts have it at once, and so does the list.
func TestWriteOnAChart(t *testing.T) {
	world := fixture.New(fixture.Warehouse, time.Time{})
	base := serveOn(t, webtest.ServerOf(t, world.Sources()))
	newest := func() view.Annotation {
		all, _ := world.Annotations(annotations.Query{Most: 100})
		return all[len(all)-1]
	}
	browse(t, func(ctx context.Context) {
		check := watchConsole(ctx, t)
		defer check()
		const form = `figure.chart .chart-annotate form`
		do(ctx, t, chromedp.EmulateViewport(1440, 1000), chromedp.Navigate(base+"/devices/warehouse/door-05?range=1h"), chromedp.WaitReady("main"))
		until(ctx, t, `document.querySelector('figure.chart').dataset.shown && document.querySelector('.chart-notes').textContent.includes('gasket') && !document.querySelector('.key-note').hidden`)
		listed := func(text string, count int) {
			t.Helper()
			until(ctx, t, fmt.Sprintf(`!document.querySelector('.chart-annotate').open && document.querySelector('.chart-notes ul').children.length === %d && document.querySelector('.chart-notes ul').textContent.includes(%q)`, count, text))
		}
		save := func(text string) {
			t.Helper()
			do(ctx, t, chromedp.SendKeys(form+` [name=text]`, text), chromedp.Click(form+` button`))
		}

		// A moment, with the mouse.
		do(ctx, t, chromedp.Click(`.chart-annotate summary`), chromedp.WaitVisible(form))
		until(ctx, t, `document.querySelector('`+form+` [name=where]').options.length === 2`)
		at := ask[[]float64](ctx, t, middle+`('figure.chart .u-over')`)
		from := time.Now()
		do(ctx, t, chromedp.MouseClickXY(at[0], at[1]))
		save("Somebody left the door open.")
		listed("left the door open", 2)
		if got := newest(); got.Device != "door-05" || !got.To.IsZero() || from.Sub(got.From) < 15*time.Minute || from.Sub(got.From) > 45*time.Minute {
			t.Errorf("written is %+v", got)
		}

		// A period of the site, dragged over; the charts keep their time.
		do(ctx, t, chromedp.Click(`.chart-annotate summary`), chromedp.WaitVisible(form))
		at = ask[[]float64](ctx, t, middle+`('figure.chart .u-over')`)
		drag(ctx, t, []float64{at[0] - 200, at[1]}, []float64{at[0] + 200, at[1]})
		until(ctx, t, `document.querySelector('`+form+` [name=to]').value`)
		do(ctx, t, chromedp.SetValue(form+` [name=where]`, "warehouse"))
		save("The power was off.")
		listed("all of warehouse", 3)
		if got := newest(); got.Device != "" || !got.To.After(got.From) || ask[string](ctx, t, `location.search`) != "?range=1h" {
			t.Errorf("written is %+v, the page shows %s", got, ask[string](ctx, t, `location.search`))
		}

		// A moment, with keys.
		ask[bool](ctx, t, `(document.querySelector('figure.chart .plot').focus(), true)`)
		do(ctx, t, chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent("n"))
		until(ctx, t, `document.activeElement.matches('`+form+` textarea') && document.querySelector('`+form+` [name=from]').value`)
		save("It is closed again.")
		listed("closed again", 4)

		// The list.
		do(ctx, t, chromedp.Navigate(base+"/annotations"), chromedp.WaitReady("main"))
		until(ctx, t, `document.body.textContent.includes('gasket') && document.body.textContent.includes('closed again')`)
	})
}
