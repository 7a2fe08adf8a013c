package dashboard

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/proto/figure"
	"headwater/services/internal/problems"
	"headwater/streams"
	"headwater/web/view"
)

// Status implements app.Source.
func (s *Service) Status() view.Status {
	st := view.Status{Firing: s.waiting(), Demo: s.fleet.Demo(), Notices: s.problems()}
	now := time.Now()
	st.Notices = append(st.Notices, s.notices(now)...)
	p := s.survey.facts(now, s.connected())
	for _, x := range p.Streams {
		if x.Name == streams.StreamDeadLetters {
			st.DeadLetters = x.Messages
		}
	}
	for _, x := range p.Problems {
		switch x.Part {
		case "NATS", "InfluxDB", "Bridge", "Streams":
			st.Notices = append(st.Notices, x)
		}
	}
	if x, ok := s.recall.problem(); ok {
		st.Notices = append(st.Notices, x)
	}
	if caughtUp, since, err := s.telemetry.state(); err != nil && s.connected() {
		st.Notices = append(st.Notices, view.Problem{Part: "TELEMETRY", Text: "The live readings cannot be followed (" + reason(err) + "); the values are old.", Since: since})
	} else if !caughtUp && err == nil && s.connected() {
		st.Notices = append(st.Notices, view.Problem{Part: "Starting", Text: "Still reading the last 15 minutes; the values are not complete yet."})
	}
	return st
}

// Version implements app.Source.
func (s *Service) Version() uint64 {
	return s.fleet.Version() + s.book.Version() + s.survey.count() + s.silences.list.version() + s.arrivals.changes.Load()
}

// maxReported bounds the reported problems that every page shows; the page of the
// pipeline shows all.
const maxReported = 3

// notices are the reported problems for every page.
func (s *Service) notices(now time.Time) []view.Problem {
	all := s.reported(now)
	// That nobody hears of a critical alert matters more than why.
	slices.SortStableFunc(all, func(a, b view.Problem) int {
		switch first, second := a.Part == problems.PartNotifications, b.Part == problems.PartNotifications; {
		case first == second:
			return 0
		case first:
			return -1
		}
		return 1
	})
	if more := len(all) - maxReported; more > 0 {
		text := figure.Plural(more, "more problem is", "more problems are") + " listed on the page Pipeline."
		all = append(all[:maxReported], view.Problem{Part: "Pipeline", Text: text})
	}
	return all
}

func (s *Service) reported(now time.Time) []view.Problem {
	var out []view.Problem
	for _, p := range s.board.Problems(now) {
		if p.Quiet {
			continue
		}
		out = append(out, view.Problem{Part: p.Part, Text: p.Text, Since: p.Since})
	}
	return out
}

func (s *Service) connected() bool { return s.js.Conn().Status() == nats.CONNECTED }
