package notifier

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/problems"
	"headwater/services/notifier/channel"
	"headwater/streams"
	"headwater/streams/streamtest"
)

const (
	firingState   = alertingv1.State_STATE_FIRING
	resolvedState = alertingv1.State_STATE_RESOLVED
)

// about returns a message about episodes of devices, which all began at 1.
func about(state alertingv1.State, devices ...string) *alertingv1.Message {
	m := &alertingv1.Message{Channel: "phone", Title: "of all", Body: strings.Join(devices, " ")}
	for _, d := range devices {
		s := &derivedv1.Series{Site: "s", Device: d, Metric: "t"}
		m.Alerts = append(m.Alerts, &alertingv1.Alert{
			Id: streams.AlertID("warm", s), Rule: "warm", Series: s, State: state, Severity: derivedv1.Severity_SEVERITY_CRITICAL, Started: 1, Ended: 2,
		})
	}
	return m
}

func refusedOf(devices ...string) []*alertingv1.Refusal {
	var all []*alertingv1.Refusal
	for _, a := range about(firingState, devices...).GetAlerts() {
		all = append(all, &alertingv1.Refusal{Episode: streams.EpisodeID(a)})
	}
	return all
}

func TestWithoutUnheard(t *testing.T) {
	var many []string
	for i := range maxListed {
		many = append(many, fmt.Sprintf("d%02d", i))
	}
	otherEpisode := about(resolvedState, "a")
	otherEpisode.Alerts[0].Started = 7
	for name, tc := range map[string]struct {
		message *alertingv1.Message
		refused []string
		// want are the devices that are left, and text is in the text.
		want []string
		text string
	}{
		"nothing was refused":          {about(resolvedState, "a"), nil, []string{"a"}, "of all"},
		"the beginning was refused":    {about(resolvedState, "a"), []string{"a"}, nil, ""},
		"another device was refused":   {about(resolvedState, "a"), []string{"b"}, []string{"a"}, "of all"},
		"another episode was refused":  {otherEpisode, []string{"a"}, []string{"a"}, "of all"},
		"a beginning is always sent":   {about(firingState, "a"), []string{"a"}, []string{"a"}, "of all"},
		"some of a group":              {about(resolvedState, "a", "b", "c"), []string{"b"}, []string{"a", "c"}, "2 alerts at s, a among them"},
		"all of a group":               {about(resolvedState, "a", "b"), []string{"a", "b"}, nil, ""},
		"a group that counts unlisted": {about(resolvedState, many...), many[:1], many[1:], "of all"},
	} {
		t.Run(name, func(t *testing.T) {
			before := proto.CloneOf(tc.message)
			got := withoutUnheard(tc.message, refusedOf(tc.refused...))
			var left []string
			for _, a := range got.GetAlerts() {
				left = append(left, a.GetSeries().GetDevice())
			}
			if d := cmp.Diff(tc.want, left); d != "" || !strings.Contains(got.GetTitle(), tc.text) {
				t.Errorf("%q: %s", got.GetTitle(), d)
			}
			if !proto.Equal(before, tc.message) {
				t.Error("the message itself was changed")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const sent, failed, skipped = alertingv1.Outcome_OUTCOME_SENT, alertingv1.Outcome_OUTCOME_FAILED, alertingv1.Outcome_OUTCOME_SKIPPED
	reminder := about(firingState, "a")
	reminder.Reminder = true
	for name, tc := range map[string]struct {
		before  []string
		message *alertingv1.Message
		outcome alertingv1.Outcome
		want    []string
	}{
		"taken":                          {nil, about(firingState, "a"), sent, nil},
		"refused":                        {[]string{"b"}, about(firingState, "a"), failed, []string{"b", "a"}},
		"refused again":                  {[]string{"a", "b"}, about(firingState, "a"), failed, []string{"a", "b"}},
		"taken later":                    {[]string{"a", "b"}, about(firingState, "a"), sent, []string{"b"}},
		"a reminder of what was taken":   {nil, reminder, failed, nil},
		"a reminder of what was refused": {[]string{"a"}, reminder, failed, []string{"a"}},
		"the end was skipped":            {[]string{"a", "b"}, about(resolvedState, "a"), skipped, []string{"b"}},
		"the end was refused":            {[]string{"b"}, about(resolvedState, "a"), failed, []string{"b"}},
	} {
		got := refusals(refusedOf(tc.before...), tc.message, tc.outcome, nil)
		if d := cmp.Diff(refusedOf(tc.want...), got, cmp.Comparer(func(a, b *alertingv1.Refusal) bool { return proto.Equal(a, b) })); d != "" && len(tc.want)+len(got) > 0 {
			t.Errorf("%s: %s", name, d)
		}
	}
	var all []*alertingv1.Refusal
	for i := range maxRefused + 5 {
		all = refusals(all, about(firingState, fmt.Sprint(i)), failed, nil)
	}
	if len(all) != maxRefused || !proto.Equal(all[0], refusedOf("5")[0]) {
		t.Errorf("%d are kept, the oldest is %v", len(all), all[0])
	}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		err             error
		waited, running time.Duration
		final           bool
	}{
		"refused":                        {&channel.Error{Permanent: true}, 0, 0, true},
		"may come":                       {&channel.Error{}, time.Hour, time.Hour, false},
		"too old":                        {&channel.Error{}, 24 * time.Hour, 24 * time.Hour, true},
		"too old, behind others":         {&channel.Error{}, 24 * time.Hour, time.Hour, true},
		"too old, but it has just begun": {&channel.Error{}, 30 * time.Hour, time.Minute, false},
		"no error of a channel":          {context.Canceled, 0, time.Hour, false},
	} {
		if _, final := judge(tc.err, tc.waited, tc.running, 24*time.Hour); final != tc.final {
			t.Errorf("%s: final is %v", name, final)
		}
	}
}

// TestReach has a critical alert that every channel fails, and what makes that a problem no
// longer.
func TestReach(t *testing.T) {
	firing := about(firingState, "a")
	toMail := proto.CloneOf(firing)
	toMail.Channel = "mail"
	commit := &alertingv1.Commit{Messages: []*alertingv1.Message{firing, toMail}}
	episode := streams.EpisodeID(firing.GetAlerts()[0])
	o := outbound{key: key{sequence: 7}, message: firing, commit: commit}
	alarm := func(r *reach) bool { return r.failing[episode] != nil && r.failing[episode].title != "" }

	r := newReach(nil)
	if titles := r.failed("phone", o); len(titles) != 0 || alarm(r) {
		t.Errorf("one of two channels fails it: %v", titles)
	}
	if titles := r.failed("mail", o); titles[episode] != "Critical: warm (a)" || !alarm(r) {
		t.Errorf("both fail it: %v", titles)
	}
	for name, settle := range map[string]func(r *reach){
		"a channel took it": func(r *reach) { r.drop(toMail) },
		"it is settled":     func(r *reach) { r.forget(func(_ string, sequence uint64) bool { return sequence == 7 }) },
		"the owner changed": func(r *reach) { r.clear() },
	} {
		r := newReach(nil)
		r.failed("phone", o)
		r.failed("mail", o)
		if settle(r); alarm(r) {
			t.Errorf("%s: it is still a problem", name)
		}
	}
	// One channel refused it before a restart, the other one after it.
	r = newReach(nil)
	r.restore("phone", 7, refusedOf("a"))
	if alarm(r) {
		t.Error("only one of two refused it")
	}
	if r.failed("mail", o); !alarm(r) {
		t.Error("both refused it")
	}
	// Both before.
	r = newReach(nil)
	r.restore("mail", 7, []*alertingv1.Refusal{{Episode: episode, Unreached: "Critical: warm (a)"}})
	if !alarm(r) {
		t.Error("a restart forgets that both refused it")
	}
	// What is not critical is no alarm.
	r = newReach(nil)
	mild := about(firingState, "b")
	mild.Alerts[0].Severity = derivedv1.Severity_SEVERITY_WARNING
	if r.failed("phone", outbound{message: mild, commit: &alertingv1.Commit{Messages: []*alertingv1.Message{mild}}}); len(r.failing) != 0 {
		t.Error("a warning is tracked")
	}
}

// reports returns what the notifier reports to the dashboard.
func (f *fixture) reports(t *testing.T) string {
	t.Helper()
	kv, err := f.js.KeyValue(t.Context(), streams.BucketProblems)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	var texts []string
	for entry := range watch.Updates() {
		if entry == nil {
			break
		}
		var all []problems.Problem
		if len(entry.Value()) > 0 && json.Unmarshal(entry.Value(), &all) != nil {
			t.Fatalf("report %q", entry.Value())
		}
		for _, p := range all {
			texts = append(texts, p.Part+": "+p.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// TestRefusedBeginning has two channels that refuse the beginning of a critical alert: it is
// a problem, also after a restart, until it is over, and neither channel hears of the end.
// The next episode goes through.
func TestRefusedBeginning(t *testing.T) {
	f := setup(t)
	var works atomic.Bool
	answer := func(int, channel.Payload) int {
		if works.Load() {
			return http.StatusOK
		}
		return http.StatusForbidden
	}
	phone, mail := newSink(t, answer), newSink(t, answer)
	f.configure(t, webhookAt("phone", phone.URL), webhookAt("mail", mail.URL))
	_, stop := f.start(t)
	start := time.Now().UnixNano()
	first := anomaly("warm", "d1", open, start, start)
	first.Severity = derivedv1.Severity_SEVERITY_CRITICAL
	f.publish(t, first)
	unreached := func() bool {
		return strings.Contains(f.reports(t), "Notifications: No channel took the notification of a critical alert: “Critical: It is warm (d1)”.")
	}
	streamtest.Eventually(t, "a problem", unreached)
	stop()
	streamtest.Eventually(t, "no problem of a notifier that has stopped", func() bool { return !unreached() })
	f.start(t)
	streamtest.Eventually(t, "the problem again", unreached)

	works.Store(true)
	f.publish(t, anomaly("warm", "d1", shut, start, start+1))
	for _, name := range []string{"phone", "mail"} {
		streamtest.Eventually(t, name+" skips the end", func() bool {
			all := f.deliveries(t, name)
			return len(all) == 2 && all[1].GetOutcome() == alertingv1.Outcome_OUTCOME_SKIPPED && len(all[1].GetRefused()) == 0
		})
	}
	streamtest.Eventually(t, "no problem", func() bool { return !unreached() })
	f.publish(t, anomaly("warm", "d1", open, start+2, start+2), anomaly("warm", "d1", shut, start+2, start+3))
	want := []string{"Warning: It is warm (d1)", "Resolved: It is warm (d1)"}
	phone.await(t, want...)
	mail.await(t, want...)
}

// TestDeadChannel has one channel that never answers. The other one does not wait for it.
func TestDeadChannel(t *testing.T) {
	f := setup(t)
	release := make(chan struct{})
	dead := newSink(t, func(int, channel.Payload) int { <-release; return http.StatusServiceUnavailable })
	defer close(release) // before the service is to stop
	phone := newSink(t, nil)
	f.configure(t, webhookAt("dead", dead.URL), webhookAt("phone", phone.URL))
	f.start(t)
	var devices []string
	for range 3 {
		devices = append(devices, f.fire(t))
	}
	phone.await(t, firing(devices...)...)
	if n := len(f.deliveries(t, "dead")); n != 0 {
		t.Errorf("%d outcomes of a channel that never answered", n)
	}
	if !slices.Equal(dead.titles(), nil) {
		t.Errorf("it took %v", dead.titles())
	}
}
