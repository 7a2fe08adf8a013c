package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"headwater/streams/streamtest"
)

// TestDashboardOfGrafanaAsksForMetricsThatExist compares the queries of
// deploy/compose/grafana with the metrics of the services after readings were stored,
// dropped and dead-lettered and an alert was sent. Every metric and every label that a
// query names must exist.
func TestDashboardOfGrafanaAsksForMetricsThatExist(t *testing.T) {
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer hook.Close()
	dir := t.TempDir()
	cfg := testConfig(dir)
	cfg.File.Path = filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(cfg.File.Path, fmt.Appendf(nil, e2eRules, hook.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	at, _ := start(t, cfg)
	client := device(t, at.MQTT, "metrics")
	publish(t, client, "sensors/hall/door/temperature", "35")
	publish(t, client, "sensors/hall/door/temperature", "{broken")
	resp, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json",
		strings.NewReader(`{"site":"hall","device":"gate","metric":"temperature","value":20}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	queries := dashboardQueries(t, filepath.Join("..", "..", "deploy", "compose", "grafana", "dashboards", "headwater.json"))
	var missing []string
	defer func() {
		for _, what := range missing {
			t.Log(what)
		}
	}()
	streamtest.Eventually(t, "every metric of the dashboard is measured", func() bool {
		measured := measurements(t, at.HTTP)
		missing = nil
		for _, q := range queries {
			missing = append(missing, q.missing(measured)...)
		}
		return len(missing) == 0
	})
}

// measurements returns the labels of each metric of a running process.
func measurements(t *testing.T, url string) map[string][]string {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		if name == "#" {
			continue
		}
		out[name] = append(out[name], labelNames.FindAllString(rest, -1)...)
	}
	return out
}

// query of PromQL, reduced to its names.
type promQuery struct {
	text string
	// metric and labels are the names in the query.
	metric string
	labels []string
}

var (
	metricName = regexp.MustCompile(`headwater_[a-z0-9_]+`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	labelNames = regexp.MustCompile(`[a-z_]+="`)
)

// missing lists the names in the query that do not exist.
func (q promQuery) missing(measured map[string][]string) (missing []string) {
	labels, found := measured[q.metric]
	if !found {
		return []string{q.text + ": there is no metric " + q.metric}
	}
	for _, label := range q.labels {
		if !slices.Contains(labels, label+`="`) {
			missing = append(missing, q.text+": "+q.metric+" has no label "+label)
		}
	}
	return missing
}

// dashboardQueries reads the queries of a dashboard.
func dashboardQueries(t *testing.T, path string) (queries []promQuery) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			q := promQuery{text: target.Expr, metric: metricName.FindString(target.Expr)}
			if len(metricName.FindAllString(target.Expr, -1)) != 1 {
				t.Errorf("%s: it should ask for one metric", target.Expr)
			}
			for _, group := range grouping.FindAllStringSubmatch(target.Expr, -1) {
				for label := range strings.SplitSeq(group[1], ",") {
					q.labels = append(q.labels, strings.TrimSpace(label))
				}
			}
			for _, matcher := range labelNames.FindAllString(target.Expr, -1) {
				q.labels = append(q.labels, strings.TrimSuffix(matcher, `="`))
			}
			queries = append(queries, q)
		}
	}
	if len(queries) == 0 {
		t.Fatal("the dashboard has no queries")
	}
	return queries
}
