package dashboard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/proto/figure"
	"headwater/proto/units"
	"headwater/services/internal/influx"
	"headwater/web/device"
	"headwater/web/view"
)

// rawPolicy is the retention policy of the readings.
const rawPolicy = "raw"

// queryWithin bounds one query of InfluxDB: a person waits for the answer.
const queryWithin = 10 * time.Second

// cacheFor is how long an answer may be reused, and cacheSize how many are kept:
// several people look at the same page, or one reloads it.
const (
	cacheFor  = 2 * time.Second
	cacheSize = 64
)

// maxFlags bounds the readings of a flag that are read for one chart: the newest.
const maxFlags = 20_000

// history reads the past from InfluxDB.
type history struct {
	client *influx.Client
	// former, if not nil, returns the devices that a device continues: their history is its
	// own.
	former func(site, device string) []deviceName

	mu    sync.Mutex // guards cache
	cache map[device.SeriesQuery]cached
}

type cached struct {
	series device.Series
	until  time.Time
}

func newHistory(client *influx.Client) *history {
	return &history{client: client, cache: make(map[device.SeriesQuery]cached)}
}

// series returns the history of a series; an error that wraps view.ErrUnavailable
// means that InfluxDB cannot be reached.
func (h *history) series(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
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

func (h *history) cached(key device.SeriesQuery, now time.Time) (device.Series, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.cache[key]
	if !ok || now.After(c.until) {
		return device.Series{}, false
	}
	s := c.series // the columns are shared and never changed
	return s, true
}

// unavailable marks an error that means InfluxDB gave no answer.
func unavailable(err error) error {
	var e *influx.Error
	noAnswer := errors.As(err, &e) && (e.Status >= 500 || e.Status == 0 && e.Unwrap() != nil)
	if noAnswer || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", view.ErrUnavailable, err)
	}
	return err
}

// ofSeries selects the readings of one series; the measurement is its metric. Where
// selects the numbers in one unit.
const (
	ofDevice = `"site" = $site AND "device" = $device`
	ofSeries = ` FROM $metric WHERE ` + ofDevice + ` AND time >= $from AND time < $to`
	where    = ofSeries + influx.InUnit
)

func params(q device.SeriesQuery) influx.Params {
	p := influx.Params{"metric": influx.Ident(q.Metric), "site": q.Site, "device": q.Device, "from": q.From, "to": q.To}
	p["unit"], p["none"] = units.Name(q.Unit), units.Name(q.Unit)
	if q.Bare {
		p["none"] = ""
	}
	return p
}

// tier is one of the roll-ups that the processor computes for every series.
type tier struct {
	name string
	// width is the width of its windows; days are up to an hour longer or shorter.
	width time.Duration
}

const day = 24 * time.Hour

// tiers are the roll-ups, from the coarsest on.
var tiers = [...]tier{{"1d", day}, {"1h", time.Hour}, {"1m", time.Minute}}

// read queries the coarsest roll-up whose windows are no wider than a bucket, and
// queries the readings where the roll-up has nothing: the time before there were
// roll-ups, and the windows that are not closed yet. A bucket consists of whole
// windows, so an extreme is in the bucket that holds its time. If there are no more
// readings than buckets, it returns the readings themselves.
func (h *history) read(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
	t, width := bucketWidth(q.To.Sub(q.From), q.Points)
	all := make(buckets)
	out := device.Series{BucketMS: width.Milliseconds(), Tier: rawPolicy}
	from, to := q.From, q.To
	into := grid{width: width}
	if t.width > 0 {
		rolled, first, end, err := h.rolled(ctx, q, t, width)
		if err != nil {
			return device.Series{}, err
		}
		if rolled != nil {
			out.Tier, from = t.name, end
			if t.width == day {
				into.days = rolled.Times
			}
			before := q
			before.To = first
			if first.Sub(q.From) > t.width {
				if err := h.buckets(ctx, before, into, all); err != nil {
					return device.Series{}, err
				}
			}
			all.add(rolled, into)
		}
	}
	if from.Before(to) {
		rest := q
		rest.From = from
		if err := h.buckets(ctx, rest, into, all); err != nil {
			return device.Series{}, err
		}
	}
	total := all.count()
	switch {
	case total == 0:
		return h.flags(ctx, q)
	case total <= float64(q.Points):
		// Readings are not kept for as long as roll-ups.
		if s, err := h.readings(ctx, q); err != nil || out.Tier == rawPolicy || float64(len(s.TimeMS)) >= total {
			return s, err
		}
	}
	all.appendTo(&out)
	return out, nil
}

// grid assigns the times of an answer to buckets.
type grid struct {
	width time.Duration
	// days are the starts of the days of the site that have summaries, in rising
	// order; nil if buckets do not consist of days.
	days []int64
}

// start returns the start of the bucket of a time. InfluxDB has grouped by the
// width since the epoch; buckets of days begin with a day of the site, which is
// up to an hour longer or shorter than others.
func (g grid) start(t int64) int64 {
	if len(g.days) == 0 {
		return t
	}
	i := sort.Search(len(g.days), func(i int) bool { return g.days[i] > t })
	start := g.days[max(0, i-1)]
	last := i > 0 && i < len(g.days) && g.days[i]-start <= int64(day+time.Hour) // the days are adjacent
	if days := floor(t-start, int64(day)); !last {
		start += days * int64(day)
	}
	// The offset of the zone from UTC is the offset on the first day.
	zone := modulo(g.days[0], int64(day))
	number := floor(start-zone+int64(day/2), int64(day))
	return start - modulo(number, int64(g.width/day))*int64(day)
}

func floor(a, b int64) int64 { return (a - modulo(a, b)) / b }

// modulo is a mod b, which is not negative.
func modulo(a, b int64) int64 { return ((a % b) + b) % b }

// bucket is what a chart shows for one part of the time.
type bucket struct{ low, high, mean, count, last float64 }

// buckets are the buckets of a chart, by their start in nanoseconds.
type buckets map[int64]bucket

// add adds an answer, which is later than those before it. Where the roll-up and the
// readings meet, a bucket may come from both.
func (b buckets) add(answer *influx.Series, into grid) {
	if answer == nil {
		return
	}
	low, high, mean, count, last := answer.Floats("min"), answer.Floats("max"), answer.Floats("mean"), answer.Floats("count"), answer.Floats("last")
	for i, t := range answer.Times {
		if math.IsNaN(low[i]) || math.IsNaN(high[i]) || math.IsNaN(mean[i]) || math.IsNaN(count[i]) || count[i] == 0 {
			continue
		}
		t = into.start(t)
		n := bucket{low[i], high[i], mean[i], count[i], mean[i]}
		if i < len(last) && !math.IsNaN(last[i]) {
			n.last = last[i]
		}
		if o, there := b[t]; there {
			part := n.count / (n.count + o.count)
			n = bucket{min(n.low, o.low), max(n.high, o.high), o.mean + (n.mean-o.mean)*part, n.count + o.count, n.last}
		}
		b[t] = n
	}
}

func (b buckets) count() float64 {
	total := 0.0
	for _, n := range b {
		total += n.count
	}
	return total
}

func (b buckets) appendTo(s *device.Series) {
	for _, t := range slices.Sorted(maps.Keys(b)) {
		add(s, t, b[t])
	}
}

// fineDays is the width in which readings are queried for buckets of days: the
// offset of every zone from UTC is a multiple of it.
const fineDays = 15 * time.Minute

// buckets adds the readings.
func (h *history) buckets(ctx context.Context, q device.SeriesQuery, into grid, all buckets) error {
	p := params(q)
	p["width"] = into.width
	if len(into.days) > 0 {
		p["width"] = fineDays
	}
	answer, err := h.query(ctx, `SELECT min("value") AS "min", max("value") AS "max", mean("value") AS "mean", count("value") AS "count", last("value") AS "last"`+
		where+` GROUP BY time($width) fill(none)`, p)
	if err == nil && len(answer) > 0 {
		all.add(&answer[0], into)
	}
	return err
}

// rolled returns the data of a roll-up in buckets of that width, the start of its
// first window in the range and the end of its last one; nil if it has none. Days are
// returned one by one, because the days of a site are not the days of UTC.
func (h *history) rolled(ctx context.Context, q device.SeriesQuery, t tier, width time.Duration) (rolled *influx.Series, first, end time.Time, err error) {
	p := params(q)
	ask := `SELECT "min", "max", "mean", "count", "last"` + where
	least := t.width - time.Hour // a day on which the clocks go forward
	if t.width < day {
		p["width"], least = width, t.width
		ask = `SELECT min("low") AS "min", max("high") AS "max", sum("total") / sum("n") AS "mean", sum("n") AS "count", last("end") AS "last" FROM` +
			` (SELECT "min" AS "low", "max" AS "high", "mean" * "count" AS "total", "count" AS "n", "last" AS "end"` + where + `)` +
			` WHERE time >= $from AND time < $to GROUP BY time($width) fill(none)`
	}
	answer, err := h.ask(ctx, t.name, ask+`; SELECT first("count") AS "n"`+where+`; SELECT last("count") AS "n"`+where, p)
	if err != nil {
		return nil, first, end, err
	}
	for i := range answer {
		s := &answer[i]
		switch {
		case len(s.Times) == 0:
		case s.Statement == 0:
			rolled = s
		case s.Statement == 1:
			first = time.Unix(0, s.Times[0])
		default:
			end = time.Unix(0, s.Times[0]).Add(least)
		}
	}
	return rolled, first, end, nil
}

// bucketWidth returns a width such that at most points buckets cover the span, and
// the coarsest roll-up that such buckets can consist of, if there is one. The width is
// a multiple of the width of its windows, else whole milliseconds, at least one.
func bucketWidth(span time.Duration, points int) (tier, time.Duration) {
	buckets := max(1, points-1) // the first and the last may be cut
	width := max(time.Millisecond, up((span+time.Duration(buckets)-1)/time.Duration(buckets), time.Millisecond))
	for _, t := range tiers {
		if t.width <= width {
			return t, up(width, t.width)
		}
	}
	return tier{}, width
}

// up rounds up to a multiple of a unit.
func up(d, unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }

func (h *history) readings(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
	p := params(q)
	p["limit"] = q.Points
	answers, err := h.query(ctx, `SELECT "value"`+where+` LIMIT $limit`, p)
	out := device.Series{Tier: rawPolicy}
	if err != nil || len(answers) == 0 {
		return out, err
	}
	answer := answers[0]
	values := answer.Floats("value")
	for i, t := range answer.Times {
		if !math.IsNaN(values[i]) {
			add(&out, t, bucket{values[i], values[i], values[i], 1, values[i]})
		}
	}
	return out, nil
}

// flags reads a series of flags as 0 and 1: each change, and the last reading.
func (h *history) flags(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
	p := params(q)
	p["limit"] = maxFlags
	delete(p, "unit")
	delete(p, "none")
	answers, err := h.query(ctx, `SELECT "flag"`+ofSeries+` ORDER BY time DESC LIMIT $limit`, p)
	out := device.Series{Tier: rawPolicy}
	if err != nil || len(answers) == 0 || len(answers[0].Columns) != 1 {
		return out, err
	}
	answer := answers[0]
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
		add(&out, t, bucket{v, v, v, 1, v})
	}
	out.Count = nil // only the changes are there
	if n := len(out.TimeMS) - q.Points; n > 0 {
		out.TimeMS, out.Min, out.Max, out.Mean, out.Last = out.TimeMS[n:], out.Min[n:], out.Max[n:], out.Mean[n:], out.Last[n:]
	}
	return out, nil
}

// stateBefore is how long before a range the state at its start is looked for.
const stateBefore = 30 * day

// states returns the changes of a flag or a text, beginning with the one that is in force at
// the start, and whether there were too many readings to begin there.
func (h *history) states(ctx context.Context, q device.StatesQuery) (changes []device.Change, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	p := influx.Params{
		"metric": influx.Ident(q.Metric), "site": q.Site, "device": q.Device, "from": q.From, "to": q.To, "before": q.From.Add(-stateBefore),
		"field": influx.Ident(fields[q.Kind]), "limit": maxFlags,
	}
	answers, err := h.query(ctx, `SELECT last($field) AS "state" FROM $metric WHERE "site" = $site AND "device" = $device AND time >= $before AND time < $from`+
		`; SELECT $field AS "state"`+ofSeries+` ORDER BY time DESC LIMIT $limit`, p)
	if err != nil {
		return nil, false, unavailable(err)
	}
	for _, s := range answers {
		if len(s.Columns) != 1 {
			continue
		}
		if s.Statement == 1 {
			slices.Reverse(s.Times)
			slices.Reverse(s.Values)
			if more = len(s.Times) >= maxFlags; more {
				changes = nil // what is between is not known
			}
		}
		for i, at := range s.Times {
			v, ok := stateOf(s.Values[i][0])
			if ok && (len(changes) == 0 || changes[len(changes)-1].Value != v) {
				changes = append(changes, device.Change{At: time.Unix(0, at), Value: v})
			}
		}
	}
	return changes, more, nil
}

// stateOf returns a flag or a text as a state.
func stateOf(v any) (string, bool) {
	switch v := v.(type) {
	case bool:
		return view.Flag(v).String(), true
	case string:
		return view.Text(v).String(), true
	}
	return "", false
}

func add(s *device.Series, nanoseconds int64, b bucket) {
	s.TimeMS = append(s.TimeMS, nanoseconds/int64(time.Millisecond))
	s.Min = append(s.Min, figure.Zero(b.low))
	s.Max = append(s.Max, figure.Zero(b.high))
	s.Mean = append(s.Mean, figure.Zero(b.mean))
	s.Last = append(s.Last, figure.Zero(b.last))
	s.Count = append(s.Count, b.count)
}

// query queries the readings.
func (h *history) query(ctx context.Context, q string, p influx.Params) ([]influx.Series, error) {
	return h.ask(ctx, rawPolicy, q, p)
}

// ask returns the series of an answer; none if the bucket does not exist.
func (h *history) ask(ctx context.Context, policy, q string, p influx.Params) ([]influx.Series, error) {
	q, p = h.withFormer(q, p)
	series, err := h.client.Query(ctx, h.client.Database(), policy, q, p)
	// Before the first reading there is no database and no bucket.
	if err != nil && strings.Contains(err.Error(), "not found") {
		return nil, nil
	}
	return series, err
}

// withFormer has a query be about the devices, too, that its device continues.
func (h *history) withFormer(q string, p influx.Params) (string, influx.Params) {
	site, _ := p["site"].(string)
	device, _ := p["device"].(string)
	if h.former == nil || device == "" {
		return q, p
	}
	former := h.former(site, device)
	if len(former) == 0 {
		return q, p
	}
	p = maps.Clone(p)
	of := []string{ofDevice}
	for i, f := range former {
		n := strconv.Itoa(i)
		of = append(of, `"site" = $site`+n+` AND "device" = $device`+n)
		p["site"+n], p["device"+n] = f.site, f.device
	}
	return strings.ReplaceAll(q, ofDevice, "("+strings.Join(of, " OR ")+")"), p
}
