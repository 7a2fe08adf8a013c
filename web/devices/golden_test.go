package devices_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/devices"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		all, err := s.Credentials()
		if err != nil {
			return nil // there is no page then
		}
		f := devices.Facts{List: all}
		if f.Waiting, err = s.Waiting(t.Context()); err != nil {
			f.WaitingProblem = err.Error()
		}
		return map[string]templ.Component{"credentials": devices.Page(f)}
	})
}
