package notifier

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/services/notifier/channel/mailtest"
	"headwater/services/notifier/chart"
	"headwater/streams/streamtest"
)

// TestMailHasTheChart raises an alert whose message goes to a real mail server, with the
// chart of its readings.
func TestMailHasTheChart(t *testing.T) {
	f := setup(t)
	server := mailtest.Run(t)
	f.configure(t, fmt.Sprintf("- {name: mail, type: shoutrrr, url: \"smtp://%s/?from=h@example.org&to=anna@example.org\"}", server.Addr))
	svc, _ := f.start(t)
	f.ready(t, svc)
	now := time.Now().UnixNano()
	a := anomaly("warm", "door-1", open, now, now)
	a.Evidence.Samples = nil
	for i := range int64(4) {
		a.Evidence.Samples = append(a.Evidence.Samples, &derivedv1.Sample{Time: now - (3-i)*int64(time.Minute), Value: float64(28 + i)})
	}
	f.publish(t, a)
	streamtest.Eventually(t, "the mail is there", func() bool { return len(server.Mails()) == 1 })
	body := server.Mails()[0].Body
	for _, want := range []string{"Subject: Warning: It is warm (door-1)", "Content-Type: image/png", "Chart of ", "between 28 and 31"} {
		if !strings.Contains(strings.ReplaceAll(body, "=\r\n", ""), want) {
			t.Errorf("the mail has no %q: %s", want, body)
		}
	}
}

// TestHistoryOfAChart asks a stand-in for InfluxDB, which answers, is slow or refuses.
func TestHistoryOfAChart(t *testing.T) {
	var asked atomic.Value
	answers := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Query().Get("rp") + ": " + r.URL.Query().Get("q"))
		answer := <-answers
		if answer == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	cfg := influx.Config{URL: server.URL, Database: "headwater", Timeout: streamtest.Patience}
	client, err := influx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	p := &pictures{client}
	started := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	a := &alertingv1.Alert{
		Id: "00112233aabbccdd", Series: &derivedv1.Series{Site: "hall", Device: "door-1", Metric: "temperature"}, Unit: "°C", State: alertingv1.State_STATE_FIRING,
		Started: started.UnixNano(), Updated: started.Add(time.Minute).UnixNano(), Evidence: &derivedv1.Evidence{Value: 9},
	}
	message := &alertingv1.Message{Alerts: []*alertingv1.Alert{a}}
	draw := p.of(outbound{message: message, commit: &alertingv1.Commit{}})

	answers <- `{"results":[{"statement_id":0,"series":[{"name":"temperature","columns":["time","min","max"],"values":[[1795348800000000000,4,5],[1795348860000000000,6,9]]}]}]}`
	picture, words := draw(t.Context())
	if len(picture) == 0 || !strings.HasPrefix(words, "Chart of temperature of door-1 at hall, from 2026-11-22 12:00 to 2026-11-22 12:01 UTC: between 4 and 9 °C.") {
		t.Errorf("%d bytes: %s", len(picture), words)
	}
	if q, _ := asked.Load().(string); !strings.Contains(q, `FROM "temperature" WHERE "site" = 'hall' AND "device" = 'door-1' AND time >= `) || !strings.HasPrefix(q, "raw: ") || !strings.Contains(q, "GROUP BY time(12000000000ns) fill(none)") {
		t.Errorf("asked %s", q)
	}
	for _, answer := range []string{"", `{"results":[{"statement_id":0}]}`, "nonsense"} {
		answers <- answer
		if picture, words := draw(t.Context()); picture != nil || words != "" {
			t.Errorf("a picture after %q", answer)
		}
	}
	answers <- "nonsense" // a context that has ended may still ask
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if picture, _ := draw(ended); picture != nil {
		t.Error("a picture without time")
	}
	if p.of(outbound{message: &alertingv1.Message{Alerts: []*alertingv1.Alert{a, a}}}) != nil || p.of(outbound{message: &alertingv1.Message{Alerts: []*alertingv1.Alert{{Rule: reportRule}}}}) != nil {
		t.Error("a chart of several alerts, or of the report")
	}
}

// TestJoined adds the samples that the history does not have yet.
func TestJoined(t *testing.T) {
	at := func(seconds ...int64) []chart.Point {
		var out []chart.Point
		for _, s := range seconds {
			out = append(out, chart.Point{At: time.Unix(s, 0), Value: float64(s)})
		}
		return out
	}
	for _, c := range []struct{ history, samples, want []chart.Point }{
		{nil, nil, nil},
		{nil, at(1, 2), at(1, 2)},
		{at(1, 2, 3), at(2, 3, 4, 5), at(1, 2, 3, 4, 5)},
		{at(5), at(1, 2), at(5)},
	} {
		if got := joined(c.history, c.samples); !slices.Equal(got, c.want) {
			t.Errorf("%v and %v: %v", c.history, c.samples, got)
		}
	}
}
