package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/streams/streamtest"
	"headwater/web/consumption"
	pages "headwater/web/device"
	"headwater/web/view"
)

// TestDerivedSeries declares a series of two metrics and sends these: it is in the history,
// a late reading revises it, and a rule about it raises an alert. Beside it a meter counts, and
// a group has the warmest of two doors.
func TestDerivedSeries(t *testing.T) {
	cfg := testConfig(t.TempDir())
	file := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, os.WriteFile(file, []byte("derived:\n  - {metric: spread, expression: inside - outside, unit: K}\n"+
		"counters:\n  - {metric: pulses, unit: m3, rollover: 65536}\n"+
		"groups:\n  - {name: doors, metric: warmest, expression: max(\"inside\"), unit: °C, every: 10s}\n"+
		"rules:\n  - {name: hot, match: {device: doors}, detector: limit, above: 40}\n  - {name: wide, match: {metric: spread}, detector: limit, above: 30}\n"+
		"  - {name: cold, match: {metric: inside}, detector: limit, below: 12}\n"), 0o600))
	cfg.File.Path = file
	at, _ := start(t, cfg)
	begin := time.Now().Add(-2 * time.Minute).Truncate(time.Second)
	sendOf := func(dev, metric string, after int, v float64) {
		t.Helper()
		body := fmt.Sprintf(`{"site":"hall","device":%q,"metric":%q,"value":%v,"unit":"°C","ts":%d}`, dev, metric, v,
			begin.Add(time.Duration(after)*time.Second).UnixMilli())
		res, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader(body))
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("a reading is answered %s", res.Status)
		}
	}
	send := func(metric string, after int, v float64) { t.Helper(); sendOf("door-1", metric, after, v) }
	holds := func(metric, unit string, want ...float64) {
		t.Helper()
		streamtest.Eventually(t, fmt.Sprintf("the history has %v of %s", want, metric), func() bool {
			res, err := http.Get(at.HTTP + "/api/v1/series?site=hall&device=door-1&from=-1h&points=2000&metric=" + metric)
			must(t, err)
			defer res.Body.Close()
			var s pages.Series
			// Until the first value the metric is not known, and the answer is none of these.
			return json.NewDecoder(res.Body).Decode(&s) == nil && s.Unit == unit && slices.Equal(s.Mean, want)
		})
	}
	send("outside", 0, 4)
	for i, v := range []float64{20, 21, 22} {
		send("inside", 10*i, v)
	}
	holds("spread", "K", 16, 17, 18)
	send("outside", 15, -10) // late
	holds("spread", "K", 16, 17, 31, 32)
	send("inside", 30, 25)
	streamtest.Eventually(t, "the rule about it raises an alert", func() bool {
		var a view.Alerts
		getJSON(t, at.HTTP+"/api/v1/alerts", &a)
		return slices.ContainsFunc(a.Active, func(a view.Alert) bool { return a.Rule == "wide" && a.Metric == "spread" && a.Unit == "K" })
	})
	streamtest.Eventually(t, "the page has its latest value", func() bool {
		var page struct {
			Metrics []struct {
				Name  string
				Value float64
			}
		}
		getJSON(t, at.HTTP+"/api/v1/devices/hall/door-1", &page)
		return len(page.Metrics) == 3 && page.Metrics[2].Name == "spread" && page.Metrics[2].Value == 35
	})
	res, err := http.Post(at.HTTP+"/api/v1/telemetry?decide=1", "application/json", strings.NewReader( // the answer says what the rule says
		fmt.Sprintf(`{"site":"hall","device":"door-1","metric":"inside","value":10,"unit":"°C","ts":%d}`, begin.Add(40*time.Second).UnixMilli())))
	must(t, err)
	defer res.Body.Close()
	var decided struct {
		Decisions []struct {
			State string
			Rules []struct{ Rule, Metric, State, Sentence string }
		}
	}
	must(t, json.NewDecoder(res.Body).Decode(&decided))
	if len(decided.Decisions) != 1 || !slices.ContainsFunc(decided.Decisions[0].Rules, func(r struct{ Rule, Metric, State, Sentence string }) bool {
		return r.Rule == "cold" && r.Metric == "inside" && r.State == "firing" && r.Sentence != ""
	}) {
		t.Errorf("%s: %+v", res.Status, decided)
	}
	for i, v := range []float64{65530, 65534, 0, 65535, 4, 5} { // with a slip to 0, and a roll-over
		send("pulses", 60+i, v)
	}
	holds("pulses_used", "m3", 4, 0, 1, 5, 1)
	var year consumption.Consumption
	getJSON(t, at.HTTP+"/api/v1/consumption?site=hall&device=door-1&metric=pulses&per=month&on="+begin.Add(time.Minute).UTC().Format(consumption.DateForm), &year)
	if year.Total.Used == nil || *year.Total.Used != 11 || year.Unit != "m3" || year.Zone != "UTC" || len(year.Periods) != 12 {
		t.Errorf("the consumption of the year: %+v", year)
	}
	sendOf("door-2", "inside", 20, 50) // late
	var hot view.Alert
	streamtest.Eventually(t, "the rule about the group raises an alert", func() bool {
		var a view.Alerts
		getJSON(t, at.HTTP+"/api/v1/alerts", &a)
		i := slices.IndexFunc(a.Active, func(a view.Alert) bool { return a.Rule == "hot" })
		if i >= 0 {
			hot = a.Active[i]
		}
		return i >= 0
	})
	if hot.Device != "doors" || hot.Metric != "warmest" || hot.Unit != "°C" {
		t.Errorf("the alert of the group: %+v", hot)
	}
	streamtest.Eventually(t, "the history of the group has both doors", func() bool {
		var s pages.Series
		getJSON(t, at.HTTP+"/api/v1/series?site=hall&device=doors&metric=warmest&from=-1h&points=2000", &s)
		n := len(s.Mean)
		return n > 3 && s.Mean[0] <= 25 && s.Mean[n-1] == 50
	})
}
