package notifier

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/oncall"
	"headwater/streams"
)

const people = `
rules:
  - {name: warm, detector: limit, above: 30}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
  - {name: ann, type: ntfy, url: "https://ntfy.example.org/ann"}
  - {name: ben, type: ntfy, url: "https://ntfy.example.org/ben"}
  - {name: mail, type: webhook, url: "https://example.org/"}
rotas:
  - {name: duty, handover: "daily 08:00", time_zone: UTC, people: [{name: Ann, notify: [ann]}, {name: Ben, notify: [ben, mail]}]}
`

// watched is a machine that is restored after each input.
type watched struct {
	t    *testing.T
	m    *machine
	text string
}

// expect applies anomalies at a time since the beginning of 1970, a Thursday.
func (w *watched) expect(what string, now time.Duration, anomalies []*derivedv1.Anomaly, want ...string) *alertingv1.Commit {
	w.t.Helper()
	c := at(w.t, w.m, now, anomalies...)
	if d := cmp.Diff(want, told(c)); d != "" {
		w.t.Errorf("%s: %s", what, d)
	}
	w.m = restoredWith(w.t, w.m, w.text)
	return c
}

// graded is an anomaly of a severity.
func graded(s derivedv1.Severity, device string, p derivedv1.Phase, start int64) []*derivedv1.Anomaly {
	a := anomaly("warm", device, p, start, start+10)
	a.Severity = s
	return []*derivedv1.Anomaly{a}
}

const (
	info    = derivedv1.Severity_SEVERITY_INFO
	warning = derivedv1.Severity_SEVERITY_WARNING
	severe  = derivedv1.Severity_SEVERITY_CRITICAL
)

// TestRota has alerts begin in the turns of two people, with a reminder and an override.
func TestRota(t *testing.T) {
	text := "grouping: {interval: 0s, repeat: 8h}\n" + people
	w := &watched{t, machineOf(t, text), text}
	w.expect("in Ann's turn", time.Hour, graded(warning, "d1", open, 100), "phone: Warning: warm (d1)", "ann: Warning: warm (d1)")
	w.expect("in Ben's turn", 8*time.Hour, graded(warning, "d2", open, 100), "phone: Warning: warm (d2)", "ben: Warning: warm (d2)", "mail: Warning: warm (d2)")
	w.expect("the reminder is for who is on call", 9*time.Hour, nil, "phone: Still warning: warm (d1)", "ben: Still warning: warm (d1)", "mail: Still warning: warm (d1)")
	overrides, err := oncall.Encode([]oncall.Override{{ID: "a", Rota: "duty", Who: "Ann", From: time.Unix(0, 0).Add(10 * time.Hour), Until: time.Unix(0, 0).Add(11 * time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.m.ConfigureExtra(2, streams.OverridesKey, overrides); err != nil {
		t.Fatal(err)
	}
	w.expect("before the override", 10*time.Hour-time.Second, graded(warning, "d3", open, 100), "phone: Warning: warm (d3)", "ben: Warning: warm (d3)", "mail: Warning: warm (d3)")
	w.expect("in the override", 10*time.Hour, graded(warning, "d4", open, 100), "phone: Warning: warm (d4)", "ann: Warning: warm (d4)")
	w.expect("after the override", 11*time.Hour, graded(warning, "d5", open, 100), "phone: Warning: warm (d5)", "ben: Warning: warm (d5)", "mail: Warning: warm (d5)")
	w.expect("who was notified hears of the end", 12*time.Hour, graded(warning, "d1", shut, 100),
		"phone: Resolved: warm (d1)", "ann: Resolved: warm (d1)", "ben: Resolved: warm (d1)", "mail: Resolved: warm (d1)")
	if err := w.m.ConfigureExtra(3, streams.OverridesKey, []byte("{")); err == nil {
		t.Error("overrides that cannot be read are taken")
	}
}

// TestEscalationToRota has a step reach who is on call when it is due, and the next person
// when that changes.
func TestEscalationToRota(t *testing.T) {
	text := "escalation: [{severity: warning, after: 10m, notify: [duty]}]\n" + people
	w := &watched{t, machineOf(t, text), text}
	w.expect("at once", 8*time.Hour-15*time.Minute, graded(warning, "d1", open, 100), "phone: Warning: warm (d1)")
	w.expect("the step", 8*time.Hour-5*time.Minute, nil, "ann: Warning: warm (d1)")
	w.expect("once", 8*time.Hour-time.Second, nil)
	w.expect("the handover", 8*time.Hour, nil, "ben: Warning: warm (d1)", "mail: Warning: warm (d1)")
	w.expect("nobody else", 9*time.Hour, nil)
	text = strings.Replace(text, "above: 30}", "above: 30, notify: [duty]}", 1)
	w = &watched{t, machineOf(t, text), text}
	w.expect("a rule that names the rota", time.Hour, graded(warning, "d1", open, 100), "ann: Warning: warm (d1)")
}

// TestQuietHours has alerts begin and end in the night, of which one channel is notified in
// the morning and another in place of a third.
func TestQuietHours(t *testing.T) {
	const day = 24 * time.Hour
	text := `
grouping: {interval: 0s}
quiet_hours:
  - {from: "22:00", until: "07:00", time_zone: UTC, channels: [phone]}
  - {severity: info, from: "22:00", until: "08:00", time_zone: UTC, channels: [ben], instead: [mail]}
rules:
  - {name: warm, detector: limit, above: 30, notify: [phone, ben]}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
  - {name: ben, type: ntfy, url: "https://ntfy.example.org/ben"}
  - {name: mail, type: webhook, url: "https://example.org/"}
`
	w := &watched{t, machineOf(t, text), text}
	w.expect("by day", 20*time.Hour, graded(warning, "d0", open, 100), "phone: Warning: warm (d0)", "ben: Warning: warm (d0)")
	w.expect("at night", 22*time.Hour, graded(warning, "d1", open, 100), "ben: Warning: warm (d1)")
	w.expect("another in its place", 22*time.Hour, graded(info, "d2", open, 100), "mail: Info: warm (d2)")
	w.expect("critical goes through", 23*time.Hour, graded(severe, "d3", open, 100), "phone: Critical: warm (d3)", "ben: Critical: warm (d3)")
	w.expect("an end waits", 23*time.Hour, graded(warning, "d0", shut, 100), "ben: Resolved: warm (d0)")
	w.expect("a beginning and its end", 23*time.Hour, append(graded(warning, "d4", open, 100), graded(warning, "d4", shut, 100)...), "ben: Warning: warm (d4)", "ben: Resolved: warm (d4)")
	// It flaps: of the episodes of which the phone was not notified it hears of the newest.
	for i := range 5 {
		w.expect("flaps", day+time.Duration(i)*time.Minute, append(graded(warning, "d5", open, int64(100+i)), graded(warning, "d5", shut, int64(100+i))...),
			"ben: Warning: warm (d5)", "ben: Resolved: warm (d5)")
	}
	w.expect("it gets worse", day+time.Hour, graded(severe, "d1", update, 100), "phone: Critical: warm (d1)")
	w.expect("before the morning", day+7*time.Hour-time.Second, nil)
	c := w.expect("in the morning", day+7*time.Hour, nil, "phone: Resolved: warm (d0)", "phone: Warning: 3 alerts at s, d4 among them", "phone: Resolved: 2 alerts at s, d4 among them")
	if got := c.GetMessages()[1].GetAlerts(); len(got) != 3 || got[1].GetStarted() != 104 {
		t.Errorf("the message about what began lists %v", got)
	}
	if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "It waited until the quiet hours ended.") {
		t.Errorf("the message says %q", body)
	}
	w.expect("once", day+8*time.Hour, nil)
	w.expect("the end of what another was notified of", day+8*time.Hour, graded(info, "d2", shut, 100), "phone: Resolved: warm (d2)", "mail: Resolved: warm (d2)")
}

// TestQuietHoursAreRemoved has a silence cover some of what waits, and then no quiet hours.
func TestQuietHoursAreRemoved(t *testing.T) {
	text := "grouping: {interval: 0s}\nquiet_hours: [{from: \"00:00\", until: \"07:00\", time_zone: UTC}]\n" + people
	w := &watched{t, machineOf(t, text), text}
	for i := range 3 {
		w.expect("waits", time.Hour, graded(warning, fmt.Sprint("d", i), open, 100))
	}
	silenced(t, w.m, 2, `[{"id":"a","device":"d1","from":"1970-01-01T01:00:00Z","until":"1970-01-01T05:00:00Z","author":"jo"}]`)
	w.expect("what waits is silenced", 2*time.Hour, nil)
	text = "grouping: {interval: 0s}\n" + people
	if err := w.m.Configure(3, []byte(text)); err != nil {
		t.Fatal(err)
	}
	w.text = text
	w.expect("the hours are removed", 3*time.Hour, nil, "phone: Warning: 2 alerts at s, d0 among them", "ann: Warning: 2 alerts at s, d0 among them")
	w.expect("the silence ends", 5*time.Hour, nil, "phone: Still warning: warm (d1)", "ann: Still warning: warm (d1)")
}
