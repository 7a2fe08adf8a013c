package dashboard

import (
	"slices"
	"time"

	"headwater/web/pipeline"
	"headwater/web/view"
)

// Pipeline implements pipeline.Source.
func (s *Service) Pipeline() pipeline.Pipeline {
	now := time.Now()
	p := s.survey.facts(now, s.connected())
	p.Problems = slices.Concat(s.problems(), s.withReports(p.Problems, now))
	if x, ok := s.recall.problem(); ok {
		p.Problems = append(p.Problems, x)
	}
	p.Rate, p.Rates = s.fleet.Rates(now)
	return p
}

// withReports adds the problems that services report to those seen from here. For a
// channel, the report replaces the problem seen from here.
func (s *Service) withReports(seen []view.Problem, now time.Time) []view.Problem {
	reported := s.reported(now)
	seen = slices.DeleteFunc(slices.Clone(seen), func(p view.Problem) bool {
		return slices.ContainsFunc(reported, func(r view.Problem) bool { return r.Part == "Channel "+p.Part })
	})
	return append(reported, seen...)
}
