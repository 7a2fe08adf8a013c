package dashboard

import (
	"strings"
	"testing"
	"time"

	"headwater/streams"
	"headwater/streams/streamtest"
)

func TestChannelThatTakesNothingIsAProblem(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	sender := streams.SenderConsumer("phone")
	s := survey{started: begin}
	for _, c := range []struct {
		name   string
		at     time.Duration
		floors map[string]uint64
		want   bool
	}{
		{"has just begun", 0, map[string]uint64{sender: 4, streams.ConsumerWriter: 7}, false},
		{"tries for long", time.Minute, map[string]uint64{sender: 4, streams.ConsumerWriter: 7}, true},
		{"sent it and tries the next", 2 * time.Minute, map[string]uint64{sender: 5}, false},
		{"tries that for long", 3 * time.Minute, map[string]uint64{sender: 5}, true},
		{"has nothing to send", 4 * time.Minute, nil, false},
	} {
		now := begin.Add(c.at)
		s.hold(now, c.floors)
		problems := s.problems(now, true)
		if got := len(problems) == 1 && problems[0].Part == "phone"; got != c.want || len(problems) > 1 {
			t.Errorf("%s: problems are %+v", c.name, problems)
		}
	}
}

// TestWhatServicesReportIsShown reports more than every page shows.
func TestWhatServicesReportIsShown(t *testing.T) {
	r := newRig(t, nil)
	r.ready()
	r.put(streams.BucketProblems, "notifier.a", []byte(`[{"part":"Channel phone","text":"It is broken.","since":"2027-01-15T08:00:00Z"},{"part":"b","text":"2"},{"part":"c","text":"3"},{"part":"d","text":"4"}]`))
	r.shows("/pipeline", "It is broken.")
	r.shows("/api/v1/pipeline", `"part":"d"`)
	r.shows("/", "1 more problem is listed")
	r.put(streams.BucketProblems, "notifier.a", []byte(`[]`))
	streamtest.Eventually(t, "nothing is wrong any more", func() bool {
		_, page := r.get("/")
		return !strings.Contains(page, "It is broken.")
	})
}
