package silences_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/silences"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		all, err := s.Silences()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]templ.Component{"silences": silences.Page(silences.Facts{Silences: all, Zone: "Europe/Berlin"})}
	})
}
