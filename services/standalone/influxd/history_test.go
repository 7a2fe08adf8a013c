package influxd_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/standalone/influxd"
	"headwater/services/writer/point"
	"headwater/streams/streamtest"
	"headwater/web/device"
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
		if len(s.Last) != len(s.TimeMS) || len(s.Count) != len(s.TimeMS) || s.Last[last] != 25 || slices.Min(s.Count) < 1 {
			t.Errorf("%s: %d latest values, %d counts, the latest value is %v", test.tier, len(s.Last), len(s.Count), s.Last[last])
		}
		if !slices.IsSorted(s.TimeMS) || slices.Min(s.Mean) < 20 || slices.Max(s.Mean) > 40 {
			t.Errorf("%s: means from %v to %v", test.tier, slices.Min(s.Mean), slices.Max(s.Mean))
		}
	}

	// What a device has is erased from every bucket, up to a time, and nothing of another.
	other := point.AppendValue(nil, point.AppendValuePrefix(nil, point.Series{Site: "w", Device: "door-2", Metric: "temperature"}), 1, now.Add(-time.Hour).UnixNano())
	if err := c.Write(t.Context(), raw.Name(), string(other)); err != nil {
		t.Fatal(err)
	}
	if err := c.Erase(t.Context(), "w", "door-1", now.Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	for policy, want := range map[string]float64{"raw": 4, "1m": 0, "1h": 0, "1d": 0} { // three of door-1 from the time on, one of door-2
		field := "value"
		if policy != "raw" {
			field = "mean"
		}
		found, err := c.Query(t.Context(), "headwater", policy, `SELECT count($field) AS "n" FROM "temperature"`, influx.Params{"field": influx.Ident(field)})
		n := 0.0
		if len(found) > 0 {
			n = found[0].Floats("n")[0]
		}
		if err != nil || n != want {
			t.Errorf("%s has %v points, %v; want %v", policy, n, err, want)
		}
	}
}

// TestExtremesStayInTheirBucket asks for charts of many ranges and widths: each
// reading lies within the extremes of the bucket that holds its instant, and a
// bucket returns no extreme that is not of a reading in it.
func TestExtremesStayInTheirBucket(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	db := start(t, influxd.Config{Dir: t.TempDir()})
	c := connect(t, db)
	zone, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Minute)
	random := rand.New(rand.NewPCG(1, 2))
	type reading struct {
		at    time.Time
		value float64
	}
	var readings []reading
	for at := now.Add(-500 * 24 * time.Hour); at.Before(now); {
		readings = append(readings, reading{at.Add(time.Duration(random.Int64N(int64(10 * time.Second)))), math.Abs(random.NormFloat64())})
		switch age := now.Sub(at); {
		case age > 40*24*time.Hour:
			at = at.Add(97 * time.Minute)
		case age > 2*24*time.Hour:
			at = at.Add(7 * time.Minute)
		default:
			at = at.Add(11 * time.Second)
		}
	}
	series := point.Series{Site: "w", Device: "door-1", Metric: "temperature"}
	var lines []byte
	write := func(bucket influx.Bucket) {
		t.Helper()
		ensure(t, c, bucket)
		if err := c.Write(t.Context(), bucket.Name(), string(lines)); err != nil {
			t.Fatal(err)
		}
		lines = nil
	}
	for name, start := range map[string]func(at time.Time) (start, end time.Time){
		"1m": func(at time.Time) (start, end time.Time) {
			at = at.Truncate(time.Minute)
			return at, at.Add(time.Minute)
		},
		"1h": func(at time.Time) (start, end time.Time) { at = at.Truncate(time.Hour); return at, at.Add(time.Hour) },
		"1d": func(at time.Time) (start, end time.Time) {
			y, m, d := at.In(zone).Date()
			return time.Date(y, m, d, 0, 0, 0, 0, zone), time.Date(y, m, d+1, 0, 0, 0, 0, zone)
		},
	} {
		for i := 0; i < len(readings); {
			begin, end := start(readings[i].at)
			s := point.Summary{Series: series, Time: begin.UnixNano(), Min: math.Inf(1), Max: math.Inf(-1), Revision: 1}
			for ; i < len(readings) && readings[i].at.Before(end); i++ {
				s.Min, s.Max = min(s.Min, readings[i].value), max(s.Max, readings[i].value)
				s.Mean = (s.Mean*float64(s.Count) + readings[i].value) / float64(s.Count+1)
				s.Count++
			}
			if end.Before(now) {
				lines = point.AppendSummary(lines, &s)
			}
		}
		write(influx.Bucket{Database: "headwater", Policy: name})
	}
	prefix := point.AppendValuePrefix(nil, series)
	for _, r := range readings {
		lines = point.AppendValue(lines, prefix, r.value, r.at.UnixNano())
	}
	write(influx.Bucket{Database: "headwater", Policy: "raw"})

	get := runDashboard(t, server, db.URL(), now)
	widths := map[string]time.Duration{"raw": 0, "1m": time.Minute, "1h": time.Hour, "1d": 24 * time.Hour}
	seen := make(map[string]int)
	for range 60 {
		span := time.Duration(math.Pow(10, 2.5+5*random.Float64())) * time.Second
		span = min(span, 480*24*time.Hour)
		to := now.Add(-time.Duration(random.Int64N(int64(480*24*time.Hour-span) + 1))).Truncate(time.Second)
		if random.IntN(3) == 0 {
			to = now
		}
		from := to.Add(-span)
		points := 20 + random.IntN(700)
		s := get(t, from, to, strconv.Itoa(points))
		tier, ok := widths[s.Tier]
		width := time.Duration(s.BucketMS) * time.Millisecond
		if !ok || tier > 0 && width%tier != 0 {
			t.Fatalf("%v at %d points: buckets of %v, of tier %s", span, points, width, s.Tier)
		}
		if width == 0 { // every reading by itself
			continue
		}
		seen[s.Tier]++
		slack := time.Duration(0)
		if s.Tier == "1d" {
			slack = time.Hour // the clocks were changed
		}
		low, high := make([]float64, len(s.TimeMS)), make([]float64, len(s.TimeMS))
		for i := range low {
			low[i], high[i] = math.Inf(1), math.Inf(-1)
		}
		// Windows at the ends of the range are incomplete.
		for _, r := range readings {
			if r.at.Before(from.Add(-tier-slack)) || r.at.After(to.Add(tier+slack)) {
				continue
			}
			inside := !r.at.Before(from.Add(tier+slack)) && r.at.Before(to.Add(-tier-slack))
			told := false
			earliest, _ := slices.BinarySearch(s.TimeMS, r.at.Add(-width-2*slack).UnixMilli())
			for i := earliest; i < len(s.TimeMS) && s.TimeMS[i] <= r.at.Add(slack).UnixMilli(); i++ {
				begin := time.UnixMilli(s.TimeMS[i])
				if r.at.Before(begin.Add(-slack)) || !r.at.Before(begin.Add(width+slack)) {
					continue
				}
				low[i], high[i] = min(low[i], r.value), max(high[i], r.value)
				told = told || s.Min[i] <= r.value && r.value <= s.Max[i]
			}
			if inside && !told {
				t.Fatalf("%v to %v at %d points, %d buckets of %v of tier %s: %v of %v is not within the extremes of its bucket",
					from, to, points, len(s.TimeMS), width, s.Tier, r.value, r.at)
			}
		}
		for i := range s.TimeMS {
			if s.Min[i] < low[i] || s.Max[i] > high[i] {
				t.Fatalf("%v to %v at %d points, buckets of %v of tier %s: that of %v tells %v to %v, its readings %v to %v",
					from, to, points, width, s.Tier, time.UnixMilli(s.TimeMS[i]), s.Min[i], s.Max[i], low[i], high[i])
			}
		}
	}
	for tier := range widths {
		if seen[tier] == 0 {
			t.Errorf("no chart of the tier %s was asked for", tier)
		}
	}
}

// runDashboard runs a dashboard that knows the device, and returns what asks it
// for the history.
func runDashboard(t *testing.T, server *streamtest.Server, url string, now time.Time) func(t *testing.T, from, to time.Time, points string) device.Series {
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
	return func(t *testing.T, from, to time.Time, points string) device.Series {
		t.Helper()
		path := "/api/v1/series?site=w&device=door-1&metric=temperature&with=last,count&points=" + points +
			"&from=" + from.UTC().Format(time.RFC3339) + "&to=" + to.UTC().Format(time.RFC3339)
		status, body := ask(path)
		var s device.Series
		if err := json.Unmarshal([]byte(body), &s); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %.300s", path, status, body)
		}
		return s
	}
}
