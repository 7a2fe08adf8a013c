package trust_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/trust"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		a := s.Authority()
		if len(a.PEM) == 0 {
			return map[string]templ.Component{"trust": trust.None()}
		}
		return map[string]templ.Component{"trust": trust.Page(trust.Facts{Authority: a, Host: "192.168.1.20:8080", Reader: "android"})}
	})
}
