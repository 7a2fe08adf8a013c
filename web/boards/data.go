package boards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// errOwner is returned for a board that would belong to somebody else.
var errOwner = errors.New("owner must be empty or your own name")

// ErrDraft is returned for a change that does not fit; the details say why.
var ErrDraft = view.ErrDraft

// Source is the boards, and what is shown on them. What only reads answers from memory, at
// once. Errors wrap view.ErrUnavailable, view.ErrNotFound, view.ErrConflict and ErrDraft.
type Source interface {
	PlanSource
	// Boards returns all boards in the order of their titles.
	Boards() []Board
	// Board returns one board; false when there is none of that id.
	Board(id string) (Board, bool)
	// CreateBoard stores a new board, gives it its id, and returns it.
	CreateBoard(ctx context.Context, b Board) (Board, error)
	// ChangeBoard replaces a board with what change makes of it, by compare-and-set: if somebody
	// else was first, change is called again with the newer one. What says in words what is
	// changed, for the audit. The board that change gets is its own.
	ChangeBoard(ctx context.Context, id, what string, change func(Board) (Board, error)) (Board, error)
	// DeleteBoard deletes a board.
	DeleteBoard(ctx context.Context, id string) error

	// Device returns one device; false when it is not known.
	Device(site, device string) (view.Device, bool)
	// Matching returns at most that many devices whose names, metrics or descriptions have a
	// text as a part, in any case, in the order of their names.
	Matching(text string, most int) []view.Device
	// Alerts returns the active alerts, and at most resolved of the others.
	Alerts(resolved int) view.Alerts
}

// Board is tiles that people have arranged.
type Board struct {
	ID string `json:"id"`
	// Revision changes with each change of the board.
	Revision uint64 `json:"revision,omitempty"`
	Title    string `json:"title"`
	// Owner is the only person who sees the board; empty for a board of all.
	Owner string `json:"owner,omitempty"`
	// Range is how far back the charts go: the name of one of view.LongRanges.
	Range string `json:"range"`
	Tiles []Tile `json:"tiles"`
}

// Tile is one part of a board. The tiles fill the grid in their order, row by row.
type Tile struct {
	ID    string `json:"id"`
	Kind  Kind   `json:"kind"`
	Title string `json:"title,omitempty"`
	// Series are names as of ui.SeriesName.
	Series []string `json:"series,omitempty"`
	// Text is shown by a text. A blank line begins a paragraph.
	Text string `json:"text,omitempty"`
	// Plan is the id of a floor plan.
	Plan string `json:"plan,omitempty"`
	// Low and High are the ends of a gauge.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	// Width is in columns, Height in rows.
	Width  int `json:"width"`
	Height int `json:"height"`
}

// Kind is what a tile shows.
type Kind string

// The kinds of tiles.
const (
	KindValue  Kind = "value"
	KindGauge  Kind = "gauge"
	KindChart  Kind = "chart"
	KindStates Kind = "states"
	KindTable  Kind = "table"
	KindAlerts Kind = "alerts"
	KindText   Kind = "text"
	KindPlan   Kind = "plan"
)

// Bounds of boards.
const (
	// MaxBoards is the greatest number of boards.
	MaxBoards = 200
	// Columns is the width of the grid, and maxRows the greatest height of a tile.
	Columns  = 12
	maxRows  = 8
	maxTiles = 40
	// maxTitle and maxText are in bytes.
	maxTitle = 80
	maxText  = 2000
	maxUnit  = 64
)

// form says of what size a tile of a kind is made, and how many series it has.
type form struct{ width, height, least, most int }

var forms = map[Kind]form{
	KindValue:  {3, 2, 1, 1},
	KindGauge:  {3, 2, 1, 1},
	KindChart:  {6, 4, 1, 6},
	KindStates: {6, 3, 1, 1},
	KindTable:  {6, 4, 1, 20},
	KindAlerts: {6, 4, 0, 0},
	KindText:   {4, 2, 0, 0},
	KindPlan:   {6, 6, 0, 0},
}

// Validate returns why the board cannot be as it is; its errors wrap ErrDraft.
func (b Board) Validate() error {
	var problems []error
	if err := checkText("title", b.Title, maxTitle); err != nil || strings.TrimSpace(b.Title) == "" {
		problems = append(problems, fmt.Errorf("a board needs a title of at most %d bytes", maxTitle))
	}
	if _, ok := view.RangeIn(view.LongRanges, b.Range); !ok || b.Range == "" {
		problems = append(problems, errors.New("range must be 15m, 1h, 6h, 24h, 7d, 30d or 1y"))
	}
	if len(b.Tiles) > maxTiles {
		problems = append(problems, fmt.Errorf("a board may have %d tiles", maxTiles))
	}
	ids := make(map[string]bool)
	for i, t := range b.Tiles[:min(len(b.Tiles), maxTiles)] {
		if err := t.validate(); err != nil {
			problems = append(problems, fmt.Errorf("tile %d: %w", i+1, err))
		}
		if !app.ValidToken(t.ID) || ids[t.ID] {
			problems = append(problems, fmt.Errorf("tile %d: the id must be a token that no other tile has", i+1))
		}
		ids[t.ID] = true
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %w", ErrDraft, errors.Join(problems...))
	}
	return nil
}

func (t Tile) validate() error {
	f, known := forms[t.Kind]
	if !known {
		return errors.New("kind must be value, gauge, chart, states, table, alerts, text or plan")
	}
	problems := []error{checkText("title", t.Title, maxTitle), checkText("text", t.Text, maxText)}
	if len(t.Series) < f.least || len(t.Series) > f.most {
		problems = append(problems, fmt.Errorf("a tile of kind %s has %d to %d series", t.Kind, f.least, f.most))
	}
	for _, name := range t.Series[:min(len(t.Series), f.most)] {
		problems = append(problems, checkSeries(name))
	}
	if (t.Kind == KindPlan) != (t.Plan != "") || t.Plan != "" && !app.ValidToken(t.Plan) {
		problems = append(problems, errors.New("plan must be the id of a plan, for a tile of kind plan"))
	}
	if t.Width < 1 || t.Width > Columns || t.Height < 1 || t.Height > maxRows {
		problems = append(problems, fmt.Errorf("width must be 1 to %d and height 1 to %d", Columns, maxRows))
	}
	if t.Low != nil && t.High != nil && !(*t.Low < *t.High) {
		problems = append(problems, errors.New("low must be less than high"))
	}
	return errors.Join(problems...)
}

// checkSeries returns why a name is none of a series.
func checkSeries(name string) error {
	site, device, metric, of := ui.SeriesOf(name)
	if !app.ValidToken(site) || !app.ValidToken(device) || !app.ValidToken(metric) || len(of) > maxUnit || !utf8.ValidString(of) {
		return errors.New("series must be site.device.metric, or that and a unit after a dot")
	}
	return nil
}

func checkText(name, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) {
		return fmt.Errorf("%s must have at most %d bytes", name, most)
	}
	return nil
}

// Placed returns the board with its id and the revision of its entry.
func (b Board) Placed(id string, revision uint64) Board {
	b.ID, b.Revision = id, revision
	return b
}

// SeenBy reports whether a person sees the board.
func (b Board) SeenBy(p app.Principal) bool { return b.Owner == "" || b.Owner == p.Name }

// at returns the place of a tile; -1 if it is not there.
func (b Board) at(tile string) int {
	return slices.IndexFunc(b.Tiles, func(t Tile) bool { return t.ID == tile })
}

// move puts a tile before another one, or to the end.
func (b Board) move(tile, before string) (Board, error) {
	i := b.at(tile)
	if i < 0 || before != "" && b.at(before) < 0 {
		return b, view.ErrNotFound
	}
	if tile == before {
		return b, nil
	}
	t := b.Tiles[i]
	b.Tiles = slices.Delete(b.Tiles, i, i+1)
	to := len(b.Tiles)
	if before != "" {
		to = b.at(before)
	}
	b.Tiles = slices.Insert(b.Tiles, to, t)
	return b, nil
}

// step puts a tile that many places later, as far as there are places.
func (b Board) step(tile string, by int) (Board, error) {
	i := b.at(tile)
	if i < 0 {
		return b, view.ErrNotFound
	}
	t := b.Tiles[i]
	b.Tiles = slices.Delete(b.Tiles, i, i+1)
	b.Tiles = slices.Insert(b.Tiles, min(max(0, i+by), len(b.Tiles)), t)
	return b, nil
}

// grow makes a tile wider and higher, within the bounds.
func (b Board) grow(tile string, width, height int) (Board, error) {
	i := b.at(tile)
	if i < 0 {
		return b, view.ErrNotFound
	}
	t := &b.Tiles[i]
	t.Width, t.Height = min(max(1, t.Width+width), Columns), min(max(1, t.Height+height), maxRows)
	return b, nil
}

// without returns the board without a tile.
func (b Board) without(tile string) (Board, error) {
	i := b.at(tile)
	if i < 0 {
		return b, view.ErrNotFound
	}
	b.Tiles = slices.Delete(b.Tiles, i, i+1)
	return b, nil
}

// Clone returns a copy of the board that shares no tiles with it.
func (b Board) Clone() Board {
	b.Tiles = slices.Clone(b.Tiles)
	for i := range b.Tiles {
		b.Tiles[i].Series = slices.Clone(b.Tiles[i].Series)
	}
	return b
}

// newTile returns a tile of a kind in its usual size.
func newTile(kind Kind, id string, series ...string) Tile {
	f := forms[kind]
	return Tile{ID: id, Kind: kind, Series: series, Width: f.width, Height: f.height}
}
