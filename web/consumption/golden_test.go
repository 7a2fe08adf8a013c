package consumption_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/consumption"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		meters, err := s.Meters("warehouse", "door-05")
		if err != nil || len(meters) == 0 {
			return nil
		}
		c, err := s.Consumption(t.Context(), consumption.Query{
			Site: "warehouse", Device: "door-05", Metric: "energy", Per: consumption.Month, Now: webtest.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]templ.Component{"consumption": consumption.Page(consumption.Facts{
			Site: c.Site, Device: c.Device, Meters: meters, Consumption: c, Now: webtest.Now,
		})}
	})
}
