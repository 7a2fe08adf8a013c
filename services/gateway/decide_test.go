package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/gateway"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// decision is the part of an answer that is about decisions.
type decision struct {
	Status    int
	Applied   string
	Accepted  int
	Decided   *bool
	Undecided string
	Decisions []struct {
		Site, Device, State string
		Held                uint64
		Rules               []struct {
			Rule, Metric, State, Severity, Sentence string
			Score                                   float64
			JudgedUntil                             time.Time `json:"judged_until"`
		}
	}
}

// ask posts readings and returns what is said about decisions.
func (f *fixture) ask(query, prefer, body string) (out decision, err error) {
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.http.URL+gateway.Path+query, strings.NewReader(body))
	if err != nil {
		return out, err
	}
	r.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		r.Header.Set("Prefer", prefer)
	}
	response, err := f.http.Client().Do(r)
	if err != nil {
		return out, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	out.Status, out.Applied = response.StatusCode, response.Header.Get("Preference-Applied")
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// TestDecide has requests wait for what the rules say of their readings. The test is the
// processor.
func TestDecide(t *testing.T) {
	f := run(t).ready()
	stream, err := f.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	const reading = `{"site":"hall","device":"door-1","metric":"temperature","value":31}`

	answers := make(chan decision, 1)
	for i, how := range [][2]string{{"?decide=1", "respond-async, wait=10"}, {"", "Wait=10"}} {
		go func() {
			out, err := f.ask(how[0], how[1], reading)
			if err != nil {
				t.Error(err)
			}
			answers <- out
		}()
		sequence := uint64(i + 1)
		streamtest.Eventually(t, "the readings are stored", func() bool {
			m, err := stream.GetMsg(t.Context(), sequence)
			if err != nil {
				return false
			}
			b, err := streams.DecodeTelemetry(m.Data)
			if err != nil || !b.Decide {
				t.Fatalf("the batch does not ask: %v", err)
			}
			return true
		})
		lane := streams.Lane("hall", "door-1", lanes)
		series := &derivedv1.Series{Site: "hall", Device: "door-1", Metric: "temperature"}
		m, err := streams.DerivedMsg(lane, &derivedv1.Commit{
			Anomalies: []*derivedv1.Anomaly{{Rule: "warm", Series: series, Evidence: &derivedv1.Evidence{Sentence: "It is 31."}}},
			Decisions: []*derivedv1.Decision{
				{Sequence: sequence + 10, Site: "hall", Device: "door-1"}, // about other readings
				{Sequence: sequence, Site: "hall", Device: "door-1", Held: 1, Rules: []*derivedv1.RuleState{
					{Rule: "same", Metric: "temperature", Judgement: derivedv1.Judgement_JUDGEMENT_LEARNING},
					{
						Rule: "warm", Metric: "temperature", Judgement: derivedv1.Judgement_JUDGEMENT_ABNORMAL,
						Severity: derivedv1.Severity_SEVERITY_CRITICAL, Score: 1.5, Judged: time.Unix(1_700_000_000, 0).UnixNano(),
					},
				}},
			},
		})
		if err == nil {
			_, err = f.js.PublishMsg(t.Context(), m)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := <-answers
		if got.Status != http.StatusOK || got.Applied != "wait" || got.Accepted != 1 || got.Decided == nil || !*got.Decided || len(got.Decisions) != 1 {
			t.Fatalf("%q: %+v", how, got)
		}
		d := got.Decisions[0]
		if d.Device != "door-1" || d.State != "firing" || d.Held != 1 || len(d.Rules) != 2 || d.Rules[0].State != "learning" {
			t.Errorf("%+v", d)
		}
		if w := d.Rules[1]; w.State != "firing" || w.Severity != "critical" || w.Score != 1.5 || w.Sentence != "It is 31." || !w.JudgedUntil.Equal(time.Unix(1_700_000_000, 0)) {
			t.Errorf("%+v", w)
		}
	}

	for name, test := range map[string]struct {
		query, prefer, body string
		status              int
		undecided           bool
	}{
		"nobody asks":       {"", "return=minimal, wait=0, wait=x", reading, http.StatusAccepted, false},
		"0":                 {"?decide=0", "", reading, http.StatusAccepted, false},
		"no answer in time": {"", "wait=1", reading, http.StatusAccepted, true},
		"another number":    {"?decide=2", "", reading, http.StatusBadRequest, false},
		"many devices":      {"?decide=1", "", devices(21), http.StatusBadRequest, false},
		"nothing is good":   {"?decide=1", "", `{"site":"x y","device":"d","metric":"m","value":1}`, http.StatusBadRequest, false},
	} {
		got, err := f.ask(test.query, test.prefer, test.body)
		if err != nil || got.Status != test.status || (got.Decided != nil) != test.undecided || test.undecided && (*got.Decided || got.Undecided == "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// devices returns a reading of each of that many devices.
func devices(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"site":"hall","device":"door-%d","metric":"temperature","value":1}`, i)
	}
	return "[" + strings.Join(all, ",") + "]"
}
