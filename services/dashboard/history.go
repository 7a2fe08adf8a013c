package dashboard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/services/internal/influx"
	"headwater/web"
	"headwater/web/view"
)

// rawPolicy is the retention policy of the readings.
const rawPolicy = "raw"

// queryWithin bounds one question to InfluxDB: a person waits for the answer.
const queryWithin = 10 * time.Second

// cacheFor is how long an answer may be given again, and cacheSize how many are
// kept: several people look at the same page, one reloads it.
const (
	cacheFor  = 2 * time.Second
	cacheSize = 64
)

// maxFlags bounds the readings of a flag that are read for one chart; of more,
// the newest count.
const maxFlags = 20_000

// history reads the past from InfluxDB.
type history struct {
	client *influx.Client

	mu    sync.Mutex // guards cache
	cache map[view.SeriesQuery]cached
}

type cached struct {
	series view.Series
	until  time.Time
}

func newHistory(client *influx.Client) *history {
	return &history{client: client, cache: make(map[view.SeriesQuery]cached)}
}

// Series implements web.History.
func (h *history) Series(ctx context.Context, q view.SeriesQuery) (view.Series, error) {
	key := q
	key.From, key.To = q.From.Truncate(time.Second).UTC(), q.To.Truncate(time.Second).UTC()
	now := time.Now()
	if s, ok := h.cached(key, now); ok {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	s, err := h.read(ctx, q)
	if err != nil {
		return s, unavailable(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.cache) >= cacheSize {
		clear(h.cache)
	}
	h.cache[key] = cached{s, now.Add(cacheFor)}
	return s, nil
}

func (h *history) cached(key view.SeriesQuery, now time.Time) (view.Series, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.cache[key]
	if !ok || now.After(c.until) {
		return view.Series{}, false
	}
	s := c.series // the columns are shared and never changed
	return s, true
}

// unavailable marks an error by which InfluxDB gave no answer.
func unavailable(err error) error {
	var e *influx.Error
	noAnswer := errors.As(err, &e) && (e.Status >= 500 || e.Status == 0 && e.Unwrap() != nil)
	if noAnswer || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", web.ErrUnavailable, err)
	}
	return err
}

// where selects the readings of one series; the measurement is its metric.
const where = ` FROM $metric WHERE "site" = $site AND "device" = $device AND time >= $from AND time < $to`

func params(q view.SeriesQuery) influx.Params {
	return influx.Params{"metric": influx.Ident(q.Metric), "site": q.Site, "device": q.Device, "from": q.From, "to": q.To}
}

// read asks for buckets, and for the readings themselves when there are no more
// of them than buckets.
func (h *history) read(ctx context.Context, q view.SeriesQuery) (view.Series, error) {
	width := bucketWidth(q.To.Sub(q.From), q.Points)
	p := params(q)
	p["width"] = width
	answer, err := h.query(ctx, `SELECT min("value") AS "min", max("value") AS "max", mean("value") AS "mean", count("value") AS "count"`+
		where+` GROUP BY time($width) fill(none)`, p)
	if err != nil {
		return view.Series{}, err
	}
	if answer == nil {
		return h.flags(ctx, q)
	}
	total := 0.0
	for _, n := range answer.Floats("count") {
		if !math.IsNaN(n) {
			total += n
		}
	}
	if total <= float64(q.Points) {
		return h.readings(ctx, q)
	}
	out := view.Series{BucketMS: width.Milliseconds()}
	low, high, mean := answer.Floats("min"), answer.Floats("max"), answer.Floats("mean")
	for i, t := range answer.Times {
		if math.IsNaN(low[i]) || math.IsNaN(high[i]) || math.IsNaN(mean[i]) {
			continue
		}
		add(&out, t, low[i], high[i], mean[i])
	}
	return out, nil
}

// bucketWidth returns a width with which at most points buckets cover the span:
// whole milliseconds, at least one.
func bucketWidth(span time.Duration, points int) time.Duration {
	buckets := max(1, points-1) // the first and the last may be cut
	width := (span + time.Duration(buckets) - 1) / time.Duration(buckets)
	return max(time.Millisecond, (width + time.Millisecond - 1).Truncate(time.Millisecond))
}

func (h *history) readings(ctx context.Context, q view.SeriesQuery) (view.Series, error) {
	p := params(q)
	p["limit"] = q.Points
	answer, err := h.query(ctx, `SELECT "value"`+where+` LIMIT $limit`, p)
	var out view.Series
	if err != nil || answer == nil {
		return out, err
	}
	values := answer.Floats("value")
	for i, t := range answer.Times {
		if !math.IsNaN(values[i]) {
			add(&out, t, values[i], values[i], values[i])
		}
	}
	return out, nil
}

// flags reads a series of flags as 0 and 1: each change, and the last reading.
func (h *history) flags(ctx context.Context, q view.SeriesQuery) (view.Series, error) {
	p := params(q)
	p["limit"] = maxFlags
	answer, err := h.query(ctx, `SELECT "flag"`+where+` ORDER BY time DESC LIMIT $limit`, p)
	var out view.Series
	if err != nil || answer == nil || len(answer.Columns) != 1 {
		return out, err
	}
	slices.Reverse(answer.Times)
	slices.Reverse(answer.Values)
	var before any
	for i, t := range answer.Times {
		flag, ok := answer.Values[i][0].(bool)
		if !ok || any(flag) == before && i < len(answer.Times)-1 {
			continue
		}
		before = flag
		v := 0.0
		if flag {
			v = 1
		}
		add(&out, t, v, v, v)
	}
	if n := len(out.TimeMS) - q.Points; n > 0 {
		out.TimeMS, out.Min, out.Max, out.Mean = out.TimeMS[n:], out.Min[n:], out.Max[n:], out.Mean[n:]
	}
	return out, nil
}

func add(s *view.Series, nanoseconds int64, low, high, mean float64) {
	s.TimeMS = append(s.TimeMS, nanoseconds/int64(time.Millisecond))
	s.Min = append(s.Min, low)
	s.Max = append(s.Max, high)
	s.Mean = append(s.Mean, mean)
}

// query returns the only series of an answer, nil when there is none.
func (h *history) query(ctx context.Context, q string, p influx.Params) (*influx.Series, error) {
	series, err := h.client.Query(ctx, h.client.Database(), rawPolicy, q, p)
	if err != nil {
		// Before the first reading there is no database, no bucket.
		if strings.Contains(err.Error(), "not found") {
			return nil, nil
		}
		return nil, err
	}
	if len(series) == 0 {
		return nil, nil
	}
	return &series[0], nil
}
