package notifier

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/streams"
	"headwater/streams/streamtest"
)

const mornings = `
sites: {hall: {time_zone: Asia/Kolkata}}
report: {at: "07:00", channel: phone, site: hall}
` + storms

// day is the time of day 07:00 in Kolkata on the n-th day, since the Unix epoch.
func day(n int) time.Duration { return time.Duration(n)*24*time.Hour + 90*time.Minute }

// heard has the machine take in that devices reported, some with the charge of a battery.
func heard(t *testing.T, m *machine, now time.Duration, charges map[string]float64) *alertingv1.Commit {
	t.Helper()
	c := &derivedv1.Commit{}
	for device, percent := range charges {
		for site, unit := range map[string]string{"hall": "%", "other": "%"} {
			c.Summaries = append(c.Summaries, &derivedv1.WindowSummary{
				Series: &derivedv1.Series{Site: site, Device: device, Metric: "battery"}, Unit: unit, Count: 1, Last: percent, Start: int64(now), Width: 1,
			})
		}
	}
	in := input(t, 1, c)
	in.Stored = time.Unix(0, int64(now))
	if _, err := m.Apply(in); err != nil {
		t.Fatal(err)
	}
	return take(t, m)
}

// reports are the morning reports of a commit.
func reports(c *alertingv1.Commit) []*alertingv1.Message {
	var out []*alertingv1.Message
	for _, m := range c.GetMessages() {
		if isReport(m.GetAlerts()[0]) {
			out = append(out, m)
		}
	}
	return out
}

// TestMorningReport sends a report once a day, at its time at the site, over restarts.
func TestMorningReport(t *testing.T) {
	m := machineOf(t, mornings)
	charges := map[string]float64{"door-1": 80, "door-2": 12}
	if got := reports(heard(t, m, day(10)+3*time.Hour, charges)); len(got) != 0 {
		t.Errorf("a report for a time before the first input: %v", got)
	}
	warm := anomaly("warm", "door-1", open, int64(day(10)+4*time.Hour), int64(day(10)+4*time.Hour))
	warm.Series.Site = "hall"
	elsewhere := anomaly("warm", "door-9", open, int64(day(10)+4*time.Hour), int64(day(10)+4*time.Hour))
	at(t, m, day(10)+4*time.Hour, warm, elsewhere)
	sent := 0
	for now := day(10) + 5*time.Hour; now < day(13); now += 20 * time.Minute {
		got := reports(heard(t, m, now, charges))
		sent += len(got)
		if len(got) == 1 && (now < day(10+sent) || now > day(10+sent)+20*time.Minute) {
			t.Errorf("report %d at %v", sent, now)
		}
		if sent == 1 && len(got) == 1 {
			want := "Unusual in the last 24 hours: 1 alert, which still fires: door-1, 31 °C is above 30 °C.\nNo device is silent: 2 devices have reported.\n1 device needs a battery: door-2 (12 %)."
			if got[0].GetChannel() != "phone" || got[0].GetTitle() != "Morning report of hall: 2 things to look at" || got[0].GetBody() != want {
				t.Errorf("%s: %s\n%s", got[0].GetChannel(), got[0].GetTitle(), got[0].GetBody())
			}
		}
		if int(now/(20*time.Minute))%7 == 0 {
			m = restoredWith(t, m, mornings)
		}
	}
	if sent != 2 {
		t.Errorf("%d reports on 2 mornings", sent)
	}
	// A night without input: the report comes with the next one, and only the last.
	if got := reports(heard(t, m, day(15)+6*time.Hour, charges)); len(got) != 1 {
		t.Errorf("%d reports after a pause", len(got))
	}
	// Silence without an alert, after half a day.
	got := reports(heard(t, m, day(16)+time.Minute, map[string]float64{"door-2": 11}))
	if len(got) != 1 || !strings.Contains(got[0].GetBody(), "1 device is silent: door-1.") {
		t.Errorf("reports %v", got)
	}
}

// TestMorningReportIsMoved declares a report at a time that has passed today, and another
// one.
func TestMorningReportIsMoved(t *testing.T) {
	m := machineOf(t, storms)
	heard(t, m, day(10)+3*time.Hour, nil)
	for i, clock := range []string{"07:00", "08:00"} {
		if err := m.Configure(uint64(2+i), []byte(strings.Replace(mornings, "07:00", clock, 1))); err != nil {
			t.Fatal(err)
		}
		if got := reports(heard(t, m, day(10)+time.Duration(4+i)*time.Hour, nil)); len(got) != 0 {
			t.Errorf("declared at %s, it came at once", clock)
		}
	}
	if got := reports(heard(t, m, day(11)+time.Hour, nil)); len(got) != 1 {
		t.Errorf("%d reports the next day", len(got))
	}
}

// TestMorningReportOnRequest has the machine write the report that people may ask for.
func TestMorningReportOnRequest(t *testing.T) {
	m := machineOf(t, mornings)
	var preview atomic.Pointer[reportText]
	m.morning.preview = &preview
	heard(t, m, day(10), map[string]float64{"door-2": 12})
	text := preview.Load()
	if text == nil || text.channel != "phone" || !strings.Contains(text.body, "door-2 (12 %)") {
		t.Fatalf("the report is %+v", text)
	}
	heard(t, m, day(10)+30*time.Second, map[string]float64{"door-2": 90})
	if preview.Load() != text {
		t.Error("it is written again within a minute")
	}
	heard(t, m, day(10)+time.Minute, nil)
	if !strings.Contains(preview.Load().body, "No battery is below") {
		t.Error("it is not written again after a minute")
	}
	message := reportNow(testMessage("phone", "https://headwater.example.org", time.Unix(7, 0)), text)
	if message.Title != text.title || message.Body != text.body || message.Alerts[0].Rule != reportRule || !strings.HasPrefix(message.Key, "report-") {
		t.Errorf("the message is %+v", message)
	}
}

// TestChargesAreBounded reports more batteries than are kept.
func TestChargesAreBounded(t *testing.T) {
	var r morning
	r.configure(0, &config.Config{})
	all := make([]*derivedv1.WindowSummary, maxCharge+10)
	for i := range all {
		all[i] = &derivedv1.WindowSummary{Series: &derivedv1.Series{Site: "s", Device: fmt.Sprint(i), Metric: "battery"}, Unit: "%", Count: 1, Last: 50}
	}
	r.hear(int64(time.Hour), all)
	if r.count != maxCharge || len(r.charge["s"]) != maxCharge {
		t.Errorf("%d are counted, %d kept", r.count, len(r.charge["s"]))
	}
	r.forget(int64(chargeFor) + int64(2*time.Hour))
	if r.count != 0 || len(r.charge) != 0 {
		t.Errorf("%d are left", r.count)
	}
}

// TestMorningReportNow asks a notifier that runs for the report.
func TestMorningReportNow(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL)+"\nreport: {at: \"07:00\", channel: phone}")
	svc, _ := f.start(t)
	f.ready(t, svc)
	device := f.fire(t)
	phone.await(t, firing(device)...)
	body, err := streams.ChannelTest{Channel: "phone", Report: true}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the report is sent", func() bool {
		m, err := f.js.Conn().Request(streams.ChannelTests, body, streamtest.Patience)
		var answer streams.ChannelTested
		return err == nil && json.Unmarshal(m.Data, &answer) == nil && answer.Error == ""
	})
	got := phone.payloads()[1]
	if !strings.HasPrefix(got.Title, "Morning report: ") || !strings.Contains(got.Text, "Nothing was unusual") && !strings.Contains(got.Text, "1 alert, which still fires: "+device+" at s") {
		t.Errorf("the report is %+v", got)
	}
}
