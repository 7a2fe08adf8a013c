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

// TestLanesHaveTimeAfterAStart has a lane stand still while nothing ran, and then
// continue, or not.
func TestLanesHaveTimeAfterAStart(t *testing.T) {
	const part = "Processor"
	begin := time.Unix(1_800_000_000, 0)
	long := begin.Add(-time.Hour)
	s := survey{started: begin, lanes: make(map[int]*lane)}
	problem := func(after time.Duration, want string) {
		t.Helper()
		got := ""
		for _, p := range s.problems(begin.Add(after), true) {
			got += p.Part
		}
		if got != want {
			t.Errorf("after %v the problems are of %q, want %q", after, got, want)
		}
	}
	clock := func(sequence uint64, after time.Duration) {
		s.batch(0, sequence, 0, begin.Add(after), begin.Add(after))
	}
	s.batch(0, 1, 5, long, long)
	s.commit(0, 0, long)
	problem(time.Second, "")
	s.batch(0, 2, 5, begin.Add(2*time.Second), time.Time{})
	problem(3*time.Second, "")
	problem(standstill+time.Second, "Bridge")
	clock(3, 4*time.Minute)
	s.batch(0, 4, 5, begin.Add(uncommitted), time.Time{})
	clock(5, uncommitted)
	problem(uncommitted, "")
	problem(uncommitted+time.Second, part)

	// It has committed all readings, and the next ones come much later.
	s.commit(0, 4, begin.Add(uncommitted+2*time.Second))
	problem(uncommitted+3*time.Second, "")
	s.batch(0, 6, 5, begin.Add(time.Hour), begin.Add(time.Hour))
	problem(time.Hour+time.Second, "")
	s.batch(0, 7, 5, begin.Add(time.Hour+uncommitted), begin.Add(time.Hour+uncommitted))
	problem(time.Hour+uncommitted+time.Second, part)

	// What the processor committed before this service read it is not owed.
	s.commit(0, 9, begin.Add(time.Hour))
	s.batch(0, 8, 5, begin.Add(2*time.Hour), begin.Add(2*time.Hour))
	problem(2*time.Hour+time.Second, "")
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
