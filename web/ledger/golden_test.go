package ledger_test

import (
	"testing"
	"time"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/ledger"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		out := make(map[string]templ.Component)
		for name, q := range map[string]ledger.Query{
			"ledger":         {Group: ledger.ByDevice},
			"ledger-minutes": {Group: ledger.ByMinute, Site: "warehouse", Device: "door-04"},
		} {
			q.From, q.To, q.Page, q.Size = webtest.Now.Add(-time.Hour), webtest.Now, 1, 8
			f := ledger.Facts{Query: q, Range: ledger.Ranges[0]}
			var err error
			f.Ledger, err = s.Ledger(t.Context(), q)
			if err != nil {
				f.Problem = "InfluxDB does not answer (connection refused)"
			}
			out[name] = ledger.Page(f)
		}
		return out
	})
}
