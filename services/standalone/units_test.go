package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/services/rule"
	"headwater/streams/streamtest"
	pages "headwater/web/device"
	"headwater/web/view"
)

// TestUnitChange sends a pressure in hPa, then in Pa, then in both by turns, with a
// restart between: the history gives each reading back with its unit and holds no
// point of two, the page and an alert say what changed, and no rule takes one unit
// for the other. From the moment that the unit is declared, what comes is in it.
func TestUnitChange(t *testing.T) {
	cfg := testConfig(t.TempDir())
	file := filepath.Join(t.TempDir(), "rules.yaml")
	const rules = "rules:\n  - {name: too-high, match: {metric: pressure}, detector: limit, above: 1100}\n"
	must(t, os.WriteFile(file, []byte(rules), 0o600))
	cfg.File.Path = file
	at, stop := start(t, cfg)
	begin := time.Now().Add(-3 * time.Hour).Truncate(time.Minute)
	n := 0
	send := func(unit string, v float64) {
		t.Helper()
		body := fmt.Sprintf(`{"site":"hall","device":"baro-1","metric":"pressure","value":%v,"unit":%q,"ts":%d}`,
			v, unit, begin.Add(time.Duration(n)*10*time.Second).UnixMilli())
		n++
		res, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader(body))
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("a reading is answered %s", res.Status)
		}
	}
	// pressures returns what the history says in a unit, and at most so many points.
	pressures := func(unit string, points int) pages.Series {
		t.Helper()
		var s pages.Series
		getJSON(t, fmt.Sprintf("%s/api/v1/series?site=hall&device=baro-1&metric=pressure&unit=%s&from=%s&points=%d",
			at.HTTP, unit, begin.Add(-time.Minute).UTC().Format(time.RFC3339), points), &s)
		return s
	}
	stored := func(unit string, want []float64) {
		t.Helper()
		streamtest.Eventually(t, "the history holds what was sent in "+unit, func() bool {
			return slices.Equal(pressures(unit, 2000).Mean, want)
		})
	}
	alerts := func() (active []string) {
		var a view.Alerts
		getJSON(t, at.HTTP+"/api/v1/alerts", &a)
		for _, one := range a.Active {
			active = append(active, one.Rule+" "+string(one.Severity)+" "+one.Unit)
		}
		return active
	}
	var hecto, pascal []float64
	for i := range 12 {
		hecto = append(hecto, 1010+float64(i))
		send("hPa", 1010+float64(i))
	}
	for i := range 6 {
		pascal = append(pascal, 101300+float64(i))
		send("Pa", 101300+float64(i))
	}
	stored("hPa", hecto)
	stored("Pa", pascal)
	stop()
	at, stop = start(t, cfg)
	for i := range 6 {
		hecto, pascal = append(hecto, 1000+float64(i)), append(pascal, 100200+float64(i))
		send("mbar", 1000+float64(i))
		send("Pa", 100200+float64(i))
	}
	stored("hPa", hecto)
	stored("Pa", pascal)
	streamtest.Eventually(t, "an Info alert says that the unit changed, and nothing else is wrong", func() bool {
		return slices.Equal(alerts(), []string{rule.UnitChangeName + " info Pa"})
	})
	for unit, bounds := range map[string][2]float64{"hPa": {900, 1100}, "Pa": {90000, 110000}} {
		streamtest.Eventually(t, "minutes in "+unit, func() bool { return pressures(unit, 10).Tier != "" && len(pressures(unit, 10).Mean) > 0 })
		for _, points := range []int{10, 100} {
			s := pressures(unit, points)
			for i := range s.Mean {
				if s.Min[i] < bounds[0] || s.Max[i] > bounds[1] || s.Mean[i] < bounds[0] || s.Mean[i] > bounds[1] {
					t.Errorf("a point of %s, made of %s, reaches from %v to %v, mean %v", unit, s.Tier, s.Min[i], s.Max[i], s.Mean[i])
				}
			}
		}
	}
	var page struct{ Summaries []pages.Summary }
	streamtest.Eventually(t, "summaries in both units", func() bool {
		getJSON(t, at.HTTP+"/api/v1/devices/hall/baro-1", &page)
		has := func(unit string) bool {
			return slices.ContainsFunc(page.Summaries, func(s pages.Summary) bool { return s.Unit == unit })
		}
		return has("hPa") && has("Pa")
	})
	for _, s := range page.Summaries {
		if s.Unit == "hPa" && s.Max > 1100 || s.Unit == "Pa" && s.Min < 90000 {
			t.Errorf("a summary in %s reaches from %v to %v", s.Unit, s.Min, s.Max)
		}
	}
	res, err := http.Get(at.HTTP + "/devices/hall/baro-1?range=6h")
	must(t, err)
	html, err := io.ReadAll(res.Body)
	must(t, err)
	res.Body.Close()
	for _, want := range []string{`data-of="hPa"`, `data-of="Pa"`, "came in hPa too", "comes in Pa instead of hPa"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	// Once the unit is declared, all that comes is in it, and the rule judges it.
	must(t, os.WriteFile(file, []byte(rules+"series:\n  - {match: {metric: pressure}, unit: hPa}\n"), 0o600))
	streamtest.Eventually(t, "what comes in Pa is converted", func() bool {
		send("Pa", 123400)
		s := pressures("hPa", 2000)
		return len(s.Mean) > 0 && s.Mean[len(s.Mean)-1] == 1234
	})
	streamtest.Eventually(t, "the rule judges it", func() bool { return slices.Contains(alerts(), "too-high warning hPa") })
	stop()
}
