package pipeline_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/pipeline"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(_ *testing.T, s *fixture.Source) map[string]templ.Component {
		return map[string]templ.Component{"pipeline": pipeline.Page(s.Pipeline())}
	})
}
