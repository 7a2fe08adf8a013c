package web_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// TestPlaceSensors places a sensor of a floor plan with the mouse, a finger and keys; it is
// there on the page of the plan and on the tile of a board, where its value is live.
func TestPlaceSensors(t *testing.T) {
	world := fixture.New(fixture.Warehouse, time.Time{})
	base := serveOn(t, webtest.ServerOf(t, world.Sources()))
	// at is where a pin is, in per cent of the room that the picture leaves it.
	const at = `((plan) => { const b = document.querySelector(plan + ' .plan-picture').getBoundingClientRect(), p = document.querySelector(plan + ' .pin').getBoundingClientRect(); return [100 * (p.left - b.left) / (b.width - p.width), 100 * (p.top - b.top) / (b.height - p.height)]; })`
	browse(t, func(ctx context.Context) {
		check := watchConsole(ctx, t)
		defer check()
		arrange := func() {
			do(ctx, t, chromedp.Navigate(base+"/plans/hall?edit=1"), chromedp.WaitVisible(".plan[data-placed] .pin"))
		}
		saved := func(what string, x, y float64) {
			t.Helper()
			until(ctx, t, `document.querySelector('.plan').dataset.saving === undefined`)
			p, _ := world.Plan(fixture.PlanID)
			got := ask[[]float64](ctx, t, at+`('#plan')`)
			for i, want := range []float64{x, y} {
				stored := 100 * []float64{p.Pins[0].X, p.Pins[0].Y}[i]
				if stored-want > 1 || want-stored > 1 || got[i]-stored > 1 || stored-got[i] > 1 {
					t.Errorf("%s: stored is %+v, shown at %v; want %v, %v", what, p.Pins[0], got, x, y)
				}
			}
		}
		do(ctx, t, chromedp.EmulateViewport(1440, 1000))
		arrange()
		saved("nothing was done", 10, 20)
		box := ask[[]float64](ctx, t, `(() => { const b = document.querySelector('.plan-picture').getBoundingClientRect(), p = document.querySelector('.pin').getBoundingClientRect(); return [b.width - p.width, b.height - p.height]; })()`)
		from := ask[[]float64](ctx, t, middle+`('.pin')`)
		drag(ctx, t, from, []float64{from[0] + 0.3*box[0], from[1] + 0.4*box[1]})
		saved("dragged with the mouse", 40, 60)
		do(ctx, t, chromedp.KeyEvent(kb.ArrowLeft))
		do(ctx, t, chromedp.KeyEvent(kb.ArrowDown, chromedp.KeyModifiers(chromedp.ModifierShift)))
		saved("moved with keys", 39, 65)
		until(ctx, t, `document.querySelector('#board-said').textContent.includes('% from the top') && document.querySelector('.plan-places [name=y]').value.startsWith('65')`)

		do(ctx, t, chromedp.EmulateViewport(390, 900, chromedp.EmulateTouch))
		arrange()
		from = ask[[]float64](ctx, t, middle+`('.pin')`)
		for _, step := range []struct {
			kind input.DispatchTouchEventType
			at   [][]float64
		}{{input.DispatchTouchEventTypeTouchStart, [][]float64{from}}, {input.DispatchTouchEventTypeTouchMove, [][]float64{{from[0] + 10, from[1] - 10}}}, {input.DispatchTouchEventTypeTouchMove, [][]float64{{from[0] + 900, from[1] - 900}}}, {input.DispatchTouchEventTypeTouchEnd, nil}} {
			touch := input.DispatchTouchEventParams{Type: step.kind, TouchPoints: []*input.TouchPoint{}}
			for _, p := range step.at {
				touch.TouchPoints = append(touch.TouchPoints, &input.TouchPoint{X: p[0], Y: p[1]})
			}
			do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
				_, err := cdp.Call(ctx, tab, input.DispatchTouchEvent, touch)
				return err
			}))
		}
		saved("dragged with a finger, beyond the corner", 100, 0)

		// The tile of a board keeps the shape of the picture, and its value is live.
		do(ctx, t, chromedp.EmulateViewport(1440, 1000), chromedp.Navigate(base+"/boards/wall"), chromedp.WaitVisible("#plan .plan[data-placed] .pin"))
		shape := ask[float64](ctx, t, `(() => { const b = document.querySelector('#plan .plan-picture').getBoundingClientRect(), t = document.querySelector('#plan').getBoundingClientRect(); return b.bottom <= t.bottom && b.right <= t.right ? b.width / b.height : 0; })()`)
		if shape < 1.7 || shape > 1.85 {
			t.Errorf("the picture in the tile is of the shape %v", shape)
		}
		before := ask[string](ctx, t, `document.querySelector('#plan .pin-value').textContent`)
		until(ctx, t, fmt.Sprintf(`document.querySelector('#plan .pin-value').textContent !== %q`, before))
		if got := ask[[]float64](ctx, t, at+`('#plan')`); got[0] < 99 || got[1] > 1 {
			t.Errorf("after an update it is at %v", got)
		}
	})
}
