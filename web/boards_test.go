package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"headwater/web"
	"headwater/web/boards"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// placed are the tiles of a board in their order, with their sizes.
const placed = `[...document.querySelectorAll('#board > .board-tile')].map((t) => t.id + ' ' + t.dataset.width + 'x' + t.dataset.height)`

// middle is the middle of what a selector finds, scrolled into view.
const middle = `((selector) => { const e = document.querySelector(selector); e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })`

// TestArrangeABoard makes a board of a template and arranges it with a mouse, keys and a
// finger. What was done is there after the page has been loaded again.
func TestArrangeABoard(t *testing.T) {
	world := fixture.New(fixture.Warehouse, time.Time{})
	base := serveOn(t, webtest.ServerOf(t, world.Sources()))
	browse(t, func(ctx context.Context) {
		check := watchConsole(ctx, t)
		defer check()
		do(ctx, t, chromedp.EmulateViewport(1440, 1000), chromedp.Navigate(base+"/boards"), chromedp.WaitReady("main"),
			chromedp.Click(`input[value="cold-room"]`), chromedp.SendKeys(`.board-form [name=title]`, "Freezer"), chromedp.Click(`.board-form button[type=submit]`), chromedp.WaitReady("#board"))
		until(ctx, t, `document.querySelectorAll('#board .chart canvas').length >= 2 && [...document.querySelectorAll('#board .chart')].every((f) => f.dataset.shown)`)
		path := ask[string](ctx, t, `location.pathname`)
		id := strings.TrimPrefix(path, "/boards/")
		stored := func() string {
			b, _ := world.Board(id)
			var all []string
			for _, tile := range b.Tiles {
				all = append(all, fmt.Sprintf("%s %dx%d", tile.ID, tile.Width, tile.Height))
			}
			return strings.Join(all, " ")
		}
		arrange := func() { do(ctx, t, chromedp.Navigate(base+path+"?edit=1"), chromedp.WaitVisible(".grip")) }
		// saved waits until the page shows a place that is stored.
		saved := func(what, want string) {
			t.Helper()
			until(ctx, t, `document.querySelector('#board').dataset.saving === undefined && `+placed+`.join(' ').includes(`+fmt.Sprintf("%q", want)+`)`)
			if got, shown := stored(), strings.Join(ask[[]string](ctx, t, placed), " "); got != shown {
				t.Errorf("%s: stored is %s, the page shows %s", what, got, shown)
			}
		}
		arrange()
		first := strings.Join(ask[[]string](ctx, t, placed), " ")
		if !strings.HasPrefix(first, "t1 3x2 t2 3x2 t3 3x2 t4 3x2 t5 6x4") {
			t.Fatalf("the template has %s", first)
		}

		// The mouse: a tile by its handle, its size by its corner.
		from, to := ask[[]float64](ctx, t, middle+`('#t1 .grip')`), ask[[]float64](ctx, t, middle+`('#t3')`)
		drag(ctx, t, from, []float64{to[0] + 60, to[1]})
		saved("a tile was dragged", "t2 3x2 t3 3x2 t1 3x2 t4 3x2")
		from = ask[[]float64](ctx, t, middle+`('#t5 .corner')`)
		column := ask[float64](ctx, t, `document.querySelector('#board').clientWidth / 12`)
		drag(ctx, t, from, []float64{from[0] + 2*column, from[1]})
		saved("a corner was dragged", "t5 8x4")

		// Keys.
		ask[bool](ctx, t, `(document.querySelector('#t1 .grip').focus(), true)`)
		do(ctx, t, chromedp.KeyEvent(kb.ArrowLeft))
		saved("an arrow key moved a tile", "t2 3x2 t1 3x2 t3 3x2")
		do(ctx, t, chromedp.KeyEvent(kb.ArrowDown, chromedp.KeyModifiers(chromedp.ModifierShift)))
		saved("an arrow key sized a tile", "t1 3x3")
		until(ctx, t, `document.querySelector('#board-said').textContent.includes('3 rows high') && document.activeElement.matches('#t1 .grip')`)

		// A finger, on a phone, after the page has been loaded again.
		do(ctx, t, chromedp.EmulateViewport(390, 900, chromedp.EmulateTouch))
		arrange()
		saved("the page was loaded again", "t2 3x2 t1 3x3 t3 3x2")
		from = ask[[]float64](ctx, t, middle+`('#t2 .grip')`)
		to = ask[[]float64](ctx, t, `(() => { const r = document.querySelector('#t1').getBoundingClientRect(); return [r.left + 40, r.top + 0.8 * r.height]; })()`)
		for _, step := range []struct {
			kind input.DispatchTouchEventType
			at   [][]float64
		}{{input.DispatchTouchEventTypeTouchStart, [][]float64{from}}, {input.DispatchTouchEventTypeTouchMove, [][]float64{{from[0], from[1] + 20}}}, {input.DispatchTouchEventTypeTouchMove, [][]float64{to}}, {input.DispatchTouchEventTypeTouchEnd, nil}} {
			touch := input.DispatchTouchEventParams{Type: step.kind, TouchPoints: []*input.TouchPoint{}}
			for _, p := range step.at {
				touch.TouchPoints = append(touch.TouchPoints, &input.TouchPoint{X: p[0], Y: p[1]})
			}
			do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
				_, err := cdp.Call(ctx, tab, input.DispatchTouchEvent, touch)
				return err
			}))
		}
		saved("a finger moved a tile", "t1 3x3 t2 3x2 t3 3x2")

		// A tile more, and one less, with the forms.
		do(ctx, t, chromedp.EmulateViewport(1440, 1000))
		arrange()
		until(ctx, t, `window.htmx`)
		do(ctx, t, chromedp.SendKeys(`.board-add [name=q]`, "door-04/"), chromedp.KeyEvent(kb.Backspace), chromedp.SendKeys(`.board-add [name=q]`, ""))
		until(ctx, t, `[...document.querySelectorAll('#found input')].every((e) => e.value.startsWith('warehouse.door-04.')) && document.querySelectorAll('#found input').length === 5`)
		do(ctx, t, chromedp.Click(`#found input[value$=".battery"]`), chromedp.Click(`#found button[value=gauge]`), chromedp.WaitVisible(`#board .dial`))
		ask[bool](ctx, t, `(document.querySelector('#t3 details').open = true)`)
		do(ctx, t, chromedp.Click(`#t3 button[value=remove]`), chromedp.WaitNotPresent(`#t3`))
		saved("a gauge was added, a value removed", "3x2")
		if got := stored(); strings.Contains(got, "t3 ") {
			t.Errorf("stored is %s", got)
		}
	})
}

// drag drags with the mouse.
func drag(ctx context.Context, t *testing.T, from, to []float64) {
	t.Helper()
	do(ctx, t, chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, from[0], from[1], chromedp.ButtonLeft, chromedp.ClickCount(1)),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, (from[0]+to[0])/2, (from[1]+to[1])/2, chromedp.ButtonLeft),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, to[0], to[1], chromedp.ButtonLeft),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, to[0], to[1], chromedp.ButtonLeft, chromedp.ClickCount(1)))
}

// TestBoardsOverTheAPI creates, reads, replaces and deletes a board, from a revision that is
// old too.
func TestBoardsOverTheAPI(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	send := func(method, path, body string, want int) boards.Board {
		t.Helper()
		var b boards.Board
		status, answer := sendJSON(s, method, path, body)
		if status != want {
			t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, answer)
		}
		if want < 300 && answer != "" {
			if err := json.Unmarshal([]byte(answer), &b); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	made := send("POST", "/api/v1/boards", `{"title": "Mine", "range": "7d", "tiles": [{"kind": "text", "text": "hello", "width": 3, "height": 2, "id": ""}]}`, 201)
	if made.ID == "" || made.Revision == 0 || len(made.Tiles) != 1 || made.Tiles[0].ID == "" {
		t.Fatalf("made %+v", made)
	}
	path := "/api/v1/boards/" + made.ID
	body := func(title string, revision uint64) string {
		return fmt.Sprintf(`{"title": %q, "range": "1h", "revision": %d, "tiles": []}`, title, revision)
	}
	now := send("PUT", path, body("Ours", made.Revision), 200)
	send("PUT", path, body("Theirs", made.Revision), 409)
	if got := send("GET", path, "", 200); got.Title != "Ours" || got.Revision != now.Revision {
		t.Errorf("it is %+v", got)
	}
	send("PUT", path, body("", now.Revision), 400)
	send("PUT", path, `{"title": "x", "range": "1h", "owner": "anna", "tiles": []}`, 400)
	send("POST", "/api/v1/boards", `{"nonsense": 1}`, 400)
	send("DELETE", path, "", 204)
	send("DELETE", path, "", 404)
	send("GET", path, "", 404)
	send("PUT", path, body("Gone", now.Revision), 404)
}

func sendJSON(s *web.Server, method, path, body string, header ...string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestBoardsOfOnePerson looks for a board that belongs to an operator as others.
func TestBoardsOfOnePerson(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	const mine, theirs = "headwater=operator", "headwater=administrator"
	res, _ := webtest.Post(t, s, "/boards", url.Values{"title": {"My own"}, "mine": {"1"}}.Encode(), "Cookie", mine)
	path, _, _ := strings.Cut(res.Header.Get("Location"), "?")
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(path, "/boards/") {
		t.Fatalf("%d, to %q", res.StatusCode, path)
	}
	for _, c := range []struct {
		who, method, path, form string
		status                  int
		holds                   string
	}{
		{mine, "GET", "/boards", "", 200, "My own"},
		{mine, "GET", path, "", 200, "This board is empty"},
		{theirs, "GET", path, "", 404, "no such board"},
		{theirs, "GET", "/live" + path, "", 404, "unknown board"},
		{theirs, "GET", "/api/v1" + path, "", 404, "no such board"},
		{theirs, "POST", path, "do=delete", 404, "no such board"},
		{theirs, "POST", path + "/tiles", "kind=alerts", 404, "no such board"},
		{"headwater=viewer", "POST", "/boards", "title=x", 403, "needs the role operator"},
		{mine, "POST", path + "/tiles", "kind=alerts", 303, ""},
		{mine, "POST", path + "/tiles", "kind=chart", 400, "choose at least one series"},
		{mine, "POST", path, "title=&range=1h", 400, "needs a title"},
		{mine, "POST", "/boards/" + fixture.BoardID, "do=delete", 403, "needs the role administrator"},
		{mine, "POST", path, "do=delete", 303, ""},
		{mine, "GET", path, "", 404, "no such board"},
	} {
		var body string
		if c.method == "GET" {
			res, body = webtest.Get(t, s, "GET", c.path, "Cookie", c.who)
		} else {
			res, body = webtest.Post(t, s, c.path, c.form, "Cookie", c.who)
		}
		if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
			t.Errorf("%s %s as %s: %d, want %d with %q: %.300s", c.method, c.path, c.who, res.StatusCode, c.status, c.holds, body)
		}
	}
	if _, body := webtest.Get(t, s, "GET", "/boards", "Cookie", theirs); strings.Contains(body, "My own") {
		t.Error("others see the board in the list")
	}
}

// TestABoardOnAWall has no navigation, and leads to the next board.
func TestABoardOnAWall(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	_, body := webtest.Get(t, s, "GET", "/boards/"+fixture.BoardID+"?kiosk=1&rotate=30")
	if strings.Contains(body, `<nav`) || !strings.Contains(body, `data-rotate="30"`) || !strings.Contains(body, `data-next="/boards/empty?kiosk=1&amp;rotate=30"`) {
		t.Errorf("the wall: %.1500s", body)
	}
	if _, body := webtest.Get(t, s, "GET", "/boards/empty?kiosk=1&rotate=30"); !strings.Contains(body, `data-next="/boards/wall?kiosk=1&amp;rotate=30"`) {
		t.Error("after the last board does not come the first")
	}
	for _, query := range []string{"rotate=4", "rotate=3601", "rotate=x", "range=2h", "q=" + strings.Repeat("x", 81)} {
		if res, _ := webtest.Get(t, s, "GET", "/boards/wall?"+query); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%.20s: %d", query, res.StatusCode)
		}
	}
	if !slices.Contains(everyPage[fixture.Warehouse], "/boards/wall?kiosk=1") {
		t.Error("nobody looks at the wall")
	}
}
