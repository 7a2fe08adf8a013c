package notifier

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/handling"
	"headwater/services/notifier/policy"
	"headwater/streams"
)

const storms = `
rules:
  - {name: warm, description: It is warm., detector: limit, above: 30}
  - {name: cold, detector: limit, below: 0}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
`

// machineOf returns a machine with a configuration in force.
func machineOf(t *testing.T, text string) *machine {
	t.Helper()
	m := newMachine(func(policy.Decision) {})
	if err := m.Configure(1, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStorm has 10,000 devices cross their limit within one second, in messages of many
// lanes, and then come back.
func TestStorm(t *testing.T) {
	const devices, commits, begin = 10_000, 40, time.Hour
	for name, text := range map[string]string{
		"by default": storms, "by rule": "grouping: {by: [rule]}\n" + storms, "by site, with a wait": "grouping: {by: [site], wait: 3s, interval: 5m}\n" + storms,
	} {
		t.Run(name, func(t *testing.T) {
			m := machineOf(t, text)
			fires, listed, messages := map[string]bool{}, 0, 0
			var first time.Duration
			inputs := 0
			step := func(now time.Duration, anomalies ...*derivedv1.Anomaly) {
				c := at(t, m, now, anomalies...)
				inputs++
				for _, a := range c.GetAlerts() {
					if a.GetState() == alertingv1.State_STATE_FIRING {
						fires[a.GetId()] = true
					}
				}
				for _, message := range c.GetMessages() {
					messages++
					listed += len(message.GetAlerts())
					if first == 0 {
						first = now
					}
					if len(message.GetAlerts()) > maxListed || len(message.GetBody()) > policy.MaxBody {
						t.Errorf("a message lists %d alerts in %d bytes", len(message.GetAlerts()), len(message.GetBody()))
					}
				}
				if inputs == commits/2 {
					m = restoredWith(t, m, text)
				}
			}
			for i := range commits {
				var all []*derivedv1.Anomaly
				for j := range devices / commits {
					a := anomaly("warm", fmt.Sprintf("device-%d", i*devices/commits+j), open, 100, 110)
					a.Evidence.Samples, a.Series.Site = nil, fmt.Sprintf("site-%d", j%7)
					all = append(all, a)
				}
				step(begin+time.Duration(i)*time.Second/commits, all...)
			}
			for now := begin + time.Second; now < begin+5*time.Minute; now += 4 * time.Second {
				step(now)
			}
			if len(fires) != devices || messages > 20 || messages == 0 || first > begin+5*time.Second {
				t.Errorf("%d alerts are known; %d messages list %d, the first after %s", len(fires), messages, listed, first-begin)
			}
		})
	}
}

// TestFlappingDevice has a device begin and end once a second for ten minutes.
func TestFlappingDevice(t *testing.T) {
	m := machineOf(t, storms)
	last := map[string]time.Duration{}
	count := map[string]int{}
	var flapping []string
	for second := range 1300 {
		now := time.Hour + time.Duration(second)*time.Second
		var anomalies []*derivedv1.Anomaly
		if second < 600 {
			a := anomaly("warm", "d1", []derivedv1.Phase{open, shut}[second%2], int64(now-time.Duration(second%2)*time.Second), int64(now))
			anomalies = append(anomalies, a)
		}
		c := at(t, m, now, anomalies...)
		for _, a := range c.GetAlerts() {
			if is := a.GetFlapping() != 0; is != (len(flapping)%2 == 1) {
				flapping = append(flapping, fmt.Sprintf("%v after %d s", is, second))
			}
		}
		for _, what := range told(c) {
			if before, ok := last[what]; ok && now-before < time.Minute {
				t.Errorf("%s after %s", what, now-before)
			}
			last[what] = now
			count[what]++
		}
		if second%50 == 0 {
			m = restoredWith(t, m, storms)
		}
	}
	if d := cmp.Diff(map[string]int{"phone: Warning: It is warm (d1)": 11, "phone: Resolved: It is warm (d1)": 11}, count); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"true after 8 s", "false after 1198 s"}, flapping); d != "" {
		t.Errorf("it flaps: %s", d)
	}
	if last["phone: Resolved: It is warm (d1)"] <= last["phone: Warning: It is warm (d1)"] {
		t.Error("the last message does not tell that it is over")
	}
}

// TestEveryEpisodeInOneStep has the end of an episode and two more episodes of the same alert
// come in one step, as after a standstill: a channel without grouping hears of each.
func TestEveryEpisodeInOneStep(t *testing.T) {
	m := machineOf(t, "grouping: {interval: 0s}\n"+storms)
	at(t, m, time.Hour, anomaly("warm", "d1", open, 1, 1))
	got := told(at(t, m, time.Hour+time.Second,
		anomaly("warm", "d1", shut, 1, 2), anomaly("warm", "d1", open, 3, 3), anomaly("warm", "d1", shut, 3, 4),
		anomaly("warm", "d1", open, 5, 5)))
	begun, over := "phone: Warning: It is warm (d1)", "phone: Resolved: It is warm (d1)"
	if d := cmp.Diff([]string{over, begun, over, begun}, got); d != "" {
		t.Error(d)
	}
}

// TestGroups looks at what goes together by site, label, and the gateway of the devices.
func TestGroups(t *testing.T) {
	const text = `
grouping: {by: [site, gateway], interval: 1m, repeat: 2h, channels: {log: {by: ["label:team"], interval: 5m}}}
devices:
  - {match: {device: "a*"}, tags: {gateway: gw-1}}
  - {match: {device: "b*"}, tags: {gateway: gw-2}}
rules:
  - {name: warm, detector: limit, above: 30, labels: {team: ops}}
  - {name: cold, detector: limit, below: 0, labels: {team: ops}}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
  - {name: log, type: webhook, url: "https://example.org/"}
`
	m := machineOf(t, text)
	expect := func(what string, c *alertingv1.Commit, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, told(c)); d != "" {
			t.Errorf("%s: %s", what, d)
		}
		m = restoredWith(t, m, text)
	}
	second := func(n int) time.Duration { return time.Hour + time.Duration(n)*time.Second }
	expect("one moment", at(t, m, second(0), anomaly("warm", "a1", open, 100, 110), anomaly("cold", "a2", open, 100, 110), anomaly("warm", "b1", open, 100, 110)),
		"phone: Warning: 2 alerts at s, a1 among them", "phone: Warning: warm (b1)", "log: Warning: 3 alerts at s, a1 among them")
	expect("another of the gateway waits", at(t, m, second(1), anomaly("warm", "a3", open, 200, 210)))
	expect("an end goes at once", at(t, m, second(2), anomaly("warm", "a1", shut, 100, 300)), "phone: Resolved: warm (a1)", "log: Resolved: warm (a1)")
	expect("after the interval of the phone", at(t, m, second(60)), "phone: Warning: warm (a3)")
	expect("after the interval of the log", at(t, m, second(300)), "log: Warning: warm (a3)")
	c := at(t, m, second(7200))
	expect("those that last are repeated together", c, "phone: Still warning: cold (a2)", "log: Still warning: 2 alerts at s, a2 among them", "phone: Still warning: warm (b1)")
}

// TestSilencedWhileItWaits has a silence begin while an alert waits for its group: the
// channel is notified when the silence ends, and not of an end without a beginning.
func TestSilencedWhileItWaits(t *testing.T) {
	for name, over := range map[string]bool{"it lasts": false, "it is over": true} {
		text := "grouping: {by: [site]}\n" + storms
		m := machineOf(t, text)
		at(t, m, time.Hour, anomaly("warm", "d1", open, 100, 110))
		at(t, m, time.Hour+time.Second, anomaly("warm", "d2", open, 100, 110))
		silenced(t, m, 1, `[{"id":"a","device":"d2","from":"1970-01-01T00:30:00Z","until":"1970-01-01T02:00:00Z","author":"jo"}]`)
		if got := told(at(t, m, time.Hour+time.Minute)); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
		m = restoredWith(t, m, text)
		if over {
			if got := told(at(t, m, 90*time.Minute, anomaly("warm", "d2", shut, 100, 200))); len(got) != 0 {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		got := told(at(t, m, 2*time.Hour))
		if len(got) != 1 || !strings.Contains(got[0], "Still warning: It is warm (d2)") {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func silenced(t *testing.T, m *machine, revision uint64, content string) {
	t.Helper()
	if err := m.ConfigureExtra(revision, streams.SilencesKey, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// TestSecondDoor has two devices begin within a minute: nobody waits to hear of the second.
func TestSecondDoor(t *testing.T) {
	m := machineOf(t, storms)
	for i, device := range []string{"door-1", "door-2"} {
		want := []string{"phone: Warning: It is warm (" + device + ")"}
		if d := cmp.Diff(want, told(at(t, m, time.Hour+time.Duration(i)*5*time.Second, anomaly("warm", device, open, 100, 110)))); d != "" {
			t.Error(d)
		}
	}
}

const silences = `
devices:
  - {match: {device: "s-*"}, tags: {gateway: gw-7}}
rules:
  - {name: quiet, description: It has stopped reporting., detector: silence}
  - {name: warm, detector: limit, above: 30}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
`

// site is a machine whose site has devices, which begin and end to be silent.
type site struct {
	t       *testing.T
	m       *machine
	devices []string
	// episode is the beginning of the episodes that begin and end.
	episode int64
}

func newSite(t *testing.T, devices ...string) *site {
	return &site{t, machineOf(t, silences), devices, 100}
}

// expect has devices do something at a time in seconds, and looks at the messages.
func (s *site) expect(second int, phase derivedv1.Phase, devices []string, want ...string) *alertingv1.Commit {
	s.t.Helper()
	now := time.Hour + time.Duration(second)*time.Second
	c := &derivedv1.Commit{}
	for _, d := range devices {
		c.Anomalies = append(c.Anomalies, anomaly("quiet", d, phase, s.episode, int64(now)))
	}
	if second == 0 {
		for _, d := range s.devices {
			c.Summaries = append(c.Summaries, &derivedv1.WindowSummary{Series: &derivedv1.Series{Site: "s", Device: d, Metric: "t"}, Count: 1})
		}
	}
	in := input(s.t, 1, c)
	in.Stored = time.Unix(0, int64(now))
	if _, err := s.m.Apply(in); err != nil {
		s.t.Fatal(err)
	}
	out := take(s.t, s.m)
	if d := cmp.Diff(want, told(out)); d != "" {
		s.t.Errorf("after %d s: %s", second, d)
	}
	s.m = restoredWith(s.t, s.m, silences)
	return out
}

func numbered(form string, from, to int) []string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprintf(form, i))
	}
	return all
}

// TestSilentSite has all devices of a site fall silent within a few seconds, and come back.
func TestSilentSite(t *testing.T) {
	all := numbered("d%02d", 1, 48)
	s := newSite(t, all...)
	s.expect(0, 0, nil)
	s.expect(1, open, all[:20])
	s.expect(3, open, all[20:])
	s.expect(15, 0, nil)
	c := s.expect(17, 0, nil, "phone: Warning: site s is silent: 48 devices")
	if body := c.GetMessages()[0].GetBody(); !strings.HasSuffix(body, "and 28 more") || len(c.GetMessages()[0].GetAlerts()) != maxListed {
		t.Errorf("the message says %q", body)
	}
	s.expect(100, shut, all[:40])
	s.expect(104, shut, all[40:])
	s.expect(116, 0, nil, "phone: Resolved: site s reports again: 48 devices")
	s.episode = 200
	s.expect(200, open, all[:12])
	s.expect(216, 0, nil, "phone: Warning: 12 devices at s are silent, d01 among them")
	s.expect(300, open, all[12:13])
	s.expect(316, 0, nil, "phone: Warning: It has stopped reporting (d13)")
}

// TestSilentGateway has a gateway fail: its devices fall silent with it, before and after.
func TestSilentGateway(t *testing.T) {
	behind := numbered("s-%02d", 1, 48)
	s := newSite(t, append(behind, "gw-7", "lamp")...)
	s.expect(0, 0, nil)
	s.expect(1, open, behind[:20])
	s.expect(10, open, []string{"gw-7"})
	c := s.expect(16, 0, nil, "phone: Warning: It has stopped reporting (gw-7)")
	if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "20 devices behind it are silent too.") {
		t.Errorf("the message says %q", body)
	}
	s.expect(20, open, behind[20:])
	s.expect(120, 0, nil)
	s.expect(200, shut, []string{"gw-7"})
	s.expect(216, 0, nil, "phone: Resolved: It has stopped reporting (gw-7)")
	// All but two are back within the time that they are given.
	s.expect(230, shut, behind[2:])
	s.expect(499, 0, nil)
	c = s.expect(500, 0, nil, "phone: Still warning: 2 alerts at s, s-01 among them")
	if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "s-02") {
		t.Errorf("the message says %q", body)
	}
	s.expect(600, shut, behind[:1])
	s.expect(616, 0, nil, "phone: Resolved: It has stopped reporting (s-01)")
	if a := s.m.silent; len(a.back) != 0 || len(a.down) != 1 {
		t.Errorf("%v are down, %v are expected back", a.down, a.back)
	}
}

// TestEscalation has alerts that nobody acknowledges reach more channels, step by step.
func TestEscalation(t *testing.T) {
	const text = `
grouping: {by: [site, rule]}
escalation:
  - {after: 10m, notify: [boss]}
  - {severity: warning, after: 1h, notify: [office, boss]}
rules:
  - {name: warm, detector: limit, above: 30}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/topic"}
  - {name: boss, type: ntfy, url: "https://ntfy.example.org/boss"}
  - {name: office, type: webhook, url: "https://example.org/"}
`
	m := machineOf(t, text)
	expect := func(what string, c *alertingv1.Commit, want ...string) *alertingv1.Commit {
		t.Helper()
		if d := cmp.Diff(want, told(c)); d != "" {
			t.Errorf("%s: %s", what, d)
		}
		m = restoredWith(t, m, text)
		return c
	}
	worse := anomaly("warm", "d1", open, 100, 110)
	worse.Severity = derivedv1.Severity_SEVERITY_CRITICAL
	seen := anomaly("warm", "d2", open, 100, 110)
	seen.Severity = derivedv1.Severity_SEVERITY_CRITICAL
	c := expect("at once", at(t, m, time.Hour, worse, seen, anomaly("warm", "d3", open, 100, 110)), "phone: Critical: 3 alerts at s, d1 among them")
	var known *alertingv1.Alert
	for _, a := range c.GetAlerts() {
		if a.GetSeries().GetDevice() == "d2" {
			known = a
		}
	}
	expect("too early", at(t, m, 70*time.Minute-time.Second))
	h, err := handling.Handling{Episode: streams.EpisodeID(known)}.With(handling.Acknowledge, handling.Note{Author: "ann", At: time.Unix(4000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	content, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ConfigureExtra(1, streams.HandlingKey(known.GetId()), content); err != nil {
		t.Fatal(err)
	}
	c = expect("the first step, but for what is acknowledged", at(t, m, 70*time.Minute), "boss: Critical: warm (d1)")
	if body := c.GetMessages()[0].GetBody(); !strings.Contains(body, "Nobody has acknowledged it, so you are notified too.") {
		t.Errorf("the message says %q", body)
	}
	silenced(t, m, 2, `[{"id":"a","device":"d3","from":"1970-01-01T01:30:00Z","until":"1970-01-01T02:30:00Z","author":"jo"}]`)
	expect("the second step, but for what is silenced", at(t, m, 2*time.Hour), "office: Critical: warm (d1)")
	expect("once", at(t, m, 2*time.Hour+time.Minute))
	expect("the silence ends", at(t, m, 150*time.Minute), "phone: Still warning: warm (d3)", "boss: Warning: warm (d3)", "office: Warning: warm (d3)")
	expect("all who know are notified of the end", at(t, m, 3*time.Hour, anomaly("warm", "d1", shut, 100, 200)),
		"phone: Resolved: warm (d1)", "boss: Resolved: warm (d1)", "office: Resolved: warm (d1)")
}
