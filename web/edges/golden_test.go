package edges_test

import (
	"net/url"
	"testing"

	"github.com/a-h/templ"

	"headwater/web/edges"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		all, err := s.Edges(t.Context())
		if err != nil { // the page says so
			return nil
		}
		out := map[string]templ.Component{"edges": edges.ListPage(edges.ListFacts{Edges: all})}
		if len(all) == 0 {
			return out
		}
		gaps, err := s.Gaps(t.Context(), all[0].Name)
		if err != nil {
			t.Fatal(err)
		}
		out["edge"] = edges.Page(edges.EdgeFacts{Edge: all[0], Gaps: gaps})
		if len(all) == 1 {
			return out
		}
		invited, err := s.InviteEdge(t.Context(), edges.Draft{Name: "cellar"})
		if err != nil {
			t.Fatal(err)
		}
		out["invited"] = edges.ListPage(edges.ListFacts{Edges: all[1:2], Invited: &invited})
		out["revoked"] = edges.Page(edges.EdgeFacts{Edge: all[3], Form: url.Values{"budget": {"much"}}, Problem: "The edge was not changed: it does not fit."})
		return out
	})
}
