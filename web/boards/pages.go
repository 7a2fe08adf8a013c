package boards

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// Path is the address of the list.
const Path = "/boards"

const (
	// maxForm bounds a form, and maxBody a board as JSON, in bytes.
	maxForm = 16 << 10
	maxBody = 128 << 10
	// inTemplates is how many devices the templates are made of, inSearch how many a search
	// looks at, and maxFound how many series it shows.
	inTemplates = 500
	inSearch    = 30
	maxFound    = 24
	// leastRotate and mostRotate bound the time that a wall shows a board, in seconds.
	leastRotate = 5
	mostRotate  = 3600
)

// Pages are the boards, and the same in the API.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return append(p.planRoutes(), []app.Route{
		{Method: "GET", Path: Path, Role: app.Viewer, Handle: p.list},
		{Method: "POST", Path: Path, Role: app.Operator, Handle: p.create},
		{Method: "GET", Path: Path + "/{board}", Role: app.Viewer, Handle: p.page},
		{Method: "POST", Path: Path + "/{board}", Role: app.Operator, Handle: p.change},
		{Method: "POST", Path: Path + "/{board}/tiles", Role: app.Operator, Handle: p.addTiles},
		{Method: "POST", Path: Path + "/{board}/tiles/{tile}", Role: app.Operator, Handle: p.changeTile},
		{Method: "GET", Path: "/live/boards", Role: app.Viewer, Handle: p.shell.Live},
		{Method: "GET", Path: "/live/boards/{board}", Role: app.Viewer, Handle: p.live},
		{Method: "GET", Path: "/api/v1/boards", Role: app.Viewer, Handle: p.apiList},
		{Method: "POST", Path: "/api/v1/boards", Role: app.Operator, Handle: p.apiCreate},
		{Method: "GET", Path: "/api/v1/boards/{board}", Role: app.Viewer, Handle: p.apiBoard},
		{Method: "PUT", Path: "/api/v1/boards/{board}", Role: app.Operator, Handle: p.apiSave},
		{Method: "DELETE", Path: "/api/v1/boards/{board}", Role: app.Administrator, Handle: p.apiDelete},
	}...)
}

// seen returns the boards that the sender of a request sees.
func (p *Pages) seen(r *http.Request) []Board {
	who := app.PrincipalOf(r.Context())
	return slices.DeleteFunc(slices.Clone(p.source.Boards()), func(b Board) bool { return !b.SeenBy(who) })
}

// board returns the board of a path, if the sender of the request sees it.
func (p *Pages) board(r *http.Request) (Board, bool) {
	b, ok := p.source.Board(r.PathValue("board"))
	return b, ok && b.SeenBy(app.PrincipalOf(r.Context()))
}

func (p *Pages) list(w http.ResponseWriter, r *http.Request) {
	p.showList(w, r, http.StatusOK, "")
}

func (p *Pages) showList(w http.ResponseWriter, r *http.Request, status int, problem string) {
	l := List{Boards: p.seen(r), Named: app.PrincipalOf(r.Context()).Person, Problem: problem}
	all := p.series("", inTemplates, math.MaxInt)
	for _, t := range templates {
		l.Choices = append(l.Choices, Choice{t, t.ready(all)})
	}
	p.shell.Page(w, r, status, app.Page{Title: "Boards", Section: "boards", Live: "/live/boards"}, ListPage(l))
}

// series returns at most that many series of devices that match a text. If it is part of
// names of metrics only, those are returned.
func (p *Pages) series(text string, devices, most int) []Found {
	var all, matching []Found
	for _, d := range p.source.Matching(text, devices) {
		for _, m := range d.Metrics {
			f := Found{Site: d.Site, Device: d.Device, Metric: m}
			all = append(all, f)
			if strings.Contains(strings.ToLower(m.Name), strings.ToLower(text)) {
				matching = append(matching, f)
			}
		}
	}
	if len(matching) > 0 {
		all = matching
	}
	return all[:min(most, len(all))]
}

// create makes a board, of a template if the form names one.
func (p *Pages) create(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.showList(w, r, http.StatusBadRequest, err.Error()+".")
		return
	}
	b := Board{Range: "24h"}
	i := slices.IndexFunc(templates, func(t Template) bool { return t.Name == r.PostForm.Get("template") })
	if i >= 0 {
		b = templates[i].board(p.series("", inTemplates, math.MaxInt))
	}
	if title := strings.TrimSpace(r.PostForm.Get("title")); title != "" {
		b.Title = title
	}
	if r.PostForm.Get("mine") != "" && app.PrincipalOf(r.Context()).Person {
		b.Owner = app.PrincipalOf(r.Context()).Name
	}
	if b.Title == "" {
		b.Title = "Board"
	}
	b, err := p.source.CreateBoard(r.Context(), b)
	if err != nil {
		status, text := refusal(err)
		p.showList(w, r, status, text)
		return
	}
	to := boardURL(b.ID)
	if len(b.Tiles) == 0 {
		to += "?edit=1"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// refusal returns the status and the sentence for an error of the source.
func refusal(err error) (status int, text string) {
	switch {
	case errors.Is(err, ErrDraft):
		return http.StatusBadRequest, ui.UpperFirst(strings.ReplaceAll(err.Error(), "\n", "; ")) + "."
	case errors.Is(err, view.ErrNotFound):
		return http.StatusNotFound, "There is no such board or tile; it may have been deleted."
	case errors.Is(err, view.ErrConflict):
		return http.StatusConflict, "Somebody else has changed the board meanwhile. Look at it again."
	}
	return http.StatusServiceUnavailable, "Nothing was changed: " + err.Error() + "."
}

// facts returns what the page of a board shows.
func (p *Pages) facts(b Board, f Facts) Facts {
	f.Board, f.Tiles = b, nil
	alerts := false
	for _, t := range b.Tiles {
		f.Tiles = append(f.Tiles, p.tile(t))
		alerts = alerts || t.Kind == KindAlerts
	}
	f.Alerts = nil
	if alerts {
		f.Alerts = p.source.Alerts(0).Active
	}
	return f
}

// tile returns what a tile shows.
func (p *Pages) tile(t Tile) Shown {
	s := show(t, p.source.Device)
	if t.Kind == KindPlan {
		plan, ok := p.source.Plan(t.Plan)
		s.OnPlan = planFacts(plan, p.source.Device)
		s.OnPlan.Gone = !ok
	}
	return s
}

// asked reads how a board is to be shown.
func asked(r *http.Request, b Board) (f Facts, err error) {
	f.Edit, f.Kiosk = r.FormValue("edit") != "", r.FormValue("kiosk") != ""
	name := r.FormValue("range")
	if name == "" {
		name = b.Range
	}
	rng, ok := view.RangeIn(view.LongRanges, name)
	if !ok {
		return f, errors.New("range must be 15m, 1h, 6h, 24h, 7d, 30d or 1y")
	}
	f.Range = rng
	if text := r.FormValue("rotate"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < leastRotate || n > mostRotate {
			return f, fmt.Errorf("rotate must be %d to %d seconds", leastRotate, mostRotate)
		}
		f.Rotate = time.Duration(n) * time.Second
	}
	f.Text, err = app.Text(r)
	return f, err
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	b, ok := p.board(r)
	if !ok {
		p.gone(w, r)
		return
	}
	f, err := asked(r, b)
	if err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	f.Edit = f.Edit && b.MayChange(app.PrincipalOf(r.Context()))
	if all := p.seen(r); f.Rotate > 0 {
		i := slices.IndexFunc(all, func(o Board) bool { return o.ID == b.ID })
		f.Next = all[(i+1)%len(all)].ID
	}
	p.show(w, r, http.StatusOK, b, f)
}

// show renders the page of a board.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, b Board, f Facts) {
	f = p.facts(b, f)
	page := app.Page{Title: view.Plain(b.Title), Section: "boards", Live: f.liveURL(), Kiosk: f.Kiosk}
	if f.Edit {
		page.Live = "/live/boards"
		f.Found, f.More = p.found(f.Text)
		f.Plans = p.source.Plans()
	}
	p.shell.Page(w, r, status, page, Page(f))
}

func (p *Pages) gone(w http.ResponseWriter, r *http.Request) {
	p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Not found", Section: "boards"},
		ui.NotFound("There is no such board; it may have been deleted.", []ui.Link{{Href: Path, Text: "All boards"}}))
}

func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	b, ok := p.board(r)
	if !ok {
		http.Error(w, "unknown board", http.StatusNotFound)
		return
	}
	want, err := asked(r, b)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	want.Edit, want.Text = false, ""
	// What the reader sees of the board is part of the key: an owner is a name.
	key := fmt.Sprintln("board", b.ID, b.Owner, want.Range.Name, want.Kiosk, want.Rotate)
	p.shell.Stream(w, r, key, func() live.Content {
		return live.Parts(func() []live.Part {
			now, ok := p.source.Board(b.ID)
			f := want
			f.Gone = !ok || now.Owner != b.Owner
			if f.Gone {
				now = Board{ID: b.ID, Title: b.Title, Range: b.Range}
			}
			f = p.facts(now, f)
			grid := live.Part{ID: "board", Body: Grid(f), Shape: f.shape()}
			for _, t := range f.Tiles {
				if t.live() {
					grid.Parts = append(grid.Parts, live.Part{ID: "in-" + t.ID, Body: Content(f, t)})
				}
			}
			return p.shell.Parts(grid)
		})
	})
}

// edited runs a change of the board of a path and leads back to the page on which it is
// arranged. A script is answered without a page.
func (p *Pages) edited(w http.ResponseWriter, r *http.Request, what string, change func(Board) (Board, error)) {
	b, ok := p.board(r)
	err := view.ErrNotFound
	if ok {
		b, err = p.source.ChangeBoard(r.Context(), b.ID, what, change)
	}
	script := strings.HasPrefix(r.Header.Get("Accept"), "application/json")
	switch {
	case err == nil && script:
		w.WriteHeader(http.StatusNoContent)
	case err == nil:
		http.Redirect(w, r, boardURL(b.ID)+"?edit=1#"+url.QueryEscape(r.PathValue("tile")), http.StatusSeeOther)
	default:
		status, text := refusal(err)
		if script || !ok {
			p.shell.Fail(w, status, text)
			return
		}
		b, ok = p.board(r)
		if !ok {
			p.gone(w, r)
			return
		}
		rng, _ := view.RangeIn(view.LongRanges, b.Range)
		p.show(w, r, status, b, Facts{Edit: true, Range: rng, Problem: text})
	}
}

// change saves or deletes a board.
func (p *Pages) change(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	v := r.PostForm
	if v.Get("do") != "delete" {
		p.edited(w, r, "title or range", func(b Board) (Board, error) {
			b.Title, b.Range = strings.TrimSpace(v.Get("title")), v.Get("range")
			return b, nil
		})
		return
	}
	b, ok := p.board(r)
	err := view.ErrNotFound
	if ok && !b.MayDelete(app.PrincipalOf(r.Context())) {
		p.shell.Forbid(w, r, app.Administrator)
		return
	}
	if ok {
		err = p.source.DeleteBoard(r.Context(), b.ID)
	}
	if err != nil {
		status, text := refusal(err)
		p.showList(w, r, status, text)
		return
	}
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

// newID returns an id that no other tile has.
func newID() string { return "t" + strings.ToLower(rand.Text()[:10]) }

// addTiles adds tiles to a board: one for all series that were chosen, or one for each.
func (p *Pages) addTiles(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	v := r.PostForm
	kind, series := Kind(v.Get("kind")), v["series"]
	p.edited(w, r, "tile added", func(b Board) (Board, error) {
		f, known := forms[kind]
		switch {
		case known && f.most == 0:
			t := newTile(kind, newID())
			t.Title, t.Text = strings.TrimSpace(v.Get("title")), v.Get("text")
			if kind == KindPlan {
				t.Plan = v.Get("plan")
			}
			b.Tiles = append(b.Tiles, t)
		case len(series) == 0:
			return b, fmt.Errorf("%w: choose at least one series", ErrDraft)
		case f.most == 1:
			for _, name := range series {
				b.Tiles = append(b.Tiles, newTile(kind, newID(), name))
			}
		default:
			b.Tiles = append(b.Tiles, newTile(kind, newID(), series...))
		}
		return b, nil
	})
}

// steps are what the buttons of a tile do.
var steps = map[string]func(b Board, tile string) (Board, error){
	"earlier":  func(b Board, tile string) (Board, error) { return b.step(tile, -1) },
	"later":    func(b Board, tile string) (Board, error) { return b.step(tile, 1) },
	"wider":    func(b Board, tile string) (Board, error) { return b.grow(tile, 1, 0) },
	"narrower": func(b Board, tile string) (Board, error) { return b.grow(tile, -1, 0) },
	"higher":   func(b Board, tile string) (Board, error) { return b.grow(tile, 0, 1) },
	"lower":    func(b Board, tile string) (Board, error) { return b.grow(tile, 0, -1) },
	"remove":   Board.without,
}

// changeTile changes or removes a tile, moves it or changes its size.
func (p *Pages) changeTile(w http.ResponseWriter, r *http.Request) {
	if err := app.Form(w, r, maxForm); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	v, tile := r.PostForm, r.PathValue("tile")
	do := v.Get("do")
	p.edited(w, r, "tile "+app.Clip(do), func(b Board) (Board, error) {
		i := b.at(tile)
		step, known := steps[do]
		switch {
		case i < 0:
			return b, view.ErrNotFound
		case known:
			return step(b, tile)
		case do == "move":
			return b.move(tile, v.Get("before"))
		case do == "size":
			width, err := strconv.Atoi(v.Get("width"))
			height, err2 := strconv.Atoi(v.Get("height"))
			b.Tiles[i].Width, b.Tiles[i].Height = width, height
			if err := errors.Join(err, err2); err != nil {
				return b, fmt.Errorf("%w: width and height must be whole numbers", ErrDraft)
			}
			return b, nil
		case do == "save":
			return b, b.Tiles[i].read(v)
		}
		return b, fmt.Errorf("%w: do must be move, size, save, remove, earlier, later, wider, narrower, higher or lower", ErrDraft)
	})
}

// read takes what the form of a tile says.
func (t *Tile) read(v url.Values) error {
	t.Title = strings.TrimSpace(v.Get("title"))
	if t.Kind == KindText {
		t.Text = v.Get("text")
	}
	if t.Kind != KindGauge {
		return nil
	}
	for _, end := range []struct {
		name string
		into **float64
	}{{"low", &t.Low}, {"high", &t.High}} {
		text := strings.TrimSpace(v.Get(end.name))
		if *end.into = nil; text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return fmt.Errorf("%w: %s must be a number", ErrDraft, end.name)
		}
		*end.into = &n
	}
	return nil
}
