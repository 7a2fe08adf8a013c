package annotations_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/annotations"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		all, _ := s.Annotations(annotations.Query{Most: 50})
		return map[string]templ.Component{"list": annotations.Page(annotations.Facts{All: all, More: len(all) > 0, Page: 1, Problem: "Nothing was changed."})}
	})
}
