package notifier

import (
	"maps"
	"slices"
	"strings"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/notifier/escalate"
	"headwater/services/notifier/group"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
)

// gather has a channel be notified of an alert that began or ended, with others of its
// group.
func (m *machine) gather(channel string, a *alertingv1.Alert) {
	over := a.GetState() == alertingv1.State_STATE_RESOLVED
	p := m.groupPolicy(channel)
	if p.Interval > 0 && m.aboutSilence(a) {
		p.Wait = max(p.Wait, silentWait)
	}
	key := group.Key{Channel: channel, Group: m.groupOf(channel, a)}
	if p == (group.Policy{}) && m.groups.Waits(key, a.GetId()) {
		// Nothing is gathered for this channel: it is notified of every episode, also of
		// several within one step.
		m.flush()
	}
	reason := m.groups.Add(key, over, a.GetId(), a, m.now, p)
	if m.gathered != nil {
		m.gathered(reason)
	}
}

// flush makes messages of what is due.
func (m *machine) flush() {
	for _, due := range m.groups.Due(m.now, group.Rules[*alertingv1.Alert]{Policy: m.policyOf, Go: m.leaves}) {
		if values := m.duty.keep(m, due.Channel, due.Values); len(values) > 0 {
			m.outMessages = append(m.outMessages, pendingMessage{
				channel: due.Channel, alerts: values, title: m.silent.title(m, values), behind: m.silent.behind(m, values[0]),
			})
		}
	}
}

// leaves returns an alert as its message has it, and false if the channel need not be
// notified of it any more.
func (m *machine) leaves(k group.Key, over bool, id string, a *alertingv1.Alert) (*alertingv1.Alert, bool) {
	now := m.alerts[id]
	if over || now == nil || now.entry.State != policy.Firing || now.state.GetStarted() != a.GetStarted() {
		return a, true
	}
	if now.entry.Mute != (policy.Mute{}) || now.entry.Acknowledged {
		// That came while the alert waited. The end of the silence notifies the channel.
		now.entry.Notified = slices.DeleteFunc(slices.Clone(now.entry.Notified), func(name string) bool { return name == k.Channel })
		m.changed[chunkOf(id)] = true
		return nil, false
	}
	return now.state, true
}

func (m *machine) groupPolicy(channel string) group.Policy {
	if m.grouping == nil {
		return group.Policy{}
	}
	g := m.grouping(channel)
	return group.Policy{Wait: g.Wait, Interval: g.Interval}
}

// policyOf returns the policy of a channel; false if there is no such channel.
func (m *machine) policyOf(channel string) (group.Policy, bool) {
	known := slices.ContainsFunc(m.channels, func(c policy.Channel) bool { return c.Name == channel })
	return m.groupPolicy(channel), known
}

// remindAfter is the time after which channels are notified again of an alert of a rule.
func (m *machine) remindAfter(r rule.Rule) time.Duration {
	if r.Remind == 0 && m.grouping != nil {
		return m.grouping("").Repeat
	}
	return r.Remind
}

// groupOf names the group of an alert for a channel.
func (m *machine) groupOf(channel string, a *alertingv1.Alert) string {
	if m.grouping == nil {
		return a.GetId()
	}
	series := a.GetSeries()
	by := m.grouping(channel).By
	if m.grouping(channel).Interval > 0 && m.aboutSilence(a) {
		// Whatever the rules, people want to know once that a site is silent.
		return "silent\x00" + series.GetSite()
	}
	var values []string
	for _, part := range by {
		value := ""
		label, isLabel := strings.CutPrefix(part, config.ByLabel)
		tag, isTag := strings.CutPrefix(part, config.ByTag)
		if part == config.ByGateway {
			tag, isTag = config.ByGateway, true
		}
		switch {
		case isLabel:
			value = a.GetLabels()[label]
		case isTag:
			value = m.tags(series.GetSite(), series.GetDevice())[tag]
		case part == config.BySite:
			value = series.GetSite()
		case part == config.ByDevice:
			value = series.GetDevice()
		case part == config.ByMetric:
			value = series.GetMetric()
		case part == config.ByRule:
			value = a.GetRule()
		case part == config.BySeverity:
			value = string(ruleSeverity(a.GetSeverity()))
		}
		values = append(values, value)
	}
	return strings.Join(values, "\x00")
}

// audience returns whom an alert of a rule may reach now. What an edge, the notifier,
// notifies people of, nobody is notified of here.
func (m *machine) audience(r rule.Rule, severity derivedv1.Severity, site string, mute policy.Mute, notifier string) policy.Audience {
	if notifier != "" {
		return policy.Audience{Notify: []string{}, Channels: m.channels, Mute: mute}
	}
	to := policy.Audience{Notify: m.duty.now(m.named(r), m.now), Channels: m.channels, Mute: mute}
	return m.duty.divert(to, ruleSeverity(severity), m.now, m.place(site))
}

// audienceOf is audience for an alert that is known.
func (m *machine) audienceOf(a *alertingv1.Alert, mute policy.Mute) policy.Audience {
	return m.audience(m.rules[a.GetRule()], a.GetSeverity(), a.GetSeries().GetSite(), mute, a.GetNotifier())
}

// escalate notifies more channels of the alerts that nobody has acknowledged.
func (m *machine) escalate() {
	if len(m.steps) == 0 {
		return
	}
	steps := slices.Clone(m.steps)
	for i := range steps {
		steps[i].Notify = m.duty.now(steps[i].Notify, m.now)
	}
	due := map[string][]string{}
	for id, a := range m.firing {
		held := a.entry.Acknowledged || a.entry.Mute != (policy.Mute{}) || len(a.entry.Notified) == 0 || a.state.GetOpened() == 0
		channels := escalate.Due(steps, escalate.Alert{
			Severity: ruleSeverity(a.state.GetSeverity()), Opened: a.state.GetOpened(), Notified: a.entry.Notified, Held: held,
		}, m.now)
		if len(channels) > 0 {
			due[id] = channels
		}
	}
	for _, id := range slices.Sorted(maps.Keys(due)) {
		a := m.firing[id]
		for _, ch := range m.channels {
			if slices.Contains(due[id], ch.Name) {
				a.entry.Notified = append(slices.Clone(a.entry.Notified), ch.Name)
				a.notified = m.now
				m.changed[chunkOf(id)] = true
				m.say(pendingMessage{channel: ch.Name, escalated: true}, a.state)
			}
		}
	}
}

// say adds an alert to the message of its group that waits for the commit, or to a new one
// like the given one.
func (m *machine) say(like pendingMessage, a *alertingv1.Alert) {
	if like.reminder && like.muted == (policy.Mute{}) {
		if m.duty.rests(m, like.channel, a) {
			return // people are reminded after the quiet hours
		}
	} else if len(m.duty.keep(m, like.channel, []*alertingv1.Alert{a})) == 0 {
		return
	}
	like.group = m.groupOf(like.channel, a)
	for i, p := range m.outMessages {
		if p.channel == like.channel && p.group == like.group && p.reminder == like.reminder && p.muted == like.muted && p.escalated == like.escalated {
			m.outMessages[i].alerts = append(p.alerts, a)
			return
		}
	}
	like.alerts = []*alertingv1.Alert{a}
	m.outMessages = append(m.outMessages, like)
}
