package influxd_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/standalone/influxd"
	"headwater/services/writer/point"
	"headwater/streams/streamtest"
	"headwater/web/view"
)

// TestChartOfAYear asks the dashboard for charts of a year: the roll-up that
// fits is read, with the extremes of all, and the readings where it does not
// reach.
func TestChartOfAYear(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	db := start(t, influxd.Config{Dir: t.TempDir()})
	c := connect(t, db)
	now := time.Now().Truncate(24 * time.Hour).Add(-11 * time.Hour)
	series := point.Series{Site: "w", Device: "door-1", Metric: "temperature"}
	for _, tier := range []struct {
		name  string
		width time.Duration
		n     int
	}{{"1d", 24 * time.Hour, 366}, {"1h", time.Hour, 366 * 24}, {"1m", time.Minute, 10_000}} {
		bucket := influx.Bucket{Database: "headwater", Policy: tier.name}
		ensure(t, c, bucket)
		var lines []byte
		for i := range tier.n {
			s := point.Summary{
				Series: series, Time: now.Truncate(tier.width).Add(-time.Duration(tier.n-i) * tier.width).UnixNano(),
				Count: 60, Min: 10, Max: 30, Mean: 20, First: 20, Last: 20, Revision: 1,
			}
			if i == tier.n/2 {
				s.Min, s.Max, s.Mean, s.Count = -5, 50, 40, 180
			}
			lines = point.AppendSummary(lines, &s)
		}
		if err := c.Write(t.Context(), bucket.Name(), string(lines)); err != nil {
			t.Fatal(err)
		}
	}
	// The hour that is not over is in the readings only.
	ensure(t, c, raw)
	prefix := point.AppendValuePrefix(nil, series)
	var lines []byte
	for i := range 600 {
		lines = point.AppendValue(lines, prefix, 25, now.Add(-time.Duration(i)*time.Second).UnixNano())
	}
	lines = point.AppendValue(lines, prefix, 33, now.Add(-time.Second/2).UnixNano())
	if err := c.Write(t.Context(), raw.Name(), string(lines)); err != nil {
		t.Fatal(err)
	}

	get := runDashboard(t, server, db.URL(), now)
	for _, test := range []struct {
		span   time.Duration
		points string
		tier   string
	}{
		{366 * 24 * time.Hour, "300", "1d"},
		{366 * 24 * time.Hour, "1000", "1h"},
		{6 * 24 * time.Hour, "1000", "1m"},
		{9 * time.Minute, "500", "raw"},
	} {
		began := time.Now()
		s := get(t, now.Add(-test.span), now.Add(time.Second), test.points)
		t.Logf("%v at %s points: %d buckets of %s in %v", test.span, test.points, len(s.TimeMS), s.Tier, time.Since(began))
		if s.Tier != test.tier || len(s.TimeMS) == 0 {
			t.Fatalf("%v at %s points: %d buckets of %s, want those of %s", test.span, test.points, len(s.TimeMS), s.Tier, test.tier)
		}
		low, high := -5.0, 50.0
		if test.tier == "raw" {
			low, high = 25, 33
		}
		if slices.Min(s.Min) != low || slices.Max(s.Max) != high {
			t.Errorf("%s: from %v to %v, want %v to %v", test.tier, slices.Min(s.Min), slices.Max(s.Max), low, high)
		}
		last := len(s.Max) - 1
		if end := time.UnixMilli(s.TimeMS[last] + s.BucketMS); end.Before(now) || s.Max[last] < 25 {
			t.Errorf("%s: the last bucket ends at %v, its greatest value is %v", test.tier, end, s.Max[last])
		}
		if !slices.IsSorted(s.TimeMS) || slices.Min(s.Mean) < 20 || slices.Max(s.Mean) > 40 {
			t.Errorf("%s: means from %v to %v", test.tier, slices.Min(s.Mean), slices.Max(s.Mean))
		}
	}
}

// runDashboard runs a dashboard that knows the device, and returns what asks it
// for the history.
func runDashboard(t *testing.T, server *streamtest.Server, url string, now time.Time) func(t *testing.T, from, to time.Time, points string) view.Series {
	t.Helper()
	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "w", Device: "door-1", Metric: "temperature", Unit: "°C"}, now.UnixNano(), 25)
	publish(t, server, b.Take(now.UnixNano()))
	d := runService(t, server, url)
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		d.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	streamtest.Eventually(t, "the device is known", func() bool {
		_, body := ask("/api/v1/devices")
		return strings.Contains(body, "door-1")
	})
	return func(t *testing.T, from, to time.Time, points string) view.Series {
		t.Helper()
		path := "/api/v1/series?site=w&device=door-1&metric=temperature&points=" + points +
			"&from=" + from.UTC().Format(time.RFC3339) + "&to=" + to.UTC().Format(time.RFC3339)
		status, body := ask(path)
		var s view.Series
		if err := json.Unmarshal([]byte(body), &s); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %.300s", path, status, body)
		}
		return s
	}
}
