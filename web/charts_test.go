package web_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"headwater/web/device"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// gated is a history that can be made to wait.
type gated struct {
	device.Source
	mu   sync.Mutex
	gate chan struct{} // guarded by mu; nil while the history answers
}

func (g *gated) hold() (release func()) {
	gate := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = gate
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.gate = nil
		close(gate)
	}
}

func (g *gated) Series(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return device.Series{}, ctx.Err()
		}
	}
	return g.Source.Series(ctx, q)
}

// watchConsole fails the test for what a page writes to its console, where Chromium also
// reports what the content security policy refuses. The function that it returns looks at
// what was written.
func watchConsole(ctx context.Context, t *testing.T) (check func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	messages := chromedp.Console(ctx)
	var seen []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			seen = append(seen, m.String())
		}
	}()
	return func() {
		cancel()
		<-done
		for _, m := range seen {
			t.Errorf("in the console: %s", m)
		}
	}
}

// chartState is what the tests look at: the time that the charts show, in seconds, once
// what is drawn is of that time.
const chartState = `(() => {
	const figure = document.querySelector('figure.chart');
	const [from, to] = (figure.dataset.shown ?? '0 0').split(' ').map(Number);
	return { from, to, length: to - from };
})()`

type shownTime struct{ From, To, Length float64 }

// pixels counts the pixels of the first chart that have the colour of its line, and pausing
// those of them where the series paused.
const (
	pixels  = countPixels + `(0, 1)`
	pausing = countPixels + `(0.206, 0.244)`
)

const countPixels = `((from, to) => {
	const canvas = document.querySelector('figure.chart canvas');
	const { data, width } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
	const probe = document.createElement('i');
	document.body.append(probe);
	probe.style.color = 'var(--accent)';
	const [r, g, b] = getComputedStyle(probe).color.match(/\d+/g).map(Number);
	probe.remove();
	const over = document.querySelector('figure.chart .u-over');
	const scale = width / canvas.clientWidth;
	const at = (share) => scale * (over.getBoundingClientRect().left - canvas.getBoundingClientRect().left + share * over.clientWidth);
	let n = 0;
	for (let i = 0; i < data.length; i += 4) if (i / 4 % width >= at(from) && i / 4 % width <= at(to) && data[i + 3] > 200 && Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 40) n++;
	return n;
})`

// TestCharts zooms, moves, compares and exports with a mouse, fingers and keys, on a wide
// and a narrow page, light and dark, and explores.
func TestCharts(t *testing.T) {
	sources := fixture.New(fixture.Warehouse, time.Time{}).Sources()
	past := &gated{Source: sources.Device}
	sources.Device = past
	base := serveOn(t, webtest.ServerOf(t, sources))
	browse(t, func(ctx context.Context) {
		check := watchConsole(ctx, t)
		defer check()
		// settled waits until what is drawn fits a condition on its time, t.
		settled := func(condition string) shownTime {
			t.Helper()
			until(ctx, t, `((t) => `+condition+`)(`+chartState+`)`)
			return ask[shownTime](ctx, t, chartState)
		}
		open := func(path string, width int64, theme string) {
			t.Helper()
			do(ctx, t, chromedp.EmulateViewport(width, 900), chromedp.Navigate(base+path), chromedp.WaitReady("main"))
			until(ctx, t, `document.querySelector('figure.chart canvas') && document.querySelector('figure.chart').dataset.shown`)
			ask[bool](ctx, t, fmt.Sprintf("(document.documentElement.dataset.theme = %q, document.dispatchEvent(new CustomEvent('headwater:theme')))", theme))
		}
		press := func(keys string, modifiers ...chromedp.Modifier) {
			t.Helper()
			do(ctx, t, chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
		}
		for _, look := range []struct {
			width int64
			theme string
		}{{1440, "light"}, {390, "dark"}} {
			open("/devices/warehouse/door-04?range=24h", look.width, look.theme)
			whole := settled(`t.length > 86000`)

			// Dragging zooms. The old line stays until the new one has come.
			ask[bool](ctx, t, `(document.querySelector('figure.chart').scrollIntoView({ block: 'center' }), true)`)
			box := ask[[]float64](ctx, t, `(() => { const r = document.querySelector('figure.chart .u-over').getBoundingClientRect(); return [r.left, r.top + 60, r.width]; })()`)
			release := past.hold()
			do(ctx, t, chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, box[0]+0.5*box[2], box[1], chromedp.ButtonLeft, chromedp.ClickCount(1)),
				chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box[0]+0.6*box[2], box[1], chromedp.ButtonLeft),
				chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box[0]+0.75*box[2], box[1], chromedp.ButtonLeft),
				chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, box[0]+0.75*box[2], box[1], chromedp.ButtonLeft, chromedp.ClickCount(1)))
			until(ctx, t, `document.querySelector('figure.chart').ariaBusy === 'true' && location.search.includes('from=')`)
			ask[bool](ctx, t, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
			if n := ask[int](ctx, t, pixels); n < 50 {
				t.Errorf("at %d px the chart is blank while the history is read: %d pixels", look.width, n)
			}
			release()
			zoomed := settled(`t.length < 30000 && t.length > 1000`)
			if want := whole.From + 0.5*whole.Length; zoomed.From < want-600 || zoomed.From > want+600 || zoomed.Length < 0.2*whole.Length || zoomed.Length > 0.3*whole.Length {
				t.Errorf("at %d px dragging shows %+v of %+v", look.width, zoomed, whole)
			}
			// The address is of what is seen.
			if from := ask[float64](ctx, t, `Date.parse(new URLSearchParams(location.search).get('from')) / 1000`); math.Abs(from-zoomed.From) > 1 {
				t.Errorf("the address says %v, shown is %+v", from, zoomed)
			}

			// The crosshair is on all charts.
			do(ctx, t, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box[0]+0.4*box[2], box[1]))
			until(ctx, t, `(() => { const all = [...document.querySelectorAll('figure.chart .u-cursor-x')].slice(0, 2).map((e) => e.getBoundingClientRect().left - e.parentElement.getBoundingClientRect().left); return all.length === 2 && all[0] > 20 && Math.abs(all[0] - all[1]) < 60; })()`)

			// The keyboard.
			ask[bool](ctx, t, `(document.querySelector('figure.chart .plot').focus(), true)`)
			press(kb.Escape) // clears the crosshair
			press("+")
			half := settled(fmt.Sprintf(`t.length < %f`, 0.6*zoomed.Length))
			press("-")
			settled(fmt.Sprintf(`t.length > %f`, 1.8*half.Length))
			press(kb.ArrowLeft, chromedp.ModifierShift)
			moved := settled(fmt.Sprintf(`t.to < %f`, zoomed.To-0.2*zoomed.Length))
			press(kb.ArrowLeft)
			press(kb.ArrowLeft)
			until(ctx, t, `document.querySelector('figure.chart .chart-read').ariaLive === 'polite' && document.querySelector('figure.chart .u-cursor-x').getBoundingClientRect().left > 20`)

			// Two fingers.
			ask[bool](ctx, t, `(() => {
				const over = document.querySelector('figure.chart .u-over');
				const r = over.getBoundingClientRect();
				const send = (type, id, x) => over.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: id, pointerType: 'touch', clientX: r.left + x * r.width, clientY: r.top + 40 }));
				send('pointerdown', 11, 0.4); send('pointerdown', 12, 0.6);
				send('pointermove', 11, 0.2); send('pointermove', 12, 0.8);
				send('pointerup', 11, 0.2); send('pointerup', 12, 0.8);
				return true;
			})()`)
			pinched := settled(fmt.Sprintf(`t.length < %f`, 0.5*moved.Length))
			if pinched.Length < 0.25*moved.Length {
				t.Errorf("at %d px two fingers go from %+v to %+v", look.width, moved, pinched)
			}

			// Reset, compare, table.
			do(ctx, t, chromedp.Click(`.chart-tools [data-go="home"]`))
			settled(`t.length > 86000`)
			if got := ask[string](ctx, t, `location.search`); strings.Contains(got, "from=") {
				t.Errorf("after a reset the address is %s", got)
			}
			if look.width < 1000 {
				continue
			}
			ask[bool](ctx, t, `(() => { const s = document.querySelector('[data-compare]'); s.value = '1'; s.dispatchEvent(new Event('change', { bubbles: true })); return true; })()`)
			until(ctx, t, `document.querySelector('figure.chart .chart-read').textContent.includes('yesterday') && location.search.includes('compare=1')`)
			if n := ask[int](ctx, t, pausing); n > 0 {
				t.Errorf("a line is drawn where the series paused: %d pixels", n)
			}
			ask[bool](ctx, t, `(document.querySelector('figure.chart .chart-table').open = true)`)
			until(ctx, t, `document.querySelectorAll('figure.chart .chart-table tbody tr').length > 50 && document.querySelector('figure.chart .chart-table thead').innerText.includes('yesterday')`)

			// The picture, and the CSV of what is seen.
			do(ctx, t, chromedp.Click(`figure.chart .chart-png`))
			until(ctx, t, `Number(document.querySelector('figure.chart').dataset.picture) > 1000`)
			body := ask[string](ctx, t, `(async () => {
				const link = document.querySelector('#chart-temperature .chart-csv');
				link.addEventListener('click', (event) => event.preventDefault(), { once: true });
				link.click();
				return (await fetch(link.href)).text();
			})()`)
			rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
			if err != nil || len(rows) < 50 || rows[0][1] != "warehouse/door-04 temperature mean (°C)" {
				t.Fatalf("CSV: %d rows, %v: %.200s", len(rows), err, body)
			}
			if at, err := time.Parse(time.RFC3339, rows[1][0]); err != nil || at.Unix() < int64(whole.From)-600 {
				t.Errorf("the first row is of %s", rows[1][0])
			}
			t.Logf("at %d px: drawn after %s ms", look.width, ask[string](ctx, t, `document.querySelector('figure.chart').dataset.took`))
		}
		exploreByAddress(ctx, t, base)
	})
}

// exploreByAddress searches series, puts them on charts, opens addresses as bookmarks do,
// and makes a rule.
func exploreByAddress(ctx context.Context, t *testing.T, base string) {
	t.Helper()
	drawn := func(charts int) {
		t.Helper()
		until(ctx, t, fmt.Sprintf(`document.querySelectorAll('figure.chart canvas').length === %d && [...document.querySelectorAll('figure.chart')].every((f) => f.dataset.shown)`, charts))
	}
	do(ctx, t, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(base+"/explore"), chromedp.WaitReady("#found a"))
	until(ctx, t, `window.htmx`)
	do(ctx, t, chromedp.SendKeys(`[name=q]`, "door-04 hum"))
	until(ctx, t, `document.querySelectorAll('#found li').length === 1 && document.querySelector('#found').innerText.includes('humidity')`)
	do(ctx, t, chromedp.Click(`#found a`), chromedp.WaitReady(`figure.chart canvas`))
	drawn(1)
	do(ctx, t, chromedp.Navigate(base+"/explore?c=warehouse.door-04.temperature~warehouse.door-04.humidity~warehouse.door-04.open&c=warehouse.door-01.temperature~warehouse.door-02.temperature&from=-7d&line=max&compare=7"), chromedp.WaitReady(`figure.chart`))
	drawn(2)
	until(ctx, t, `['last week', 'temperature', 'humidity', 'open'].every((word) => document.querySelector('figure.chart .chart-read').textContent.includes(word))`)
	from := time.Now().Add(-48 * time.Hour).UTC()
	period := url.Values{"from": {from.Format(time.RFC3339)}, "to": {from.Add(time.Hour).Format(time.RFC3339)}}
	do(ctx, t, chromedp.EmulateViewport(390, 900), chromedp.Navigate(base+"/explore?c=warehouse.door-04.temperature&"+period.Encode()), chromedp.WaitReady(`figure.chart`))
	drawn(1)
	if got := ask[shownTime](ctx, t, chartState); got.Length != 3600 || got.From != float64(from.Unix()) {
		t.Errorf("the bookmark of an hour shows %+v", got)
	}
	do(ctx, t, chromedp.Click(`figure a[data-rule]`), chromedp.WaitReady(`[name="above"]`))
	if got := ask[[]string](ctx, t, `['match.site', 'match.device', 'match.metric', 'name'].map((n) => document.querySelector('[name="' + n + '"]').value)`); strings.Join(got, " ") != "warehouse door-04 temperature door-04-temperature" {
		t.Errorf("the rule is for %q", got)
	}
	if above := ask[float64](ctx, t, `Number(document.querySelector('[name="above"]').value)`); above < 3 || above > 15 {
		t.Errorf("the limit is %v", above)
	}
}

// TestTimelines reads the states of a flag and of a text: as they are named, with keys, in a
// part of the time, and per day.
func TestTimelines(t *testing.T) {
	base := serveState(t, fixture.Warehouse)
	browse(t, func(ctx context.Context) {
		check := watchConsole(ctx, t)
		defer check()
		do(ctx, t, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(base+"/devices/warehouse/door-04?range=24h"), chromedp.WaitReady("#chart-mode"))
		ask[bool](ctx, t, `(document.querySelector('#chart-mode').scrollIntoView({ block: 'center' }), true)`)
		until(ctx, t, `['open', 'mode'].every((m) => document.querySelector('#chart-' + m + ' canvas') && document.querySelector('#chart-' + m).dataset.shown)`)
		if got := ask[[]string](ctx, t, `['open', 'mode'].map((m) => [...document.querySelectorAll('#chart-' + m + ' .legend strong')].map((e) => e.innerText).join(' and '))`); strings.Join(got, "; ") != "off and on; cooling and defrost, second stage" {
			t.Errorf("the states are %q", got)
		}
		until(ctx, t, `/^on \d+ h.*\(\d+.*%\), began \d\d times$/.test(document.querySelectorAll('#chart-open .legend li')[1].textContent)`)
		ask[bool](ctx, t, `(document.querySelector('#chart-open .plot').focus(), true)`)
		read := `document.querySelector('#chart-open .chart-read').textContent`
		do(ctx, t, chromedp.KeyEvent(kb.Home))
		until(ctx, t, read+`.includes('since before')`)
		before := ask[string](ctx, t, read)
		do(ctx, t, chromedp.KeyEvent(kb.ArrowRight))
		until(ctx, t, read+` !== `+fmt.Sprintf("%q", before)+` && / · from .*, \d+ min$/.test(`+read+`)`)
		do(ctx, t, chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent("+"))
		until(ctx, t, `(() => { const [from, to] = document.querySelector('#chart-open').dataset.shown.split(' ').map(Number); return to - from < 50000; })()`)
		ask[bool](ctx, t, `(document.querySelectorAll('#chart-open details').forEach((d) => { d.open = true; }), true)`)
		until(ctx, t, `(() => { const [states, days] = [...document.querySelectorAll('#chart-open tbody')].map((b) => b.rows.length); return states > 20 && days >= 2 && days <= 4; })()`)
	})
}
