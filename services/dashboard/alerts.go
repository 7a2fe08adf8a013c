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

// unmuted counts the alerts that fire and are muted neither by a silence nor by
// their rule.
func (s *Service) unmuted() int {
	n := 0
	for _, a := range s.alertSource().Alerts(0).Active {
		rule, known := s.rules.About(a.Rule)
		if a.State != view.AlertPending && a.Mute == nil && !(known && rule.State == view.RuleIsMuted) {
			n++
		}
	}
	return n
}
