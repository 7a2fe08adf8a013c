package channels_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/channels"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		f := channels.Facts{Trust: true}
		var err error
		if f.List, err = s.Channels(); err != nil {
			return map[string]templ.Component{"channels": channels.Page(channels.Facts{Problem: view.ErrUnavailable.Error()})}
		}
		if f.Devices, err = s.Notified(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.Key, err = s.PushKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		l, err := s.Linked(t.Context(), "ack")
		if err != nil {
			t.Fatal(err)
		}
		return map[string]templ.Component{"channels": channels.Page(f), "confirm": channels.Confirm(l, "/act/ack"), "act": channels.ActDone(l)}
	})
}
