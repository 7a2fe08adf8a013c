package whatif

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/rule"
	"headwater/streams"
)

const (
	// rawPolicy is the retention policy of the readings.
	rawPolicy = "raw"
	// maxArchived bounds the readings that a replay takes from InfluxDB: if there are
	// more, the newest count. archiveTimeout bounds how long that may take.
	maxArchived    = 5_000_000
	archiveTimeout = 3 * time.Minute
	// answerSize is how many readings one query should return.
	answerSize = 100_000
	// maxSlice and minSlice bound the time that one query covers.
	maxSlice, minSlice = 24 * time.Hour, time.Second
	// clockEvery is how often the clock of the lanes ticks, in nanoseconds of event
	// time.
	clockEvery = int64(10 * time.Second)
	// maxBatch is how many readings a lane takes at once.
	maxBatch = 1000
)

// archive feeds readings from InfluxDB to trials, in the order of their event time.
type archive struct {
	client *influx.Client
	trials []*trial
	// what selects the series as far as InfluxDB can; where is its condition.
	what, where string

	builders []telemetryv1.Builder
	// pending is how many readings are in the builders.
	pending int
	clock   int64
	fed     uint64
	// counted is the counter of the job, which fed is added to.
	counted *atomic.Uint64
	// earliest is the event time of the first reading; zero before it.
	earliest time.Time
}

// newArchive returns an archive that feeds the trials of a rule, one for each lane;
// nil trials are skipped. It adds the number of readings to counted.
func newArchive(client *influx.Client, r rule.Rule, trials []*trial, counted *atomic.Uint64) *archive {
	a := &archive{client: client, trials: trials, builders: make([]telemetryv1.Builder, len(trials)), counted: counted, what: everything}
	if metrics := expressionMetrics(trials); len(metrics) > 0 {
		a.what = strings.Join(metrics, ", ")
	} else if !hasGlob(r.Match.Metric) {
		a.what = influx.QuoteIdent(r.Match.Metric)
	} else if r.Match.Metric != "" && r.Match.Metric != "*" {
		a.what = "/" + globExpression(r.Match.Metric) + "/"
	}
	for _, metric := range derivedFrom(trials) {
		if a.what != everything {
			a.what += ", " + influx.QuoteIdent(metric)
		}
	}
	for _, tag := range [...]struct{ name, glob string }{{"site", r.Match.Site}, {"device", r.Match.Device}} {
		switch {
		case !hasGlob(tag.glob):
			a.where += fmt.Sprintf(" AND %q = %s", tag.name, influx.QuoteString(tag.glob))
		case tag.glob != "" && tag.glob != "*":
			a.where += fmt.Sprintf(" AND %q =~ /%s/", tag.name, globExpression(tag.glob))
		}
	}
	return a
}

// everything selects all metrics.
const everything = "/.*/"

// derivedFrom returns the metrics from which series are derived that the rule may judge.
func derivedFrom(trials []*trial) []string {
	for _, t := range trials {
		if t != nil {
			return t.machine.Inputs()
		}
	}
	return nil
}

// expressionMetrics returns the metrics of the rule's expression, quoted; none if it
// has no expression.
func expressionMetrics(trials []*trial) []string {
	var all []string
	for _, t := range trials {
		if t == nil {
			continue
		}
		for _, m := range t.machine.Metrics() {
			all = append(all, influx.QuoteIdent(m))
		}
		break
	}
	return all
}

// hasGlob reports whether the pattern of a rule may match more than one name.
func hasGlob(pattern string) bool { return pattern == "" || strings.ContainsAny(pattern, `*?[\`) }

// globExpression returns a regular expression that matches at least what the glob
// does, for names of letters, digits, hyphens and underscores.
func globExpression(glob string) string {
	var b strings.Builder
	b.WriteByte('^')
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		case '[', '\\':
			// The rule itself checks the rest, reading by reading.
			b.WriteString(".*")
			return b.String()
		case '/':
			b.WriteString(`\/`)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteByte('$')
	return b.String()
}

// feed feeds the trials what InfluxDB holds of [from, to), or the newest part of it if
// that is too much.
func (a *archive) feed(ctx context.Context, from, to time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	rate, err := a.rate(ctx, to)
	if err != nil {
		return err
	}
	slice := maxSlice
	if rate > 0 {
		if most := time.Duration(maxArchived / rate * float64(time.Second)); most > 0 && most < to.Sub(from) {
			from = to.Add(-most)
		}
		slice = min(slice, max(minSlice, time.Duration(answerSize/rate*float64(time.Second))))
	}
	for from.Before(to) {
		end := from.Add(slice)
		if end.After(to) {
			end = to
		}
		points, err := a.points(ctx, from, end)
		switch {
		case errors.Is(err, influx.ErrTooLarge) && slice > minSlice:
			slice = max(minSlice, slice/4)
			continue
		case err != nil:
			return err
		}
		a.take(points)
		from = end
		if a.fed > 2*maxArchived {
			return fmt.Errorf("InfluxDB holds more than %d readings of that time", 2*maxArchived)
		}
	}
	a.flush(to.UnixNano())
	return nil
}

// query queries the series of the rule.
func (a *archive) query(ctx context.Context, selected, rest string, from, to time.Time) ([]influx.Series, error) {
	q := "SELECT " + selected + " FROM " + a.what + " WHERE time >= $from AND time < $to" + a.where + rest
	series, err := a.client.Query(ctx, a.client.Database(), rawPolicy, q, influx.Params{"from": from, "to": to})
	if err != nil && strings.Contains(err.Error(), "not found") {
		return nil, nil // before the first reading there is no database and no bucket
	}
	return series, err
}

// rate returns how many readings a second there were in the hour before a time, or in
// the day before it if there were none; 0 if there were none at all.
func (a *archive) rate(ctx context.Context, to time.Time) (float64, error) {
	for _, span := range []time.Duration{time.Hour, 24 * time.Hour} {
		series, err := a.query(ctx, `count("value") AS "count"`, "", to.Add(-span), to)
		if err != nil {
			return 0, err
		}
		sum := 0.0
		for _, s := range series {
			for _, n := range s.Floats("count") {
				if !math.IsNaN(n) {
					sum += n
				}
			}
		}
		if sum > 0 {
			return sum / span.Seconds(), nil
		}
	}
	return 0, nil
}

// point is one reading.
type point struct {
	key  telemetryv1.Key
	time int64
	v    float64
}

// points returns the readings of [from, to) in their order.
func (a *archive) points(ctx context.Context, from, to time.Time) ([]point, error) {
	series, err := a.query(ctx, `"value"`, ` GROUP BY "site", "device", "unit"`, from, to)
	if err != nil {
		return nil, err
	}
	var all []point
	for _, s := range series {
		key := telemetryv1.Key{Site: s.Tags["site"], Device: s.Tags["device"], Metric: s.Name, Unit: s.Tags["unit"]}
		if !streams.ValidToken(key.Site) || !streams.ValidToken(key.Device) || !streams.ValidToken(key.Metric) {
			continue
		}
		for i, v := range s.Floats("value") {
			if !math.IsNaN(v) {
				all = append(all, point{key, s.Times[i], v})
			}
		}
	}
	slices.SortStableFunc(all, func(x, y point) int {
		return cmp.Or(cmp.Compare(x.time, y.time), strings.Compare(x.key.Metric, y.key.Metric))
	})
	return all, nil
}

// take feeds readings to the trials, and lets the clock of their lanes tick with them.
func (a *archive) take(points []point) {
	for _, r := range points {
		if a.pending >= maxBatch || r.time/clockEvery > a.clock/clockEvery {
			a.flush(r.time)
		}
		lane := streams.Lane(r.key.Site, r.key.Device, len(a.trials))
		if a.trials[lane] == nil {
			continue
		}
		if a.earliest.IsZero() {
			a.earliest = time.Unix(0, r.time).UTC()
		}
		a.builders[lane].Value(r.key, r.time, r.v)
		a.pending++
		a.fed++
	}
}

// flush feeds the pending readings, with a clock: everything up to that time has
// arrived.
func (a *archive) flush(clock int64) {
	a.counted.Add(uint64(a.pending))
	a.clock, a.pending = clock, 0
	for lane, t := range a.trials {
		if t == nil {
			continue
		}
		// The clock of the archive ticks with the readings.
		t.machine.Steady(true)
		b := a.builders[lane].Take(clock)
		b.Clock = &telemetryv1.Clock{CaughtUp: clock}
		t.take(b)
	}
}
