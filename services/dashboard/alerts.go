package dashboard

import (
	"headwater/services/dashboard/fleet"
	"headwater/web/view"
)

// alertSource implements alerts.Source: the alerts and anomalies of the book, with
// the silences that mute them and what is known of their rules.
type alertSource struct {
	*fleet.Book
	*silenceSource
	*handlings
	rules *ruleSource
}

// Alerts implements alerts.Source.
func (a alertSource) Alerts(resolved int) view.Alerts {
	all := a.Book.Alerts(resolved)
	for i := range all.Active {
		all.Active[i].Mute = a.silenceSource.of(all.Active[i])
	}
	return all
}

// About implements alerts.Source.
func (a alertSource) About(rule string) (view.RuleAbout, bool) { return a.rules.About(rule) }

// waiting counts the alerts that wait for a person: they fire, nobody has acknowledged
// them, and neither a silence nor their rule mutes them.
func (s *Service) waiting() int {
	n := 0
	for _, a := range s.alertSource().Alerts(0).Active {
		rule, known := s.rules.About(a.Rule)
		if a.State == view.AlertFiring && a.Mute == nil && !(known && rule.State == view.RuleIsMuted) {
			n++
		}
	}
	return n
}
