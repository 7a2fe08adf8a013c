package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"headwater/proto/figure"
	"headwater/web"
	"headwater/web/browsertest"
	"headwater/web/device"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// browse runs f with a tab of headless Chromium in which nothing moves by itself.
func browse(t *testing.T, f func(ctx context.Context)) {
	t.Helper()
	browsertest.Run(t, 5*time.Minute, f, chromedp.Flag("force-prefers-reduced-motion", true))
}

// do takes steps in the browser.
func do(ctx context.Context, t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// ask evaluates an expression in the page.
func ask[T any](ctx context.Context, t *testing.T, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%v: %.200s", err, expression)
	}
	return v
}

// until waits for a condition in the page.
func until(ctx context.Context, t *testing.T, condition string) {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool]("Boolean("+condition+")", chromedp.WithPollingTimeout(20*time.Second))); err != nil {
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location + "\n" + document.body.innerText`))
		t.Fatalf("%v: %s: %.2000s", err, condition, text)
	}
}

// serveState serves the pages of one state of the world.
func serveState(t *testing.T, state fixture.State) string {
	t.Helper()
	return serveOn(t, webtest.Server(t, state))
}

func serveOn(t *testing.T, s *web.Server) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Run(ctx) }()
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		cancel()
		h.CloseClientConnections()
		h.Close()
		<-stopped
	})
	return h.URL
}

// everyPage are the pages in the states in which they differ.
var everyPage = map[fixture.State][]string{
	fixture.Warehouse: {
		"/", "/?q=nothing", "/connect?with=arduino", "/devices/warehouse/door-04", "/devices/warehouse/door-99", "/devices/warehouse/door-05/consumption?per=hour&on=2026-10-25", "/health", "/health?kind=battery", "/registry", "/registry?q=nothing", "/devices/warehouse/door-04/edit", "/explore", "/explore?c=warehouse.door-04.temperature~warehouse.door-04.humidity~warehouse.door-05.temperature", "/boards", "/boards/wall", "/boards/wall?edit=1", "/boards/wall?kiosk=1", "/plans", "/plans/hall", "/plans/hall?edit=1", "/annotations", "/annotations?q=nothing", "/alerts", alertPage, "/silences", "/silences?edit=m2", "/pipeline", "/audit", "/deadletters",
		"/deadletters?service=writer&reason=rejected", "/deadletters/confirm?do=redrive", "/deadletters/confirm?do=purge&sequence=37", "/channels", "/oncall",
		"/ledger", "/ledger?range=7d&site=warehouse&device=door-04&page=2", "/cost", "/functions", "/functions/zscore", "/edges", "/edges/attic", "/edges/nothing", "/rules", "/rules?q=nothing", "/rules/new", "/rules/new?template=fridge-too-warm", "/trust", "/nowhere", "/account", "/people", "/set-up", "/set-up?code=CODE", "/credentials", "/claim?code=door-01.CODE",
		"/rules/new?like=too-warm", "/rules/door-left-open", "/rules/door-left-open?as=yaml", "/rules/too-warm", "/rules/gone",
		"/rules?deleted=removed", "/rules/removed", "/rules/removed/versions",
		"/rules/door-left-open/versions", "/rules/door-left-open/delete", "/rules/door-left-open/try",
		"/rules/door-left-open/try?run=running&revision=12", "/rules/door-left-open/try?run=done&revision=12",
		"/rules/door-left-open/try?run=failed&revision=12", "/rules/door-left-open/try?run=unknown&revision=12",
	},
	fixture.Empty:   {"/", "/health", "/edges", "/channels", "/oncall", "/connect", "/people", "/set-up", "/trust", "/alerts", "/pipeline", "/deadletters", "/ledger", "/rules"},
	fixture.Away:    {"/", "/edges", "/connect", "/devices/warehouse/door-04", "/alerts", "/pipeline", "/deadletters", "/ledger", "/rules"},
	fixture.Hostile: {"/", "/boards/wall?edit=1", "/plans/hall?edit=1", "/annotations", "/edges", hostileEdge, "/connect?with=node-red", "/people", "/credentials", hostileDevice, hostileDevice + "/edit", "/registry", "/health", "/trust", "/alerts", alertPage, "/silences", "/oncall", "/pipeline", "/audit", "/deadletters", "/ledger", "/rules", "/rules/door-left-open", "/rules/door-left-open/versions"},
	fixture.Large:   {"/", "/ledger", "/deadletters"},
}

// alertPage is the page of an alert that fires.
const alertPage = "/alerts/0f3a9c5d71b2e684-dn5mn57qoq2o"

const hostileEdge = "/edges/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

const hostileDevice = "/devices/a-site-with-a-name-that-is-as-long-as-a-name-of-a-site-may-be-64/A-very-long-device-name_A-very-long-device-name_A-very-long-devi"

// faults is a script that lists what WCAG 2.2 AA, or common sense, does not allow
// on the page as it is: a page wider than the window, small targets close to
// others, texts that are hard to read, units that are broken, names that are not what is seen, landmarks
// of one name, roles that an element must not have.
const faults = `(() => {
	const out = [];
	const name = (e) => (e.outerHTML.slice(0, e.outerHTML.indexOf('>') + 1) + ' ' + e.textContent.trim().slice(0, 30)).replace(/\s+/g, ' ').slice(0, 220);
	const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && !e.closest('.sr, .skip');
	const over = document.documentElement.scrollWidth - innerWidth;
	if (over > 0) {
		const wide = [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.scroll, .diff, pre, svg')).map(name);
		out.push('wider than the window by ' + over + ' px: ' + wide.slice(0, 3).join(' | '));
	}

	// The navigation is there as a whole, with its counts and the menu that is open.
	for (const e of document.querySelectorAll('.bar .item, .bar .item .badge, .menu[open] a')) {
		const r = e.getBoundingClientRect();
		if (r.width === 0 || r.left < 0 || r.right > innerWidth || r.bottom > innerHeight + 0.5 || e.scrollWidth > e.clientWidth) out.push('cut in the navigation: ' + name(e));
	}

	for (const e of document.querySelectorAll('.unit')) if (e.getClientRects().length > 1) out.push('a unit in two lines: ' + name(e.parentElement));
	for (const e of document.querySelectorAll('main time')) if (seen(e) && e.getClientRects().length > 2) out.push('a time in ' + e.getClientRects().length + ' lines: ' + name(e.parentElement));

	// Targets.
	const targets = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')].filter(seen);
	const inline = (e) => getComputedStyle(e).display.startsWith('inline') && [...e.parentElement.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
	const boxes = targets.map((e) => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width > 0 && r.height > 0);
	const layer = (e) => e.closest('.top nav'); // which the page scrolls under
	const small = (r) => r.width < 23.99 || r.height < 23.99;
	for (const [e, r] of boxes) {
		if (!small(r) || inline(e)) continue;
		const [x, y] = [r.left + r.width / 2, r.top + r.height / 2];
		for (const [f, o] of boxes) {
			if (f === e || f.contains(e) || e.contains(f) || layer(f) !== layer(e)) continue;
			const gap = Math.hypot(Math.max(o.left - x, 0, x - o.right), Math.max(o.top - y, 0, y - o.bottom));
			const apart = Math.hypot(o.left + o.width / 2 - x, o.top + o.height / 2 - y);
			if (gap < 11.99 || small(o) && apart < 23.99) { out.push('small target: ' + name(e) + ' beside ' + name(f)); break; }
		}
	}

	// Names.
	for (const e of document.querySelectorAll('a[aria-label], button[aria-label]')) {
		const text = e.innerText.trim().replace(/\s+/g, ' ').toLowerCase();
		if (seen(e) && text && !e.getAttribute('aria-label').toLowerCase().includes(text)) out.push('named otherwise than it reads: ' + name(e));
	}

	// Contrast.
	const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
	const rgba = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const onto = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
	const behind = (e) => {
		if (!e) return [255, 255, 255, 1];
		const own = rgba(getComputedStyle(e).backgroundColor);
		return own[3] === 1 ? own : onto(own, behind(e.parentElement));
	};
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const done = new Set();
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement;
		if (done.has(e) || !walk.currentNode.textContent.trim() || !seen(e) || e.closest('svg, script, noscript, [disabled], option')) continue;
		done.add(e);
		const style = getComputedStyle(e);
		const ground = behind(e);
		let ink = rgba(style.color);
		let opacity = 1;
		for (let p = e; p; p = p.parentElement) opacity *= Number(getComputedStyle(p).opacity);
		ink = onto([ink[0], ink[1], ink[2], ink[3] * opacity], ground);
		const [a, b] = [light(ink), light(ground)].sort((m, n) => n - m);
		const px = parseFloat(style.fontSize);
		const least = px >= 24 || px >= 18.66 && Number(style.fontWeight) >= 700 ? 3 : 4.5;
		if ((a + 0.05) / (b + 0.05) < least - 0.01) out.push('contrast of ' + ((a + 0.05) / (b + 0.05)).toFixed(2) + ': ' + name(e));
	}

	// Landmarks and roles.
	const marks = new Map();
	for (const e of document.querySelectorAll('nav, aside, [role="region"], section[aria-label], section[aria-labelledby], [role="search"], form[aria-label]')) {
		if (!seen(e)) continue;
		const role = e.getAttribute('role') ?? { NAV: 'navigation', SECTION: 'region', ASIDE: 'complementary', FORM: 'form' }[e.tagName];
		const label = e.getAttribute('aria-label') ?? document.getElementById(e.getAttribute('aria-labelledby'))?.textContent ?? '';
		const key = role + ' ' + label.trim();
		if (marks.has(key)) out.push('two landmarks "' + key + '": ' + name(e));
		marks.set(key, e);
	}
	for (const e of document.querySelectorAll('form[role]')) {
		if (!['search', 'none', 'presentation'].includes(e.getAttribute('role'))) out.push('role: ' + name(e));
	}
	const ids = new Set();
	for (const e of document.querySelectorAll('[id]')) {
		if (ids.has(e.id)) out.push('two of id ' + e.id);
		ids.add(e.id);
	}
	return out;
})()`

// TestPagesAreAccessible looks at every page, narrow and wide, light and dark.
func TestPagesAreAccessible(t *testing.T) {
	script := axeScript(t)
	within := 5 * time.Minute
	if script != "" {
		within = time.Hour
	}
	browsertest.Run(t, within, func(ctx context.Context) {
		for _, state := range fixture.States {
			url := serveState(t, state)
			for _, path := range everyPage[state] {
				do(ctx, t, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(url+path), chromedp.WaitReady("main"))
				until(ctx, t, `[...document.querySelectorAll('figure.chart')].slice(0, 1).every((f) => { f.scrollIntoView(); return f.querySelector('canvas') || f.querySelector('.chart-note').textContent.startsWith('InfluxDB') || f.querySelector('.chart-note').textContent.includes('not be loaded'); })`)
				for _, width := range []int64{1440, 390, 320} {
					for _, theme := range []string{"light", "dark"} {
						do(ctx, t, chromedp.EmulateViewport(width, 900))
						ask[string](ctx, t, fmt.Sprintf("document.documentElement.dataset.theme = %q", theme))
						// The size of a chart follows that of the window with a frame's delay.
						ask[bool](ctx, t, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
						for _, fault := range ask[[]string](ctx, t, faults) {
							t.Errorf("%s %s at %d px, %s: %s", state, path, width, theme, fault)
						}
					}
				}
				axe(ctx, t, script, string(state)+" "+path)
			}
		}
	}, chromedp.Flag("force-prefers-reduced-motion", true))
}

// TestPagesStayInPlace loads the page of a device: what is there does not move
// when the charts come.
func TestPagesStayInPlace(t *testing.T) {
	browse(t, func(ctx context.Context) {
		url := serveState(t, fixture.Warehouse)
		for _, width := range []int64{1440, 390} {
			do(ctx, t, chromedp.EmulateViewport(width, 900), chromedp.Navigate(url+"/devices/warehouse/door-04"))
			until(ctx, t, `[...document.querySelectorAll('figure.chart')].slice(0, 2).every((f) => f.querySelector('canvas') && f.querySelector('.chart-read').textContent)`)
			shift := ask[float64](ctx, t, `new Promise((done) => {
				let sum = 0;
				new PerformanceObserver((list) => {
					for (const e of list.getEntries()) sum += e.value;
				}).observe({ type: 'layout-shift', buffered: true });
				requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(sum), 0)));
			})`)
			if shift >= 0.05 {
				t.Errorf("at %d px the page shifts by %.3f", width, shift)
			}
		}
	})
}

// past is a history of one series, the same for all devices.
type past struct {
	device.Source
	times  []int64
	values []float64
}

func (p past) Series(context.Context, device.SeriesQuery) (device.Series, error) {
	return device.Series{Tier: "raw", TimeMS: p.times, Min: p.values, Max: p.values, Mean: p.values}, nil
}

// TestProblemsFollowWhatIsTyped saves a rule with problems and mends them one
// after the other.
func TestProblemsFollowWhatIsTyped(t *testing.T) {
	browse(t, func(ctx context.Context) {
		base := serveState(t, fixture.Warehouse)
		const enter = `((name, text) => { const f = document.querySelector('[name="' + name + '"]'); f.focus(); f.value = text; f.dispatchEvent(new Event('input', { bubbles: true })); })`
		const said = `((name) => { const f = document.querySelector('[name="' + name + '"]');
			return [f.getAttribute('aria-invalid'), ...f.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id)).filter((e) => e && e.matches('.field-problem, #judged') && e.checkVisibility()).map((e) => e.innerText)].join(' '); })`
		do(ctx, t, chromedp.Navigate(base+"/rules/new"))
		until(ctx, t, `window.htmx`)
		ask[bool](ctx, t, enter+`("above", "warm"), true`)
		do(ctx, t, chromedp.Click(`button[value=save]`), chromedp.WaitVisible(`#judged`))
		until(ctx, t, `document.querySelector('#judged')?.innerText === 'Fix 2 problems to save.'`)
		until(ctx, t, said+`("name") === 'true This is missing.' && `+said+`("above") === 'true This must be a number, not text.'`)
		ask[bool](ctx, t, enter+`("name", "attic"), true`)
		until(ctx, t, said+`("name") === 'false' && `+said+`("above") === 'true This must be a number, not text.' && document.querySelector('#judged').innerText === 'Fix 1 problem to save.'`)
		ask[bool](ctx, t, enter+`("name", ""), true`)
		until(ctx, t, said+`("name") === 'true This is missing.'`)
		ask[bool](ctx, t, enter+`("name", "attic"), true`)
		ask[bool](ctx, t, enter+`("above", "30"), true`)
		until(ctx, t, said+`("name") === 'false' && `+said+`("above") === 'false' && document.querySelector('#judged').innerText === 'Ready to save.'`)
		if got := ask[string](ctx, t, `document.activeElement.name + document.activeElement.value`); got != "above30" {
			t.Errorf("the focus is in %q", got)
		}

		do(ctx, t, chromedp.Navigate(base+"/rules/door-left-open?as=yaml"))
		until(ctx, t, `window.htmx`)
		ask[bool](ctx, t, enter+`("yaml", "nothing"), true`)
		do(ctx, t, chromedp.Click(`button[value=save]`), chromedp.WaitVisible(`#judged`))
		until(ctx, t, said+`("yaml").startsWith('true Fix 1 problem to save.')`)
		ask[bool](ctx, t, enter+`("yaml", "name: door-left-open\n"), true`)
		until(ctx, t, said+`("yaml") === 'false Ready to save.'`)
	})
}

// TestDenseReadingsAreDrawn draws readings that are closer than a pixel: flat
// ones show as a dot, and a burst as a dot on what it spans, not as a bar.
func TestDenseReadingsAreDrawn(t *testing.T) {
	at := time.Now().Add(-40 * time.Minute).UnixMilli()
	var flat, burst past
	for i := range int64(200) {
		flat.times, flat.values = append(flat.times, at+4*i), append(flat.values, 1500)
		burst.times, burst.values = append(burst.times, at+4*i), append(burst.values, 1500+100*math.Sin(float64(i)))
	}
	// How many pixels in a column have the colour of the line, and how many any
	// colour of the series.
	const columns = `(() => {
		const canvas = document.querySelector('#chart-temperature canvas');
		const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
		const probe = document.createElement('i');
		document.body.append(probe);
		probe.style.color = 'var(--accent)';
		const [r, g, b] = getComputedStyle(probe).color.match(/\d+/g).map(Number);
		let line = 0, tinted = 0;
		for (let x = Math.round(width * 0.15); x < width * 0.8; x++) {
			let l = 0, n = 0;
			for (let y = 0; y < height; y++) {
				const i = 4 * (y * width + x);
				if (data[i + 3] === 0) continue;
				if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 40) {
					n++;
					if (data[i + 3] > 250) l++;
				}
			}
			line = Math.max(line, l);
			tinted = Math.max(tinted, n);
		}
		return [line, tinted];
	})()`
	browse(t, func(ctx context.Context) {
		do(ctx, t, chromedp.EmulateViewport(1440, 900))
		for name, history := range map[string]past{"flat": flat, "burst": burst} {
			sources := fixture.New(fixture.Warehouse, time.Time{}).Sources()
			history.Source = sources.Device
			sources.Device = history
			s, err := web.New(web.Config{}, sources, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			do(ctx, t, chromedp.Navigate(serveOn(t, s)+"/devices/warehouse/door-02"))
			until(ctx, t, `document.querySelector('#chart-temperature canvas') && document.querySelector('#chart-temperature .chart-read').textContent`)
			ask[bool](ctx, t, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
			got := ask[[]int](ctx, t, columns)
			if line, tinted := got[0], got[1]; line < 3 || line > 9 || name == "burst" && tinted < 15 || name == "flat" && tinted > 9 {
				t.Errorf("%s: at most %d pixels of a column are the line, %d the series", name, line, tinted)
			}
		}
	})
}

// TestDurationsAreAlikeInTheBrowser writes durations of every length in the
// browser and here.
func TestDurationsAreAlikeInTheBrowser(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ms := []int64{-1000, 0, 1, 999, 1000, 1250, 9950, 9999, 10_000, 59_500, 60_000, 118_000, 3_599_500, 86_399_999, 86_400_000, 187_200_000}
	for range 3000 {
		ms = append(ms, random.Int64N(1<<(1+random.IntN(42))))
	}
	text, err := json.Marshal(ms)
	if err != nil {
		t.Fatal(err)
	}
	browse(t, func(ctx context.Context) {
		do(ctx, t, chromedp.Navigate(serveState(t, fixture.Empty)+"/"))
		for i, got := range ask[[]string](ctx, t, string(text)+".map((v) => headwaterDuration(v))") {
			if want := figure.Duration(time.Duration(ms[i]) * time.Millisecond); got != want {
				t.Errorf("%d ms are %q in the browser, %q here", ms[i], got, want)
			}
		}
	})
}

// TestNumbersAreAlikeInTheBrowser writes numbers of every kind in the browser
// and here.
func TestNumbersAreAlikeInTheBrowser(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	values := []float64{0, math.Copysign(0, -1), 0.5, 12344.5, 1013.25, 999.996, 99999.5, 1 << 53, 1<<53 - 1, 1e-6, 9.9999995e-7, 5e-324, math.MaxFloat64}
	for range 3000 {
		if v := math.Float64frombits(random.Uint64()); !math.IsNaN(v) && !math.IsInf(v, 0) {
			values = append(values, v)
		}
		values = append(values, math.Round(random.NormFloat64()*1e6)/math.Pow10(random.IntN(9)), float64(random.Int64N(1<<(1+random.IntN(53)))))
	}
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	browse(t, func(ctx context.Context) {
		do(ctx, t, chromedp.Navigate(serveState(t, fixture.Empty)+"/"))
		for i, got := range ask[[]string](ctx, t, string(text)+".map((v) => headwaterNumber(v))") {
			if want := figure.Number(values[i]); got != want {
				t.Errorf("%v is %q in the browser, %q here", values[i], got, want)
			}
		}
	})
}
