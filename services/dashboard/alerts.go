package dashboard

import (
	"headwater/services/dashboard/fleet"
	"headwater/streams"
	"headwater/web/view"
)

// alertSource implements alerts.Source: the alerts and anomalies of the book, with
// the silences that mute them and what is known of their rules.
type alertSource struct {
	*fleet.Book
	*silenceSource
	*handlings
	notices *fleet.Notices
	rules   *ruleSource
	fleet   *fleet.Fleet
}

// Alerts implements alerts.Source.
func (a alertSource) Alerts(resolved int) view.Alerts {
	all := a.Book.Alerts(resolved)
	for i := range all.Active {
		all.Active[i].Mute = a.silenceSource.of(all.Active[i])
		a.label(&all.Active[i])
	}
	for i := range all.Resolved {
		a.label(&all.Resolved[i])
	}
	return all
}

// label names the device of an alert as people call it.
func (a alertSource) label(one *view.Alert) {
	one.DeviceName, one.Room = a.fleet.Label(one.Site, one.Device)
}

// Story implements alerts.Source.
func (a alertSource) Story(episode string) (view.Story, bool) {
	id, _, err := streams.ParseEpisodeID(episode)
	if err != nil {
		return view.Story{}, false
	}
	alert, ok := a.Book.Find(id, episode)
	if !ok {
		return view.Story{}, false
	}
	if alert.Active() {
		alert.Mute = a.silenceSource.of(alert)
	}
	a.label(&alert)
	story := view.Story{Alert: alert, Notices: a.notices.Of(episode)}
	for i := range story.Notices {
		n := &story.Notices[i]
		n.Decided = n.Decided.In(alert.Started.Location())
		if !n.Done.IsZero() {
			n.Done = n.Done.In(alert.Started.Location())
		}
	}
	return story, true
}

// About implements alerts.Source.
func (a alertSource) About(rule string) (view.RuleAbout, bool) { return a.rules.About(rule) }

// waiting counts the alerts that wait for a person.
func (s *Service) waiting() int { return s.alertSource().Alerts(0).Waiting(s.rules.About) }
