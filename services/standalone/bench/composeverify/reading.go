package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"headwater/services/internal/process"
	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
)

// followed is the series whose readings are followed to the dashboard.
var followed = oracle.Series{Device: "verify", Metric: "n"}

// reading sends one reading over MQTT, waits until the dashboard has it from InfluxDB, and
// returns how long that took.
func (s *scenario) reading(ctx context.Context, within time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s.sent++
	value, begin := float64(s.sent), time.Now()
	id, at := s.book.Issue(followed, begin, value)
	in := make(chan load.Reading, 1)
	in <- load.Reading{ID: id, Series: followed, Time: at, Value: value}
	close(in)
	d := &load.Device{Addresses: s.mqtt(), ID: followed.Device, In: in, Window: 1, Acked: func(load.Reading) { s.book.Ack(id) }}
	d.Run(ctx)
	for {
		values, err := history(ctx)
		if slices.Contains(values, value) {
			return time.Since(begin), nil
		}
		if process.Sleep(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return 0, errors.Join(fmt.Errorf("reading %d is not in InfluxDB within %s; acknowledged: %t", s.sent, within, !d.Newest().Before(begin)), err)
		}
	}
}

// history returns the values of the followed series in InfluxDB, from the dashboard's
// API.
func history(ctx context.Context) ([]float64, error) {
	query := url.Values{"site": {load.Site}, "device": {followed.Device}, "metric": {followed.Metric}}
	var answer struct {
		Source string    `json:"source"`
		Max    []float64 `json:"max"`
	}
	if err := get(ctx, "http://"+pages+"/api/v1/series?"+query.Encode(), &answer); err != nil {
		return nil, err
	}
	// Without InfluxDB the dashboard returns what it has seen itself.
	if answer.Source != "history" {
		return nil, fmt.Errorf("the dashboard has no history: source %q", answer.Source)
	}
	return answer.Max, nil
}

// get reads a JSON response.
func get(ctx context.Context, url string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %.200s", request.URL.Host, response.Status, body)
	}
	return nil
}
