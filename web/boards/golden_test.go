package boards_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/boards"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		out := map[string]templ.Component{"list": boards.ListPage(boards.List{Boards: s.Boards(), Problem: "Nothing was changed."})}
		out["plans"] = boards.PlansPage(s.Plans(), "")
		if plan, ok := s.Plan(fixture.PlanID); ok {
			out["plan"] = boards.PlanPage(boards.PlanFactsOf(plan, s))
		}
		if b, ok := s.Board(fixture.BoardID); ok {
			rng, _ := view.RangeIn(view.LongRanges, b.Range)
			out["board"] = boards.Page(boards.FactsOf(b, s, boards.Facts{Range: rng}))
			if _, friendly := s.Device("warehouse", "door-01"); !friendly {
				return out // what people write comes back into their form as it was
			}
			out["arrange"] = boards.Page(boards.FactsOf(b, s, boards.Facts{Range: rng, Edit: true, Problem: "It does not fit."}))
		}
		return out
	})
}
