package deadletters_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/deadletters"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		letters, err := s.DeadLetters(t.Context(), deadletters.Query{Size: 25})
		if err != nil {
			return nil // there is no page of them then
		}
		all := deadletters.Selection{Through: letters.Last}
		result, err := s.Redrive(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]templ.Component{
			"deadletters": deadletters.Page(deadletters.Facts{Letters: letters}),
			"redrive-all": deadletters.ConfirmPage(deadletters.ConfirmFacts{Selection: all, Counts: letters.Counts}),
			"try":         deadletters.TryPage(try(t, s)),
			"redriven":    deadletters.RedrivePage(deadletters.RedriveFacts{Selection: all, Result: result}),
		}
		for _, l := range letters.Items[:min(1, len(letters.Items))] {
			out["purge-one"] = deadletters.ConfirmPage(deadletters.ConfirmFacts{Purge: true, Selection: deadletters.Selection{Sequence: l.Sequence}, Letter: &l})
		}
		return out
	})
}

// try returns a message that is partly read.
func try(t *testing.T, s *fixture.Source) deadletters.TryFacts {
	t.Helper()
	f := deadletters.TryFacts{Topic: "tele/heater/SENSOR", Payload: `{"ENERGY":{"Power":132},"AM2301":{"Humidity":"nan"}}`}
	tried, err := s.Try(t.Context(), f.Topic, []byte(f.Payload))
	if err != nil {
		t.Fatal(err)
	}
	f.Tried = &tried
	return f
}
