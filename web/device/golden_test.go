package device_test

import (
	"testing"
	"time"

	"github.com/a-h/templ"

	"headwater/web/device"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/overview"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		out := make(map[string]templ.Component)
		for _, d := range s.Devices(overview.Query{Page: 1, Size: 1}).Items {
			out["device"] = device.Page(device.Facts{
				Device: d, Range: view.Ranges[1], Summaries: s.Summaries(d.Site, d.Device), Troubles: s.Troubles(d.Site, d.Device),
				Episodes: s.Episodes(d.Site, d.Device, webtest.Now.Add(-time.Hour), webtest.Now),
			})
		}
		return out
	})
}
