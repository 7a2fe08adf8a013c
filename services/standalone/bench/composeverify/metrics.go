package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"headwater/services/internal/process"
)

// prometheus is its address in compose.yaml.
const prometheus = "http://127.0.0.1:9090"

// scraped is how long Prometheus may take to find every container and to answer every
// query of the dashboard.
const scraped = 2 * time.Minute

// metrics starts Prometheus and waits until it sees every container of the
// services, and every query of Grafana's dashboard has an answer.
func (s *scenario) metrics(ctx context.Context) error {
	if _, err := s.output(ctx, "docker", "image", "inspect", imagePrometheus); err != nil {
		s.say("Prometheus is not looked at: neither its image nor the program is here")
		return nil
	}
	if err := s.do(ctx, "--profile", "metrics", "up", "--detach", "--no-deps", "prometheus"); err != nil {
		return err
	}
	queries, err := s.queries()
	if err != nil {
		return err
	}
	targets := 0
	for _, service := range own {
		targets += s.everything()[service]
	}
	queries = append([]string{fmt.Sprintf("count(up == 1) == %d", targets)}, queries...)
	ctx, cancel := context.WithTimeout(ctx, scraped)
	defer cancel()
	for _, query := range queries {
		for {
			answered, err := ask(ctx, query)
			if answered {
				break
			}
			if process.Sleep(ctx, time.Second); ctx.Err() != nil {
				return errors.Join(fmt.Errorf("query %q of Prometheus has no answer: %w", query, ctx.Err()), err)
			}
		}
	}
	s.say("Prometheus sees %d containers and answers the %d queries of the dashboard", targets, len(queries)-1)
	return s.do(ctx, "--profile", "metrics", "rm", "--stop", "--force", "prometheus")
}

// queries returns the queries of Grafana's dashboard.
func (s *scenario) queries() (out []string, err error) {
	data, err := os.ReadFile(filepath.Join(filepath.Dir(s.files[0]), "grafana", "dashboards", "headwater.json"))
	if err != nil {
		return nil, err
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		return nil, fmt.Errorf("dashboard of Grafana: %w", err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			out = append(out, target.Expr)
		}
	}
	return out, nil
}

// ask reports whether a query has a result.
func ask(ctx context.Context, query string) (bool, error) {
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	err := get(ctx, prometheus+"/api/v1/query?"+url.Values{"query": {query}}.Encode(), &answer)
	return len(answer.Data.Result) > 0, err
}
