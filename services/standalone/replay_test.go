package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/replay"
	"headwater/web/rules"
	"headwater/web/view"
)

// TestTryThenEnable replays a rule over past readings, sees what it would have raised,
// and enables it. From then on it is in force.
func TestTryThenEnable(t *testing.T) {
	at, stop := start(t, testConfig(t.TempDir()))
	defer stop()
	now := time.Now().Truncate(time.Second)
	var readings []string
	for i, v := range []float64{20, 20, 35, 36, 20} {
		readings = append(readings, fmt.Sprintf(`{"site":"hall","device":"door-1","metric":"temperature","unit":"°C","value":%g,"ts":%q}`,
			v, now.Add(time.Duration(i-5)*time.Minute).Format(time.RFC3339)))
	}
	send(t, http.MethodPost, at.HTTP+"/api/v1/telemetry", "application/json", "["+strings.Join(readings, ",")+"]", http.StatusAccepted)

	const rule = "name: warm\nmatch: {site: hall, metric: temperature}\ndetector: limit\nabove: 30\nstate: draft\n"
	body, err := json.Marshal(map[string]string{"rule": rule, "from": "-1h"})
	must(t, err)
	var run replay.Replay
	streamtest.Eventually(t, "that the rule would have raised an alert", func() bool {
		run = replay.Replay{}
		must(t, json.Unmarshal(send(t, http.MethodPost, at.HTTP+"/api/v1/replays", "application/json", string(body), http.StatusAccepted), &run))
		streamtest.Eventually(t, "the end of the replay", func() bool {
			getJSON(t, at.HTTP+"/api/v1/replays/"+run.ID, &run)
			return run.State.Over()
		})
		return run.State == streams.ReplayDone && run.Result.Total > 0
	})
	if alert := run.Result.Alerts[0]; run.Result.Total != 1 || alert.Device != "door-1" || !alert.Start.Equal(now.Add(-3*time.Minute)) || !alert.End.Equal(now.Add(-time.Minute)) {
		t.Errorf("it would have raised %+v", run.Result.Alerts)
	}
	for _, a := range run.Real {
		if a.Rule == "warm" {
			t.Errorf("an alert of a rule that is not in force: %+v", a)
		}
	}

	form := url.Values{"run": {run.ID}, "revision": {"0"}, "by": {"Ana"}}
	send(t, http.MethodPost, at.HTTP+"/rules/new/enable", "application/x-www-form-urlencoded", form.Encode(), http.StatusSeeOther)
	var enabled rules.Rule
	streamtest.Eventually(t, "that the rule is in force", func() bool {
		res, err := http.Get(at.HTTP + "/api/v1/rules/warm")
		must(t, err)
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(&enabled) == nil && enabled.State == view.RuleIsEnabled
	})
}

// send sends a body and returns the answer, which must have the status.
func send(t *testing.T, method, to, kind, body string, status int) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", kind)
	res, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer res.Body.Close()
	var answer bytes.Buffer
	_, err = answer.ReadFrom(res.Body)
	must(t, err)
	if res.StatusCode != status {
		t.Fatalf("%s %s: %s %s", method, to, res.Status, answer.Bytes())
	}
	return answer.Bytes()
}
