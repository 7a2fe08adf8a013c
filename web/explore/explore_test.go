package explore_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/explore"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		found, more := s.Find(explore.Query{Most: 4})
		f := explore.Facts{Found: found, More: more, From: webtest.Now.Add(-24 * 3600e9), To: webtest.Now, State: explore.State{Line: "mean"}}
		var c explore.Chart
		var names []string
		for _, one := range found {
			if one.Metric.Kind == view.KindNumber && len(c.Series) < 2 {
				name := one.Site + "." + one.Device + "." + one.Metric.Name
				c.Series = append(c.Series, explore.Series{Found: one, Name: name, At: len(names), Of: one.Metric.Unit})
				names = append(names, name)
			}
		}
		if names != nil {
			c.Unknown = []string{"hall.gone.temperature"}
			f.Charts, f.State.Charts = []explore.Chart{c}, [][]string{append(names, c.Unknown...)}
		}
		return map[string]templ.Component{"explore": explore.Page(f)}
	})
}
