package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/proto/figure"
	"headwater/services/dashboard/fleet"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/web/view"
)

// recallAtOnce bounds the devices of one query of InfluxDB, and so the length of the
// query and of the answer.
const recallAtOnce = 50

// recallPause is the longest pause before InfluxDB is queried again.
const recallPause = 15 * time.Second

// recall queries InfluxDB for the latest values of the devices that have reported
// nothing, or too little, since the memory of the dashboard begins. It continues until
// all are known, however long InfluxDB is unavailable.
type recall struct {
	client *influx.Client
	fleet  *fleet.Fleet
	log    *slog.Logger
	// ready reports whether the devices and their recent readings have been read.
	ready func() bool

	mu    sync.Mutex // guards what follows
	since time.Time  // when InfluxDB failed to answer; zero when it answers
	err   error
}

func (r *recall) run(ctx context.Context) {
	most, wait := recallAtOnce, retryEvery
	for ctx.Err() == nil {
		if !r.ready() {
			process.Sleep(ctx, retryEvery/10)
			continue
		}
		missing := r.fleet.Missing(most)
		if len(missing) == 0 {
			process.Sleep(ctx, retryEvery)
			continue
		}
		past, err := r.ask(ctx, missing)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, influx.ErrTooLarge) && len(missing) == 1 {
			r.log.Warn("latest values of a device were left out", "device", missing[0].Site+"/"+missing[0].Device, "err", err)
			past, err = []fleet.Past{{Missing: missing[0]}}, nil
		}
		r.report(err)
		if err != nil { // a slow InfluxDB may answer a smaller query
			most = max(1, most/2)
			process.Sleep(ctx, wait)
			wait = min(2*wait, recallPause)
			continue
		}
		r.fleet.Recall(past)
		most, wait = min(2*most, recallAtOnce), retryEvery
	}
}

func (r *recall) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.since = time.Time{}
	case r.err == nil:
		r.since = time.Now()
		r.log.Warn("latest values cannot be read from InfluxDB, retrying", "err", err)
	}
	r.err = err
}

// problem returns in words what is not known yet, and why.
func (r *recall) problem() (view.Problem, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.fleet.Waiting()
	if r.err == nil || n == 0 {
		return view.Problem{}, false
	}
	return view.Problem{
		Part: "Latest values", Since: r.since,
		Text: "The latest values of " + figure.Plural(n, "device that has", "devices that have") + " not reported lately are not known yet: InfluxDB does not answer (" + influxReason(r.err) + "). Trying again.",
	}, true
}

// fields are the fields of the points, by the kind of the reading.
var fields = map[view.Kind]string{view.KindNumber: "value", view.KindFlag: "flag", view.KindText: "text"}

// ask reads the latest readings and arrivals of devices of one site. The names are
// tokens, so none of them can change the meaning of a query.
func (r *recall) ask(ctx context.Context, missing []fleet.Missing) ([]fleet.Past, error) {
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	out := make([]fleet.Past, len(missing))
	index := make(map[string]int, len(missing)) // by device
	type column struct {
		metric string
		kind   view.Kind
	}
	columns := make(map[column][]string) // devices
	series := make(map[fleet.Series]int) // without unit -> index of its device's
	var arrivals []string
	for i, m := range missing {
		out[i].Missing = m
		index[m.Device] = i
		for k, s := range m.Series {
			c := column{s.Metric, s.Kind}
			columns[c] = append(columns[c], s.Device)
			s.Unit = ""
			series[s] = k
		}
		if m.Arrivals {
			arrivals = append(arrivals, m.Device)
		}
	}
	site := missing[0].Site
	var statements []string
	var order []column
	for c, devices := range columns {
		order = append(order, c)
		statements = append(statements, latestOf(fields[c.kind], c.metric, site, devices, fleet.PastReadings, ""))
	}
	if len(statements) > 0 {
		answer, err := r.query(ctx, rawPolicy, statements)
		if err != nil {
			return nil, err
		}
		for _, s := range answer {
			c := order[s.Statement]
			i, ok := index[s.Tags["device"]]
			k, known := series[fleet.Series{Site: site, Device: s.Tags["device"], Metric: c.metric, Kind: c.kind}]
			if !ok || !known {
				continue
			}
			for row, t := range s.Times {
				if v, ok := recalled(s.Values[row][0]); ok {
					out[i].Readings = append(out[i].Readings, fleet.Reading{Series: k, Time: t, Value: v})
					out[i].Units = append(out[i].Units, s.Tags["unit"])
				}
			}
		}
	}
	if len(arrivals) > 0 {
		answer, err := r.query(ctx, influx.PolicyLedger, []string{latestOf("readings", influx.MeasurementLedger, site, arrivals, fleet.PastArrivals, ` AND "readings" > 0`)})
		if err != nil {
			return nil, err
		}
		for _, s := range answer {
			i, ok := index[s.Tags["device"]]
			if !ok {
				continue
			}
			for _, t := range s.Times {
				out[i].Arrivals = append(out[i].Arrivals, t-t%int64(time.Minute))
			}
		}
	}
	return out, nil
}

// latestOf returns a query of the latest values of a field, for each of the devices.
func latestOf(field, measurement, site string, devices []string, most int, also string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `SELECT %s FROM %s WHERE "site" = %s AND (`, influx.QuoteIdent(field), influx.QuoteIdent(measurement), influx.QuoteString(site))
	for i, d := range slices.Sorted(slices.Values(devices)) {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteString(`"device" = ` + influx.QuoteString(d))
	}
	fmt.Fprintf(&b, `)%s GROUP BY "device", "unit" ORDER BY time DESC LIMIT %d`, also, most)
	return b.String()
}

// query sends several queries at once. Before the first reading there is no bucket,
// and so no answer.
func (r *recall) query(ctx context.Context, policy string, statements []string) ([]influx.Series, error) {
	answer, err := r.client.Query(ctx, r.client.Database(), policy, strings.Join(statements, "; "), nil)
	if err != nil && strings.Contains(err.Error(), "not found") {
		return nil, nil
	}
	return answer, err
}

// recalled returns a value of an answer as it was when it arrived.
func recalled(v any) (view.Value, bool) {
	switch v := v.(type) {
	case float64:
		return view.Number(v), true
	case bool:
		return view.Flag(v), true
	case string:
		return view.Text(clip(v)), true
	}
	return view.Value{}, false
}
