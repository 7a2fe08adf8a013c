package replay_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/replay"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		out := map[string]templ.Component{
			"try-new": replay.Page(replay.Facts{
				Name: replay.NewRule, YAML: "{name: warm}", Period: "1h", Failure: "another replay is under way; try again when it has ended",
				Problems: []view.RuleProblem{{Line: 1, Field: "detector", Text: "is missing"}},
			}),
			"try-gone": replay.Page(replay.Facts{Name: replay.NewRule, YAML: "{name: warm}", Period: "24h", Gone: true}),
		}
		for name, id := range map[string]string{"try-running": fixture.ReplayRunning, "try-done": fixture.ReplayDone, "try-failed": fixture.ReplayFailed} {
			if run, err := s.Replay(t.Context(), id); err == nil {
				out[name] = replay.Page(replay.Facts{Name: "door-left-open", Revision: 7, YAML: run.Rule, Period: "24h", Replay: &run})
			}
		}
		return out
	})
}
