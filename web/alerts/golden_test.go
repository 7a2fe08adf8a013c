package alerts_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/alerts"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		story, _ := s.Story("0f3a9c5d71b2e684-dn5mn57qoq2o")
		over, _ := s.Story("r1-1")
		return map[string]templ.Component{
			"alerts": alerts.Page(alerts.Facts{Alerts: s.Alerts(5)}, nil),
			"story":  alerts.StoryPage(story, webtest.Now), "over": alerts.StoryPage(over, webtest.Now),
		}
	})
}
