package boards

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"headwater/web/view"
)

func boardOf(ids ...string) Board {
	b := Board{Title: "b", Range: "1h"}
	for _, id := range ids {
		b.Tiles = append(b.Tiles, newTile(KindText, id))
	}
	return b
}

func order(b Board) string {
	var ids []string
	for _, t := range b.Tiles {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, "")
}

// TestTilesMove moves tiles, also beyond the ends and ones that are not there.
func TestTilesMove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		do   func(Board) (Board, error)
		want string
		err  error
	}{
		{func(b Board) (Board, error) { return b.move("c", "a") }, "cabd", nil},
		{func(b Board) (Board, error) { return b.move("a", "") }, "bcda", nil},
		{func(b Board) (Board, error) { return b.move("a", "c") }, "bacd", nil},
		{func(b Board) (Board, error) { return b.move("b", "b") }, "abcd", nil},
		{func(b Board) (Board, error) { return b.move("x", "a") }, "abcd", view.ErrNotFound},
		{func(b Board) (Board, error) { return b.move("a", "x") }, "abcd", view.ErrNotFound},
		{func(b Board) (Board, error) { return b.step("a", -1) }, "abcd", nil},
		{func(b Board) (Board, error) { return b.step("d", 1) }, "abcd", nil},
		{func(b Board) (Board, error) { return b.step("b", 1) }, "acbd", nil},
		{func(b Board) (Board, error) { return b.step("x", 1) }, "abcd", view.ErrNotFound},
		{func(b Board) (Board, error) { return b.without("b") }, "acd", nil},
		{func(b Board) (Board, error) { return b.without("x") }, "abcd", view.ErrNotFound},
		{func(b Board) (Board, error) { return b.grow("x", 1, 1) }, "abcd", view.ErrNotFound},
	} {
		before := boardOf("a", "b", "c", "d")
		got, err := c.do(before.Clone())
		if order(got) != c.want || !errors.Is(err, c.err) || order(before) != "abcd" {
			t.Errorf("want %s, %v: %s, %v", c.want, c.err, order(got), err)
		}
	}
	b := boardOf("a")
	for range 20 {
		b, _ = b.grow("a", 1, 1)
	}
	if got := b.Tiles[0]; got.Width != Columns || got.Height != maxRows || b.Validate() != nil {
		t.Errorf("a tile grew to %d, %d: %v", got.Width, got.Height, b.Validate())
	}
	for range 20 {
		b, _ = b.grow("a", -1, -1)
	}
	if got := b.Tiles[0]; got.Width != 1 || got.Height != 1 {
		t.Errorf("a tile shrank to %d, %d", got.Width, got.Height)
	}
}

// TestBoardsAreBounded validates boards that do not fit.
func TestBoardsAreBounded(t *testing.T) {
	t.Parallel()
	if err := boardOf("a", "b").Validate(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range maxTiles + 1 {
		ids = append(ids, "t"+strconv.Itoa(i))
	}
	for name, spoil := range map[string]func(*Board){
		"no title":      func(b *Board) { b.Title = " " },
		"long title":    func(b *Board) { b.Title = strings.Repeat("x", maxTitle+1) },
		"no range":      func(b *Board) { b.Range = "" },
		"odd range":     func(b *Board) { b.Range = "2h" },
		"many tiles":    func(b *Board) { *b = boardOf(ids...) },
		"two of one id": func(b *Board) { b.Tiles[1].ID = "a" },
		"odd id":        func(b *Board) { b.Tiles[1].ID = "a/b" },
		"odd kind":      func(b *Board) { b.Tiles[0].Kind = "film" },
		"series":        func(b *Board) { b.Tiles[0].Series = []string{"a.b.c"} },
		"no series":     func(b *Board) { b.Tiles[0].Kind = KindValue },
		"odd series":    func(b *Board) { b.Tiles[0] = newTile(KindValue, "a", "a.b c.d") },
		"many series":   func(b *Board) { b.Tiles[0] = newTile(KindChart, "a", slices.Repeat([]string{"a.b.c"}, 7)...) },
		"wide":          func(b *Board) { b.Tiles[0].Width = Columns + 1 },
		"flat":          func(b *Board) { b.Tiles[0].Height = 0 },
		"long text":     func(b *Board) { b.Tiles[0].Text = strings.Repeat("x", maxText+1) },
		"gauge":         func(b *Board) { b.Tiles[0].Low, b.Tiles[0].High = new(2.0), new(1.0) },
	} {
		b := boardOf("a", "b")
		spoil(&b)
		if err := b.Validate(); !errors.Is(err, ErrDraft) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTemplatesUseWhatIsThere makes boards of many series, of few and of none.
func TestTemplatesUseWhatIsThere(t *testing.T) {
	t.Parallel()
	found := func(name, of string, kind view.Kind) Found {
		return Found{Site: "s", Device: "d", Metric: view.Metric{Name: name, Unit: of, Kind: kind}}
	}
	some := []Found{found("temperature", "°C", view.KindNumber), found("open", "", view.KindFlag), found("load", "kW", view.KindNumber), found("note", "", view.KindText)}
	for _, tpl := range templates {
		for _, all := range [][]Found{nil, some, slices.Repeat(some, 50)} {
			b := tpl.board(all)
			if err := b.Validate(); err != nil && len(all) > 0 {
				t.Errorf("%s of %d series: %v", tpl.Name, len(all), err)
			}
			if tpl.ready(all) != (len(all) > 0) {
				t.Errorf("%s of %d series is ready: %t", tpl.Name, len(all), tpl.ready(all))
			}
		}
		for _, tile := range tpl.board(some).Tiles {
			if slices.Contains(tile.Series, "s.d.note") {
				t.Errorf("%s shows a text that is no door", tpl.Name)
			}
		}
	}
}
