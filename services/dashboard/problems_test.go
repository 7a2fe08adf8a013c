package dashboard

import (
	"testing"
	"time"

	"headwater/streams"
	"headwater/web/view"
)

func TestChannelThatTakesNothingIsAProblem(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	sender := streams.SenderConsumer("phone")
	for _, c := range []struct {
		name string
		in   view.Consumer
		want bool
	}{
		{"tries for long", view.Consumer{Name: sender, Unacked: 1, Active: now.Add(-time.Minute)}, true},
		{"has just begun", view.Consumer{Name: sender, Unacked: 1, Active: now.Add(-time.Second)}, false},
		{"has nothing to send", view.Consumer{Name: sender, Active: now.Add(-time.Hour)}, false},
		{"is no sender", view.Consumer{Name: streams.ConsumerWriter, Unacked: 1, Active: now.Add(-time.Hour)}, false},
	} {
		s := survey{started: now, consumers: []view.Consumer{c.in}, channels: make(map[string]*view.Channel), lanes: make(map[int]*lane)}
		problems := s.problems(now, true)
		if got := len(problems) == 1 && problems[0].Part == "phone"; got != c.want || len(problems) > 1 {
			t.Errorf("%s: problems are %+v", c.name, problems)
		}
	}
}
