package notifier

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/handling"
	"headwater/services/internal/lane"
	"headwater/services/internal/silence"
	"headwater/services/notifier/escalate"
	"headwater/services/notifier/group"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
	"headwater/streams"
)

// maxResolved is how many resolved alerts are kept. When there are slackResolved
// more, the oldest are dropped.
const (
	maxResolved   = 10_000
	slackResolved = 500
)

// machine turns anomalies into alerts and messages: the deterministic core of
// the notifier's lane. One goroutine only.
type machine struct {
	// observe is called with every decision, also with those repeated in a replay.
	observe  func(policy.Decision)
	revision uint64
	rules    map[string]rule.Rule
	// zone returns the time zone of a site; nil before there is a configuration.
	zone     func(site string) string
	channels []policy.Channel
	// grouping returns that of a channel; tags returns those of a device.
	grouping func(channel string) config.Grouping
	tags     func(site, device string) map[string]string
	// groups are the alerts of which channels are to be notified.
	groups   group.Gathering[*alertingv1.Alert]
	gathered func(group.Reason)
	// heard, if not nil, is called with the time of each input, also in a replay.
	heard func(stored int64)
	// steps are those of the escalation; first are the channels and rotas that a rule
	// notifies at once which names none, nil for all.
	steps []escalate.Step
	first []string
	duty  duty
	// silent is who does not report.
	silent silent
	// morning is the report.
	morning morning
	// reminds reports whether channels are ever notified again of what lasts.
	reminds bool
	// ahead is a configuration that was in force in the processor when it found an
	// anomaly, and that has not reached this lane yet. The rules of such anomalies
	// are looked up in it, or a new rule would notify channels that it does not name.
	ahead        configuration
	aheadChanged bool

	// silences say what people are not notified of. silenced is the text that they
	// were read from.
	silences []silence.Silence
	silenced []byte
	// extra is the newest revision of what people did about alerts, silences included.
	extra        uint64
	extraChanged bool
	// places are time zones by name.
	places map[string]*time.Location
	// Between judgedAt and nextMute no silence begins or ends by itself.
	judgedAt, nextMute int64

	alerts map[string]*alert
	// firing holds those of them that are not resolved.
	firing map[string]*alert
	// flapping holds the ids of those that flap. None of them settles before settles.
	flapping map[string]bool
	settles  int64
	// resolved counts the alerts that are resolved.
	resolved int
	// changed marks the chunks that differ from the last snapshot.
	changed [alertChunks]bool

	outAlerts []*alertingv1.Alert
	// outLast is the index in outAlerts of the last version of each alert, by id.
	outLast map[string]int
	// alertBytes is the approximate size of outAlerts in a commit.
	alertBytes  int
	outMessages []pendingMessage

	// now is when the current input was stored, in nanoseconds since the Unix epoch.
	// It is the notifier's only clock, and part of the state.
	now int64
}

var _ lane.ExtraConfigurer = (*machine)(nil)

// alert is the state of one rule on one series.
type alert struct {
	entry policy.Entry
	// state is the alert as it was committed. It is replaced, never changed.
	state *alertingv1.Alert
	// notified is when channels were last notified, in nanoseconds since the Unix
	// epoch by the machine's clock; 0 when that is not known.
	notified int64
}

type configuration struct {
	revision uint64
	content  []byte
	rules    map[string]rule.Rule
}

func newMachine(observe func(policy.Decision)) *machine {
	return &machine{observe: observe, alerts: map[string]*alert{}, firing: map[string]*alert{}, flapping: map[string]bool{}, outLast: map[string]int{}, places: map[string]*time.Location{}}
}

// Configure applies rules and channels.
func (m *machine) Configure(revision uint64, content []byte) error {
	c, err := parse(revision, content)
	if err != nil {
		return err
	}
	m.revision, m.rules, m.zone, m.nextMute = revision, byName(c), c.Zone, 0
	m.grouping, m.tags = c.GroupingOf, c.Tags
	m.reminds = c.Grouping.Repeat > 0 || slices.ContainsFunc(c.Rules, func(r rule.Rule) bool { return r.Remind > 0 })
	m.groups.Recheck()
	m.silent.restart(m, c)
	m.morning.configure(m.now, c)
	m.channels = m.channels[:0:0]
	for _, ch := range c.Channels {
		m.channels = append(m.channels, policy.Channel{Name: ch.Name, Resolved: ch.Resolved})
	}
	m.steps = nil
	for _, e := range c.Escalation {
		m.steps = append(m.steps, escalate.Step(e))
	}
	m.duty.configure(c)
	m.first = escalate.First(m.steps, m.duty.targets)
	if m.first == nil && len(c.Rotas) > 0 {
		m.first = m.duty.targets
	}
	if m.ahead.revision != 0 && m.ahead.revision <= revision {
		m.ahead, m.aheadChanged = configuration{}, true
	}
	return nil
}

func parse(revision uint64, content []byte) (*config.Config, error) {
	return config.Parse(fmt.Sprintf("configuration %d", revision), content)
}

func byName(c *config.Config) map[string]rule.Rule {
	rules := map[string]rule.Rule{rule.UnitChangeName: rule.UnitChange(), rule.HealthName: rule.Health()}
	for _, r := range c.Rules {
		rules[r.Name] = r
	}
	return rules
}

// Apply handles one commit of the processor.
func (m *machine) Apply(in lane.Input) (int, error) {
	c, err := streams.DecodeDerived(in.Data)
	if err != nil {
		return 0, err
	}
	for _, a := range c.GetAnomalies() {
		if a.GetRule() == "" || a.GetSeries().GetDevice() == "" || phase(a.GetPhase()) == 0 {
			return 0, fmt.Errorf("anomaly of rule %q without rule, series or phase", a.GetRule())
		}
	}
	m.now = in.Stored.UnixNano()
	if m.heard != nil {
		m.heard(m.now)
	}
	m.lookAhead(c.GetConfig())
	m.silent.hear(m.now, c.GetSummaries())
	m.morning.hear(m.now, c.GetSummaries())
	for _, a := range c.GetAnomalies() {
		m.apply(a, c.GetNotifier())
	}
	m.settle()
	m.duty.due(m)
	m.remute()
	m.remind()
	m.escalate()
	m.flush()
	m.report()
	return len(c.GetAnomalies()), nil
}

// lookAhead keeps a configuration that is newer than the one in force. It took
// effect after the anomalies of its commit that carry an earlier revision.
func (m *machine) lookAhead(change *derivedv1.ConfigChange) {
	if change.GetRevision() <= max(m.revision, m.ahead.revision) {
		return
	}
	c, err := parse(change.GetRevision(), change.GetContent())
	if err != nil {
		return
	}
	m.ahead = configuration{revision: change.GetRevision(), content: change.GetContent(), rules: byName(c)}
	m.aheadChanged = true
}

// rule returns the rule that found an anomaly, if it still exists.
func (m *machine) rule(a *derivedv1.Anomaly) (rule.Rule, bool) {
	if r, ok := m.ahead.rules[a.GetRule()]; ok && a.GetRuleVersion() > m.revision {
		return r, true
	}
	r, ok := m.rules[a.GetRule()]
	return r, ok
}

// apply handles one anomaly. Notifier is the edge that notifies people of it, empty if this
// machine does.
func (m *machine) apply(a *derivedv1.Anomaly, notifier string) {
	id := streams.AlertID(a.GetRule(), a.GetSeries())
	known := m.alerts[id]
	if known == nil {
		known = &alert{}
	}
	r, _ := m.rule(a)
	opened := known.state.GetOpened()
	if known.state.GetStarted() != a.GetStart() || opened == 0 {
		opened = m.now
	}
	var mute policy.Mute
	if m.holds() {
		mute = m.muteOf(transition(id, known.state, a, policy.Entry{State: policy.Firing}, r), opened)
	}
	d := policy.Decide(known.entry, policy.Transition{Phase: phase(a.GetPhase()), Start: a.GetStart(), Now: m.now},
		m.audience(r, severity(a.GetSeverity(), r), a.GetSeries().GetSite(), mute, notifier))
	m.observe(d)
	if !d.Changed {
		return
	}
	next := transition(id, known.state, a, d.Entry, r)
	next.Opened, next.Notifier = opened, notifier
	if m.zone != nil {
		next.TimeZone = m.zone(a.GetSeries().GetSite())
	}
	m.become(known, next, d, m.now)
}

// become replaces an alert and sends what was decided at a time.
func (m *machine) become(before *alert, next *alertingv1.Alert, d policy.Decision, now int64) {
	next.Version, next.Flapping = before.state.GetVersion()+1, d.Entry.Flap.Since
	if next.GetSeverity() > before.state.GetSeverity() {
		m.duty.recheck() // what waits may not wait any more
	}
	after := &alert{entry: d.Entry, state: next, notified: before.notified}
	if len(d.Notify) > 0 {
		after.notified = now
	}
	m.put(next.GetId(), before, after)
	m.record(next)
	for _, ch := range d.Notify {
		if next.GetRule() == rule.HealthName {
			// A group waits for later input, which may be what does not come.
			m.say(pendingMessage{channel: ch}, next)
			continue
		}
		m.gather(ch, next)
	}
}

func (m *machine) put(id string, before, after *alert) {
	if before.entry.State == policy.Resolved {
		m.resolved--
	}
	if after.entry.State == policy.Resolved {
		m.resolved++
	}
	m.alerts[id] = after
	m.flaps(id, after.entry)
	if after.entry.State == policy.Firing {
		m.firing[id] = after
	} else {
		delete(m.firing, id)
	}
	m.silent.see(m, after.state, after.entry.State == policy.Firing)
	m.changed[chunkOf(id)] = true
	if m.resolved >= maxResolved+slackResolved {
		m.forget()
	}
}

// flaps remembers whether an alert flaps.
func (m *machine) flaps(id string, e policy.Entry) {
	at, flaps := e.Settles()
	if !flaps {
		delete(m.flapping, id)
		return
	}
	if len(m.flapping) == 0 {
		m.settles = at
	}
	m.flapping[id] = true
	m.settles = min(m.settles, at)
}

// settle ends the flapping of alerts that have not begun again for a while.
func (m *machine) settle() {
	if len(m.flapping) == 0 || m.now < m.settles {
		return
	}
	m.settles = math.MaxInt64
	for _, id := range slices.Sorted(maps.Keys(m.flapping)) {
		known := m.alerts[id]
		if known == nil {
			delete(m.flapping, id) // it was forgotten
			continue
		}
		d := policy.Settle(known.entry, m.now)
		if !d.Changed {
			m.flaps(id, known.entry)
			continue
		}
		m.observe(d)
		m.become(known, proto.CloneOf(known.state), d, m.now)
	}
}

// forget drops the alerts that were resolved the longest ago.
func (m *machine) forget() {
	var over []*alertingv1.Alert
	for _, a := range m.alerts {
		if a.entry.State == policy.Resolved {
			over = append(over, a.state)
		}
	}
	slices.SortFunc(over, olderFirst)
	for _, a := range over[:len(over)-maxResolved] {
		delete(m.alerts, a.GetId())
		m.changed[chunkOf(a.GetId())] = true
		m.resolved--
	}
}

// record adds the alert to the next commit. Of several updates of an episode only
// the last is kept; each beginning and each end is, for the history.
func (m *machine) record(a *alertingv1.Alert) {
	m.alertBytes += proto.Size(a)
	if i, ok := m.outLast[a.GetId()]; ok {
		if last := m.outAlerts[i]; last.GetState() == a.GetState() && last.GetStarted() == a.GetStarted() {
			m.outAlerts[i] = a
			return
		}
	}
	m.outLast[a.GetId()] = len(m.outAlerts)
	m.outAlerts = append(m.outAlerts, a)
}

// Pending returns how many alerts and messages wait for the next commit.
func (m *machine) Pending() int { return len(m.outAlerts) + len(m.outMessages) }

// maxAlertBytes is about how much of a commit its alerts may take; beyond it their
// samples and comments are left out. The rest is for messages, which are bounded by the number of
// channels.
const maxAlertBytes = streams.MaxMessage / 2

// Take returns the next commit.
func (m *machine) Take(pos lane.Position, change *lane.ConfigChange) ([]byte, error) {
	c := &alertingv1.Commit{
		Input:    &derivedv1.Position{Incarnation: pos.Incarnation.UnixNano(), Sequence: pos.Sequence, Stored: pos.Stored},
		Alerts:   m.outAlerts,
		Messages: messages(m.outMessages),
	}
	if m.alertBytes > maxAlertBytes {
		for i, a := range c.Alerts {
			c.Alerts[i] = trimmed(a)
		}
	}
	switch {
	case change == nil:
	case change.Extra == streams.SilencesKey:
		c.Silences = &derivedv1.ConfigChange{Revision: change.Revision, Content: change.Content}
	case change.Extra == streams.OverridesKey:
		c.Overrides = &derivedv1.ConfigChange{Revision: change.Revision, Content: change.Content}
	case change.Extra == streams.HealthKey:
		c.Health = &derivedv1.ConfigChange{Revision: change.Revision, Content: change.Content}
	case change.Extra != "":
		id, _ := streams.ParseHandlingKey(change.Extra)
		c.Handling = &alertingv1.Handling{Alert: id, Change: &derivedv1.ConfigChange{Revision: change.Revision, Content: change.Content}}
	default:
		c.Config = &derivedv1.ConfigChange{Revision: change.Revision, Content: change.Content}
	}
	m.outAlerts, m.outMessages, m.alertBytes = nil, nil, 0
	clear(m.outLast)
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode commit of the notifier: %w", err)
	}
	return body, nil
}

// ConfigureExtra applies what people have done about an alert, at once, or silences and
// overrides of rotas, from the next input on.
func (m *machine) ConfigureExtra(revision uint64, key string, content []byte) error {
	if id, ok := streams.ParseHandlingKey(key); ok {
		if err := m.handle(id, content); err != nil {
			return err
		}
	} else if key == streams.OverridesKey {
		if err := m.duty.override(content); err != nil {
			return err
		}
	} else if key == streams.HealthKey {
		if err := m.health(content); err != nil {
			return err
		}
	} else if key != streams.SilencesKey {
		return fmt.Errorf("unknown key %q", key)
	} else {
		all, err := silence.Decode(content)
		if err != nil {
			return err
		}
		m.silences, m.silenced, m.nextMute = all, content, 0
	}
	m.extra, m.extraChanged = max(m.extra, revision), true
	return nil
}

// named returns the channels and rotas that a rule notifies at once; nil means all channels,
// empty but not nil means none.
func (m *machine) named(r rule.Rule) []string {
	if all := r.Audience(); all != nil {
		return all
	}
	return m.first
}

// ExtraRevision returns the newest revision of what people did about alerts.
func (m *machine) ExtraRevision() uint64 { return m.extra }

// handle applies what people have done about an alert.
func (m *machine) handle(id string, content []byte) error {
	h, err := handling.Decode(content)
	if err != nil {
		return err
	}
	of, episode, err := streams.ParseEpisodeID(h.Episode)
	if err != nil {
		return err
	}
	if of != id {
		return fmt.Errorf("episode %q is not one of alert %q", h.Episode, id)
	}
	known := m.alerts[id]
	if known == nil {
		known = &alert{}
	}
	d := policy.Handle(known.entry, policy.Handling{Episode: episode, Acknowledged: h.Acknowledged != nil, Resolved: h.Resolved != nil},
		m.audienceOf(known.state, known.entry.Mute))
	m.observe(d)
	if !d.Changed {
		return nil
	}
	next := proto.CloneOf(known.state)
	next.Assignee, next.Comments = h.Assignee, nil
	for _, n := range h.Comments {
		next.Comments = append(next.Comments, note(n))
	}
	if known.entry.State == policy.Firing {
		next.State, next.Acknowledged = stateOf(d.Entry), nil
		if h.Acknowledged != nil {
			next.Acknowledged = note(*h.Acknowledged)
		}
		if d.Entry.State == policy.Resolved {
			next.Resolved, next.End = note(*h.Resolved), derivedv1.End_END_BY_HAND
			next.Ended = max(next.GetStarted(), next.GetResolved().GetTime())
			next.Updated, next.Learned = next.GetEnded(), max(next.GetLearned(), next.GetResolved().GetTime())
		}
	}
	if !proto.Equal(next, known.state) {
		m.become(known, next, d, h.Changed.UnixNano())
		m.flush()
	}
	return nil
}

func note(n handling.Note) *alertingv1.Note {
	return &alertingv1.Note{Author: n.Author, Time: n.At.UnixNano(), Text: n.Text}
}

// stateOf returns the state of an alert that is not pending.
func stateOf(e policy.Entry) alertingv1.State {
	switch {
	case e.State == policy.Resolved:
		return alertingv1.State_STATE_RESOLVED
	case e.Acknowledged:
		return alertingv1.State_STATE_ACKNOWLEDGED
	}
	return alertingv1.State_STATE_FIRING
}

// muteOf returns the silence that holds back messages about an alert now.
func (m *machine) muteOf(a *alertingv1.Alert, opened int64) policy.Mute {
	series := a.GetSeries()
	found, until, ok := silence.Find(m.silences, time.Unix(0, m.now), silence.Alert{
		Rule: a.GetRule(), Site: series.GetSite(), Device: series.GetDevice(), Metric: series.GetMetric(),
		Severity: ruleSeverity(a.GetSeverity()), Labels: a.GetLabels(), Tags: m.tags, Opened: time.Unix(0, opened), Place: m.place(series.GetSite()),
	})
	if !ok {
		return m.silent.inhibits(m, a)
	}
	mute := policy.Mute{ID: found.ID, By: found.Author}
	if !until.IsZero() {
		mute.Until = until.UnixNano()
	}
	return mute
}

// holds reports whether anything may hold back messages about alerts.
func (m *machine) holds() bool { return len(m.silences) > 0 || m.silent.gateways != nil }

// place returns the time zone of a site.
func (m *machine) place(site string) *time.Location {
	if m.zone == nil {
		return time.UTC
	}
	name := m.zone(site)
	place, ok := m.places[name]
	if !ok {
		var err error
		place, err = time.LoadLocation(name)
		if err != nil {
			place = time.UTC // cannot be: the configuration was read with it
		}
		m.places[name] = place
	}
	return place
}

// remute begins and ends silences for the alerts that are firing: for all when a
// silence may begin or end, else for those that changed.
func (m *machine) remute() {
	due := m.now >= m.nextMute || m.now < m.judgedAt
	m.judgedAt = m.now
	var changed []string
	consider := func(id string, a *alert) {
		if a.entry.Mute != m.muteOf(a.state, a.state.GetOpened()) {
			changed = append(changed, id)
		}
	}
	if due {
		m.nextMute = math.MaxInt64
		if next, ok := silence.Next(m.silences, time.Unix(0, m.now)); ok {
			m.nextMute = next.UnixNano()
		}
		m.nextMute = m.silent.next(m.now, m.nextMute)
		for id, a := range m.firing {
			consider(id, a)
		}
	} else if m.holds() {
		for id := range m.outLast {
			if a := m.firing[id]; a != nil {
				consider(id, a)
			}
		}
	}
	slices.Sort(changed)
	for _, id := range changed {
		a := m.firing[id]
		previous, notified := a.entry.Mute, a.entry.Notified
		d := policy.Remute(a.entry, m.now, m.audienceOf(a.state, m.muteOf(a.state, a.state.GetOpened())))
		m.observe(d)
		a.entry = d.Entry
		m.changed[chunkOf(id)] = true
		if len(d.Notify) > 0 {
			a.notified = m.now
		}
		for _, ch := range d.Notify {
			m.say(pendingMessage{channel: ch, muted: previous, reminder: slices.Contains(notified, ch)}, a.state)
		}
	}
}

// remind notifies channels again of the alerts that are still firing.
func (m *machine) remind() {
	if !m.reminds {
		return
	}
	var due []string
	for id, a := range m.firing {
		r := m.rules[a.state.GetRule()]
		switch {
		case m.remindAfter(r) == 0 || len(a.entry.Notified) == 0 || a.entry.Mute != (policy.Mute{}) || a.entry.Acknowledged:
		case a.notified == 0:
			a.notified = m.now
			m.changed[chunkOf(id)] = true
		case m.now-a.notified >= int64(m.remindAfter(r)):
			due = append(due, id)
		}
	}
	slices.Sort(due)
	for _, id := range due {
		a := m.firing[id]
		a.notified = m.now
		m.changed[chunkOf(id)] = true
		r := m.rules[a.state.GetRule()]
		onCall, off := m.duty.shifts(m.named(r), m.now)
		for _, ch := range m.channels {
			notified := slices.Contains(a.entry.Notified, ch.Name)
			switch {
			case slices.Contains(onCall, ch.Name) && !notified:
				a.entry.Notified = append(slices.Clone(a.entry.Notified), ch.Name)
				m.say(pendingMessage{channel: ch.Name, reminder: true}, a.state)
			case slices.Contains(onCall, ch.Name) || notified && r.Notifies(ch.Name) && !slices.Contains(off, ch.Name):
				m.say(pendingMessage{channel: ch.Name, reminder: true}, a.state)
			}
		}
	}
}

func phase(p derivedv1.Phase) policy.Phase {
	switch p {
	case derivedv1.Phase_PHASE_OPEN:
		return policy.Open
	case derivedv1.Phase_PHASE_UPDATE:
		return policy.Update
	case derivedv1.Phase_PHASE_CLOSE:
		return policy.Close
	default:
		return 0
	}
}

// transition returns the alert after the anomaly.
func transition(id string, before *alertingv1.Alert, a *derivedv1.Anomaly, entry policy.Entry, r rule.Rule) *alertingv1.Alert {
	next := &alertingv1.Alert{
		Id: id, Rule: a.GetRule(), RuleVersion: a.GetRuleVersion(), Series: a.GetSeries(), Unit: a.GetUnit(),
		State: stateOf(entry), Severity: severity(a.GetSeverity(), r), Started: a.GetStart(),
		Updated: a.GetTime(), Learned: a.GetLearned(), Evidence: a.GetEvidence(), Description: r.Description,
		Labels: r.Labels, Runbook: r.Runbook,
	}
	if entry.State == policy.Resolved {
		next.Ended = a.GetTime()
	}
	if before.GetStarted() == next.Started {
		next.Acknowledged, next.Assignee, next.Comments = before.GetAcknowledged(), before.GetAssignee(), before.GetComments()
	}
	if entry.State == policy.Resolved {
		// What was seen while it fired stays.
		next.End, next.Ending, next.Evidence = a.GetEnd(), a.GetEvidence(), nil
		if before.GetStarted() != next.Started || before.GetEvidence() == nil {
			next.Evidence = a.GetEvidence()
		}
	}
	if next.Evidence == nil {
		next.Evidence = before.GetEvidence()
	}
	// The rule was deleted: keep the texts that it had when the alert began.
	if r.Name == "" && before.GetStarted() == next.Started {
		next.Description, next.Labels, next.Runbook = before.GetDescription(), before.GetLabels(), before.GetRunbook()
	}
	return next
}

func severity(s derivedv1.Severity, r rule.Rule) derivedv1.Severity {
	if s != derivedv1.Severity_SEVERITY_UNSPECIFIED {
		return s
	}
	switch r.Severity {
	case rule.Info:
		return derivedv1.Severity_SEVERITY_INFO
	case rule.Critical:
		return derivedv1.Severity_SEVERITY_CRITICAL
	default:
		return derivedv1.Severity_SEVERITY_WARNING
	}
}

func ruleSeverity(s derivedv1.Severity) rule.Severity {
	switch s {
	case derivedv1.Severity_SEVERITY_INFO:
		return rule.Info
	case derivedv1.Severity_SEVERITY_CRITICAL:
		return rule.Critical
	default:
		return rule.Warning
	}
}

func finite(v *float64) *float64 {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return nil
	}
	return v
}

// olderFirst orders alerts by their last transition.
func olderFirst(a, b *alertingv1.Alert) int {
	switch {
	case a.GetUpdated() != b.GetUpdated():
		if a.GetUpdated() < b.GetUpdated() {
			return -1
		}
		return 1
	case a.GetId() < b.GetId():
		return -1
	default:
		return 1
	}
}
