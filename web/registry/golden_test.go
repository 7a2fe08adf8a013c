package registry_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/registry"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		all := s.After(registry.Query{Size: 6})
		out := map[string]templ.Component{"registry": registry.Page(registry.Facts{
			Devices: all, Rooms: []string{"Hall 1"}, Outcome: &registry.Outcome{Changed: 1, Failures: 1, Failed: []registry.Failure{{Site: "warehouse", Device: "door-01", Reason: fixture.Evil}}},
		})}
		if len(all) > 3 {
			out["edit"] = registry.EditPage(registry.Form{Device: all[3], Said: all[3].About, Fixed: s.Fixed("", all[3].Device)})
		}
		return out
	})
}
