package notifier

import (
	"slices"

	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/streams"
)

// maxRefused bounds the episodes that a channel remembers to have refused; the oldest are
// dropped. An entry takes about 40 bytes of each record.
const maxRefused = 1000

// withoutUnheard returns a message without the ends of episodes whose beginning the channel
// did not take: people must not hear that something is over of which they never heard. It
// returns nil if nothing is left, and the message itself if nothing is left out.
func withoutUnheard(m *alertingv1.Message, refused []*alertingv1.Refusal) *alertingv1.Message {
	var heard []*alertingv1.Alert
	for _, a := range m.GetAlerts() {
		if !over(a) || indexOf(refused, streams.EpisodeID(a)) < 0 {
			heard = append(heard, a)
		}
	}
	switch {
	case len(heard) == len(m.GetAlerts()):
		return m
	case len(heard) == 0:
		return nil
	}
	left := proto.CloneOf(m)
	left.Alerts = heard
	if len(m.GetAlerts()) < maxListed { // else the text counts alerts that are not listed
		again := message(kind{channel: m.GetChannel(), over: true, reminder: m.GetReminder()}, pendingMessage{alerts: heard})
		left.Title, left.Body = again.GetTitle(), again.GetBody()
	}
	return left
}

// refusals returns the episodes whose beginning a channel has not taken after the outcome of
// a message. Unreached are the titles of the critical ones that no channel took, by episode.
// A channel that refuses a reminder has taken the beginning, unless it refused that too.
func refusals(before []*alertingv1.Refusal, m *alertingv1.Message, outcome alertingv1.Outcome, unreached map[string]string) []*alertingv1.Refusal {
	after := slices.Clone(before)
	for _, a := range m.GetAlerts() {
		episode := streams.EpisodeID(a)
		at := indexOf(after, episode)
		refused := outcome == alertingv1.Outcome_OUTCOME_FAILED && !over(a)
		switch {
		case refused && (at >= 0 || m.GetReminder()):
			// It stays what it was.
		case refused:
			after = append(after, &alertingv1.Refusal{Episode: episode, Unreached: unreached[episode]})
		case at >= 0:
			after = slices.Delete(after, at, at+1)
		}
	}
	return after[max(0, len(after)-maxRefused):]
}

func indexOf(refused []*alertingv1.Refusal, episode string) int {
	return slices.IndexFunc(refused, func(r *alertingv1.Refusal) bool { return r.GetEpisode() == episode })
}

// critical reports whether an alert fires and matters the most.
func critical(a *alertingv1.Alert) bool {
	return a.GetState() == alertingv1.State_STATE_FIRING && a.GetSeverity() == derivedv1.Severity_SEVERITY_CRITICAL
}
