package app_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/app"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		return map[string]templ.Component{"banner": app.Banner(s.Status())}
	})
}
