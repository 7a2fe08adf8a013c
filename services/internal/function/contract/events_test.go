package contract_test

import (
	"math"
	"strings"
	"testing"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/streams"
)

// TestEvents writes what triggers functions, reads it again as recorded input, and lets the
// answer leave out what all of it have in common.
func TestEvents(t *testing.T) {
	series, low := &derivedv1.Series{Site: "s", Device: "d", Metric: "m"}, 1.5
	at := time.Date(2026, 3, 1, 7, 0, 0, 0, time.UTC)
	evidence := &derivedv1.Evidence{Value: math.NaN(), Score: 2, Low: &low, Sentence: "why"}
	for _, c := range []struct {
		trigger function.Trigger
		event   contract.Reading
		holds   string
		answer  bool
	}{
		{
			function.Summaries, contract.Summary(&derivedv1.WindowSummary{Series: series, Start: at.UnixNano(), Width: int64(time.Hour), Count: 2, Mean: 3, Max: math.Inf(1), Window: "1h"}),
			`"window":"1h","start":"2026-03-01T07:00:00Z","end":"2026-03-01T08:00:00Z","revision":0,"count":2,"min":0,"mean":3`, true,
		},
		{
			function.Anomalies, contract.Anomaly(&derivedv1.Anomaly{Series: series, Time: at.UnixNano(), Rule: "r", Phase: derivedv1.Phase_PHASE_CLOSE, End: derivedv1.End_END_NO_DATA, Evidence: evidence}),
			`"score":2,"baseline":0,"low":1.5,"sentence":"why","rule":"r","phase":"close","severity":"","started":"","end":"no_data"`, true,
		},
		{
			function.Alerts, contract.Alert(&alertingv1.Alert{Series: series, Updated: at.UnixNano(), Id: "1", State: alertingv1.State_STATE_FIRING, Severity: derivedv1.Severity_SEVERITY_CRITICAL}),
			`"state":"firing","severity":"critical"`, true,
		},
		{function.Schedule, contract.Tick("hall", at), `{"schedule":[{"site":"hall","time":"2026-03-01T07:00:00Z"}]}`, false},
		{function.HTTP, contract.Request(contract.Call{Query: "a=b", Body: []byte("\xff"), By: "Ann"}, at), `"query":"a=b","base64":"/w==","by":"Ann"`, false},
	} {
		t.Run(string(c.trigger), func(t *testing.T) {
			text := contract.Append(nil, c.trigger, []contract.Reading{c.event})
			if !strings.Contains(string(text), c.holds) {
				t.Errorf("%s, want %s", text, c.holds)
			}
			trigger, in, err := contract.ParseInput(text, streams.ValidToken)
			if err != nil || trigger != c.trigger || len(in) != 1 || in[0].Time != at.UnixNano() {
				t.Fatalf("read again: %s %+v, %v", trigger, in, err)
			}
			out, err := contract.Parse([]byte(`{"readings":[{"metric":"n","value":1}]}`), in, streams.ValidToken)
			if (err == nil) != c.answer || c.answer && (out[0].Device != "d" || out[0].Time != at.UnixNano()) {
				t.Errorf("the answer is %+v, %v", out, err)
			}
		})
	}
	for _, text := range []string{``, `{}`, `{"lines":[{}]}`, `{"readings":[]}`, `{"readings":[{"site":"s"}],"alerts":[]}`, `{"alerts":[{"time":"2026-03-01T07:00:00Z"}]}`, `{"http":[{"time":"now"}]}`} {
		if _, _, err := contract.ParseInput([]byte(text), streams.ValidToken); err == nil {
			t.Errorf("%s is an input", text)
		}
	}
}

// TestReply reads what functions reply to requests.
func TestReply(t *testing.T) {
	for text, want := range map[string]contract.Reply{
		``: {Status: 204}, `{"readings":[]}`: {Status: 204}, `{"reply":{}}`: {Status: 200, Type: "text/plain"},
		`{"reply":{"body":"{}"}}`:                               {Status: 200, Type: "application/json", Body: "{}"},
		`{"reply":{"status":404,"type":"text/csv","body":"a"}}`: {Status: 404, Type: "text/csv", Body: "a"},
	} {
		if got, err := contract.ParseReply([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{`, `{"reply":{"status":100}}`, `{"reply":{"type":"text/html"}}`, `{"reply":{"body":"` + strings.Repeat("x", contract.MaxReply+1) + `"}}`} {
		if _, err := contract.ParseReply([]byte(text)); err == nil {
			t.Errorf("%.40s is a reply", text)
		}
	}
}
