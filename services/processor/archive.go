package processor

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
	// maxPast bounds the readings that a replay takes from InfluxDB: of more, the
	// newest count. pastWithin bounds how long that may take.
	maxPast    = 5_000_000
	pastWithin = 3 * time.Minute
	// pastAnswer is how many readings one question should bring.
	pastAnswer = 100_000
	// maxPastSlice and minPastSlice bound the time that one question is about.
	maxPastSlice, minPastSlice = 24 * time.Hour, time.Second
	// pastTick is how often the clock of the lanes is moved on.
	pastTick = int64(10 * time.Second)
	// pastBatch is how many readings a lane takes at once.
	pastBatch = 1000
)

// archive feeds readings from InfluxDB to trials, in the order of their event time.
type archive struct {
	client *influx.Client
	trials []*trial
	// what selects the series as far as InfluxDB can; where is its condition.
	what, where string

	builders []telemetryv1.Builder
	waiting  int
	clock    int64
	fed      uint64
	// counted is told how many were fed.
	counted  *atomic.Uint64
	earliest time.Time
}

// newArchive returns what feeds the trials of a rule, one a lane; nil trials are
// passed over. It adds to counted what it has fed.
func newArchive(client *influx.Client, r rule.Rule, trials []*trial, counted *atomic.Uint64) *archive {
	p := &archive{client: client, trials: trials, builders: make([]telemetryv1.Builder, len(trials)), counted: counted, what: "/.*/"}
	if metrics := expressionMetrics(trials); len(metrics) > 0 {
		p.what = strings.Join(metrics, ", ")
	} else if !hasGlob(r.Match.Metric) {
		p.what = influx.QuoteIdent(r.Match.Metric)
	} else if r.Match.Metric != "" && r.Match.Metric != "*" {
		p.what = "/" + globExpression(r.Match.Metric) + "/"
	}
	for _, tag := range [...]struct{ name, glob string }{{"site", r.Match.Site}, {"device", r.Match.Device}} {
		switch {
		case !hasGlob(tag.glob):
			p.where += fmt.Sprintf(" AND %q = %s", tag.name, influx.QuoteString(tag.glob))
		case tag.glob != "" && tag.glob != "*":
			p.where += fmt.Sprintf(" AND %q =~ /%s/", tag.name, globExpression(tag.glob))
		}
	}
	return p
}

// expressionMetrics returns the metrics of the rule's expression, quoted; none when
// it has none.
func expressionMetrics(trials []*trial) []string {
	var all []string
	for _, t := range trials {
		if t == nil || t.machine.config.rules[0].expression == nil {
			continue
		}
		for _, m := range t.machine.config.rules[0].expression.Metrics() {
			all = append(all, influx.QuoteIdent(m))
		}
		break
	}
	return all
}

// hasGlob says whether the pattern of a rule may match more than one name.
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
			// What follows is checked reading by reading.
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

// feed feeds what InfluxDB holds of [from, to), or of the newest part of it when
// that is too much.
func (p *archive) feed(ctx context.Context, from, to time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, pastWithin)
	defer cancel()
	rate, err := p.rate(ctx, to)
	if err != nil {
		return err
	}
	slice := maxPastSlice
	if rate > 0 {
		if most := time.Duration(maxPast / rate * float64(time.Second)); most > 0 && most < to.Sub(from) {
			from = to.Add(-most)
		}
		slice = min(slice, max(minPastSlice, time.Duration(pastAnswer/rate*float64(time.Second))))
	}
	for from.Before(to) {
		end := from.Add(slice)
		if end.After(to) {
			end = to
		}
		points, err := p.points(ctx, from, end)
		switch {
		case errors.Is(err, influx.ErrTooLarge) && slice > minPastSlice:
			slice = max(minPastSlice, slice/4)
			continue
		case err != nil:
			return err
		}
		p.take(points)
		if from = end; p.fed > 2*maxPast {
			return fmt.Errorf("InfluxDB holds more than %d readings of that time", 2*maxPast)
		}
	}
	p.flush(to.UnixNano())
	return nil
}

// query asks about the series of the rule.
func (p *archive) query(ctx context.Context, selected, rest string, from, to time.Time) ([]influx.Series, error) {
	q := "SELECT " + selected + " FROM " + p.what + " WHERE time >= $from AND time < $to" + p.where + rest
	series, err := p.client.Query(ctx, p.client.Database(), rawPolicy, q, influx.Params{"from": from, "to": to})
	if err != nil && strings.Contains(err.Error(), "not found") {
		return nil, nil // before the first reading there is no database, no bucket
	}
	return series, err
}

// rate returns how many readings a second there were in the hours before a time.
func (p *archive) rate(ctx context.Context, to time.Time) (float64, error) {
	for _, span := range []time.Duration{time.Hour, 24 * time.Hour} {
		series, err := p.query(ctx, `count("value") AS "count"`, "", to.Add(-span), to)
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
func (p *archive) points(ctx context.Context, from, to time.Time) ([]point, error) {
	series, err := p.query(ctx, `"value"`, ` GROUP BY "site", "device"`, from, to)
	if err != nil {
		return nil, err
	}
	var all []point
	for _, s := range series {
		key := telemetryv1.Key{Site: s.Tags["site"], Device: s.Tags["device"], Metric: s.Name}
		if !streams.ValidToken(key.Site) || !streams.ValidToken(key.Device) || !streams.ValidToken(key.Metric) {
			continue
		}
		for i, v := range s.Floats("value") {
			if !math.IsNaN(v) {
				all = append(all, point{key, s.Times[i], v})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.time, b.time), strings.Compare(a.key.Metric, b.key.Metric))
	})
	return all, nil
}

// take has the trials take readings, and moves the clock of their lanes on with
// them.
func (p *archive) take(points []point) {
	for _, r := range points {
		if p.waiting >= pastBatch || r.time/pastTick > p.clock/pastTick {
			p.flush(r.time)
		}
		lane := streams.Lane(r.key.Site, r.key.Device, len(p.trials))
		if p.trials[lane] == nil {
			continue
		}
		if p.earliest.IsZero() {
			p.earliest = time.Unix(0, r.time).UTC()
		}
		p.builders[lane].Value(r.key, r.time, r.v)
		p.waiting++
		p.fed++
	}
}

// flush hands over what waits, with a clock that says that all up to then has
// come.
func (p *archive) flush(clock int64) {
	p.counted.Add(uint64(p.waiting))
	p.clock, p.waiting = clock, 0
	for lane, t := range p.trials {
		if t == nil {
			continue
		}
		// The clock of the archive ticks with the readings.
		t.machine.heard.Steady = true
		b := p.builders[lane].Take(clock)
		b.Clock = &telemetryv1.Clock{CaughtUp: clock}
		t.take(b)
	}
}
