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

// waiting counts the alerts that wait for a person.
func (s *Service) waiting() int { return s.alertSource().Alerts(0).Waiting(s.rules.About) }
