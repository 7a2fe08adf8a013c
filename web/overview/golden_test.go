package overview_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/overview"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		f := overview.Facts{Query: overview.Query{Page: 1, Size: 6, BySite: true}, Firing: s.Alerts(5).Active, Start: overview.Start{HTTP: "http://localhost:8080"}}
		f.Devices = s.Devices(f.Query)
		f.Rate, f.Rates = s.Rates()
		return map[string]templ.Component{"overview": overview.Page(f)}
	})
}
