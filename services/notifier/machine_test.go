package notifier

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/calendar"
	"headwater/services/internal/config"
	"headwater/services/internal/handling"
	"headwater/services/internal/lane"
	"headwater/services/internal/silence"
	"headwater/services/notifier/channel"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
	"headwater/streams"
)

// apart has each alert be a group of its own, and wait for nothing.
const apart = "\ngrouping: {by: [rule, site, device, metric], interval: 0s}"

const rules = apart + `
sites: {s: {time_zone: Asia/Kolkata}}
rules:
  - {name: warm, description: It is warm., detector: limit, above: 30, severity: critical}
  - {name: cold, detector: limit, below: 0, notify: [phone]}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
  - {name: log, type: webhook, url: "https://example.org/", resolved: false}
`

func anomaly(name, device string, p derivedv1.Phase, start, at int64) *derivedv1.Anomaly {
	high := 30.0
	return &derivedv1.Anomaly{
		Rule: name, RuleVersion: 1, Series: &derivedv1.Series{Site: "s", Device: device, Metric: "t"}, Unit: "°C",
		Start: start, Time: at, Learned: at, Phase: p, Severity: derivedv1.Severity_SEVERITY_WARNING,
		Evidence: &derivedv1.Evidence{
			Value: 31, Score: 1.1, High: &high, Sentence: "31 °C is above 30 °C.", Samples: []*derivedv1.Sample{{Time: at, Value: 31}},
		},
	}
}

const (
	open   = derivedv1.Phase_PHASE_OPEN
	update = derivedv1.Phase_PHASE_UPDATE
	shut   = derivedv1.Phase_PHASE_CLOSE
)

func input(t testing.TB, sequence uint64, c *derivedv1.Commit) lane.Input {
	t.Helper()
	body, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return lane.Input{Subject: streams.DerivedSubject(0), Sequence: sequence, Data: body}
}

func configured(t testing.TB) *machine {
	t.Helper()
	m := newMachine(func(policy.Decision) {})
	if err := m.Configure(1, []byte(rules)); err != nil {
		t.Fatal(err)
	}
	return m
}

func apply(t testing.TB, m *machine, anomalies ...*derivedv1.Anomaly) {
	t.Helper()
	if _, err := m.Apply(input(t, 1, &derivedv1.Commit{Anomalies: anomalies})); err != nil {
		t.Fatal(err)
	}
}

func take(t testing.TB, m *machine) *alertingv1.Commit {
	t.Helper()
	body, err := m.Take(lane.Position{Incarnation: time.Unix(0, 7), Sequence: 9}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := streams.DecodeAlerting(body)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func told(c *alertingv1.Commit) []string {
	var all []string
	for _, m := range c.GetMessages() {
		all = append(all, m.GetChannel()+": "+m.GetTitle())
	}
	return all
}

func TestMachine(t *testing.T) {
	m := configured(t)
	apply(t, m, anomaly("warm", "d1", open, 100, 110), anomaly("cold", "d1", open, 100, 110))
	if m.Pending() != 5 {
		t.Errorf("%d outputs wait, want 2 alerts and 3 messages", m.Pending())
	}
	c := take(t, m)
	if d := cmp.Diff([]string{"phone: Warning: It is warm (d1)", "phone: Warning: cold (d1)", "log: Warning: It is warm (d1)"}, told(c)); d != "" {
		t.Error(d)
	}
	want := &alertingv1.Alert{
		Id: streams.AlertID("warm", &derivedv1.Series{Site: "s", Device: "d1", Metric: "t"}), Rule: "warm", RuleVersion: 1,
		Series: &derivedv1.Series{Site: "s", Device: "d1", Metric: "t"}, Unit: "°C", State: alertingv1.State_STATE_FIRING,
		Severity: derivedv1.Severity_SEVERITY_WARNING, Started: 100, Updated: 110, Learned: 110, Description: "It is warm.",
		Evidence: anomaly("warm", "d1", open, 100, 110).Evidence, TimeZone: "Asia/Kolkata", Opened: c.GetAlerts()[0].GetOpened(), Version: 1,
	}
	if d := cmp.Diff(want, c.GetAlerts()[0], protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if len(c.GetMessages()[0].GetAlerts()[0].GetEvidence().GetSamples()) != 0 {
		t.Error("messages should hold no samples")
	}
	if d := cmp.Diff(&derivedv1.Position{Incarnation: 7, Sequence: 9}, c.GetInput(), protocmp.Transform()); d != "" {
		t.Error(d)
	}

	apply(t, m, anomaly("warm", "d1", update, 100, 120), anomaly("warm", "d1", update, 100, 130))
	c = take(t, m)
	if len(c.GetMessages()) != 0 || len(c.GetAlerts()) != 1 || c.GetAlerts()[0].GetUpdated() != 130 {
		t.Errorf("of two updates the last is enough, and nobody is notified: %v", c)
	}

	end := anomaly("warm", "d1", shut, 100, 140)
	end.Evidence = nil
	apply(t, m, end, anomaly("warm", "d1", open, 150, 150))
	c = take(t, m)
	if d := cmp.Diff([]string{"phone: Resolved: It is warm (d1)", "phone: Warning: It is warm (d1)", "log: Warning: It is warm (d1)"}, told(c)); d != "" {
		t.Error(d)
	}
	if len(c.GetAlerts()) != 2 || c.GetAlerts()[0].GetEnded() != 140 || c.GetAlerts()[0].GetEvidence().GetValue() != 31 || c.GetAlerts()[1].GetEnded() != 0 {
		t.Errorf("an end and a new beginning are two alerts in the history: %v", c.GetAlerts())
	}
	if m.Pending() != 0 || len(take(t, m).GetAlerts()) != 0 {
		t.Error("what was taken should be forgotten")
	}
}

// TestMessagesCanBeOpened holds what goes to a channel to what people need: where to
// look, the time of the site, and an id of the episode.
func TestMessagesCanBeOpened(t *testing.T) {
	const start, end, next = int64(1_700_000_000e9), int64(1_700_000_600e9), int64(1_700_001_000e9)
	m := configured(t)
	var sent []channel.Message
	for _, a := range []*derivedv1.Anomaly{
		anomaly("cold", "d1", open, start, start), anomaly("cold", "d1", shut, start, end), anomaly("cold", "d1", open, next, next),
	} {
		apply(t, m, a)
		for _, message := range take(t, m).GetMessages() {
			sent = append(sent, outgoing(key{sequence: 1}, message, 0, "https://h.example.org/"))
		}
	}
	if len(sent) != 3 {
		t.Fatalf("%d messages, want 3", len(sent))
	}
	for i, want := range []struct{ url, body string }{
		{"https://h.example.org/devices/s/d1?at=2023-11-14T22%3A13%3A20Z", "Since 2023-11-15 03:43:20 IST (Asia/Kolkata)"},
		{"https://h.example.org/devices/s/d1?at=2023-11-14T22%3A23%3A20Z", "Lasted 10 min, from 2023-11-15 03:43:20 to 03:53:20 IST (Asia/Kolkata)"},
		{"https://h.example.org/devices/s/d1?at=2023-11-14T22%3A30%3A00Z", "Since 2023-11-15 04:00:00 IST (Asia/Kolkata)"},
	} {
		got := sent[i]
		if got.URL != want.url || got.Alerts[0].URL != want.url || !strings.Contains(got.Body, want.body) {
			t.Errorf("message %d links to %s and says %q, want %s and %q", i, got.URL, got.Body, want.url, want.body)
		}
		if _, offset := got.Alerts[0].Started.Zone(); offset != 19800 {
			t.Errorf("message %d gives programs %v", i, got.Alerts[0].Started)
		}
	}
	a, b, c := sent[0].Alerts[0], sent[1].Alerts[0], sent[2].Alerts[0]
	if a.ID != b.ID || a.ID == c.ID || a.AlertID != c.AlertID {
		t.Errorf("ids %s, %s and %s of %s and %s", a.ID, b.ID, c.ID, a.AlertID, c.AlertID)
	}
	apply(t, m, anomaly("warm", "d1", open, 1, 1), anomaly("warm", "d2", open, 1, 1))
	two := take(t, m).GetMessages()[0]
	two.Alerts = append(two.Alerts, two.GetAlerts()[0])
	if got := outgoing(key{sequence: 1}, two, 0, "https://h.example.org").URL; got != "https://h.example.org/alerts" {
		t.Errorf("a message about two alerts links to %s", got)
	}
	if got := outgoing(key{sequence: 1}, two, 0, ""); got.URL != "" || got.Alerts[0].URL != "" {
		t.Errorf("a link to nowhere: %v", got)
	}
}

func TestBadInputLeavesNoTrace(t *testing.T) {
	m := configured(t)
	for name, in := range map[string]lane.Input{
		"not a commit":    {Data: []byte("\xff\xff")},
		"without a rule":  input(t, 1, &derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{anomaly("warm", "d", open, 1, 1), anomaly("", "d", open, 1, 1)}}),
		"without a phase": input(t, 1, &derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{anomaly("warm", "d", 0, 1, 1)}}),
		"without series":  input(t, 1, &derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{{Rule: "warm", Phase: open}}}),
	} {
		if _, err := m.Apply(in); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if m.Pending() != 0 || len(m.alerts) != 0 {
			t.Errorf("%s: left a trace", name)
		}
	}
	odd := anomaly("warm", "d", open, 1, 1)
	odd.Evidence.Value = math.NaN()
	apply(t, m, odd)
	if body := take(t, m).GetMessages()[0].GetBody(); strings.Contains(body, "NaN") {
		t.Errorf("body %q", body)
	}
	if err := m.Configure(2, []byte("rules: nonsense")); err == nil {
		t.Error("accepted nonsense as a configuration")
	}
	apply(t, m, anomaly("warm", "e", open, 1, 1))
	if len(take(t, m).GetMessages()) != 2 {
		t.Error("the configuration before should stay in force")
	}
}

// TestRuleAhead shows that a rule which only the processor knows yet notifies the
// channels that it names, and no other.
func TestRuleAhead(t *testing.T) {
	m := configured(t)
	newer := strings.Replace(rules, "channels:", "  - {name: wet, detector: limit, above: 80, notify: [log]}\nchannels:", 1)
	if _, err := m.Apply(input(t, 1, &derivedv1.Commit{Config: &derivedv1.ConfigChange{Revision: 2, Content: []byte(newer)}})); err != nil {
		t.Fatal(err)
	}
	wet := anomaly("wet", "d1", open, 1, 1)
	wet.RuleVersion = 2
	check := func(m *machine) {
		t.Helper()
		apply(t, m, wet)
		if d := cmp.Diff([]string{"log: Warning: wet (d1)"}, told(take(t, m))); d != "" {
			t.Error(d)
		}
	}
	// A change is judged at once, so its commit has anomalies of the new rule.
	both := configured(t)
	at := anomaly("wet", "d1", open, 1, 1)
	at.RuleVersion = 2
	change := &derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{at}, Config: &derivedv1.ConfigChange{Revision: 2, Content: []byte(newer)}}
	if _, err := both.Apply(input(t, 1, change)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"log: Warning: wet (d1)"}, told(take(t, both))); d != "" {
		t.Errorf("in the commit of the change: %s", d)
	}
	first := restored(t, m)
	// Nothing has changed by then, and yet a full snapshot holds all.
	second := restored(t, m)
	check(m)
	check(first)
	check(second)
	for _, m := range []*machine{m, first, second} {
		if err := m.Configure(2, []byte(newer)); err != nil {
			t.Fatal(err)
		}
		if m.ahead.revision != 0 {
			t.Error("what is in force is not ahead any more")
		}
	}
}

// TestCrowd shows that a site that breaks down does not flood a phone, and that
// the commit stays within its bounds.
func TestCrowd(t *testing.T) {
	m := configured(t)
	var all []*derivedv1.Anomaly
	for i := range 8000 {
		a := anomaly("warm", fmt.Sprintf("device-%d", i), open, 1, 1)
		if i == 4000 {
			a.Severity = derivedv1.Severity_SEVERITY_CRITICAL
		}
		a.Evidence.Samples = nil
		for range 30 {
			a.Evidence.Samples = append(a.Evidence.Samples, &derivedv1.Sample{Time: math.MaxInt64, Value: 1.1})
		}
		all = append(all, a)
	}
	apply(t, m, all...)
	body, err := m.Take(lane.Position{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > streams.MaxMessage*3/4 {
		t.Errorf("a commit of %d bytes", len(body))
	}
	c, err := streams.DecodeAlerting(body)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"phone: Critical: 8000 alerts at s, device-4000 among them", "log: Critical: 8000 alerts at s, device-4000 among them"}
	if d := cmp.Diff(want, told(c)); d != "" {
		t.Error(d)
	}
	if len(c.GetAlerts()) != 8000 || len(c.GetMessages()[0].GetAlerts()) != maxListed {
		t.Errorf("%d alerts, of which %d are listed", len(c.GetAlerts()), len(c.GetMessages()[0].GetAlerts()))
	}
}

func restored(t *testing.T, m *machine) *machine {
	t.Helper()
	chunks, err := m.Snapshot(true)
	if err != nil {
		t.Fatal(err)
	}
	other := newMachine(func(policy.Decision) {})
	if err := other.Restore(chunks); err != nil {
		t.Fatal(err)
	}
	if err := other.Configure(m.revision, []byte(rules)); err != nil {
		t.Fatal(err)
	}
	return other
}

// TestSnapshots runs two machines over the same random history, one of them
// restored from its snapshots again and again, and expects the same commits. The
// processor has newer configurations in force before the machines have.
func TestSnapshots(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	// In each revision, wet notifies another channel.
	content := func(revision uint64) []byte {
		notify := []string{"phone", "log"}[revision%2]
		return []byte(strings.Replace(rules, "channels:", "  - {name: wet, detector: limit, above: 80, notify: ["+notify+"]}\nchannels:", 1))
	}
	inForce, newest := uint64(1), uint64(1)
	configure := func(m *machine) {
		t.Helper()
		if err := m.Configure(inForce, content(inForce)); err != nil {
			t.Fatal(err)
		}
	}
	one, other := newMachine(func(policy.Decision) {}), newMachine(func(policy.Decision) {})
	configure(one)
	configure(other)
	kept := map[string][]byte{}
	keep := func(all bool) {
		chunks, err := other.Snapshot(all)
		if err != nil {
			t.Fatal(err)
		}
		if all {
			clear(kept)
		}
		for _, c := range chunks {
			kept[c.ID] = c.Data
		}
	}
	for i := range int64(600) {
		c := &derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{anomaly([]string{"warm", "cold", "gone", "wet"}[random.IntN(4)], fmt.Sprintf("d%d", random.IntN(20)),
			[]derivedv1.Phase{open, update, shut}[random.IntN(3)], i/30, i)}}
		c.Anomalies[0].RuleVersion = newest
		if random.IntN(40) == 0 {
			newest++
			c.Config = &derivedv1.ConfigChange{Revision: newest, Content: content(newest)}
		}
		for _, m := range []*machine{one, other} {
			if _, err := m.Apply(input(t, uint64(i), c)); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(80) == 0 {
			inForce = newest
			configure(one)
			configure(other)
		}
		if random.IntN(10) == 0 {
			want, got := take(t, one), take(t, other)
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Fatalf("after %d: %s", i, d)
			}
			keep(random.IntN(5) == 0)
			next := newMachine(func(policy.Decision) {})
			var chunks []lane.Chunk
			for id, data := range kept {
				chunks = append(chunks, lane.Chunk{ID: id, Data: data})
			}
			if err := next.Restore(chunks); err != nil {
				t.Fatal(err)
			}
			configure(next)
			other = next
		}
	}
	if one.resolved != other.resolved || len(one.alerts) != len(other.alerts) {
		t.Errorf("%d of %d are over, and %d of %d", one.resolved, len(one.alerts), other.resolved, len(other.alerts))
	}
}

func TestDamagedChunks(t *testing.T) {
	for _, c := range []lane.Chunk{
		{ID: "alerts-0", Data: []byte("{")},
		{ID: "alerts-0", Data: []byte(`[{"alert":"/w=="}]`)},
		{ID: "alerts-0", Data: []byte(`[{"alert":""}]`)},
		{ID: "ahead", Data: []byte("x")},
		{ID: "ahead", Data: []byte(`{"revision":1,"content":"eA=="}`)},
		{ID: "other"},
	} {
		if err := newMachine(func(policy.Decision) {}).Restore([]lane.Chunk{c}); err == nil {
			t.Errorf("restored from %s %s", c.ID, c.Data)
		}
	}
}

func TestOldAlertsAreForgotten(t *testing.T) {
	m := newMachine(func(policy.Decision) {})
	if err := m.Configure(1, []byte("rules: []")); err != nil {
		t.Fatal(err)
	}
	for i := range int64(maxResolved + slackResolved) {
		device := fmt.Sprintf("d%d", i)
		apply(t, m, anomaly("warm", device, open, i, i), anomaly("warm", device, shut, i, i))
		if i == 0 {
			apply(t, m, anomaly("cold", device, open, i, i))
		}
		take(t, m)
	}
	if m.resolved != maxResolved || len(m.alerts) != maxResolved+1 {
		t.Errorf("%d are over of %d", m.resolved, len(m.alerts))
	}
	series := &derivedv1.Series{Site: "s", Device: "d0", Metric: "t"}
	if m.alerts[streams.AlertID("warm", series)] != nil {
		t.Error("the oldest should be forgotten")
	}
	if m.alerts[streams.AlertID("cold", series)] == nil {
		t.Error("one that fires is never forgotten")
	}
}

func TestKey(t *testing.T) {
	for text, k := range map[string]key{
		"12-3":                           {sequence: 12, index: 3},
		"12-3-dn5mn57qoq2o":              {incarnation: 1_795_745_472_000_000_000, sequence: 12, index: 3},
		"12-3-dn5mn57qoq2o-dn5mn5oa270g": {incarnation: 1_795_745_472_000_000_000, stored: 1_795_745_473_000_000_000, sequence: 12, index: 3},
	} {
		got, err := parseKey(text)
		if err != nil || got != k || k.String() != text {
			t.Errorf("%s is %v, %v, which is %s", text, got, err, k)
		}
	}
	for _, bad := range []string{"", "1", "1-", "-1", "a-b", "1-2-", "1-2-0", "1-2-_", "1-2--3", "1-2-3-", "1-2-3-0", "1-2-3-4-5", "1--2", "18446744073709551616-1"} {
		if _, err := parseKey(bad); err == nil {
			t.Errorf("%q is no key", bad)
		}
	}
	k := key{1, 70, 12, 3}
	for _, before := range []key{{1, 70, 12, 2}, {1, 60, 11, 9}, {1, 0, 12, 2}, {1, 60, 12, 3}, {1, 60, 13, 0}} {
		if !k.after(before) {
			t.Errorf("%+v does not come after %+v", k, before)
		}
	}
	for _, later := range []key{k, {1, 0, 12, 3}, {1, 80, 13, 0}, {1, 0, 13, 0}, {1, 70, 12, 4}} {
		if k.after(later) {
			t.Errorf("%+v comes after %+v", k, later)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	m := configured(b)
	var commits []lane.Input
	for i := range int64(100) {
		c := &derivedv1.Commit{}
		for j := range 10 {
			c.Anomalies = append(c.Anomalies, anomaly("warm", fmt.Sprintf("d%d", j), []derivedv1.Phase{open, update, shut}[i%3], i/3, i))
		}
		commits = append(commits, input(b, uint64(i), c))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := m.Apply(commits[i%len(commits)]); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Take(lane.Position{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

const lasting = apart + `
rules:
  - name: warm
    detector: limit
    above: 30
    remind: 4h
    labels: {team: ops}
    runbook: https://wiki.example.org/warm
    notify: [phone]
  - {name: cold, detector: limit, below: 0, remind: 4h, state: muted}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.sh/x"}
  - {name: log, type: webhook, url: "http://127.0.0.1/x"}
`

// at applies a commit that was stored at a time.
func at(t testing.TB, m *machine, stored time.Duration, anomalies ...*derivedv1.Anomaly) *alertingv1.Commit {
	t.Helper()
	in := input(t, 1, &derivedv1.Commit{Anomalies: anomalies})
	in.Stored = time.Unix(0, int64(stored)+1)
	if _, err := m.Apply(in); err != nil {
		t.Fatal(err)
	}
	return take(t, m)
}

func TestRemindersOfOngoingAlerts(t *testing.T) {
	m := newMachine(func(policy.Decision) {})
	if err := m.Configure(1, []byte(lasting)); err != nil {
		t.Fatal(err)
	}
	c := at(t, m, 0, anomaly("warm", "d1", open, 100, 110), anomaly("cold", "d1", open, 100, 110))
	if d := cmp.Diff([]string{"phone: Warning: warm (d1)"}, told(c)); d != "" {
		t.Fatalf("a muted rule notifies nobody: %s", d)
	}
	body := c.GetMessages()[0].GetBody()
	for _, want := range []string{"Rule warm (team=ops)", "What to do: https://wiki.example.org/warm"} {
		if !strings.Contains(body, want) {
			t.Errorf("the message has no %q: %s", want, body)
		}
	}
	if got := outgoing(key{sequence: 1}, c.GetMessages()[0], 0, "").Alerts[0]; got.Labels["team"] != "ops" || got.Runbook == "" {
		t.Errorf("the alert for programs is %+v", got)
	}
	restored := newMachine(func(policy.Decision) {})
	chunks, err := m.Snapshot(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := restored.Restore(chunks); err != nil {
		t.Fatal(err)
	}
	if err := restored.Configure(1, []byte(lasting)); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*machine{"as it ran": m, "restored": restored} {
		if got := told(at(t, m, 4*time.Hour-1)); len(got) != 0 {
			t.Errorf("%s: too early: %v", name, got)
		}
		c := at(t, m, 4*time.Hour)
		if d := cmp.Diff([]string{"phone: Still warning: warm (d1)"}, told(c)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(c.GetAlerts()) != 0 || !c.GetMessages()[0].GetReminder() {
			t.Errorf("%s: %v", name, c)
		}
		if got := told(at(t, m, 5*time.Hour)); len(got) != 0 {
			t.Errorf("%s: again at once: %v", name, got)
		}
		if got := told(at(t, m, 8*time.Hour, anomaly("warm", "d1", shut, 100, 200))); len(got) != 1 || got[0] != "phone: Resolved: warm (d1)" {
			t.Errorf("%s: at the end: %v", name, got)
		}
		if got := told(at(t, m, 20*time.Hour)); len(got) != 0 {
			t.Errorf("%s: after the end: %v", name, got)
		}
	}
}

// TestSilences mutes an alert for a time, and until it is resolved, in a machine as
// it ran and in one that is restored after each step.
func TestSilences(t *testing.T) {
	mute := func(t *testing.T, m *machine, revision uint64, all ...silence.Silence) {
		t.Helper()
		content, err := silence.Encode(all)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.ConfigureExtra(revision, streams.SilencesKey, content); err != nil {
			t.Fatal(err)
		}
	}
	when := func(after time.Duration) time.Time { return time.Unix(0, int64(after)+1) }
	for name, keep := range map[string]func(*machine) *machine{
		"as it ran": func(m *machine) *machine { return m },
		"restored":  func(m *machine) *machine { return restoredWith(t, m, lasting) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(func(policy.Decision) {})
			if err := m.Configure(1, []byte(lasting)); err != nil {
				t.Fatal(err)
			}
			expect := func(what string, c *alertingv1.Commit, want ...string) *alertingv1.Commit {
				t.Helper()
				if d := cmp.Diff(want, told(c)); d != "" {
					t.Errorf("%s: %s", what, d)
				}
				m = keep(m)
				return c
			}
			expect("before", at(t, m, time.Hour, anomaly("warm", "d1", open, 100, 110)), "phone: Warning: warm (d1)")
			of := silence.Match{Rule: "warm", Site: "s", Device: "d1", Metric: "t"}
			mute(t, m, 1, silence.Silence{ID: "a", Match: of, From: when(2 * time.Hour), Until: when(10 * time.Hour), Author: "jo"})
			expect("it begins", at(t, m, 3*time.Hour))
			expect("no reminder", at(t, m, 9*time.Hour))
			expect("another device", at(t, m, 9*time.Hour, anomaly("warm", "d2", open, 200, 210)), "phone: Warning: warm (d2)")
			expect("the end is for who knows of the beginning", at(t, m, 9*time.Hour, anomaly("warm", "d1", shut, 100, 300)), "phone: Resolved: warm (d1)")
			expect("another episode", at(t, m, 9*time.Hour, anomaly("warm", "d1", open, 400, 410)))
			c := expect("it ends", at(t, m, 10*time.Hour), "phone: Still warning: warm (d1)")
			if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "It was muted by jo until 1970-01-01 10:00:00 UTC, and still fires.") {
				t.Errorf("the message says %q", body)
			}
			expect("once", at(t, m, 11*time.Hour))
			mute(t, m, 2, silence.Silence{ID: "b", Match: silence.Match{Rule: "warm"}, From: when(12 * time.Hour), Author: "jo"})
			expect("until resolved", at(t, m, 20*time.Hour))
			expect("a new episode is not meant", at(t, m, 20*time.Hour, anomaly("warm", "d3", open, 500, 510)), "phone: Warning: warm (d3)")
			mute(t, m, 3)
			expect("taken back: nothing but the reminders that are due", at(t, m, 20*time.Hour), "phone: Still warning: warm (d2)", "phone: Still warning: warm (d1)")
		})
	}
	t.Run("weekly, by pattern", func(t *testing.T) {
		// 1970-01-01 was a Thursday; the site is 5 h 30 min ahead of UTC.
		const zoned = "sites: {s: {time_zone: Asia/Kolkata}}\n" + lasting
		m := newMachine(func(policy.Decision) {})
		if err := m.Configure(1, []byte(zoned)); err != nil {
			t.Fatal(err)
		}
		mute(t, m, 1, silence.Silence{
			ID: "w", Match: silence.Match{Device: "d*", Severity: rule.Warning, Labels: map[string]string{"team": "o*"}}, From: when(0), Author: "jo",
			Weekly: &calendar.Weekly{Days: 1<<time.Thursday | 1<<time.Friday, Start: 22 * 60, End: 6 * 60},
		})
		expect := func(what string, c *alertingv1.Commit, want ...string) *alertingv1.Commit {
			t.Helper()
			if d := cmp.Diff(want, told(c)); d != "" {
				t.Errorf("%s: %s", what, d)
			}
			m = restoredWith(t, m, zoned)
			return c
		}
		other := anomaly("warm", "x1", open, 100, 110)
		info := anomaly("warm", "d2", open, 100, 110)
		info.Severity = derivedv1.Severity_SEVERITY_INFO
		expect("before 22:00 there", at(t, m, 16*time.Hour, anomaly("warm", "d1", open, 100, 110)), "phone: Warning: warm (d1)")
		expect("within", at(t, m, 17*time.Hour, anomaly("warm", "d3", open, 100, 110), other, info), "phone: Warning: warm (x1)", "phone: Info: warm (d2)")
		expect("its severity rises to one that is muted", at(t, m, 18*time.Hour, anomaly("warm", "d2", update, 100, 120)))
		c := expect("it ends at 06:00 there", at(t, m, 24*time.Hour+30*time.Minute, anomaly("warm", "x1", shut, 100, 130)),
			"phone: Still warning: warm (d2)", "phone: Still warning: warm (d1)", "phone: Still warning: warm (d3)", "phone: Resolved: warm (x1)")
		if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "It was muted by jo until 1970-01-02 06:00:00 IST, and still fires.") {
			t.Errorf("the message says %q", body)
		}
		expect("it comes back", at(t, m, 41*time.Hour, anomaly("warm", "d4", open, 500, 510)))
		expect("not on Saturday", at(t, m, 65*time.Hour, anomaly("warm", "d5", open, 600, 610), anomaly("warm", "d4", shut, 500, 620)),
			"phone: Still warning: warm (d2)", "phone: Still warning: warm (d1)", "phone: Still warning: warm (d3)", "phone: Warning: warm (d5)")
	})
	t.Run("by tag", func(t *testing.T) {
		m := newMachine(func(policy.Decision) {})
		tag := func(revision uint64, tags config.Tags) {
			t.Helper()
			content, err := config.Parts{File: []byte(lasting), Tags: tags}.Encode()
			if err == nil {
				err = m.Configure(revision, content)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		tag(1, nil)
		mute(t, m, 1, silence.Silence{ID: "z", Match: silence.Match{Labels: map[string]string{"tag:zone": "cold*"}}, From: when(0), Until: when(10 * time.Hour), Author: "jo"})
		expect := func(what string, c *alertingv1.Commit, want ...string) {
			t.Helper()
			if d := cmp.Diff(want, told(c)); d != "" {
				t.Errorf("%s: %s", what, d)
			}
		}
		expect("no tag", at(t, m, time.Hour, anomaly("warm", "d1", open, 100, 110)), "phone: Warning: warm (d1)")
		tag(2, config.Tags{"s/d2": {"zone": "cold-1"}})
		expect("tagged", at(t, m, 2*time.Hour, anomaly("warm", "d2", open, 200, 210)))
		tag(3, nil)
		expect("not any more", at(t, m, 3*time.Hour), "phone: Still warning: warm (d2)")
	})
	m := configured(t)
	for _, content := range []string{"", "{}", `[{"id":"a","rule":"warm"}]`, `[{"id":"a","from":"2026-01-01T00:00:00Z"}]`} {
		if err := m.ConfigureExtra(1, streams.SilencesKey, []byte(content)); err == nil || m.ExtraRevision() != 0 {
			t.Errorf("took in %q", content)
		}
	}
}

// TestHandle takes an alert through what people do about it, in a machine as it ran and
// in one that is restored after each step.
func TestHandle(t *testing.T) {
	for name, keep := range map[string]func(*machine) *machine{
		"as it ran": func(m *machine) *machine { return m },
		"restored":  func(m *machine) *machine { return restoredWith(t, m, lasting) },
	} {
		t.Run(name, func(t *testing.T) {
			var reasons []policy.Reason
			m := newMachine(func(policy.Decision) {})
			if err := m.Configure(1, []byte(lasting)); err != nil {
				t.Fatal(err)
			}
			revision := uint64(0)
			does := func(of *alertingv1.Alert, h handling.Handling, action handling.Action, text string) (handling.Handling, *alertingv1.Commit) {
				t.Helper()
				h.Episode = streams.EpisodeID(of)
				h, err := h.With(action, handling.Note{Author: "ann", At: time.Unix(0, int64(2*time.Hour)), Text: text})
				if err != nil {
					t.Fatal(err)
				}
				content, err := h.Encode()
				if err != nil {
					t.Fatal(err)
				}
				m.observe = func(d policy.Decision) { reasons = append(reasons, d.Reason) }
				revision++
				if err := m.ConfigureExtra(revision, streams.HandlingKey(of.GetId()), content); err != nil {
					t.Fatal(err)
				}
				c := take(t, m)
				m = keep(m)
				if m.ExtraRevision() != revision {
					t.Errorf("revision %d is in force, want %d", m.ExtraRevision(), revision)
				}
				return h, c
			}
			first := at(t, m, time.Hour, anomaly("warm", "d1", open, 100, 110)).GetAlerts()[0]
			h, c := does(first, handling.Handling{}, handling.Acknowledge, "on my way")
			a := c.GetAlerts()[0]
			if a.GetState() != alertingv1.State_STATE_ACKNOWLEDGED || a.GetAcknowledged().GetAuthor() != "ann" || a.GetAcknowledged().GetText() != "on my way" || a.GetVersion() != 2 || len(c.GetMessages()) != 0 {
				t.Errorf("acknowledged: %v", c)
			}
			if got := told(at(t, m, 9*time.Hour)); len(got) != 0 {
				t.Errorf("a reminder of what is acknowledged: %v", got)
			}
			a = at(t, m, 9*time.Hour, anomaly("warm", "d1", update, 100, 120)).GetAlerts()[0]
			if a.GetState() != alertingv1.State_STATE_ACKNOWLEDGED || a.GetAcknowledged() == nil {
				t.Errorf("an update forgets it: %v", a)
			}
			h, c = does(first, h, handling.Unacknowledge, "")
			if a := c.GetAlerts()[0]; a.GetState() != alertingv1.State_STATE_FIRING || a.GetAcknowledged() != nil || len(c.GetMessages()) != 0 {
				t.Errorf("taken back: %v", c)
			}
			if d := cmp.Diff([]string{"phone: Still warning: warm (d1)"}, told(at(t, m, 9*time.Hour))); d != "" {
				t.Errorf("the reminder that is due: %s", d)
			}
			h, _ = does(first, h, handling.Comment, "the door is stuck")
			h, c = does(first, h, handling.Assign, "bob")
			if a := c.GetAlerts()[0]; a.GetAssignee() != "bob" || len(a.GetComments()) != 1 || a.GetComments()[0].GetText() != "the door is stuck" || len(c.GetMessages()) != 0 {
				t.Errorf("commented and assigned: %v", c)
			}
			h, _ = does(first, h, handling.Acknowledge, "")
			c = at(t, m, 10*time.Hour, anomaly("warm", "d1", shut, 100, 200))
			if d := cmp.Diff([]string{"phone: Resolved: warm (d1)"}, told(c)); d != "" {
				t.Errorf("the end: %s", d)
			}
			if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "Acknowledged by ann, 1970-01-01 02:00:00 UTC") {
				t.Errorf("the successor says %s", body)
			}
			if a := c.GetAlerts()[0]; a.GetAcknowledged() == nil || a.GetAssignee() != "bob" || len(c.GetMessages()[0].GetAlerts()[0].GetComments()) != 0 {
				t.Errorf("the end: %v", c)
			}
			second := at(t, m, 11*time.Hour, anomaly("warm", "d1", open, 300, 310))
			if a := second.GetAlerts()[0]; a.GetState() != alertingv1.State_STATE_FIRING || a.GetAcknowledged() != nil || a.GetAssignee() != "" || len(a.GetComments()) != 0 || len(second.GetMessages()) != 1 {
				t.Errorf("a new episode fires again: %v", second)
			}
			if _, c := does(first, h, handling.Comment, "late"); len(c.GetAlerts()) != 0 {
				t.Errorf("what comes late for an old episode does nothing: %v", c)
			}
			_, c = does(second.GetAlerts()[0], handling.Handling{}, handling.Resolve, "done")
			if a := c.GetAlerts()[0]; a.GetState() != alertingv1.State_STATE_RESOLVED || a.GetEnded() != int64(2*time.Hour) || a.GetResolved().GetAuthor() != "ann" {
				t.Errorf("resolved by hand: %v", a)
			}
			if d := cmp.Diff([]string{"phone: Resolved by hand: warm (d1)"}, told(c)); d != "" || !strings.Contains(c.GetMessages()[0].GetBody(), "Resolved by ann, 1970-01-01 02:00:00 UTC") {
				t.Errorf("resolved by hand: %s %v", d, c.GetMessages())
			}
			if got := outgoing(key{sequence: 1}, c.GetMessages()[0], 0, "").Alerts[0]; got.End != policy.ByHand || got.Resolved == nil || got.Resolved.Text != "done" {
				t.Errorf("resolved by hand, for programs: %+v", got)
			}
			if c := at(t, m, 12*time.Hour, anomaly("warm", "d1", update, 300, 400), anomaly("warm", "d1", shut, 300, 500)); len(c.GetAlerts()) != 0 || len(c.GetMessages()) != 0 {
				t.Errorf("resolved is resolved: %v", c)
			}
			want := []policy.Reason{
				policy.ReasonAcknowledged, policy.ReasonUnacknowledged, policy.ReasonNoted, policy.ReasonNoted, policy.ReasonAcknowledged,
				policy.ReasonTooLate, policy.ReasonResolvedByHand,
			}
			if d := cmp.Diff(want, only(reasons, want)); d != "" {
				t.Error(d)
			}
		})
	}
	m := configured(t)
	for key, content := range map[string]string{"alert.x": `{"episode":"0f3a9c5d71b2e684-2s"}`, "alert.0f3a9c5d71b2e684": "{}", "other": "{}"} {
		if err := m.ConfigureExtra(1, key, []byte(content)); err == nil || m.ExtraRevision() != 0 {
			t.Errorf("took in %s of %s", content, key)
		}
	}
}

// TestEnds ends an alert in each way: what was seen while it fired stays, and title, text
// and the alert for programs say why it ended.
func TestEnds(t *testing.T) {
	for end, want := range map[derivedv1.End]struct {
		title string
		kind  policy.End
	}{
		derivedv1.End_END_UNSPECIFIED:  {"Resolved: It is warm (d1)", ""},
		derivedv1.End_END_RECOVERED:    {"Resolved: It is warm (d1)", policy.Recovered},
		derivedv1.End_END_NO_DATA:      {"Ended without data: It is warm (d1)", policy.NoData},
		derivedv1.End_END_RULE_CHANGED: {"Ended by a change of the rule: It is warm (d1)", policy.RuleChanged},
	} {
		m := configured(t)
		apply(t, m, anomaly("warm", "d1", open, 100, 110))
		take(t, m)
		last := anomaly("warm", "d1", shut, 100, 140)
		last.End, last.Evidence.Sentence, last.Evidence.Value = end, "no reading for 15 min; the last was 9.6 °C", 9.6
		apply(t, m, last)
		c := take(t, m)
		if got := told(c); len(got) != 1 || got[0] != "phone: "+want.title {
			t.Errorf("%v: %v", end, got)
		}
		if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "No reading for 15 min; the last was 9.6 °C") {
			t.Errorf("%v: the text is %s", end, body)
		}
		a := c.GetAlerts()[0]
		if a.GetEvidence().GetSentence() != "31 °C is above 30 °C." || a.GetEnding().GetSentence() != last.Evidence.Sentence || a.GetEnd() != end {
			t.Errorf("%v: %v", end, a)
		}
		got := outgoing(key{sequence: 1}, c.GetMessages()[0], 0, "").Alerts[0]
		if got.End != want.kind || got.Sentence != "31 °C is above 30 °C." || got.EndSentence != last.Evidence.Sentence || *got.Value != 31 {
			t.Errorf("%v: for programs it is %+v", end, got)
		}
	}
}

// only returns those of the reasons that are wanted somewhere.
func only(all, wanted []policy.Reason) []policy.Reason {
	return slices.DeleteFunc(all, func(r policy.Reason) bool { return !slices.Contains(wanted, r) })
}

func restoredWith(t *testing.T, m *machine, configuration string) *machine {
	t.Helper()
	chunks, err := m.Snapshot(true)
	if err != nil {
		t.Fatal(err)
	}
	other := newMachine(func(policy.Decision) {})
	if err := other.Restore(chunks); err != nil {
		t.Fatal(err)
	}
	if err := other.Configure(m.revision, []byte(configuration)); err != nil {
		t.Fatal(err)
	}
	return other
}

// TestEdgeNotifies checks that nobody is notified of what an edge notifies people of, at
// any later step either, and that the alert is there.
func TestEdgeNotifies(t *testing.T) {
	m := newMachine(func(policy.Decision) {})
	if err := m.Configure(1, []byte(rules+"escalation: [{severity: warning, after: 1m, notify: [log]}]\n")); err != nil {
		t.Fatal(err)
	}
	step := func(notifier string, stored time.Time, anomalies ...*derivedv1.Anomaly) []string {
		t.Helper()
		in := input(t, 1, &derivedv1.Commit{Notifier: notifier, Anomalies: anomalies})
		in.Stored = stored
		if _, err := m.Apply(in); err != nil {
			t.Fatal(err)
		}
		c := take(t, m)
		for _, a := range c.GetAlerts() {
			if a.GetNotifier() != notifier {
				t.Errorf("notifier %q, want %q", a.GetNotifier(), notifier)
			}
		}
		return told(c)
	}
	at := time.Unix(1_000_000, 0)
	if got := step("attic", at, anomaly("warm", "d1", open, 100, 110), anomaly("unheard", "d1", open, 100, 110)); len(got) > 0 || len(m.firing) != 2 {
		t.Errorf("notified of %v, %d alerts fire", got, len(m.firing))
	}
	if got := step("", at.Add(time.Hour), anomaly("cold", "d2", open, 100, 110)); len(got) != 1 {
		t.Errorf("an hour later: %v", got)
	}
	// The other alert escalates by now.
	if d := cmp.Diff([]string{"log: Warning: cold (d2)"}, step("attic", at.Add(2*time.Hour), anomaly("warm", "d1", shut, 100, 120))); d != "" {
		t.Errorf("at the end: %s", d)
	}
	// An edge that has no channel leaves it to this Headwater.
	if got := step("", at.Add(3*time.Hour), anomaly("unheard", "d9", open, 100, 110)); len(got) != 1 {
		t.Errorf("an edge without channels: %v", got)
	}
}
