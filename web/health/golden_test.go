package health_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/health"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		r := s.Health(nil, "")
		r.Items = r.Items[:min(len(r.Items), 4)]
		return map[string]templ.Component{"health": health.Page(health.Facts{Report: r})}
	})
}
