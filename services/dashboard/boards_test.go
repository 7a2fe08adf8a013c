package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"headwater/services/internal/audit"
	"headwater/streams/streamtest"
	"headwater/web/boards"
	"headwater/web/view"
)

// TestBoardsAreShared changes one board at two dashboards at once: no change is lost, both show
// all of them, and the audit has them.
func TestBoardsAreShared(t *testing.T) {
	r := newRig(t, nil)
	one := r.service
	r.begin(t) // beside the first, on the same streams
	two := r.service
	b, err := one.boards.CreateBoard(t.Context(), boards.Board{Title: "Shared", Range: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the other dashboard knows the board", func() bool { _, ok := two.boards.Board(b.ID); return ok })
	const each = 5
	var done sync.WaitGroup
	for i, s := range []*Service{one, two} {
		done.Go(func() {
			for n := range each {
				for {
					_, err := s.boards.ChangeBoard(t.Context(), b.ID, "tile added", func(b boards.Board) (boards.Board, error) {
						b.Tiles = append(b.Tiles, boards.Tile{ID: fmt.Sprintf("t%d-%d", i, n), Kind: boards.KindAlerts, Width: 1, Height: 1})
						return b, nil
					})
					if err == nil {
						break
					}
					if !errors.Is(err, view.ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	done.Wait()
	for _, s := range []*Service{one, two} {
		streamtest.Eventually(t, "all tiles are shown", func() bool { b, _ := s.boards.Board(b.ID); return len(b.Tiles) == 2*each })
		if len(s.boards.Boards()) != 1 {
			t.Errorf("there are %d boards", len(s.boards.Boards()))
		}
	}

	// What does not fit is refused, and changes nothing.
	if _, err := one.boards.ChangeBoard(t.Context(), b.ID, "", func(b boards.Board) (boards.Board, error) { b.Title = ""; return b, nil }); !errors.Is(err, boards.ErrDraft) {
		t.Errorf("a board without a title: %v", err)
	}
	if _, err := one.boards.ChangeBoard(t.Context(), "nobody", "", func(b boards.Board) (boards.Board, error) { return b, nil }); !errors.Is(err, view.ErrNotFound) {
		t.Errorf("a board that is not there: %v", err)
	}
	w := httptest.NewRecorder()
	one.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/boards/"+b.ID, nil))
	if body := w.Body.String(); w.Code != http.StatusOK || strings.Count(body, "<article") != 2*each {
		t.Errorf("the page: %d, %.300s", w.Code, body)
	}

	if err := two.boards.DeleteBoard(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "nobody shows the board", func() bool { return len(one.boards.Boards())+len(two.boards.Boards()) == 0 })
	if err := one.boards.DeleteBoard(t.Context(), b.ID); !errors.Is(err, view.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	found, err := audit.Read(t.Context(), r.js, audit.Query{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	count := map[audit.Action]int{}
	for _, e := range found.Entries {
		if e.Result == audit.Done {
			count[e.Action]++
		}
	}
	if count[audit.BoardSave] != 1+2*each || count[audit.BoardDelete] != 1 {
		t.Errorf("the audit has %v", count)
	}
}
