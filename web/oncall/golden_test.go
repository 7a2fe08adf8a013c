package oncall_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/oncall"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		state, err := s.OnCall()
		if err != nil {
			return map[string]templ.Component{"oncall": oncall.Page(oncall.Facts{Problem: view.ErrUnavailable.Error()})}
		}
		return map[string]templ.Component{"oncall": oncall.Page(oncall.Facts{State: state, Text: state.Text})}
	})
}
