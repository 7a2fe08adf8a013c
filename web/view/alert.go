package view

import (
	"slices"
	"strings"
	"time"
)

// Severity is how much an alert matters.
type Severity string

// The severities, in rising order.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// Alert is the life of one rule on one series.
type Alert struct {
	// ID is the same for all episodes of one rule on one series; Episode is the id of
	// this one.
	ID          string `json:"alert_id"`
	Episode     string `json:"id"`
	Rule        string `json:"rule"`
	Description string `json:"description,omitempty"`
	Site        string `json:"site"`
	Device      string `json:"device"`
	// DeviceName and Room are what people say about the device; empty if they say nothing.
	DeviceName string   `json:"device_name,omitempty"`
	Room       string   `json:"room,omitempty"`
	Metric     string   `json:"metric"`
	Unit       string   `json:"unit,omitempty"`
	State      string   `json:"state"`
	Severity   Severity `json:"severity"`
	// Started and Ended are event times, in the time zone of the site like all times
	// of an alert; Ended is zero while the alert is active.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Updated is the event time of the last transition, Learned when Headwater
	// learned of it.
	Updated time.Time `json:"updated,omitzero"`
	Learned time.Time `json:"learned,omitzero"`
	// Flapping is since when it begins again and again; zero while it does not.
	Flapping time.Time `json:"flapping,omitzero"`
	// Sentence says why it fires, in words.
	Sentence string `json:"sentence"`
	// End is why it ended, one of the kinds of ends, and EndSentence says that in words.
	// Both are empty while it is active, and End of alerts that ended before ends had kinds.
	End         AlertEnd `json:"end,omitempty"`
	EndSentence string   `json:"end_sentence,omitempty"`
	// Labels and Runbook are the rule's at the last transition.
	Labels  []RuleLabel `json:"labels,omitempty"`
	Runbook string      `json:"runbook,omitempty"`
	// Own is set when it is about Headwater itself, and about no device.
	Own bool `json:"-"`
	// Opened is when Headwater learned that the episode had begun.
	Opened time.Time `json:"-"`
	// Mute is the silence that mutes it; nil for none.
	Mute *Silence `json:"mute,omitempty"`
	// Acknowledged says who has acknowledged the episode, Resolved who has resolved it
	// by hand; nil if nobody has.
	Acknowledged *Note `json:"acknowledged,omitempty"`
	Resolved     *Note `json:"resolved_by_hand,omitempty"`
	// Assignee is the person who takes care of it; empty if nobody does.
	Assignee string `json:"assignee,omitempty"`
	// Comments are what people wrote about it, the oldest first.
	Comments []Note `json:"comments,omitempty"`
	// Version tells apart what was learned at the same time: the higher is newer.
	Version uint64 `json:"-"`
	// About is the rule as it is now; nil if there is none or it is not known.
	About *RuleAbout `json:"-"`
}

// Note says who did or wrote something about an alert, and when.
type Note struct {
	Author string    `json:"by"`
	At     time.Time `json:"at"`
	Text   string    `json:"text,omitempty"`
}

// AlertEnd is why an episode ended.
type AlertEnd string

// The kinds of ends.
const (
	AlertRecovered   AlertEnd = "recovered"
	AlertNoData      AlertEnd = "no_data"
	AlertRuleChanged AlertEnd = "rule_changed"
	AlertByHand      AlertEnd = "by_hand"
)

// Words says it to people.
func (e AlertEnd) Words() string {
	switch e {
	case AlertRecovered:
		return "recovered"
	case AlertNoData:
		return "no data"
	case AlertRuleChanged:
		return "rule changed"
	case AlertByHand:
		return "resolved by hand"
	}
	return "resolved"
}

// Notice is one notification of people about an episode, through one channel.
type Notice struct {
	Channel string `json:"channel"`
	// Title is the title of the message.
	Title string `json:"title"`
	// Decided is when the notifier decided to send it, Done when its outcome was known.
	Decided  time.Time     `json:"decided"`
	Outcome  NoticeOutcome `json:"outcome"`
	Done     time.Time     `json:"done,omitzero"`
	Attempts uint32        `json:"attempts,omitempty"`
	// Error says why it failed.
	Error string `json:"error,omitempty"`
}

// NoticeOutcome is what became of a notification.
type NoticeOutcome string

// The outcomes.
const (
	NoticeWaiting NoticeOutcome = "waiting"
	NoticeSent    NoticeOutcome = "sent"
	NoticeFailed  NoticeOutcome = "failed"
	// NoticeSkipped means that the channel was to get nothing after all.
	NoticeSkipped NoticeOutcome = "skipped"
)

// Story is one episode with who was notified of it.
type Story struct {
	Alert
	// Notices are the oldest first.
	Notices []Notice `json:"notices"`
}

// AlertAction is what a person does about an alert.
type AlertAction string

// The actions. The text is a comment, or the name of a person for Assign.
const (
	AlertAcknowledge   AlertAction = "acknowledge"
	AlertUnacknowledge AlertAction = "unacknowledge"
	AlertComment       AlertAction = "comment"
	AlertAssign        AlertAction = "assign"
	AlertResolve       AlertAction = "resolve"
)

// Late returns by how much Headwater learned too late of the last transition, and
// whether that is worth showing.
func (a Alert) Late() (time.Duration, bool) {
	if a.Learned.IsZero() || a.Updated.IsZero() {
		return 0, false
	}
	d := a.Learned.Sub(a.Updated)
	return d, d >= 2*time.Minute
}

// Active reports whether the alert is not resolved.
func (a Alert) Active() bool { return a.State != AlertResolved }

// The states of an alert.
const (
	AlertPending      = "pending"
	AlertFiring       = "firing"
	AlertAcknowledged = "acknowledged"
	AlertResolved     = "resolved"
)

// Alerts are the active alerts and the latest resolved ones.
type Alerts struct {
	// Active are the worst first, then the newest.
	Active []Alert `json:"active"`
	// Resolved are the newest first.
	Resolved []Alert `json:"resolved"`
	// ResolvedTotal counts all resolved alerts that are remembered.
	ResolvedTotal int `json:"resolved_total"`
}

// Waiting counts the alerts that wait for a person: they fire, nobody has acknowledged
// them, and neither a silence nor their rule mutes them.
func (a Alerts) Waiting(rule func(name string) (RuleAbout, bool)) int {
	n := 0
	for _, one := range a.Active {
		about, known := rule(one.Rule)
		if one.State == AlertFiring && one.Mute == nil && !(known && about.State == RuleIsMuted) {
			n++
		}
	}
	return n
}

// OfSites returns the alerts of the sites that sees returns true for, and at most resolved of
// those that are resolved.
func (a Alerts) OfSites(sees func(site string) bool, resolved int) Alerts {
	of := func(all []Alert) (out []Alert) {
		for _, one := range all {
			if sees(one.Site) {
				out = append(out, one)
			}
		}
		return out
	}
	a.Active, a.Resolved = of(a.Active), of(a.Resolved)
	a.ResolvedTotal = len(a.Resolved)
	a.Resolved = a.Resolved[:min(resolved, len(a.Resolved))]
	return a
}

// About returns the alerts with what the function knows of their rules. It changes
// no alert in place.
func (a Alerts) About(rule func(name string) (RuleAbout, bool)) Alerts {
	a.Active, a.Resolved = aboutRules(a.Active, rule), aboutRules(a.Resolved, rule)
	return a
}

func aboutRules(in []Alert, rule func(name string) (RuleAbout, bool)) []Alert {
	out := slices.Clone(in)
	for i := range out {
		about, ok := rule(out[i].Rule)
		if !ok {
			continue
		}
		out[i].About = &about
		if out[i].Runbook == "" {
			out[i].Runbook = about.Runbook
		}
		if len(out[i].Labels) == 0 {
			out[i].Labels = about.Labels
		}
	}
	return out
}

// Episode is one anomaly on a series, as a chart marks it.
type Episode struct {
	Rule     string   `json:"rule"`
	Metric   string   `json:"metric"`
	Unit     string   `json:"unit,omitempty"`
	Severity Severity `json:"severity"`
	// Start and End are event times; End is zero while the episode is ongoing.
	Start    time.Time `json:"start"`
	End      time.Time `json:"end,omitzero"`
	Sentence string    `json:"sentence"`
	// Low and High bound the normal values; nil is unbounded.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	// Baseline is the expected value; nil if there is no band around it.
	Baseline *float64 `json:"baseline,omitempty"`
	// WithinMS is above 0 when low and high bound a change from the baseline within
	// that time, in milliseconds: a rate, and not a level.
	WithinMS int64 `json:"within_ms,omitempty"`
	// About is the rule as it is now; nil if there is none or it is not known.
	About *RuleAbout `json:"-"`
}

// The states of a silence.
const (
	SilenceActive  = "active"
	SilenceComing  = "coming"
	SilenceExpired = "expired"
)

// Silence mutes alerts for a time: those that match all of its parts, which are patterns
// as in rules. Empty parts match any.
type Silence struct {
	ID       string      `json:"id"`
	Rule     string      `json:"rule,omitempty"`
	Site     string      `json:"site,omitempty"`
	Device   string      `json:"device,omitempty"`
	Metric   string      `json:"metric,omitempty"`
	Severity Severity    `json:"severity,omitempty"`
	Labels   []RuleLabel `json:"labels,omitempty"`
	// From and Until bound it. UntilResolved reports whether it covers the alerts that
	// fired at From, each until it is resolved; then there is no Until. One that comes
	// back every week may have none either.
	From          time.Time `json:"from"`
	Until         time.Time `json:"until,omitzero"`
	UntilResolved bool      `json:"until_resolved,omitempty"`
	// Weekly restricts it to a span of some days; nil for none.
	Weekly  *Weekly `json:"weekly,omitempty"`
	Author  string  `json:"author"`
	Comment string  `json:"comment,omitempty"`
	// State is one of the states of a silence; empty for one that is not stored yet.
	State string `json:"state,omitempty"`
	// Held counts the alerts that fire and are muted by it now.
	Held int `json:"held,omitempty"`
}

// Weekly is a span that comes back on some days of the week, in the time zone of each
// site.
type Weekly struct {
	// Days are like mon,tue, or daily; Start and End like 22:00.
	Days  string `json:"days"`
	Start string `json:"start"`
	End   string `json:"end"`
}

// String says it in words.
func (w Weekly) String() string {
	return strings.ReplaceAll(w.Days, ",", ", ") + " " + w.Start + " to " + w.End
}

// What says in words which alerts are meant.
func (s Silence) What() string {
	what := "Every alert"
	switch {
	case s.Rule != "" && s.Severity != "":
		what = upper(string(s.Severity)) + " alerts of rule " + s.Rule
	case s.Rule != "":
		what = "Rule " + s.Rule
	case s.Severity != "":
		what = "Every " + string(s.Severity) + " alert"
	}
	switch {
	case s.Metric != "" && s.Device != "":
		what += " for " + s.Metric + " of " + s.Device
	case s.Metric != "":
		what += " for " + s.Metric
	case s.Device != "":
		what += " of " + s.Device
	}
	if s.Site != "" {
		what += " at " + s.Site
	}
	for i, l := range s.Labels {
		what += []string{" with ", ", "}[min(i, 1)] + l.Name + ": " + l.Value
	}
	return Plain(what)
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
