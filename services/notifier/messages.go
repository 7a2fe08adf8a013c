package notifier

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/notifier/group"
	"headwater/services/notifier/policy"
)

const (
	// maxSingle is how many messages of one kind a channel gets from one commit; if
	// there are more, they are merged into one. It keeps a phone usable when a whole
	// site fails, and a commit below the size limit.
	maxSingle = group.MaxSingle
	// maxListed is how many alerts a message lists.
	maxListed = 20
)

// pendingMessage is a message that waits for the commit.
type pendingMessage struct {
	channel string
	// group names what the alerts have in common, for say.
	group  string
	alerts []*alertingv1.Alert
	// title takes the place of the one that the alerts give; empty for that. Behind counts
	// the devices whose silence that of the only alert explains.
	title  string
	behind int
	// body takes the place of the one that the alerts give; empty for that.
	body string
	// reminder is set if the channel was notified before.
	reminder bool
	// muted is the silence that has ended, if that is what the message is about.
	muted policy.Mute
	// waited is set if it waited until quiet hours ended.
	waited bool
	// escalated is set if nobody has acknowledged the alert, and so the channel is
	// notified too.
	escalated bool
}

// kind is what messages must have in common to be merged.
type kind struct {
	channel        string
	over, reminder bool
	end            policy.End
	muted          policy.Mute
	escalated      bool
	waited         bool
}

func (p pendingMessage) kind() kind {
	return kind{p.channel, p.alerts[0].GetState() == alertingv1.State_STATE_RESOLVED, p.reminder, endOf(p.alerts[0]), p.muted, p.escalated, p.waited}
}

// messages returns the messages that wait, in order. If a channel would get more
// than maxSingle of one kind, one message takes the place of the first.
func messages(waiting []pendingMessage) []*alertingv1.Message {
	many := map[kind][]*alertingv1.Alert{}
	count := map[kind]int{}
	for _, p := range waiting {
		k := p.kind()
		many[k] = append(many[k], p.alerts...)
		count[k]++
	}
	var out []*alertingv1.Message
	for _, p := range waiting {
		k := p.kind()
		switch {
		case count[k] <= maxSingle:
			out = append(out, message(k, p))
		case many[k] != nil:
			out = append(out, message(k, pendingMessage{alerts: many[k]}))
			many[k] = nil // it lists those of the others
		}
	}
	return out
}

func message(k kind, p pendingMessage) *alertingv1.Message {
	var m *alertingv1.Message
	if len(p.alerts) == 1 {
		m = single(k, p.alerts[0], p.behind)
	} else {
		m = grouped(k, p.alerts)
	}
	if p.title != "" {
		m.Title = p.title
	}
	if p.body != "" {
		m.Body = p.body
	}
	return m
}

func single(k kind, a *alertingv1.Alert, behind int) *alertingv1.Message {
	n := notice(a)
	n.Reminder, n.Muted, n.Escalated, n.Waited, n.Behind = k.reminder, k.muted, k.escalated, k.waited, behind
	return &alertingv1.Message{Channel: k.channel, Reminder: k.reminder, Title: n.Title(), Body: n.Body(), Alerts: []*alertingv1.Alert{trimmed(a)}}
}

func grouped(k kind, alerts []*alertingv1.Alert) *alertingv1.Message {
	worst := slices.SortedStableFunc(slices.Values(alerts), func(a, b *alertingv1.Alert) int {
		return cmp.Compare(b.GetSeverity(), a.GetSeverity())
	})
	worst = worst[:min(len(worst), maxListed)]
	m := &alertingv1.Message{Channel: k.channel, Reminder: k.reminder}
	notices := make([]policy.Notice, len(worst))
	for i, a := range worst {
		notices[i] = notice(a)
		notices[i].Reminder, notices[i].Muted = k.reminder, k.muted
		m.Alerts = append(m.Alerts, trimmed(a))
	}
	m.Title, m.Body = policy.Group(notices, len(alerts), siteOf(alerts))
	return m
}

// siteOf returns the site of all the alerts; empty if they are of several.
func siteOf(alerts []*alertingv1.Alert) string {
	site := alerts[0].GetSeries().GetSite()
	for _, a := range alerts {
		if a.GetSeries().GetSite() != site {
			return ""
		}
	}
	return site
}

// placeOf returns the time zone of the site of an alert.
func placeOf(a *alertingv1.Alert) *time.Location {
	place, err := time.LoadLocation(a.GetTimeZone())
	if err != nil {
		return time.UTC // cannot be: the configuration was read with it
	}
	return place
}

// endOf returns why an alert ended.
func endOf(a *alertingv1.Alert) policy.End {
	switch a.GetEnd() {
	case derivedv1.End_END_RECOVERED:
		return policy.Recovered
	case derivedv1.End_END_NO_DATA:
		return policy.NoData
	case derivedv1.End_END_RULE_CHANGED:
		return policy.RuleChanged
	case derivedv1.End_END_BY_HAND:
		return policy.ByHand
	default:
		return ""
	}
}

func mark(n *alertingv1.Note) policy.Mark {
	return policy.Mark{By: n.GetAuthor(), At: n.GetTime()}
}

func notice(a *alertingv1.Alert) policy.Notice {
	n := policy.Notice{
		Over: a.GetState() == alertingv1.State_STATE_RESOLVED, End: endOf(a),
		Rule: a.GetRule(), Description: a.GetDescription(), Severity: ruleSeverity(a.GetSeverity()),
		Site: a.GetSeries().GetSite(), Device: a.GetSeries().GetDevice(), Metric: a.GetSeries().GetMetric(), Unit: a.GetUnit(),
		Started: a.GetStarted(), Ended: a.GetEnded(), Happened: a.GetUpdated(), Learned: a.GetLearned(),
		Labels: a.GetLabels(), Runbook: a.GetRunbook(), Place: placeOf(a),
		Acknowledged: mark(a.GetAcknowledged()), Resolved: mark(a.GetResolved()), Flapping: a.GetFlapping() != 0,
	}
	e := a.GetEvidence()
	if n.Over && a.GetEnding() != nil {
		e = a.GetEnding()
	}
	if e != nil {
		n.Sentence, n.Value, n.Low, n.High = e.GetSentence(), finite(&e.Value), finite(e.Low), finite(e.High)
	}
	return n
}

// trimmed returns a copy without readings and comments, which are not sent.
func trimmed(a *alertingv1.Alert) *alertingv1.Alert {
	c := proto.CloneOf(a)
	if c.Evidence != nil {
		c.Evidence.Samples = nil
	}
	if c.Ending != nil {
		c.Ending.Samples = nil
	}
	c.Comments = nil
	return c
}
