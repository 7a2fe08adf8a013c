package connect_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/connect"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		f := connect.Facts{Server: connect.NewServer("127.0.0.1:1883", "http://localhost:8080", false), Place: connect.Place{Site: "home", Device: "kitchen"}, Way: "mosquitto", Since: webtest.Now}
		f.Others, f.Refused, f.Undecoded = s.NewDevices(f.Since), s.Refused(f.Since), s.Undecoded(f.Since)
		return map[string]templ.Component{"connect": connect.Page(f)}
	})
}
